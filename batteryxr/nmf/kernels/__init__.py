"""Factorisation on plain arrays, with NumPy and numba."""
