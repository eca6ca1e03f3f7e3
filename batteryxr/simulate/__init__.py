"""Simulated experiments with known truth."""
