"""Analyse powder diffraction: axes, reflections, lattices, sizes, intensities."""
