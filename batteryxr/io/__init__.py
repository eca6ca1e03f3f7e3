"""Readers: one function per family of formats, files in, labelled data out."""

from __future__ import annotations

from batteryxr.io.cycler.bdf_writer import write_bdf
from batteryxr.io.cycler.reader import read_cycler
from batteryxr.io.door.limits import Limits
from batteryxr.io.frames.cxi import read_cxi, write_cxi
from batteryxr.io.frames.ptychography import read_ptychography
from batteryxr.io.frames.reader import read_frames, read_image
from batteryxr.io.series.athena import read_athena
from batteryxr.io.series.reader import read_series
from batteryxr.io.stacks.reader import read_stack

__all__ = [
    "Limits",
    "read_athena",
    "read_cxi",
    "read_cycler",
    "read_frames",
    "read_image",
    "read_ptychography",
    "read_series",
    "read_stack",
    "write_bdf",
    "write_cxi",
]
