"""Battery characterisation on xarray, on one operando axis.

``import batteryxr`` registers the accessors and loads nothing heavy; what a call
needs is imported when it is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from batteryxr import accessors as accessors  # registers .echem
from batteryxr import errors as errors
from batteryxr.core.replay import replay
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import open_store, save
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from batteryxr import cdi as cdi
    from batteryxr import echem as echem
    from batteryxr import export as export
    from batteryxr import io as io
    from batteryxr import nmf as nmf
    from batteryxr import samples as samples
    from batteryxr import simulate as simulate
    from batteryxr import xanes as xanes
    from batteryxr.core.plotting import load_hvplot as load_hvplot
    from batteryxr.export import cite as cite
    from batteryxr.export import quantify as quantify
    from batteryxr.export import save_figure as save_figure
    from batteryxr.export import show_versions as show_versions
    from batteryxr.export import view_napari as view_napari
    from batteryxr.export import write_csv as write_csv
    from batteryxr.export import write_nexus as write_nexus
    from batteryxr.export import write_xlsx as write_xlsx
    from batteryxr.io import read_athena as read_athena
    from batteryxr.io import read_cxi as read_cxi
    from batteryxr.io import read_cycler as read_cycler
    from batteryxr.io import read_frames as read_frames
    from batteryxr.io import read_image as read_image
    from batteryxr.io import read_impedance as read_impedance
    from batteryxr.io import read_object as read_object
    from batteryxr.io import read_ptychography as read_ptychography
    from batteryxr.io import read_run as read_run
    from batteryxr.io import read_series as read_series
    from batteryxr.io import read_stack as read_stack
    from batteryxr.io import write_athena as write_athena
    from batteryxr.io import write_bdf as write_bdf
    from batteryxr.io import write_cxi as write_cxi
    from batteryxr.io import write_object as write_object
    from batteryxr.samples import sample as sample

__all__ = [
    "__version__",
    "cdi",
    "cite",
    "echem",
    "errors",
    "export",
    "io",
    "load_hvplot",
    "nmf",
    "open_store",
    "quantify",
    "read_athena",
    "read_cxi",
    "read_cycler",
    "read_frames",
    "read_image",
    "read_impedance",
    "read_object",
    "read_ptychography",
    "read_run",
    "read_series",
    "read_stack",
    "replay",
    "sample",
    "samples",
    "save",
    "save_figure",
    "show_versions",
    "simulate",
    "view_napari",
    "write_athena",
    "write_bdf",
    "write_csv",
    "write_cxi",
    "write_nexus",
    "write_object",
    "write_resumable",
    "write_xlsx",
    "xanes",
]

_MODULES = frozenset(
    {"cdi", "echem", "export", "io", "nmf", "samples", "simulate", "xanes"}
)
_EXPORTS = frozenset(
    {"cite", "quantify", "save_figure", "show_versions", "view_napari"}
    | {"write_csv", "write_nexus", "write_xlsx"}
)
_FILES = frozenset(
    {"write_athena", "write_bdf", "write_cxi", "write_object"}
    | {n for n in __all__ if n[:5] == "read_"}
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"batteryxr.{name}")
    if name in _EXPORTS:
        return getattr(importlib.import_module("batteryxr.export"), name)
    if name in _FILES:
        return getattr(importlib.import_module("batteryxr.io"), name)
    if name == "sample":
        return importlib.import_module("batteryxr.samples").sample
    if name == "load_hvplot":
        return importlib.import_module("batteryxr.core.plotting").load_hvplot
    raise AttributeError(f"module 'batteryxr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
