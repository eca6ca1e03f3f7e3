"""Open and check every file that a reader takes."""
