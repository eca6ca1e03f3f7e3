"""Diffraction of powders: axes, reflections, lattices, sizes, intensities."""
