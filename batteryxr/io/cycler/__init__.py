"""Read cycler files."""
