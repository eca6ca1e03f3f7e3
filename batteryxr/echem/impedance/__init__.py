"""Analyse impedance along a series: consistency, circuits, relaxation times."""
