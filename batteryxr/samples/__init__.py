"""Measured data to try things on, fetched file by file from where it was published."""

from __future__ import annotations

from batteryxr.samples.catalogue import Origin, Sample, Samples
from batteryxr.samples.obtaining import local, sample
from batteryxr.samples.places import STAND_IN, Places

__all__ = ["STAND_IN", "Origin", "Places", "Sample", "Samples", "local", "sample"]
