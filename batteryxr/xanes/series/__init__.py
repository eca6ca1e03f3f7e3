"""Prepare series of scans: one energy scale, no glitches, merged, one grid."""
