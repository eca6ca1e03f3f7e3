"""Accessors: one table of contents for each technique on labelled data."""

from batteryxr.accessors import cdi as cdi
from batteryxr.accessors import echem as echem
from batteryxr.accessors import nmf as nmf
from batteryxr.accessors import xanes as xanes
