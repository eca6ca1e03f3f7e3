"""Titration pulses."""
