"""What every technique shares: the data model, laziness, stores and provenance."""
