"""Fit linear combinations of standards."""
