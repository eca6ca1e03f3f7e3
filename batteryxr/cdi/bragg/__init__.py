"""Bragg CDI: from frames to strain over voltage states."""
