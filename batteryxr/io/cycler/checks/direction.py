"""Check the direction of the current against words, separate counters and voltage."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.kernels.ranks import median
from batteryxr.io.cycler.table import filled
from batteryxr.io.door.words import LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.io.cycler.table import RawTable

#: Words for discharge and charge in English, German, French, Spanish, Italian,
#: Russian, Chinese, Japanese and Korean.
_DISCHARGE = re.compile(
    r"\s*(d\b|d[_\W]|dis|(.*[\W_])?d(is)?ch|.*(放电|放電|방전|разр|entlad|\bela\b"
    r"|descarga|scarica|d(e|é|e\u0301)charge))",
    re.IGNORECASE,
)
_CHARGE = re.compile(
    r"\s*(c\b|c[_\W]|(.*[\W_])?ch(a|g|r)|.*(充电|充電|충전|заряд|lade|ladung|\blad\b"
    r"|carga|carica))",
    re.IGNORECASE,
)
_REST = 1e-3  # of the largest current; smaller ones have no direction
_COUNTERS = "the separate counters"
_VOLTAGE = "the course of the voltage"
_MOSTLY = 0.8  # of the charge whose voltage moves as a one-way current would
_BOTH_WAYS = 0.6  # so much less rises than falls, or the opposite, in one direction
_SURE = 0.5  # least weight of evidence for or against
_COUNTED = 0.5  # of the charge of an interval; a slower counter only creeps
_TOLD = 1e-3  # of all charge; less is no evidence
_SWING, _LEAST_SWING = 0.1, 0.02  # of the voltage's range, and V
_LOOKED_AT = 5000  # rows that are searched for turns of the voltage
_LOST = 0.1  # of the charge, whose direction the voltage contradicts
_EVEN = 0.2  # relative deviation of an even sweep of voltage
_FOLLOWS = 0.2  # of its size; the voltage follows a current that changes by more
_NEAR = 5  # fewest rows of a run with a trend of voltage


class Witness(NamedTuple):
    """Hold the evidence in a file on the direction of its current.

    Parameters
    ----------
    name
        Name for messages.
    says
        From -1 (positive current discharges the cell) to 1 (it charges).
    share
        Fraction of the charge that the evidence covers.
    """

    name: str
    says: float
    share: float


def states_of(words: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return 1 for each word that means charge, -1 for discharge, 0 for any other."""

    def kind(word: str) -> int:
        if _DISCHARGE.match(word):
            return -1
        return 1 if _CHARGE.match(word) else 0

    kinds = {word: kind(str(word)[:LABEL]) for word in set(words)}
    return np.array([kinds[word] for word in words], dtype=np.int8)


def directed(table: RawTable) -> RawTable:
    """Return a table with signed current, and a note if the sign is in doubt.

    A magnitude gets its sign from the words. A current is reversed if two witnesses
    say that its positive values discharge the cell, and none says the opposite. If
    only one witness says so, a note is added.

    Parameters
    ----------
    table
        Table after its checks.
    """
    current, states = table.columns["current"], table.states
    if states is not None and not _both_signs(current) and (states < 0).any():
        signed = np.where(states < 0, -np.abs(current), np.abs(current))
        if not np.array_equal(signed, current, equal_nan=True):
            label = table.labels.get("state", "words")
            header = {**table.header, "current_sign": f"from {label!r}"}
            columns = {**table.columns, "current": signed}
            table = replace(table, columns=columns, header=header)
            return _noted(table, unsaid(table))
    said = witnesses(table)
    against = [w.name for w in said if w.says < -_SURE]
    if len(against) > 1 and not any(w.says > _SURE for w in said):
        turned = reversed_current(table)
        header = {**table.header, "current_sign": "turned"}
        sentence = (
            f"positive current discharges the cell in this file by {_list(against)}: "
            "it was turned, so that positive charges"
        )
        return _noted(replace(turned, header=header), sentence)
    return table


def _noted(table: RawTable, sentence: str | None) -> RawTable:
    if sentence is None:
        return table
    return replace(table, notes={**table.notes, "current_sign": sentence})


def doubt(table: RawTable) -> str | None:
    """Return the evidence against the sign of the current, or None if there is none."""
    if "current_sign" in table.notes:
        return None  # already noted
    said = witnesses(table)
    against = [w.name for w in said if w.says < -_SURE]
    agree = [w.name for w in said if w.says > _SURE]
    if not against:
        both = _both_signs(table.columns["current"])
        return _partly(table, said) if both else _falls(said)
    beside = f", where {_list(agree)} agree with it" if agree else ""
    say = "says" if len(against) == 1 else "say"
    return f"the current has another direction than {_list(against)} {say}{beside}"


def _partly(table: RawTable, said: Sequence[Witness]) -> str | None:
    """Return a note if the sign of the current was lost in a part of the rows."""
    parts = {w.name: 0.5 * (1 - w.says) for w in said if w.name == _COUNTERS}
    course = _by_voltage(table, parted=True)
    if course is not None and not parts:
        parts[_VOLTAGE] = 0.5 * (1 - course[0])
    for name, share in parts.items():
        if share > (_LOST if name == _VOLTAGE else 0.5 * _LOST):
            return (
                f"{share:.0%} of the charge has another direction than by {name}: "
                "was the sign of the current lost in a part of the rows?"
            )
    return None


def _falls(said: Sequence[Witness]) -> str | None:
    """Return a warning that a magnitude may hide discharges, if the voltage falls."""
    course = next((w.says for w in said if w.name == _VOLTAGE), 1.0)
    falls = 0.5 * (1 - course)
    # Witnesses that cover too little charge do not count, such as words of an unknown
    # language, or a counter of charge alone.
    if course > _MOSTLY or any(
        w.says > _SURE and 1 - w.share < 0.5 * falls for w in said if w.name != _VOLTAGE
    ):
        return None
    return (
        f"the current has one direction only, and the voltage falls over {falls:.0%} "
        "of the charge that it would raise it with: it may be a magnitude"
    )


def unsaid(table: RawTable) -> str | None:
    """Return the doubt about a sign taken from words, or None if there is none."""
    states, current = table.states, table.columns["current"]
    if states is None:
        return None
    passed = _passed(table)
    open_ = float(passed[(states[1:] == 0) & _flows(current)[1:]].sum())
    if open_ > 10 * _TOLD * float(passed.sum()):
        return (
            f"{open_ / float(passed.sum()):.0%} of the charge flows in rows whose word "
            "says neither charge nor discharge: their current is taken as positive"
        )
    return None


def undirected(table: RawTable) -> str | None:
    """Return why a current without sign cannot be used, or None if it can."""
    current = table.columns["current"]
    if _both_signs(current):
        return None
    away = _discharged(table)
    if away is None:
        said = {w.name: w.says for w in witnesses(table)}
        course = said.pop(_VOLTAGE, 1.0)
        if abs(course) > _BOTH_WAYS or any(says > _SURE for says in said.values()):
            return None
        return (
            "the current has one direction only although the voltage contradicts it "
            f"over {0.5 * (1 - course):.0%} of the charge and fits the rest: it is a "
            "magnitude, and no column tells its direction. Give it its sign, or name "
            "the column with words or with separate charges by columns="
        )
    if not (current > 0).any():
        return None
    passed = _passed(table)
    share = float(passed[away].sum()) / max(float(passed.sum()), 1e-300)
    if share < _TOLD:
        return None
    return (
        "the current is never negative although the cell was discharged: the "
        f"discharge counter grows with {share:.1%} of the charge"
    )


def signed_by_counters(table: RawTable) -> RawTable:
    """Return a table whose current is negative where the discharge counter grows."""
    away = _discharged(table)
    if away is None:
        return table
    rows = np.concatenate([away[:1], away])
    # At the first row of a step no counter has grown yet: use the sign of the next.
    counted = np.concatenate([[False], _grows(table)])
    undecided = np.flatnonzero(~counted[:-1] & counted[1:])
    rows[undecided] = rows[undecided + 1]
    current = np.abs(table.columns["current"])
    columns = {**table.columns, "current": np.where(rows, -current, current)}
    return replace(table, columns=columns)


def reversed_current(table: RawTable) -> RawTable:
    """Return a table with its current reversed."""
    current = table.columns["current"]
    turned = np.where(current == 0, 0.0, -current)
    return replace(table, columns={**table.columns, "current": turned})


def witnesses(table: RawTable) -> list[Witness]:
    """Return the evidence of words, counters and voltage on the current's direction."""
    found = {
        f"the words of {table.labels.get('state', 'the state')!r}": _by_words(table),
        _COUNTERS: _by_counters(table),
        _VOLTAGE: _by_voltage(table),
    }
    return [Witness(name, *said) for name, said in found.items() if said is not None]


def _both_signs(current: np.ndarray) -> bool:
    large = _flows(current)
    return bool((current[large] > 0).any() and (current[large] < 0).any())


def _flows(current: np.ndarray) -> np.ndarray:
    most = float(np.nanmax(np.abs(current), initial=0.0))
    return np.abs(current) > _REST * most


def _passed(table: RawTable) -> np.ndarray:
    """Return |charge| (mA h) of each interval between rows."""
    size = np.abs(table.columns["current"])
    steps = np.clip(np.diff(table.columns["test_time"]), 0, None)
    return filled(0.5 * (size[1:] + size[:-1]) * steps / 3600)


def _mean(
    votes: np.ndarray, weights: np.ndarray, every: np.ndarray
) -> tuple[float, float] | None:
    """Return the weighted mean of votes, and the fraction of all weights that voted."""
    total = float(weights.sum())
    if total <= 0:
        return None
    return float((votes * weights).sum()) / total, total / float(every.sum())


def _by_words(table: RawTable) -> tuple[float, float] | None:
    if table.states is None:
        return None
    sign = np.sign(
        np.where(_flows(table.columns["current"]), table.columns["current"], 0)
    )
    votes = (sign * table.states)[1:]
    passed = _passed(table)
    return _mean(votes, passed * (votes != 0), passed)


def _growth(table: RawTable) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the growth of both counters between rows; resets count as no growth."""
    names = ("charge_capacity", "discharge_capacity")
    if not any(name in table.columns for name in names):
        return None
    nothing = np.zeros(table.rows)
    counters = [filled(table.columns.get(name, nothing)) for name in names]
    grown = [np.clip(np.diff(np.abs(counter)), 0, None) for counter in counters]
    return grown[0], grown[1]


def _grows(table: RawTable) -> np.ndarray:
    """Return the intervals in which a counter grows as the current requires."""
    growth = _growth(table)
    passed = _passed(table)
    if growth is None:
        return np.zeros(passed.size, bool)
    most = np.maximum(*growth)
    return (most > _COUNTED * passed) & (most > 0) & (passed > 0)


def _discharged(table: RawTable) -> np.ndarray | None:
    """Return the intervals in which the discharge counter grows."""
    growth = _growth(table)
    if growth is None:
        return None
    return _grows(table) & (growth[1] > growth[0])


def _by_counters(table: RawTable) -> tuple[float, float] | None:
    growth = _growth(table)
    if growth is None:
        return None
    current = table.columns["current"]
    sign = np.sign(np.where(_flows(current), current, 0))
    one_way = (sign[1:] * sign[:-1] > 0) & _grows(table)
    votes = sign[1:] * np.sign(growth[0] - growth[1])
    weights = _passed(table)
    if weights[one_way].sum() < _TOLD * weights.sum():
        return None
    return _mean(votes, weights * one_way, weights)


def _by_voltage(table: RawTable, *, parted: bool = False) -> tuple[float, float] | None:
    """Weigh each run of one direction by its charge: charging raises the voltage.

    With `parted`, runs also end where the voltage turns, and those do not tell whose
    voltage may only follow the current.
    """
    current, voltage = table.columns["current"], table.columns["voltage"]
    if not np.isfinite(voltage).any() or _swept(table):
        return None
    sign = np.sign(np.where(_flows(current), filled(current), 0))
    parts = [sign]
    if table.states is not None:
        parts.append(table.states)
    if "step" in table.columns:
        parts.append(filled(table.columns["step"]))
    new = np.zeros(sign.size, bool)
    for part in parts:
        new[1:] |= np.diff(part) != 0
    swing = max(_SWING * float(np.nanmax(voltage) - np.nanmin(voltage)), _LEAST_SWING)
    if len(parts) == 1 and (parted or not _both_signs(current)):
        new[turns(voltage, 2 * swing)] = True
    starts = np.flatnonzero(np.concatenate([[True], new[1:]]))
    ends = np.append(starts[1:], sign.size) - 1
    # The first row of a run may still show the voltage before the current started.
    rises = voltage[ends] - voltage[np.minimum(starts + 1, ends)]
    total = np.concatenate([[0.0], np.cumsum(_passed(table))])
    charge = total[ends] - total[starts]
    telling = (sign[starts] != 0) & (ends - starts >= _NEAR) & (np.abs(rises) > swing)
    if parted:  # a voltage that follows a varying current over a resistance
        after = filled(current)[np.minimum(starts + 1, ends)]
        change = filled(current)[ends] - after
        larger = np.maximum(np.abs(filled(current)[ends]), np.abs(after))
        telling &= (change * rises <= 0) | (np.abs(change) < _FOLLOWS * larger)
    if charge[telling].sum() < 0.2 * charge[sign[starts] != 0].sum():
        return None
    votes = sign[starts] * np.sign(rises)
    return _mean(filled(votes), charge * telling, charge)


def _swept(table: RawTable) -> bool:
    """Tell whether the cycler swept the voltage: it then tells nothing of the current.

    In voltammetry the voltage moves evenly, and the current varies.
    """
    moved, current = np.abs(np.diff(table.columns["voltage"])), table.columns["current"]
    steps = np.diff(table.columns["test_time"])
    known = (steps > 0) & np.isfinite(moved)
    if not known.any():
        return False

    def share(values: np.ndarray) -> float:
        usual = median(values)
        return float(np.mean(np.abs(values - usual) < _EVEN * usual))

    varies = share(np.abs(filled(current))) < 1 - _MOSTLY
    return varies and share(moved[known] / steps[known]) > _MOSTLY


def turns(voltage: np.ndarray, swing: float, *, exact: bool = False) -> np.ndarray:
    """Return the rows after which a voltage turns by more than `swing`.

    Parameters
    ----------
    voltage
        (rows,) V.
    swing
        Least change between two turns, V.
    exact
        Whether every row is looked at; else some thousand of them.
    """
    stride = 1 if exact else max(1, voltage.size // _LOOKED_AT)
    found: list[int] = []
    low = high = way = 0
    seen = voltage[::stride]
    for k in np.flatnonzero(np.isfinite(seen)).tolist():
        if way >= 0 and seen[k] >= seen[high]:
            high = k
        if way <= 0 and seen[k] <= seen[low]:
            low = k
        if way >= 0 and seen[high] - seen[k] > swing:
            found, low, way = ([*found, high] if way else found), k, -1
        elif way <= 0 and seen[k] - seen[low] > swing:
            found, high, way = ([*found, low] if way else found), k, 1
    return np.minimum(np.array(found, np.int64) * stride + 1, voltage.size - 1)


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
