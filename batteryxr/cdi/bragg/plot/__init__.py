"""Figures of Bragg CDI."""
