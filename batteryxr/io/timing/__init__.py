"""A clock for every row of a cycler file: cells, summer time, pauses, drift."""
