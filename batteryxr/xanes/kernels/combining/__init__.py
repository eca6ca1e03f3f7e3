"""Linear combinations of standards."""
