"""Cycles, their curves and derivatives."""
