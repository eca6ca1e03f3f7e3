"""Electrochemistry: cycles, derivatives, titration, composition and the scan join."""
