"""Analyse titration pulses."""
