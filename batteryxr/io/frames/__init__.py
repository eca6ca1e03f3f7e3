"""Read frames of detectors and scans of ptychography."""
