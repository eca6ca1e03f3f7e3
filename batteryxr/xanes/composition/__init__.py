"""Compositions from spectra."""
