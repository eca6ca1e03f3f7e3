"""Parse compositions and compute Li content."""
