"""The pipeline from files to a store, and its report."""
