"""Shared basis of all techniques: the data model, laziness, stores and provenance."""
