"""Read impedance spectra of potentiostats and cyclers, binary and as text."""
