"""Compositions and Li content."""
