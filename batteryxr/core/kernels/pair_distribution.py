"""Pair distribution functions of crystals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.crystals import Crystal

#: Width of a bin of distances (Angstrom): far below that of any peak.
_BIN = 2e-3
#: Range calculated beyond the last point, so that its ripples are right (Angstrom).
_MARGIN = 3.0
#: Smallest squared relative width of a peak, due to correlated motion of atoms.
_NARROWEST = 0.01
#: Largest difference of two occupancies that are one.
_ALIKE = 1e-3


def scattering_power(elements: tuple[str, ...], radiation: str) -> np.ndarray:
    """Return electrons (X-rays) or coherent scattering lengths in fm (neutrons).

    Raises
    ------
    ArgumentError
        For another radiation, or an element without a known scattering length.
    """
    if radiation not in ("xray", "neutron"):
        raise ArgumentError("radiation", radiation, "'xray' or 'neutron'")
    import periodictable

    values = []
    for symbol in elements:
        element = getattr(periodictable, symbol)
        value = element.number if radiation == "xray" else element.neutron.b_c
        if value is None:
            raise ArgumentError("radiation", radiation, f"'xray': of {symbol}")
        values.append(float(value))
    return np.array(values)


class PairDistribution:
    """Hold G(r) of one crystal, quick to recalculate with other parameters.

    Distances are summed once; a change of lattice, widths or size costs one Gaussian
    per distance. Atoms are points of constant scattering power, peaks are
    Gaussians over the baseline -4 pi rho0 r (Farrow & Billinge, Acta Cryst. A65, 232,
    2009), and particles have the envelope of a sphere (Howell, Proffen & Conradson,
    Phys. Rev. B 73, 094107, 2006). Widths change with distance as in Farrow et al.,
    J. Phys. Condens. Matter 19, 335219 (2007).

    Parameters
    ----------
    crystal
        Crystal structure.
    r
        (points,) distances, evenly spaced (Angstrom).
    instrument
        Instrument of the measurement.
    strain
        Largest relative change of the lattice that will be requested.
    directed
        Whether the cell may change its shape too; slower for other than cubic ones.
    """

    def __init__(
        self,
        crystal: Crystal,
        r: np.ndarray,
        *,
        instrument: PdfInstrument = PdfInstrument(),
        strain: float = 0.06,
        directed: bool = False,
    ) -> None:
        from batteryxr.core.kernels import pairs

        self.crystal = crystal
        self.r = np.asarray(r, dtype=np.float64)
        self.instrument = instrument
        step = float(np.diff(self.r).mean())
        self._grid = step * np.arange(1, math.ceil((self.r[-1] + _MARGIN) / step) + 1)
        self._kinds = sorted(set(crystal.elements))
        kinds = np.array([self._kinds.index(e) for e in crystal.elements])
        self._power = scattering_power(tuple(self._kinds), instrument.radiation)
        # Sites of one element may be filled differently: then they are separate
        # species.
        pure = [
            (int(k), float(o)) for k, o in zip(kinds, crystal.occupancy, strict=True)
        ]
        species = sorted(set(pure))
        self._species = np.array([k for k, _ in species])
        self._filled = np.array([o for _, o in species])
        number = np.array([species.index(p) for p in pure])
        self._atoms = np.bincount(number, minlength=len(species)).astype(np.float64)
        reach = (self._grid[-1] + 0.5) / (1 - strain)
        cell = np.ascontiguousarray(crystal.cell, dtype=np.float64)
        sites = np.ascontiguousarray(crystal.sites % 1.0, dtype=np.float64)
        #: Strains other than of volume that keep the symmetry, (strains, 3, 3).
        self.modes = np.zeros((0, 3, 3))
        if directed:
            self.modes = pairs.strains(cell, sites, number)
        if len(self.modes):
            self._counts, self._distance, self._along = pairs.directed(
                cell, sites, number, self.modes, reach, _BIN
            )
            return
        counts = pairs.count(cell, sites, number, reach, _BIN)
        taken = np.flatnonzero(counts.sum(axis=(0, 1)))
        self._distance = taken * _BIN
        self._counts = np.ascontiguousarray(counts[:, :, taken])

    def strained(
        self, strain: float, shape: np.ndarray | Sequence[float] = ()
    ) -> np.ndarray:
        """Return the (3, 3) factor on the lattice vectors, ``cell @ factor``."""
        factor: np.ndarray = (1 + strain) * np.eye(3)
        for size, mode in zip(shape, self.modes, strict=False):
            factor = factor + size * mode
        return factor

    def __call__(
        self,
        *,
        strain: float = 0.0,
        shape: np.ndarray | Sequence[float] = (),
        u_iso: float | Mapping[str, float] = 0.005,
        diameter: float = math.inf,
        occupancy: Mapping[tuple[str, float | None], float] | None = None,
        widths: Mapping[str, float] | None = None,
    ) -> np.ndarray:
        """Return G(r) (1/Angstrom2).

        Parameters
        ----------
        strain
            Relative change of the lattice, the same in all directions.
        shape
            Size of each strain of `modes`; none by default.
        u_iso
            Mean square displacement of every atom, or of each element (Angstrom2).
        diameter
            Diameter of a spherical particle (Angstrom).
        occupancy
            Factors on the occupancy of elements: at the sites that an element fills by
            a fraction, or at all of its sites (None).
        widths
            ``delta1``, ``delta2`` and ``q_broad`` in place of those of the crystal and
            the instrument.
        """
        filled = self._filled.copy()
        for (element, share), factor in (occupancy or {}).items():
            here = self._species == self._kinds.index(element)
            if share is not None:
                here &= np.isclose(self._filled, share, atol=_ALIKE)
            filled[here] *= factor
        b = self._power[self._species] * filled
        atoms = float(self._atoms @ filled)
        mean = float(self._atoms @ b) / atoms
        turned = self.strained(strain, shape)
        far = self._distance * (1 + strain)
        if len(shape):
            longer = np.einsum("pab,ab->p", self._along, turned @ turned)
            far = self._distance * np.sqrt(longer)
        wider = self._wider(far, widths or {})
        g = self._peaks(b / math.sqrt(atoms * mean**2), far, wider, u_iso)
        density = atoms / (self.crystal.volume * float(np.linalg.det(turned)))
        g = g / self._grid - 4 * np.pi * density * self._grid
        return self.measured(g * sphere(self._grid, diameter))

    def _wider(self, far: np.ndarray, widths: Mapping[str, float]) -> np.ndarray:
        """Return the factor on the squared width of a peak at each distance."""
        known = {
            "delta1": self.crystal.delta1,
            "delta2": self.crystal.delta2,
            "q_broad": self.instrument.q_broad,
        } | dict(widths)
        wider = 1 + (known["q_broad"] * far) ** 2
        wider -= known["delta1"] / far + known["delta2"] / far**2
        return np.asarray(np.maximum(wider, _NARROWEST))

    def _peaks(
        self,
        b: np.ndarray,
        far: np.ndarray,
        wider: np.ndarray,
        u_iso: float | Mapping[str, float],
    ) -> np.ndarray:
        """Return the sum of the peaks of all pairs of species, of powers b."""
        from batteryxr.core.kernels import pairs

        if not isinstance(u_iso, Mapping):
            weight = np.einsum("i,j,ijp->p", b, b, self._counts)
            return pairs.spread(self._grid, far, weight, 2 * u_iso * wider)
        g = np.zeros(self._grid.size)
        own = [np.where(self._species == k, b, 0.0) for k in range(len(self._kinds))]
        for i, j in itertools.product(range(len(own)), repeat=2):
            weight = np.einsum("i,j,ijp->p", own[i], own[j], self._counts)
            square = (u_iso[self._kinds[i]] + u_iso[self._kinds[j]]) * wider
            g += pairs.spread(self._grid, far, weight, square)
        return g

    def measured(self, g: np.ndarray) -> np.ndarray:
        """Return `g` as an instrument of finite range and resolution measures it."""
        from scipy.fft import dst, idst
        from scipy.interpolate import make_interp_spline

        q_max = self.instrument.q_max
        g = g * np.exp(-0.5 * (self._grid * self.instrument.q_damp) ** 2)
        if q_max is not None:
            step = self._grid[0]
            # Transform to Q and back; twice as long, so that the end does not fold
            # back.
            f = dst(np.concatenate([g, np.zeros(g.size)]), type=1)
            q = np.pi * np.arange(1, f.size + 1) / ((f.size + 1) * step)
            f[q > q_max] = 0.0
            g = np.asarray(idst(f, type=1))[: g.size]
        first = self.r[0] / self._grid[0]
        whole = round(first)
        if abs(first - whole) < 1e-6 and whole >= 1:
            return g[whole - 1 : whole - 1 + self.r.size]
        nodes = np.concatenate([[0.0], self._grid])
        return np.asarray(make_interp_spline(nodes, np.concatenate([[0.0], g]))(self.r))


def sphere(r: np.ndarray, diameter: float) -> np.ndarray:
    """Return the fraction of pairs at distance r that lie within a sphere."""
    if math.isinf(diameter):
        return np.ones_like(r)
    t = np.minimum(r / diameter, 1.0)
    return np.asarray(1 - 1.5 * t + 0.5 * t**3)
