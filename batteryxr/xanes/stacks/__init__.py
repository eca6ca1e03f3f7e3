"""Prepare energy stacks before normalisation."""
