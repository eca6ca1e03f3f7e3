"""Fetch measured data to try things on, file by file from where it was published."""

from __future__ import annotations

from batteryxr.samples.catalogue import MeasuredSample, Origin, Samples
from batteryxr.samples.folders import STAND_IN, Places
from batteryxr.samples.obtaining import local, sample

__all__ = [
    "STAND_IN",
    "MeasuredSample",
    "Origin",
    "Places",
    "Samples",
    "local",
    "sample",
]
