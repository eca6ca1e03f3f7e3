"""Prepare spectra for a fit: no cosmic rays or backgrounds, smooth, on one scale."""
