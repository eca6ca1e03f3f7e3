"""Plot electrochemistry."""
