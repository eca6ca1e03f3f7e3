"""Look up scattering factors, edges and wavelengths in named tables."""

from __future__ import annotations

import functools
import re
from contextlib import suppress

import numpy as np

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.xray import ELEMENTS, HC

#: Distances (eV) from an edge between which f'' is extrapolated to it.
_NEAR, _FAR = 20.0, 200.0
_TABLES = ("chantler",)
#: Names of absorption edges.
_EDGE = re.compile("K|[L-P][1-7]")


def wavelength(energy: float | np.ndarray) -> float | np.ndarray:
    """Return the wavelength in m of photons of an energy in eV."""
    return HC / energy


def edge_position(element: str, edge: str) -> float:
    """Return the tabulated energy of an absorption edge in eV.

    Raises
    ------
    ArgumentError
        If the element has no such edge.
    """
    found = None
    if element in ELEMENTS and _EDGE.fullmatch(edge):  # or no library is loaded
        import xraydb

        with suppress(ValueError, KeyError, AttributeError):
            found = xraydb.xray_edge(element, edge)
    if found is None:
        raise ArgumentError(
            "element", element, f"an element with an edge {edge!r}, as 'V' has 'K'"
        )
    return float(found.energy)


def require_edge(energy: np.ndarray, element: str, edge: str) -> None:
    """Raise if rising energies in eV do not span an edge.

    Raises
    ------
    ArgumentError
        If the element has no such edge.
    DataError
        If the energies end before it or begin behind it.
    """
    position = edge_position(element, edge)
    if not energy[0] < position < energy[-1]:
        raise DataError(
            "energy",
            f"{energy[0]:g} to {energy[-1]:g} eV do not span the {edge} edge of "
            f"{element} at {position:g} eV",
            "Give the element and edge that were measured.",
        )


def f_prime(element: str, energy: float | np.ndarray, table: str) -> np.ndarray:
    """Return f' (electrons) at energies in eV.

    Each energy is looked up alone, since the table's spline depends on neighbours.
    """
    _known(table)
    values = [_chantler(element, float(e), "f1") for e in np.ravel(energy)]
    return np.reshape(values, np.shape(energy))


def f_double_prime(element: str, energy: float | np.ndarray, table: str) -> np.ndarray:
    """Return f'' (electrons) at energies in eV."""
    _known(table)
    values = [_chantler(element, float(e), "f2") for e in np.ravel(energy)]
    return np.reshape(values, np.shape(energy))


@functools.lru_cache(maxsize=100_000)
def _chantler(element: str, energy: float, column: str) -> float:
    import xraydb

    read = xraydb.f1_chantler if column == "f1" else xraydb.f2_chantler
    return float(read(element, energy))


def electrons(element: str) -> int:
    """Return the number of electrons of a neutral atom, f0 in the forward direction."""
    import xraydb

    return int(xraydb.atomic_number(element))


def f_double_prime_jump(element: str, edge: str, table: str) -> float:
    """Return the jump of f'' at an edge, from power laws on both sides."""
    position = np.array([edge_position(element, edge)])
    above, below = (beside_edge(element, edge, table, s, position) for s in (1, -1))
    return float((above - below)[0])


def beside_edge(
    element: str, edge: str, table: str, sign: int, energy: np.ndarray
) -> np.ndarray:
    """Return f'' at energies in eV, by a power law through one side of an edge.

    `sign` is 1 for the side above the edge, -1 for the side below.
    """
    position = edge_position(element, edge)
    near = position + sign * np.linspace(_NEAR, _FAR, 50)
    values = np.log(f_double_prime(element, near, table))
    line = np.polyfit(np.log(near / position), values, 1)
    return np.exp(np.polyval(line, np.log(energy / position)))


def _known(table: str) -> None:
    if table not in _TABLES:
        raise ArgumentError(
            "table",
            table,
            f"one of {list(_TABLES)}",
            "For other tables pass their numbers: f_prime={'V': -7.14}, delta_f2=3.53.",
        )
