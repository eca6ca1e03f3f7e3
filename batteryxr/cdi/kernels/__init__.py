"""Array kernels of coherent diffraction: array-API in, array-API out, no labels."""
