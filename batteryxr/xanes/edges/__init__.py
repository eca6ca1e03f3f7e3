"""Normalisation and edge energies."""
