"""Chemical domains."""
