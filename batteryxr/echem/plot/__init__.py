"""Figures of electrochemistry."""
