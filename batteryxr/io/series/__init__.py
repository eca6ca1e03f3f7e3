"""Read series of patterns and spectra."""
