"""Fit the edge model at every pixel."""
