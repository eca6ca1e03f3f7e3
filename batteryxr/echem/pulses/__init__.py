"""Analyse switches of the current: resistances, pulses, interruptions."""
