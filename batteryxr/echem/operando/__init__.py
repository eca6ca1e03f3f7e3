"""Scans on the time axis of the cycler."""
