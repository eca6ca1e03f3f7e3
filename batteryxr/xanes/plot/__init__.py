"""Plot XANES."""
