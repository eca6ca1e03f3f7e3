"""Energy stacks before normalisation."""
