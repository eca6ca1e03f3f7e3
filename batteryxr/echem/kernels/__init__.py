"""Kernels for electrochemistry: plain arrays, without labels, dask or files."""
