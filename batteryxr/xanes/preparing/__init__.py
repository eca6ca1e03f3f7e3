"""Spectra made ready for a fit: without rays and backgrounds, smooth, on one scale."""
