"""Array kernels: NumPy in, NumPy out."""
