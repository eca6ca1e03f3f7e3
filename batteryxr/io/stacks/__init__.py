"""Energy stacks of images."""
