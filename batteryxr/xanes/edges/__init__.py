"""Normalise spectra and find edge energies."""
