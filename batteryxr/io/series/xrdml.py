"""Read PANalytical .xrdml: patterns whose angles are given by their two ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.door.words import in_xml
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_TAGS = {
    "startTimeStamp": "start_time = {}",
    "commonCountingTime": "count_time = {} s",
    "kAlpha1": "wavelength_alpha1{} = {}",
}


#: Elements that give the step, or the number of points, of a scan.
_STEP = re.compile(r"(?i)(scan)?(axis)?(step(size|width)?|increment)")
_POINTS = re.compile(r"(?i)(number|num|no|n)_?(of)?_?(points|steps)|(point|step)count")
_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
#: Ends that are planned are multiples of this (deg); steps between them of that.
_ROUND, _EVEN = 0.005, 1e-4
#: Names of scans over 2theta, and of those in which the sample turns half as far.
_TWICE = re.compile(r"(?i)2[ _-]*theta|gonio")
_COUPLED = re.compile(r"(?i)gonio|omega")
#: Most that the sample may turn otherwise than its scan says (deg).
_APART = 0.02
#: Share of these by which written numbers may miss them.
_OFF = 0.02


def read(path: Path, raw: bytes) -> list[Decoded]:
    """Return the scans of an .xrdml file.

    Raises
    ------
    FileFormatError
        If it declares entities (a trap), is damaged, or holds no scan over 2theta.
    """
    root = in_xml(path, raw)
    header = []
    for tag, form in _TAGS.items():
        if (node := root.find(f".//{tag}")) is not None:
            unit = f" ({node.get('unit')})" if node.get("unit") else ""
            words = [unit] if tag == "kAlpha1" else []
            header.append(form.format(*words, (node.text or "").strip()))
    scans = list(root.iter("scan"))
    tables = [_scan(path, s, header, i, len(scans)) for i, s in enumerate(scans, 1)]
    if not tables:
        raise FileFormatError(path, "holds no scan.")
    return tables


def _scan(path: Path, scan: object, header: list[str], i: int, n: int) -> Decoded:
    node: Any = scan
    counts = node.find(".//intensities")
    counts = node.find(".//counts") if counts is None else counts
    axes = _axes(path, node, f"scan {i}")
    angle = axes.get("2Theta")
    if counts is None or angle is None:
        raise FileFormatError(path, f"scan {i} is no pattern over 2Theta.")
    values = np.array([float(w) for w in (counts.text or "").split()])
    listed = angle.find("listPositions")
    if listed is not None:
        axis = np.array([float(w) for w in (listed.text or "").split()])
    else:
        ends = [angle.find("startPosition"), angle.find("endPosition")]
        if None in ends or values.size < 2:
            raise FileFormatError(path, f"scan {i} lacks its ends or its counts.")
        first, last = (float(e.text) for e in ends)
        axis = np.linspace(first, last, values.size)
    if axis.size != values.size:
        raise FileFormatError(
            path, f"scan {i} has {axis.size} angles and {values.size} counts."
        )
    began = node.find(".//startTimeStamp")
    own = [_TAGS["startTimeStamp"].format(began.text)] if began is not None else []
    columns = {"two_theta deg": axis, "intensity": values}
    factors = node.find(".//beamAttenuationFactors")
    if factors is not None:
        columns["attenuation"] = np.array([float(w) for w in factors.text.split()])
        if node.find(".//intensities") is not None:  # already multiplied
            columns.pop("attenuation")
    status = node.get("status", "Completed")
    if listed is None and status != "Completed":
        warn_quality(
            f"{path.name}: scan {i} has the status {status!r}. If it was stopped "
            f"before {axis[-1]:g} deg, this end was only planned, and all angles are "
            f"stretched: its {axis.size} counts make steps of "
            f"{axis[1] - axis[0]:.5g} deg. Compare them with those of a whole scan."
        )
    elif listed is None:
        _hold_against_steps(path, node, axis, f"scan {i}")
    return decoded(path, columns, [*own, *header], f"scan {i}" if n > 1 else "")


def _axes(path: Path, node: Any, scan: str) -> dict[str, Any]:
    """Return the positions of a scan by their axis, held against what it says moved.

    Raises
    ------
    FileFormatError
        If an axis stands there twice, has other units, or is not the one that moved.
    """
    axes: dict[str, Any] = {}
    for one in node.iter("positions"):
        name = str(one.get("axis"))
        if name in axes:
            raise FileFormatError(
                path, f"{scan} gives the positions of {name} twice: which holds?"
            )
        axes[name] = one
    if "2Theta" not in axes:
        return axes
    unit = axes["2Theta"].get("unit", "deg")
    moved = str(node.get("scanAxis", ""))
    if unit != "deg":
        raise FileFormatError(path, f"{scan} gives 2Theta in {unit!r}, not in deg.")
    if moved and not _TWICE.search(moved):
        raise FileFormatError(
            path,
            f"{scan} says that {moved} moved, and gives 2Theta: no pattern over "
            "2Theta, or one of them is wrong. Export it anew.",
        )
    spans = [_span(axes[name]) for name in ("2Theta", "Omega") if name in axes]
    if len(spans) > 1 and None not in spans and moved:
        both, omega = (float(s or 0.0) for s in spans)
        due = both / 2 if _COUPLED.search(moved) else 0.0
        if abs(omega - due) > _APART:
            warn_quality(
                f"{path.name}: {scan} says that {moved} moved, by which Omega turns "
                f"{due:g} deg while 2Theta turns {both:g}; it turned {omega:g}. Either "
                "may be wrong: compare the pattern with a known one."
            )
    return axes


def _span(positions: Any) -> float | None:
    """Return how far an axis turned; None if its ends are not given."""
    if positions.find("commonPosition") is not None:
        return 0.0
    ends = [positions.find(n) for n in ("startPosition", "endPosition")]
    if None in ends:
        return None
    first, last = (float(e.text) for e in ends)
    return last - first


def _hold_against_steps(path: Path, node: Any, axis: np.ndarray, scan: str) -> None:
    """Refuse a scan with fewer counts than its steps; warn of steps that none plans.

    Raises
    ------
    FileFormatError
        If a step or a number of points is given and the counts are not as many.
    """
    step = float(axis[-1] - axis[0]) / (axis.size - 1)
    for each in node.iter():
        name, number = str(each.tag), (each.text or "").strip()
        if not _DECIMAL.fullmatch(number):
            continue
        planned = 0.0
        if _STEP.fullmatch(name) and float(number):
            planned = abs(axis[-1] - axis[0]) / abs(float(number)) + 1
        elif _POINTS.fullmatch(name):
            planned = float(number)
        if planned and abs(planned - axis.size) > 1:
            raise FileFormatError(
                path,
                f"{scan} has {axis.size} counts, and {name} {number} makes "
                f"{planned:.0f}: it was stopped or is damaged, and where its counts "
                "stand is not told. Leave it out.",
            )
    ends = axis[[0, -1]] / _ROUND
    even = step / _EVEN
    planned_ends = np.abs(ends - ends.round()).max() < _OFF
    if planned_ends and abs(even - round(even)) > _OFF:
        warn_quality(
            f"{path.name}: {scan} runs from {axis[0]:g} to {axis[-1]:g} deg, and its "
            f"{axis.size} counts make uneven steps of {step:.7g} deg. If it was "
            "stopped, this end was only planned, and all angles are stretched."
        )
