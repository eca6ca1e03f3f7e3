"""Read files whose table is not simply rows under one line of labels."""
