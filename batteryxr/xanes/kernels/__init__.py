"""Kernels for XANES imaging: plain arrays, without labels, dask or files."""
