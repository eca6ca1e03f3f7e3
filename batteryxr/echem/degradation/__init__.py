"""Compute what a cell has lost: lithium, and active material of each electrode."""
