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
_WANTED = "a chemical formula such as 'LiVO2' or 'Li10/7V6/7O2'"
_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn
Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La
Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po
At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg
Cn Nh Fl Mc Lv Ts Og
"""
#: Symbols of the elements: names are looked up here before a library is loaded.
ELEMENTS = frozenset(_SYMBOLS.split())
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


def require_symbols(formula: str) -> None:
    """Raise unless a text has the characters of a formula, and symbols of elements.

    Raises
    ------
    ArgumentError
        If it has others.
    """
    symbols = set(re.findall("[A-Z][a-z]*", formula)) - {"D"}  # deuterium
    if not _FORMULA.fullmatch(formula) or not symbols <= ELEMENTS:
        raise ArgumentError("formula", formula, _WANTED)


def atoms(formula: str | Mapping[str, float]) -> dict[str, float]:
    """Return the number of atoms of each element; fractions work: ``"Li10/7V6/7O2"``.

    Raises
    ------
    ArgumentError
        If the text is no formula.
    """
    if not isinstance(formula, str):
        return {str(k): float(v) for k, v in formula.items()}
    require_symbols(formula)
    import xraydb

    decimal = _FRACTION.sub(lambda m: f"{float(m[1]) / float(m[2]):.12f}", formula)
    try:
        found = xraydb.chemparse(decimal)
    except (ValueError, ZeroDivisionError) as error:
        raise ArgumentError("formula", formula, _WANTED) from error
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
