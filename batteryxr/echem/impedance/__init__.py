"""Impedance along a series: consistency, circuits, relaxation times."""
