"""Put scans on the time axis of the cycler."""
