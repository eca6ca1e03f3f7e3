"""The accessors: tables of contents of what can be done with labelled data."""

from batteryxr.accessors import cdi as cdi
from batteryxr.accessors import echem as echem
from batteryxr.accessors import nmf as nmf
from batteryxr.accessors import xanes as xanes
