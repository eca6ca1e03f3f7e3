"""Define lattices by crystal system: their reflections, and their parameters."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from batteryxr.core.bounds.kinds import LatticeAngle, LatticeLength  # noqa: TC001 - checked
from batteryxr.core.checks import check_fields
from batteryxr.core.crystals import lattice
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.provenance import replayable

System = Literal[
    "cubic", "tetragonal", "hexagonal", "orthorhombic", "monoclinic", "triclinic"
]
Centring = Literal["P", "I", "F", "A", "B", "C", "R"]
#: Terms of 1/d2 by system: factors of the coefficients of the reciprocal metric.
_FORMS = {
    "cubic": lambda h, k, ell: [h * h + k * k + ell * ell],
    "tetragonal": lambda h, k, ell: [h * h + k * k, ell * ell],
    "hexagonal": lambda h, k, ell: [h * h + h * k + k * k, ell * ell],
    "orthorhombic": lambda h, k, ell: [h * h, k * k, ell * ell],
    "monoclinic": lambda h, k, ell: [h * h, k * k, ell * ell, 2 * h * ell],
    "triclinic": lambda h, k, ell: [
        *(h * h, k * k, ell * ell),
        *(2 * k * ell, 2 * h * ell, 2 * h * k),
    ],
}
#: Free parameters of each system.
FREE = {
    "cubic": ("a",),
    "tetragonal": ("a", "c"),
    "hexagonal": ("a", "c"),
    "orthorhombic": ("a", "b", "c"),
    "monoclinic": ("a", "b", "c", "beta"),
    "triclinic": ("a", "b", "c", "alpha", "beta", "gamma"),
}
CENTRED = {
    "P": lambda h, k, ell: h == h,
    "I": lambda h, k, ell: (h + k + ell) % 2 == 0,
    "F": lambda h, k, ell: ((h + k) % 2 == 0) & ((k + ell) % 2 == 0),
    "A": lambda h, k, ell: (k + ell) % 2 == 0,
    "B": lambda h, k, ell: (h + ell) % 2 == 0,
    "C": lambda h, k, ell: (h + k) % 2 == 0,
    "R": lambda h, k, ell: (-h + k + ell) % 3 == 0,
}
#: Relative difference below which lengths and angles are equal.
_EQUAL = 1e-4


@replayable
@dataclass(frozen=True)
class Cell:
    """Define a lattice without atoms, to name and find reflections.

    Parameters
    ----------
    system
        "cubic", "tetragonal", "hexagonal" (trigonal too, on hexagonal axes),
        "orthorhombic", "monoclinic" (unique axis b) or "triclinic".
    a, b, c
        Lengths in Angstrom; leave out `b` and `c` if the system makes them `a`.
    alpha, beta, gamma
        Angles in degrees; `gamma` of a hexagonal lattice is always 120.
    centring
        "P", "I", "F", "A", "B", "C", or "R" on hexagonal axes.

    Raises
    ------
    ArgumentError
        If lengths or angles do not fit the system.
    """

    system: System
    a: LatticeLength
    b: LatticeLength | None = None
    c: LatticeLength | None = None
    alpha: LatticeAngle = 90.0
    beta: LatticeAngle = 90.0
    gamma: LatticeAngle = 90.0
    centring: Centring = "P"

    def __post_init__(self) -> None:
        check_fields(self)
        free, b = FREE[self.system], self.b or self.a
        for name in ("b", "c"):
            if name in free and getattr(self, name) is None:
                words = f"its length (Angstrom): a {self.system} lattice has its own"
                raise ArgumentError(name, None, words)
        if "b" not in free and abs(b - self.a) > _EQUAL * self.a:
            raise ArgumentError("b", self.b, f"a of a {self.system} lattice, or None")
        if self.system == "cubic" and self.c not in (None, self.a):
            raise ArgumentError("c", self.c, "a of a cubic lattice, or None")
        if self.centring == "R" and not self.hexagonal:
            raise ArgumentError("centring", "R", "of a hexagonal lattice, or another")
        for name in ("alpha", "beta", "gamma"):
            right = (90.0, 120.0) if self.hexagonal and name == "gamma" else (90.0,)
            if name not in free and getattr(self, name) not in right:
                raise ArgumentError(
                    name, getattr(self, name), f"the angle of a {self.system} lattice"
                )

    @property
    def hexagonal(self) -> bool:
        """Tell whether two axes are 120 degrees apart."""
        return self.system == "hexagonal"

    @property
    def vectors(self) -> np.ndarray:
        """Return (3, 3) lattice vectors as rows (Angstrom)."""
        gamma = 120.0 if self.hexagonal else self.gamma
        return lattice(self.a, self.b, self.c, self.alpha, self.beta, gamma)


class Reflections(NamedTuple):
    """Hold the reflections of one phase, coinciding ones only once.

    Attributes
    ----------
    hkl : (n, 3) int
        One reflection of each family.
    form : (n, free) float
        Derivative of 1/d2 by each coefficient of the reciprocal metric.
    metric : (free,) float
        Initial values of these coefficients (1/Angstrom2).
    strength : (n,) float
        Intensity relative to the strongest; 1 if atoms are unknown.
    system : str
        System of the lattice.
    """

    hkl: np.ndarray
    form: np.ndarray
    metric: np.ndarray
    strength: np.ndarray
    system: str

    def keep(self, chosen: np.ndarray) -> Reflections:
        """Return a selection of the reflections."""
        parts = self.hkl[chosen], self.form[chosen], self.strength[chosen]
        return self._replace(hkl=parts[0], form=parts[1], strength=parts[2])

    @property
    def names(self) -> list[str]:
        """Return names such as "003" and "1 0 10"."""
        return [
            "".join(map(str, t))
            if (abs(t) < 10).all() and (t >= 0).all()
            else " ".join(map(str, t))
            for t in self.hkl
        ]


def system_of(vectors: np.ndarray) -> System:
    """Return the system that lengths and angles allow."""
    metric = vectors @ vectors.T
    a, b, c = np.sqrt(np.diag(metric))
    cosines = metric / np.outer((a, b, c), (a, b, c))
    right = [abs(cosines[i]) < _EQUAL for i in ((1, 2), (0, 2), (0, 1))]
    same_ab, same_bc = abs(a - b) < _EQUAL * a, abs(b - c) < _EQUAL * a
    if all(right):
        if same_ab and same_bc:
            return "cubic"
        return "tetragonal" if same_ab else "orthorhombic"
    if right[0] and right[1] and same_ab and abs(cosines[0, 1] + 0.5) < _EQUAL:
        return "hexagonal"
    return "monoclinic" if right[0] and right[2] else "triclinic"


def metric_of(vectors: np.ndarray, system: str) -> np.ndarray:
    """Return the free coefficients of the reciprocal metric (1/Angstrom2)."""
    g = np.linalg.inv(vectors @ vectors.T)
    every = {
        "cubic": [g[0, 0]],
        "tetragonal": [g[0, 0], g[2, 2]],
        "hexagonal": [g[0, 0], g[2, 2]],
        "orthorhombic": [g[0, 0], g[1, 1], g[2, 2]],
        "monoclinic": [g[0, 0], g[1, 1], g[2, 2], g[0, 2]],
        "triclinic": [g[0, 0], g[1, 1], g[2, 2], g[1, 2], g[0, 2], g[0, 1]],
    }
    return np.array(every[system])


def parameters(metric: np.ndarray, system: str) -> np.ndarray:
    """Return (..., 7) a, b, c, alpha, beta, gamma and volume of (..., free) metrics."""
    g = np.zeros((*metric.shape[:-1], 3, 3))
    m = np.moveaxis(metric, -1, 0)
    first = {"cubic": (0, 0, 0), "tetragonal": (0, 0, 1), "hexagonal": (0, 0, 1)}
    for i, k in enumerate(first.get(system, (0, 1, 2))):
        g[..., i, i] = m[k]
    if system == "hexagonal":
        g[..., 0, 1] = g[..., 1, 0] = 0.5 * m[0]
    if system == "monoclinic":
        g[..., 0, 2] = g[..., 2, 0] = m[3]
    if system == "triclinic":
        for k, (i, j) in enumerate(((1, 2), (0, 2), (0, 1)), 3):
            g[..., i, j] = g[..., j, i] = m[k]
    out = np.full((*metric.shape[:-1], 7), np.nan)
    known = np.asarray(np.isfinite(g).all(axis=(-1, -2)))
    known[known] &= np.linalg.det(g[known]) > 0
    direct = np.linalg.inv(g[known])
    lengths = np.sqrt(np.diagonal(direct, axis1=-2, axis2=-1))
    out[known, :3] = lengths
    for k, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        cosine = direct[:, i, j] / (lengths[:, i] * lengths[:, j])
        out[known, 3 + k] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    out[known, 6] = np.sqrt(np.linalg.det(direct))
    return out


def form_of(hkl: np.ndarray, system: str) -> np.ndarray:
    """Return the derivative of 1/d2 by each coefficient, for (n, 3) indices."""
    columns = _FORMS[system](*np.asarray(hkl, dtype=float).T)
    return np.stack(columns, axis=-1)


#: Largest number of reflections.
_MOST = 1_000_000


def indices(vectors: np.ndarray, q_max: float) -> np.ndarray:
    """Return (h, k, l) up to a momentum transfer, one of each pair, without 0.

    Raises
    ------
    DataError
        If there are more than a pattern can resolve.
    """
    volume = abs(float(np.linalg.det(vectors)))
    number = volume * q_max**3 / (12 * np.pi**2)
    if number > _MOST:
        raise DataError(
            "range of Q",
            f"reaches {q_max:.4g} 1/Angstrom, below which this cell of {volume:.4g} "
            f"Angstrom^3 has {number:.2g} reflections",
            "Lower the limits, or look at the units: wavelengths and cells are in "
            "Angstrom (1 nm = 10 Angstrom), angles in degrees.",
        )
    lengths = np.linalg.norm(vectors, axis=1)
    reach = np.floor(q_max / (2 * np.pi) * lengths + 1e-9).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    hkl = np.array(list(itertools.product(*axes)))
    reciprocal = np.linalg.inv(vectors).T
    q = 2 * np.pi * np.linalg.norm(hkl @ reciprocal, axis=1)
    h, k, ell = hkl.T
    half = (h > 0) | ((h == 0) & (k > 0)) | ((h == 0) & (k == 0) & (ell > 0))
    return np.asarray(hkl[half & (q <= q_max)])
