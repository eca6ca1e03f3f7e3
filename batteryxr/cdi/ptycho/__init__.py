"""Ptychography: from scans to objects at many energies."""
