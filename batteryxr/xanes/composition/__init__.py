"""Compute compositions from spectra."""
