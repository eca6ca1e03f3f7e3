"""Coherent diffraction: Bragg CDI and ptychography, then strain and its change."""
