"""What a reader of impedance hands over: rows, and the spectra that they make."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from batteryxr.io.impedance.labels import FromColumn

#: Beside these the sweep has turned: a step of frequency that is no step.
_SAME = 1e-6
#: Share of points above which a spectrum is inductive as none of a cell is.
_MOSTLY = 0.6


@dataclass(frozen=True)
class Readings:
    """Readings of one file, in order: nothing repaired, nothing left out.

    Parameters
    ----------
    columns
        Arrays of one length in units of `labels.NAMES`; ``frequency`` (Hz) and
        ``impedance`` (complex, ohm) are always there, ``test_time`` (s), ``voltage``
        (V), ``current`` (mA), ``temperature`` (degC), ``spectrum`` and further
        impedances where the file has them.
    instrument
        Maker and model.
    technique
        As the file names it.
    start
        Clock reading at test time 0, local unless it has a zone.
    notes
        Flag -> sentence.
    """

    columns: Mapping[str, np.ndarray]
    instrument: str
    technique: str = ""
    start: datetime | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


def complex_columns(
    columns: Mapping[str, np.ndarray], found: Mapping[str, FromColumn]
) -> dict[str, np.ndarray]:
    """Return columns in the units of the model, with a complex impedance."""
    plain = {n: columns[n] * s.factor + s.offset for n, s in found.items()}
    phase = plain.pop("phase", None)
    minus = plain.pop("minus_phase", None)
    modulus, real = plain.pop("modulus", None), plain.pop("real", None)
    down, up = plain.pop("minus_imaginary", None), plain.pop("imaginary", None)
    if down is not None:
        up = -down
    if real is not None and up is not None:
        plain["impedance"] = real + 1j * up
    else:
        angle = phase if phase is not None else -(minus if minus is not None else 0)
        plain["impedance"] = modulus * np.exp(1j * np.deg2rad(angle))
    return plain


def spectra_of(rows: Readings, path: Path) -> list[dict[str, np.ndarray]]:
    """Return the points of each spectrum, in the order in which they were taken.

    A spectrum ends where the number of the file changes, or the frequency turns back.

    Raises
    ------
    FileFormatError
        If a point cannot be.
    """
    frequency = np.asarray(rows.columns["frequency"], np.float64)
    kept = np.flatnonzero(np.isfinite(frequency) & (frequency != 0))
    if (negative := frequency[kept] < 0).any():
        row = int(kept[np.argmax(negative)])
        raise FileFormatError(path, f"row {row + 1}: a frequency of {frequency[row]}.")
    if not kept.size:
        return []
    table = {name: np.asarray(v)[kept] for name, v in rows.columns.items()}
    begins = _turns(np.log(table["frequency"]))
    if (number := table.get("spectrum")) is not None:
        begins |= set((np.flatnonzero(np.diff(number)) + 1).tolist())
    edges = [0, *sorted(begins), kept.size]
    return [
        {name: values[a:b] for name, values in table.items()}
        for a, b in itertools.pairwise(edges)
    ]


def _turns(log: np.ndarray) -> set[int]:
    """Return the rows at which a sweep of frequency begins anew."""
    found, sign = set(), 0.0
    steps = np.diff(log)
    for k, step in enumerate(steps.tolist()):
        way = float(np.sign(step)) if abs(step) > _SAME else 0.0
        if way == 0.0 or (sign and way != sign):
            found.add(k + 1)
            sign = 0.0
        else:
            sign = way
    return found


def reactance_note(spectra: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Say where the imaginary part has the sign that no cell has."""
    odd = [
        k + 1
        for k, one in enumerate(spectra)
        if np.mean(one["impedance"].imag > 0) > _MOSTLY
    ]
    if not odd:
        return {}
    return {
        "reactance_sign": (
            f"{len(odd)} of {len(spectra)} spectra, first number {odd[0]}, are "
            "inductive at most frequencies: is the column that was taken for Im(Z) "
            "-Im(Z)? columns={'its label': 'minus_imaginary (ohm)'} says so"
        )
    }
