"""Crystal structures of conversion electrodes and of their products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.crystals import Crystal, lattice

if TYPE_CHECKING:
    from collections.abc import Callable

_FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
_BCC = ((0, 0, 0), (0.5, 0.5, 0.5))
_RHOMBOHEDRAL = ((0, 0, 0), (2 / 3, 1 / 3, 1 / 3), (1 / 3, 2 / 3, 2 / 3))


@dataclass(frozen=True)
class Phase:
    """Hold a crystal with its atomic displacements and particle size.

    Parameters
    ----------
    crystal
        The structure.
    u_iso
        Mean square displacement (Angstrom2).
    diameter
        Diameter of the particles (Angstrom).
    """

    crystal: Crystal
    u_iso: float = 0.005
    diameter: float = math.inf


@dataclass(frozen=True)
class Solution:
    """Hold a solid solution: a crystal for each composition, and when it changes.

    Parameters
    ----------
    crystal
        Returns the crystal of a composition.
    first, last
        Composition before and after the change.
    begins, ends
        Li per metal at which the composition begins and ends to change.
    u_iso, diameter
        As of `Phase`.
    """

    crystal: Callable[[float], Crystal]
    first: float
    last: float
    begins: float
    ends: float
    u_iso: float = 0.006
    diameter: float = 40.0

    def composition(self, content: np.ndarray) -> np.ndarray:
        """Return the composition at each Li content: slow at its ends, as measured."""
        t = np.clip((content - self.begins) / (self.ends - self.begins), 0.0, 1.0)
        return np.asarray(self.first + (self.last - self.first) * t * t * (3 - 2 * t))


def build(
    name: str,
    cell: np.ndarray,
    atoms: list[tuple[str, float, np.ndarray]],
    centring: tuple[tuple[float, float, float], ...] = ((0, 0, 0),),
) -> Crystal:
    """Return a crystal from primitive atom positions and the cell's centring.

    Parameters
    ----------
    name
        Name of the crystal.
    cell
        (3, 3) lattice vectors (Angstrom).
    atoms
        Element, occupancy, and (sites, 3) fractional coordinates.
    centring
        Translations that repeat all positions.
    """
    elements: list[str] = []
    occupancy: list[float] = []
    sites = []
    for element, share, places in atoms:
        for move in centring:
            for place in np.atleast_2d(places):
                elements.append(element)
                occupancy.append(share)
                sites.append((place + np.array(move)) % 1.0)
    return Crystal(name, cell, tuple(elements), np.array(sites), np.array(occupancy))


def rock_salt(name: str, a: float, cations: dict[str, float]) -> Crystal:
    """Return an oxide with random cations on one face-centred lattice."""
    origin, half = np.zeros((1, 3)), np.array([[0.5, 0.0, 0.0]])
    atoms = [(element, share, origin) for element, share in cations.items()]
    return build(name, lattice(a), [*atoms, ("O", 1.0, half)], _FCC)


def body_centred(name: str, element: str, a: float) -> Crystal:
    """Return a metal with two atoms in a cube."""
    return build(name, lattice(a), [(element, 1.0, np.zeros((1, 3)))], _BCC)


def hematite() -> Crystal:
    """Return alpha-Fe2O3, R-3c (Blake et al., Am. Mineral. 51, 123, 1966)."""
    z, x = 0.3553, 0.3059
    iron = np.array([[0, 0, s] for s in (z, 0.5 - z, -z, 0.5 + z)])
    half = np.array([[x, 0, 0.25], [0, x, 0.25], [-x, -x, 0.25]])
    return build(
        "α-Fe2O3",
        lattice(5.038, c=13.772, gamma=120),
        [("Fe", 1.0, iron), ("O", 1.0, np.vstack([half, -half]))],
        _RHOMBOHEDRAL,
    )


def spinel(
    name: str, a: float, tetrahedral: dict[str, float], octahedral: str, u: float
) -> Crystal:
    """Return a cubic spinel, Fd-3m with its origin at the inversion centre.

    Parameters
    ----------
    name
        Name of the crystal.
    a
        Lattice parameter (Angstrom).
    tetrahedral
        Elements on 8a and their fractions.
    octahedral
        The element on 16d.
    u
        Position of oxygen, 32e.
    """
    eighth = np.array([[1, 1, 1], [7, 7, 7]]) / 8
    return build(
        name,
        lattice(a),
        [
            *[(element, share, eighth) for element, share in tetrahedral.items()],
            (octahedral, 1.0, _16d()),
            ("O", 1.0, _32e(u)),
        ],
        _FCC,
    )


def lithiated_spinel(
    name: str, cell: np.ndarray, metal: str, u: float = 0.255, more: float = 0.0
) -> Crystal:
    """Return Li(1-x)M(3+x)O4, whose tetrahedral metal has moved to 16c beside lithium.

    For x of 0, of `more`, site 16c is half lithium and half metal, without order. The
    result is a rock salt that keeps the metals of 16d in place.
    """
    c, lithium = _16d() + 0.5, 0.5 * (1 - more)
    shared = [("Li", lithium, c), (metal, 1 - lithium, c)]
    rest = [(metal, 1.0, _16d()), ("O", 1.0, _32e(u))]
    return build(name, cell, [*shared, *rest], _FCC)


def _16d() -> np.ndarray:
    q = 0.25
    return np.array([[0.5, 0.5, 0.5], [0.5, q, q], [q, 0.5, q], [q, q, 0.5]])


def _32e(u: float) -> np.ndarray:
    half = [[u, u, u], [u, 0.25 - u, 0.25 - u], [0.25 - u, u, 0.25 - u]]
    half.append([0.25 - u, 0.25 - u, u])
    return np.vstack([np.array(half), -np.array(half)])


def hausmannite() -> Crystal:
    """Return Mn3O4, I4_1/amd (Jarosch, Mineral. Petrol. 37, 15, 1987)."""
    y, z = 0.4715, 0.2595
    tetrahedral = np.array([[0, 0.75, 0.125], [0, 0.25, 0.875]])
    octahedral = [[0, 0, 0.5], [0.5, 0, 0], [0.25, 0.75, 0.75], [0.25, 0.25, 0.25]]
    half = np.array(
        [
            [0, y, z],
            [0.5, -y, 0.5 + z],
            [0.25 - y, 0.75, 0.25 + z],
            [0.25 + y, 0.25, 0.75 + z],
        ]
    )
    oxygen = np.vstack([half, -half])
    return build(
        "Mn3O4",
        lattice(5.765, c=9.442),
        [
            ("Mn", 1.0, tetrahedral),
            ("Mn", 1.0, np.array(octahedral)),
            ("O", 1.0, oxygen),
        ],
        _BCC,
    )


def alpha_manganese() -> Crystal:
    """Return alpha-Mn, I-43m (Oberteuffer & Ibers, Acta Cryst. B26, 1499, 1970)."""
    sites = [[0.0, 0.0, 0.0]]
    for x, z in ((0.317, 0.317), (0.357, 0.034), (0.089, 0.282)):
        four = np.array([[x, x, z], [-x, -x, z], [-x, x, -z], [x, -x, -z]])
        turns = [four] if x == z else [np.roll(four, k, axis=1) for k in range(3)]
        sites.extend(np.vstack(turns).tolist())
    return build("α-Mn", lattice(8.913), [("Mn", 1.0, np.array(sites))], _BCC)


def tetragonal_iron_oxide(name: str = "bcc-FeO", oxygen: float = 0.25) -> Crystal:
    """Return body-centred iron, I4/mmm, stretched by oxygen on part of the sites.

    The axes follow its share linearly: from iron, of 2.866 Angstrom, they reach 2.88
    and 2.92 for a quarter.
    """
    return build(
        name,
        lattice(2.866 + 0.056 * oxygen, c=2.866 + 0.216 * oxygen),
        [("Fe", 1.0, np.zeros((1, 3))), ("O", oxygen, np.array([[0.5, 0.5, 0.0]]))],
        _BCC,
    )
