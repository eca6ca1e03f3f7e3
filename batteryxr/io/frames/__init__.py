"""Frames of detectors, and scans of ptychography."""
