"""Panels: models of choices, and the views that show them in a notebook."""
