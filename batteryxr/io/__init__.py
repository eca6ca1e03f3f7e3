"""Readers: one function per family of formats, files in, labelled data out."""

from __future__ import annotations

from batteryxr.io.bdf_writer import write_bdf
from batteryxr.io.cycler import read_cycler
from batteryxr.io.series import read_series

__all__ = ["read_cycler", "read_series", "write_bdf"]
