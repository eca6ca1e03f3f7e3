"""Checks of measurements and objects against one another."""
