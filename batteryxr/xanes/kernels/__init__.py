"""Array kernels of XANES imaging: no labels, no dask, no files."""
