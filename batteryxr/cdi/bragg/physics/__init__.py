"""Lengths, lattices and resolution of a crystal in absolute units."""
