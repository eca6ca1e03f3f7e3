"""Kernels for impedance: plain arrays in and out, many spectra at once."""
