"""Which crystals the components are."""
