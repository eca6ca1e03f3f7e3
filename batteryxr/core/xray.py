"""Constants of X-ray optics, and tabulated scattering factors of compounds."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Classical electron radius in m, and h c in eV m (CODATA 2018).
ELECTRON_RADIUS = 2.8179403262e-15
HC = 1.23984198e-6
#: Characters of formulas; no library is loaded for other texts.
_FORMULA = re.compile(r"[A-Za-z0-9.()\[\]{}/+\- ]+")
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


def atoms(formula: str | Mapping[str, float]) -> dict[str, float]:
    """Return the number of atoms of each element; fractions work: ``"Li10/7V6/7O2"``.

    Raises
    ------
    ArgumentError
        If the text is no formula.
    """
    if not isinstance(formula, str):
        return {str(k): float(v) for k, v in formula.items()}
    wanted = "a chemical formula such as 'LiVO2' or 'Li10/7V6/7O2'"
    if not _FORMULA.fullmatch(formula):
        raise ArgumentError("formula", formula, wanted)
    import xraydb

    decimal = _FRACTION.sub(lambda m: f"{float(m[1]) / float(m[2]):.12f}", formula)
    try:
        found = xraydb.chemparse(decimal)
    except (ValueError, ZeroDivisionError) as error:
        raise ArgumentError("formula", formula, wanted) from error
    return {str(k): float(v) for k, v in found.items()}


def electrons(formula: str | Mapping[str, float]) -> float:
    """Return the number of electrons of a formula unit."""
    import xraydb

    return sum(n * xraydb.atomic_number(e) for e, n in atoms(formula).items())


def absorptive_factor(
    formula: str | Mapping[str, float], energy: np.ndarray
) -> np.ndarray:
    """Return f'' of a formula unit at energies in eV, after Chantler.

    Power laws interpolate between the tabulated energies; the last one continues
    beyond.
    """
    total = np.zeros(np.shape(energy))
    for element, n in atoms(formula).items():
        at, f2 = _table(element)
        k = np.clip(np.searchsorted(at, energy) - 1, 0, at.size - 2)
        slope = np.log(f2[k + 1] / f2[k]) / np.log(at[k + 1] / at[k])
        total = total + n * f2[k] * (np.asarray(energy) / at[k]) ** slope
    return total


@functools.lru_cache(maxsize=100)
def _table(element: str) -> tuple[np.ndarray, np.ndarray]:
    import xraydb

    at = np.unique(np.asarray(xraydb.chantler_energies(element), float))
    f2 = np.asarray(xraydb.f2_chantler(element, at), float)
    good = f2 > 0
    return at[good], f2[good]
