"""Readers: one function per family of formats, files in, labelled data out."""

from __future__ import annotations

from batteryxr.io.athena import read_athena
from batteryxr.io.bdf_writer import write_bdf
from batteryxr.io.cxi import read_cxi, write_cxi
from batteryxr.io.cycler import read_cycler
from batteryxr.io.frames import read_frames, read_image
from batteryxr.io.ptychography_files import read_ptychography
from batteryxr.io.series import read_series
from batteryxr.io.stacks import read_stack

__all__ = [
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
