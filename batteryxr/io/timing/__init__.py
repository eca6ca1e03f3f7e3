"""Find the time of every row of a cycler file: formats, summer time, pauses, drift."""
