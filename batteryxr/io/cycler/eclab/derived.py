"""Compute the columns that EC-Lab derives only when it exports text.

Each formula was found from pairs of binary files and their exported text.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    #: Function that returns a stored column by its label.
    Get = Callable[[str], np.ndarray]

_VOLT, _AMP = 2, 1  # values of "mode": the controlled quantity
_NET, _HALF = "Q charge/discharge/mA.h", "half cycle"


def current_from_charge(times: np.ndarray, charge: np.ndarray) -> np.ndarray:
    """Return mean current (mA) up to each row from the charge passed (mA h)."""
    steps = np.diff(times, prepend=times[:1])
    current = np.zeros(len(times))
    np.divide(charge * 3600, steps, out=current, where=steps > 0)
    return current


def _controlled(get: Get, mode: int) -> np.ndarray:
    return np.where(get("mode") == mode, get("control/V/mA"), 0.0)


def _efficiency(get: Get) -> np.ndarray:
    """Return discharge over charge (%) on the last row of each odd half cycle."""
    net, half = get(_NET), get(_HALF).astype(np.int64)
    ends = np.flatnonzero(np.diff(half, append=-1))
    result = np.zeros(len(net))
    for before, end in itertools.pairwise(ends):
        follows = half[end] % 2 == 1 and half[end] - half[before] == 1
        if follows and net[before] > 0 > net[end]:
            result[end] = -100 * net[end] / net[before]
    return result


def _energy(get: Get, sign: float, voltage: str) -> np.ndarray:
    """Return energy (W h) of one direction since the half cycle began."""
    net, half = get(_NET), get(_HALF)
    first = np.diff(half, prepend=half[:1] - 1) != 0
    passed = np.where(first, net, np.diff(net, prepend=0.0))
    if len(passed):
        passed[0] = 0.0
    each = np.where(sign * net > 0, np.abs(passed * get(voltage)) / 1000, 0.0)
    total = np.cumsum(each)
    begins = np.flatnonzero(first)
    base = np.repeat((total - each)[begins], np.diff([*begins, len(net)]))
    return total - base


def _power(get: Get, current: str, voltage: str) -> np.ndarray:
    return get(current) * get(voltage) / 1000


def _resistance(get: Get) -> np.ndarray:
    current = get("I/mA").astype(np.float64)
    result = np.zeros(len(current))
    np.divide(1000 * get("Ewe/V"), current, out=result, where=current != 0)
    return np.abs(result)


#: Label, labels that its formula needs, formula; the first possible one is taken.
_FORMULAS: tuple[tuple[str, tuple[str, ...], Callable[[Get], np.ndarray]], ...] = (
    ("Q charge/mA.h", (_NET,), lambda get: np.maximum(get(_NET), 0)),
    ("Q discharge/mA.h", (_NET,), lambda get: np.maximum(-get(_NET), 0)),
    ("Capacity/mA.h", (_NET,), lambda get: np.abs(get(_NET))),
    ("Efficiency/%", (_NET, _HALF), _efficiency),
    ("cycle number", (_HALF,), lambda get: get(_HALF) // 2),
    ("control/V", ("mode", "control/V/mA"), lambda get: _controlled(get, _VOLT)),
    ("control/mA", ("mode", "control/V/mA"), lambda get: _controlled(get, _AMP)),
    (
        "dq/mA.h",
        ("freq/Hz", "(Q-Qo)/mA.h"),
        lambda get: np.diff(get("(Q-Qo)/mA.h"), prepend=0.0),
    ),
    ("R/Ohm", ("I/mA", "Ewe/V"), _resistance),
    ("Ewe-Ece/V", ("Ewe/V", "Ece/V"), lambda get: get("Ewe/V") - get("Ece/V")),
    (
        "Ewe-Ece/V",
        ("<Ewe>/V", "<Ece>/V"),
        lambda get: get("<Ewe>/V") - get("<Ece>/V"),
    ),
    *(
        ("P/W", (i, v), lambda get, i=i, v=v: _power(get, i, v))
        for i in ("I/mA", "<I>/mA")
        for v in ("Ewe/V", "<Ewe>/V")
    ),
    *(
        (
            f"Energy {word}/W.h",
            (_NET, _HALF, v),
            lambda get, sign=sign, v=v: _energy(get, sign, v),
        )
        for word, sign in (("charge", 1.0), ("discharge", -1.0))
        for v in ("Ewe/V", "<Ewe>/V")
    ),
)


def available(
    stored: Iterable[str], x: tuple[float, float] | None = None
) -> dict[str, Callable[[Get], np.ndarray]]:
    """Return the formula of each column that can be computed from the stored ones.

    Parameters
    ----------
    stored
        Labels of the stored columns.
    x
        Content of the ion at the start, and charge (mA h) per unit of content.
    """
    have = set(stored)
    found: dict[str, Callable[[Get], np.ndarray]] = {}
    if {"time/s", "dq/mA.h"} <= have and not have & {"I/mA", "<I>/mA"}:
        found["<I>/mA"] = lambda get: current_from_charge(
            get("time/s"), get("dq/mA.h").astype(np.float64)
        )
    for label, needs, formula in _FORMULAS:
        if label not in have | found.keys() and have.issuperset(needs):
            found[label] = formula
    if x is not None and "(Q-Qo)/mA.h" in have and x[1] > 0:
        start, charge = x
        found["x"] = lambda get: start - get("(Q-Qo)/mA.h") / charge
    return found
