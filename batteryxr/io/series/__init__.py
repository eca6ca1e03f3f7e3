"""Series of patterns and spectra."""
