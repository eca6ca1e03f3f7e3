"""Read energy stacks of images."""
