"""Several retrievals that belong together: of one pattern, or of one crystal."""
