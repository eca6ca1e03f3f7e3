"""Scans of a series: on one energy scale, without glitches, merged, on one grid."""
