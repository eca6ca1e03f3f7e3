"""List where ptychography files keep each quantity, and match names to patterns.

Paths are patterns: ``*`` stands for any part of one name. Units in the table apply
if the file gives none.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    Paths = tuple[str, ...]

#: Quantity -> default units in the file, and units of the result.
QUANTITIES: dict[str, tuple[str, str]] = {
    "y": ("m", "nm"),
    "x": ("m", "nm"),
    "positions": ("m", "nm"),
    "energy": ("eV", "eV"),
    "wavelength": ("m", "m"),
    "distance": ("m", "mm"),
    "pixel_pitch": ("m", "um"),
    "centre_y": ("1", "1"),
    "centre_x": ("1", "1"),
}
#: Datasets without units.
ARRAYS = ("frames", "mask", "probe")


@dataclass(frozen=True)
class Layout:
    """Describe places of the quantities in one kind of file.

    Parameters
    ----------
    source
        Who writes this kind of file.
    paths
        For each quantity the patterns to try, in this order. ``frames`` that match
        several datasets are joined in sequence. ``positions`` are one dataset of
        columns, instead of ``y`` and ``x``.
    units
        Units of quantities that the file stores without units, if other than SI or
        eV; "?" if the user must give them.
    signs
        Factors of y and x: -1 if the sample moves, since the beam moves against it.
    columns
        Order of the columns of ``positions``.
    """

    source: str
    paths: Mapping[str, Paths]
    units: Mapping[str, str] = field(default_factory=dict)
    signs: tuple[int, int] = (-1, -1)
    columns: str = "xyz"


_DETECTOR = {
    "distance": ("*/instrument*/*/distance", "*/instrument*/*/detector_distance"),
    "pixel_pitch": ("*/instrument*/*/x_pixel_size",),
    "mask": ("*/instrument*/*/pixel_mask", "*/instrument*/*/*/pixel_mask"),
}
#: Characters that make a pattern.
_WILD = frozenset("*?[")
#: Layouts by name. More specific ones come first: the first of equal matches is taken.
LAYOUTS: dict[str, Layout] = {
    "i08-1": Layout(
        "Diamond I08-1: NXcxi_ptycho with positions beside the frames, a raster",
        {
            "frames": ("entry_1/data_1/data",),
            "y": ("entry_1/data_1/y", "entry_1/data_1/*y_value"),
            "x": ("entry_1/data_1/x", "entry_1/data_1/*x_value"),
            "energy": (
                "entry_1/instrument_1/beam_1/incident_beam_energy",
                "entry_1/instrument_1/beam_1/energy",
            ),
            "distance": ("entry_1/instrument_1/detector_1/distance",),
            "pixel_pitch": ("entry_1/instrument_1/detector_1/x_pixel_size",),
            "mask": ("entry_1/instrument_1/detector_1/*mask",),
        },
        {"y": "um", "x": "um"},
    ),
    "nanomax": Layout(
        "MAX IV NanoMAX",
        {
            "frames": ("entry/measurement/*/frames", "entry/*/eiger/data"),
            "y": ("entry/measurement/pseudo/y", "entry/measurement/*/y"),
            "x": ("entry/measurement/pseudo/x", "entry/measurement/*/x"),
            "energy": ("entry/snapshot*/energy", "entry/snapshot*/*/energy"),
        },
        {"y": "um", "x": "um"},
    ),
    "csaxs": Layout(
        "SLS cSAXS: Eiger frames; positions lie in files of their own",
        {
            "frames": ("entry/instrument/eiger_*/data",),
            "energy": ("entry/instrument/monochromator/energy",),
            **_DETECTOR,
        },
        {"energy": "keV", "distance": "mm", "pixel_pitch": "um"},
    ),
    "hxn": Layout(
        "NSLS-II HXN, prepared for a reconstruction",
        {
            "frames": ("diff_data/*/det_images",),
            "positions": ("scan/scan_positions",),
            "energy": ("scan/energy",),
        },
        {"positions": "um"},
        signs=(1, 1),
    ),
    "eiger": Layout(
        "DECTRIS file writer, as at APS Velociprobe: positions lie in other files",
        {
            "frames": ("entry/data/data_[0-9]*",),
            "energy": (
                "entry/instrument/detector/detectorSpecific/photon_energy",
                "entry/instrument/beam/incident_energy",
            ),
            "wavelength": ("entry/instrument/beam/incident_wavelength",),
            "centre_y": ("entry/instrument/detector/beam_center_y",),
            "centre_x": ("entry/instrument/detector/beam_center_x",),
            **_DETECTOR,
        },
        {"wavelength": "angstrom"},
    ),
    "ptyd": Layout(
        "prepared scans of ptypy",
        {
            "frames": ("chunks/*/data",),
            "positions": ("chunks/*/positions",),
            "energy": ("meta/energy", "info/energy"),
            "distance": ("meta/distance", "info/distance"),
            "pixel_pitch": ("meta/psize", "info/psize"),
        },
        {"energy": "keV"},
        signs=(1, 1),
        columns="yx",
    ),
    "nexus": Layout(
        "NeXus, as Diamond I13-1 and I14 or SOLEIL write it: NXdata with its axes",
        {
            "frames": ("*/data/data", "*/*/data", "*/instrument*/*/data"),
            "y": ("*/*/y", "*/*/*y", "*/*/*y_value", "*/instrument*/*/*y*"),
            "x": ("*/*/x", "*/*/*x", "*/*/*x_value", "*/instrument*/*/*x*"),
            "energy": (
                "*/instrument*/beam*/incident_energy",
                "*/instrument*/beam*/*energy",
                "*/sample*/beam*/incident_energy",
                "*/instrument*/monochromator*/energy",
                "*/instrument*/*/energy",
            ),
            "wavelength": (
                "*/instrument*/beam*/incident_wavelength",
                "*/instrument*/monochromator*/wavelength",
            ),
            **_DETECTOR,
        },
        # Stages count in mm, µm or nm, which the numbers do not show.
        {"y": "?", "x": "?", "wavelength": "angstrom"},
    ),
    "frames": Layout(
        "frames alone, as APS 9-ID, the Bionanoprobe and PtychoShelves store them",
        {"frames": ("entry/data/data", "exchange/data", "dp")},
    ),
}


def matching(held: Mapping[str, Any], pattern: str) -> list[str]:
    """Return the paths that match a pattern, in the order of their names.

    A ``*`` does not match ``/``; upper and lower case are equal.
    """
    parts = pattern.strip("/").lower().split("/")
    found = _by_depth(tuple(held)).get(len(parts), [])
    for k, part in enumerate(parts):
        if part == "*":
            continue
        if _WILD.isdisjoint(part):
            found = [each for each in found if each[1][k] == part]
        else:
            fits = re.compile(fnmatch.translate(part)).match
            found = [each for each in found if fits(each[1][k])]
    return sorted(path for path, _ in found)


@functools.lru_cache(maxsize=4)
def _by_depth(paths: tuple[str, ...]) -> dict[int, list[tuple[str, list[str]]]]:
    """Return paths with their names in lower case, grouped by number of names."""
    found: dict[int, list[tuple[str, list[str]]]] = {}
    for path in paths:
        names = path.lower().split("/")
        found.setdefault(len(names), []).append((path, names))
    return found
