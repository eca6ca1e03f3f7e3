"""Kernels of impedance: arrays in, arrays out, many spectra at once."""
