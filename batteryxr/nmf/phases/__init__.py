"""Identify the crystals behind the components."""
