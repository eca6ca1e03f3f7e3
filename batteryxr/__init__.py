"""Battery characterisation on xarray, on one operando axis.

``import batteryxr`` registers the accessors and loads nothing heavy; what a call
needs is imported when it is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from batteryxr import accessors as accessors  # registers .echem
from batteryxr.core.replay import replay
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import open_store, save
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from batteryxr import cdi as cdi
    from batteryxr import echem as echem
    from batteryxr import io as io
    from batteryxr import nmf as nmf
    from batteryxr import samples as samples
    from batteryxr import simulate as simulate
    from batteryxr import xanes as xanes
    from batteryxr.io import read_athena as read_athena
    from batteryxr.io import read_cxi as read_cxi
    from batteryxr.io import read_cycler as read_cycler
    from batteryxr.io import read_frames as read_frames
    from batteryxr.io import read_image as read_image
    from batteryxr.io import read_impedance as read_impedance
    from batteryxr.io import read_ptychography as read_ptychography
    from batteryxr.io import read_run as read_run
    from batteryxr.io import read_series as read_series
    from batteryxr.io import read_stack as read_stack
    from batteryxr.io import write_bdf as write_bdf
    from batteryxr.io import write_cxi as write_cxi
    from batteryxr.samples import sample as sample

__all__ = [
    "__version__",
    "cdi",
    "echem",
    "io",
    "nmf",
    "open_store",
    "read_athena",
    "read_cxi",
    "read_cycler",
    "read_frames",
    "read_image",
    "read_impedance",
    "read_ptychography",
    "read_run",
    "read_series",
    "read_stack",
    "replay",
    "sample",
    "samples",
    "save",
    "simulate",
    "write_bdf",
    "write_cxi",
    "write_resumable",
    "xanes",
]

_MODULES = frozenset({"cdi", "echem", "io", "nmf", "samples", "simulate", "xanes"})
_READERS = frozenset(
    name for name in __all__ if name.startswith(("read_", "write_bdf", "write_cxi"))
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"batteryxr.{name}")
    if name in _READERS:
        return getattr(importlib.import_module("batteryxr.io"), name)
    if name == "sample":
        return importlib.import_module("batteryxr.samples").sample
    raise AttributeError(f"module 'batteryxr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
