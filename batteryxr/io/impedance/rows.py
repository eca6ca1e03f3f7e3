"""Hold the readings of one impedance file, and split them into spectra."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.marks import gaps_in, marks_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from batteryxr.io.impedance.labels import FromColumn

#: Frequencies with a smaller relative difference are the same.
ONE = 1e-5
#: Fewest frequencies of a sweep; if most have fewer, they are not sweeps.
_SWEEP = 3
_ADMITTANCE = ("conductance", "susceptance")
_OTHER_FREQUENCIES = ("angular_frequency", "log10_frequency")
#: Phase (rad) that few points of a spectrum in wrong units exceed; that of its upper
#: fifth, as a part of what Bode's relation makes of the slope of the modulus; and the
#: slope (decades per decade), and the points, that tell.
_FLAT, _UPPER, _BODE, _SLOPING, _TELLING = 0.03, 0.8, 0.1, 0.05, 8
_TURN = 365.0  # deg
#: Of the width of a sweep, how far from its begin the next may begin.
_APART = 0.25
#: Of a step: a point so far from the grid of another sweep is not on it, and one so
#: near to its end goes on from there.
_BETWEEN, _NEXT = 0.1, 1.5
#: Fraction of points above which a spectrum is more inductive than that of any cell.
_MOSTLY = 0.6
#: Relative difference of columns that contradict each other.
_CONTRADICTED = 0.05


@dataclass(frozen=True)
class Readings:
    """Hold readings of one file, in order, without repairs or omissions.

    Parameters
    ----------
    columns
        Arrays of one length in units of `labels.NAMES`; ``frequency`` (Hz) and
        ``impedance`` (complex, ohm) are always there, ``test_time`` (s), ``voltage``
        (V), ``current`` (mA), ``temperature`` (degC), ``spectrum`` and further
        impedances if the file has them.
    instrument
        Maker and model.
    technique
        Technique as the file names it.
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
    conductance, susceptance = (plain.pop(n, None) for n in _ADMITTANCE)
    turning, decades = (plain.pop(n, None) for n in _OTHER_FREQUENCIES)
    if turning is not None:
        plain.setdefault("frequency", turning / (2 * np.pi))
    if decades is not None:
        plain.setdefault("frequency", 10.0**decades)
    if down is not None:
        up = -down
    if real is not None and up is not None:
        plain["impedance"] = z = real + 1j * up
        turned = -minus if phase is None and minus is not None else phase
        if turned is not None or modulus is not None:
            seen = np.deg2rad(turned) if turned is not None else np.angle(z)
            length = modulus if modulus is not None else np.abs(z)
            plain["polar"] = np.asarray(length * np.exp(1j * seen))
    elif modulus is None and conductance is not None and susceptance is not None:
        plain["impedance"] = 1.0 / (conductance + 1j * susceptance)
    else:
        angle = phase if phase is not None else -(minus if minus is not None else 0)
        _refuse_turns(angle)
        plain["impedance"] = modulus * np.exp(1j * np.deg2rad(angle))
    return plain


def _refuse_turns(angle: np.ndarray | int) -> None:
    """Raise if most of the larger phases (deg) are beyond a turn."""
    known = np.abs(np.asarray(angle, float))
    known = known[np.isfinite(known)]
    if known.size and (usual := float(np.quantile(known, _UPPER))) > _TURN:
        raise FileFormatError(
            None,
            f"its phases reach {usual:.4g} deg as they were read, which no impedance "
            "has: are they in deg, and not in rad? columns={'its label': 'phase "
            "(deg)'} says what they are in.",
        )


def spectra_of(
    rows: Readings, path: Path
) -> tuple[list[dict[str, np.ndarray]], dict[str, str]]:
    """Return the points of each spectrum, in the order of measurement.

    A spectrum ends where the file's spectrum number changes, or the frequency turns
    back. It has each frequency once.

    Returns
    -------
    tuple
        The columns of each spectrum; flag -> sentence.

    Raises
    ------
    FileFormatError
        If a frequency is negative.
    """
    frequency = np.asarray(rows.columns["frequency"], np.float64)
    kept = np.flatnonzero(np.isfinite(frequency) & (frequency != 0))
    if (negative := frequency[kept] < 0).any():
        row = int(kept[np.argmax(negative)])
        raise FileFormatError(path, f"row {row + 1}: a frequency of {frequency[row]}.")
    if not kept.size:
        return [], {}
    table = {name: np.asarray(v)[kept] for name, v in rows.columns.items()}
    notes = _mark(table["impedance"])
    log = np.log(table["frequency"])
    edges = [0, *_changes(table.get("spectrum")), kept.size]
    found: list[np.ndarray] = []
    for a, b in itertools.pairwise(edges):
        points, said = _sweeps(log[a:b])
        found += [a + one for one in points]
        notes |= said
    return [{name: values[one] for name, values in table.items()} for one in found], (
        notes
    )


def _mark(impedance: np.ndarray) -> dict[str, str]:
    """Set numbers that mark a missing reading to NaN; return a note of them."""
    marked = marks_in(impedance.real) | marks_in(impedance.imag)
    if not marked.any():
        return {}
    value = impedance[marked][0]
    impedance[marked] = np.nan
    return {
        "marks": (
            f"{int(marked.sum())} points hold {value:.9g} ohm or such: no reading, but "
            "the mark of a missing one. NaN"
        )
    }


def _changes(number: np.ndarray | None) -> list[int]:
    """Return the rows at which the file's spectrum number changes; gaps are ignored."""
    if number is None or np.isnan(number).all():
        return []
    told = np.isfinite(number)
    last = np.maximum.accumulate(np.where(told, np.arange(number.size), -1))
    filled = number[np.where(last < 0, np.argmax(told), last)]
    found: list[int] = (np.flatnonzero(np.diff(filled)) + 1).tolist()
    return found


def _sweeps(log: np.ndarray) -> tuple[list[np.ndarray], dict[str, str]]:
    """Return the rows of each sweep of frequency, and notes on irregular ones.

    If each frequency was measured several times before the next, the k-th measurements
    form the k-th sweep.
    """
    begins = np.flatnonzero(np.abs(np.diff(log, prepend=-np.inf)) > ONE)
    runs = np.split(np.arange(log.size), begins[1:])
    if len(runs) < _SWEEP:
        return _repeats(runs), {}
    runs = _split_at_turns(runs, np.sign(np.diff(log[begins])))
    edges = [0, *_turns(log[[one[0] for one in runs]]), len(runs)]
    if np.median(np.diff(edges)) < _SWEEP:
        return _until_repeated(log)
    found = [one for a, b in itertools.pairwise(edges) for one in _repeats(runs[a:b])]
    again = log.size - len(runs)
    words = (
        f"{again} points have the frequency of the point before; where one was "
        "measured several times, each time is a spectrum"
    )
    return found, ({"repeated_frequencies": words} if again else {})


def _split_at_turns(runs: list[np.ndarray], way: np.ndarray) -> list[np.ndarray]:
    """Split the frequency at which a sweep turns, if it was measured both ways."""
    usual = int(np.median([one.size for one in runs]))
    out: list[np.ndarray] = []
    for k, one in enumerate(runs):
        turns = 0 < k < way.size and way[k - 1] != way[k]
        goes_on = k + 1 >= way.size or way[k + 1] == way[k]
        if turns and goes_on and one.size == 2 * usual:
            out += [one[:usual], one[usual:]]
        else:
            out.append(one)
    return out


def _turns(log: np.ndarray) -> list[int]:
    """Return the points at which a new sweep of frequency begins."""
    found, sign = [], 0.0
    for k, step in enumerate(np.diff(log).tolist()):
        way = float(np.sign(step)) if abs(step) > ONE else 0.0
        if way == 0.0 or (sign and way != sign):
            found.append(k + 1)
            sign = 0.0
        else:
            sign = way
    return found


def _repeats(runs: list[np.ndarray]) -> list[np.ndarray]:
    """Return the rows of the k-th measurement of each frequency, for every k."""
    most = max(one.size for one in runs)
    return [np.array([r[k] for r in runs if k < r.size]) for k in range(most)]


def _until_repeated(log: np.ndarray) -> tuple[list[np.ndarray], dict[str, str]]:
    """Return spectra of unordered frequencies: each ends where a frequency returns."""
    order = np.argsort(log, kind="stable")
    group = np.empty(log.size, np.int64)
    group[order] = np.cumsum(np.diff(log[order], prepend=log[order[0]]) > ONE)
    seen: set[int] = set()
    begins = [0]
    for k, one in enumerate(group.tolist()):
        if one in seen:
            begins.append(k)
            seen.clear()
        seen.add(one)
    rows = np.split(np.arange(log.size), begins[1:])
    if all(one.size < _SWEEP for one in rows):
        return rows, {}
    words = "frequencies are in no order; a spectrum ends where one of them returns"
    return rows, {"frequency_order": words}


def order_note(spectra: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Return notes where points of a file are copies, out of order, or missing.

    Noise never repeats; a sweep begins where the one before began, and its steps are
    alike.
    """
    notes = {}
    points = [(one["frequency"], one["impedance"]) for one in spectra]
    every = [(f, z) for pair in points for f, z in zip(*pair, strict=True) if z]
    first: dict[tuple[float, complex], int] = {}
    places = [first.setdefault(point, k) for k, point in enumerate(every)]
    copies = sum(
        places[k] < k and places[k] == places[k - 1] + 1 for k in range(1, len(every))
    )
    if copies >= _SWEEP:
        notes["repeated_rows"] = (
            f"{copies + 1} points are there before, one after another, with the same "
            "impedance to the last digit: the table was pasted or exported twice"
        )
    swept = [(np.log(f), z) for f, z in points if f.size > 1]
    log = [one for one, _ in swept]
    begins = [float(one[0].round(3)) for one in log]
    for (before, ended), (after, began) in itertools.pairwise(swept):
        same_way = (before[-1] - before[0]) * (after[-1] - after[0]) > 0
        apart = abs(after[0] - before[0]) > _APART * max(np.ptp(before), np.ptp(after))
        by_turns = min(begins.count(float(x[0].round(3))) for x in (before, after)) > 1
        copied = bool(ended[-1] == began[0])
        if same_way and apart and not (by_turns or _own(before, after, copied=copied)):
            notes["row_order"] = (
                f"a sweep breaks off, and another goes on at {np.exp(after[0]):.4g} Hz "
                "in its middle: rows are exchanged, twice there, or missing"
            )
    lost = sum(gaps_in(one) for one in log)
    if lost:
        notes["missing_rows"] = (
            f"{lost} points seem to be missing where all other steps of frequency are "
            "alike"
        )
    return notes


def _own(before: np.ndarray, after: np.ndarray, *, copied: bool) -> bool:
    """Tell whether a sweep has a range of its own, and is no part of the one before.

    Its steps are not those of the other, or it begins where the other ended.
    """
    steps = np.abs(np.diff(before))
    usual = float(np.median(np.append(steps, np.abs(np.diff(after)))))
    places = [(log - before[0]) / np.median(steps) for log in (before, after)]
    apart = [np.mean(np.abs(p - np.rint(p)) > _BETWEEN) for p in places]
    goes_on = abs(after[0] - before[-1]) < _NEXT * usual and steps[-1] < _NEXT * usual
    return bool((apart[0] < 0.1 and apart[1] > 0.5) or (goes_on and not copied))


def phase_note(spectra: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Return a note if phases are far too small for the slope of the modulus.

    By Bode's relation the phase is near pi / 2 times the slope of ln |Z| over ln f, for
    whatever answers only after it was asked. An angle in other units than its label
    says is wrong 57-fold, an imaginary part in other units than the real one by 1000.
    """
    odd = []
    for number, one in enumerate(spectra, 1):
        z, f = one["impedance"], one["frequency"]
        good = np.isfinite(z) & (z != 0)
        if good.sum() < _TELLING:
            continue
        order = np.argsort(f[good])
        x, z = np.log(f[good][order]), z[good][order]
        slope = np.gradient(np.log(np.abs(z)), x)
        phase = np.abs(np.angle(z))
        usual = float(np.quantile(np.abs(slope), _UPPER))
        small = np.quantile(phase, _UPPER) < _BODE * 0.5 * np.pi * usual
        if usual > _SLOPING and small and np.quantile(phase, 0.95) < _FLAT:
            odd.append(number)
    if not odd:
        return {}
    return {
        "phase_scale": (
            f"{len(odd)} of {len(spectra)} spectra, first number {odd[0]}, turn their "
            "phase far less than the slope of |Z| asks for: is the phase in rad, or "
            "Im(Z) in other units than Re(Z)? Say so: "
            "columns={'its label': 'phase (rad)'}"
        )
    }


def polar_note(spectra: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Return a note if modulus or phase of a file contradict its Re(Z) and Im(Z)."""
    odd = []
    for number, one in enumerate(spectra, 1):
        if "polar" in one:
            z = one["impedance"]
            off = np.abs(one["polar"] - z)[np.isfinite(z) & (z != 0)]
            size = np.abs(z)[np.isfinite(z) & (z != 0)]
            if np.mean(off > _CONTRADICTED * size) > 0.5:
                odd.append(number)
    if not odd:
        return {}
    return {
        "contradiction": (
            f"{len(odd)} of {len(spectra)} spectra, first number {odd[0]}, have a "
            "modulus or phase that is not that of Re(Z) and Im(Z), which were taken: "
            "is Im(Z) -Im(Z), or one of them in other units than its label says?"
        )
    }


def reactance_note(spectra: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Return a note if the imaginary part has the opposite sign to that of a cell."""
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
