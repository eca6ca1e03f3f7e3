"""Check what cyclers wrote: complete, in the units of its labels, with a sign."""
