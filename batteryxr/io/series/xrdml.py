"""Read PANalytical .xrdml: patterns whose angles are given by their two ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    from pathlib import Path

_TAGS = {
    "startTimeStamp": "start_time = {}",
    "commonCountingTime": "count_time = {} s",
    "kAlpha1": "wavelength_alpha1{} = {}",
}


def read(path: Path, raw: bytes) -> list[Decoded]:
    """Return the scans of an .xrdml file.

    Raises
    ------
    FileFormatError
        If it declares entities (a trap), is damaged, or holds no scan over 2theta.
    """
    from xml.etree import ElementTree

    if b"<!ENTITY" in raw or b"<!DOCTYPE" in raw:
        raise FileFormatError(path, "declares entities, as no instrument does.")
    try:
        root = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise FileFormatError(
            path,
            f"is not whole XML: it breaks at column {column + 1}. Copy it again.",
            line,
        ) from error
    for each in root.iter():
        each.tag = re.sub(r"\{.*\}", "", str(each.tag))
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
    from typing import Any

    node: Any = scan
    counts = node.find(".//intensities")
    counts = node.find(".//counts") if counts is None else counts
    axes = {p.get("axis"): p for p in node.iter("positions")}
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
    return decoded(path, columns, [*own, *header], f"scan {i}" if n > 1 else "")
