"""The edge model at every pixel."""
