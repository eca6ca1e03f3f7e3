"""Factorisation on plain arrays: NumPy and numba in and out."""
