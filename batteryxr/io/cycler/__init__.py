"""Cycler files."""
