"""Figures of XANES."""
