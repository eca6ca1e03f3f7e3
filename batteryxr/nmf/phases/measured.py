"""What a G(r) was measured with, as its header tells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.errors import BatteryxrError, warn_quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

#: Field of the instrument -> what headers call it.
_CALLED = {
    "q_max": ("q_max", "qmax", "q_maximum"),
    "q_damp": ("q_damp", "qdamp"),
    "radiation": ("radiation", "mode", "scatteringtype", "stype", "rad_type"),
}
_RADIATION = {"x": "xray", "n": "neutron"}


def told(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what attributes, and a header among them, tell of the instrument."""
    header = attrs.get("header", "{}")
    try:
        entries = json.loads(header) if isinstance(header, str) else dict(header)
    except (ValueError, TypeError):
        entries = {}
    every = {_plain(k): v for k, v in entries.items()} | {
        _plain(k): v for k, v in attrs.items()
    }
    out: dict[str, Any] = {}
    for name, words in _CALLED.items():
        text = next((every[_plain(w)] for w in words if _plain(w) in every), None)
        if text is None:
            continue
        if name == "radiation":
            kind = _RADIATION.get(str(text).strip().lower()[:1])
            out |= {name: kind} if kind else {}
            continue
        try:
            out[name] = float(str(text).split()[0])
        except (ValueError, IndexError):
            continue
    return out


def instrument_of(data: xr.DataArray, given: PdfInstrument | None) -> PdfInstrument:
    """Return the instrument as given, or as the data tell; warn of what is missing."""
    known = told(data.attrs)
    if given is not None:
        _tell_other(given, known)
        return given
    missing = [name for name in ("q_max", "q_damp") if name not in known]
    if missing:
        warn_quality(
            f"nothing tells {' and '.join(missing)} of these patterns: ripples and "
            "damping of the measurement go into size and misfit. Pass "
            "instrument=nmf.PdfInstrument(q_max=..., q_damp=...)."
        )
    try:
        return PdfInstrument(**known)
    except BatteryxrError as error:
        warn_quality(f"the header tells {known}, which cannot be: {error}")
        return PdfInstrument()


def _tell_other(given: PdfInstrument, known: Mapping[str, Any]) -> None:
    """Warn where the header tells what was not given, or another radiation."""
    left_out = [n for n in ("q_max", "q_damp") if n in known and not getattr(given, n)]
    if known.get("radiation", given.radiation) != given.radiation:
        left_out.append("radiation")
    if left_out:
        words = ", ".join(f"{name}={known[name]!r}" for name in left_out)
        warn_quality(
            f"the header tells {words}, the instrument that was passed does not: it "
            "goes as it was passed."
        )


def _plain(word: object) -> str:
    return str(word).strip().lower().replace("_", "").replace(" ", "")
