"""Files in which the table is not simply rows under one line of labels."""
