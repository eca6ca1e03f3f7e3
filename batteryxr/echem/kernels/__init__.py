"""Array kernels of the electrochemistry: no labels, no dask, no files."""
