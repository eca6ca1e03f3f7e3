"""The Kramers-Kronig constraint: absorption and phase of pixels across energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.kernels.alignment import unwrapped
from batteryxr.core.errors import DataError
from batteryxr.core.kernels.kramers_kronig import transform_matrix

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.images import Images
    from batteryxr.cdi.ptycho.kernels.registration import Registered


class Constraint:
    """Bring absorption and phase spectra to agree, by least squares.

    With a = N f'' and p = N f' (N atoms per area times r_e λ) it minimises the sum
    ``|a' - a|² + |C (K a' + k s - p)|²``. K is the Kramers-Kronig transform of f'',
    linear between the measured energies. k is the transform of the table outside the
    window, scaled by the pixel's own thickness s. C removes what the measurement cannot
    determine: the offset of the phase, and with `degree` 1 also its slope. The idea is
    from Hirose et al., Opt. Express 25, 8593 (2017); the least-squares form weighs both
    spectra equally.

    Parameters
    ----------
    energy : (e,)
        Rising, eV.
    table_energy, table : (t,)
        Tabulated f'' of the compound far beyond the window on both sides.
    degree
        Degree of the free polynomial in energy on top of the phase.

    Raises
    ------
    DataError
        If the table ends near the window: f' would be wrong by more than the noise of
        any phase.
    """

    def __init__(
        self,
        energy: np.ndarray,
        table_energy: np.ndarray,
        table: np.ndarray,
        degree: int = 0,
    ) -> None:
        ends = float(table_energy[0]), float(table_energy[-1])
        if ends[0] > 0.5 * energy[0] or ends[1] < 2.0 * energy[-1]:
            raise DataError(
                "table_energy",
                f"{ends} does not reach far beyond the window",
                "Pass a table from half to twice these energies.",
            )
        gap = np.diff(energy).min()
        outside = (table_energy < energy[0] - gap) | (table_energy > energy[-1] + gap)
        grid = np.r_[table_energy[outside], energy]
        values = np.r_[table[outside], np.zeros_like(energy)]
        order = np.argsort(grid)
        measured = np.r_[np.zeros(outside.sum(), bool), np.ones(energy.size, bool)]
        matrix = transform_matrix(grid[order], energy)
        self._inside = matrix[:, measured[order]]
        self._tail = matrix @ values[order]
        # The table gives the thickness away from the edge, where it holds.
        outer = np.abs(energy - 0.5 * (energy[0] + energy[-1])) > 0.25 * np.ptp(energy)
        inside = np.interp(energy, table_energy, table)
        self._table = np.where(outer if outer.sum() > 1 else True, inside, 0.0)
        scaled = (energy - energy.mean()) / np.ptp(energy)
        q = np.linalg.qr(np.vander(scaled, degree + 1))[0]
        self._keep = np.eye(energy.size) - q @ q.T
        free = self._keep @ self._inside
        self._solve = np.linalg.inv(np.eye(energy.size) + free.T @ free)
        self._back = free.T

    def __call__(
        self, a: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return both spectra in agreement, and their disagreement before.

        Parameters
        ----------
        a, p : (e, n)
            N f'' and N f' of n pixels, in the same unit.

        Returns
        -------
        a, p : (e, n)
        misfit : (n,)
            Root mean square of the phase minus the one that the absorption demands,
            before.
        """
        thickness = np.maximum(self._table @ a / (self._table @ self._table), 0.0)
        tail = np.outer(self._tail, thickness)
        left = self._keep @ (p - self._inside @ a - tail)
        misfit = np.sqrt(np.mean(left**2, axis=0))
        found = self._solve @ (a + self._back @ (self._keep @ (p - tail)))
        demanded = self._inside @ found + tail
        rest = (p - demanded) - self._keep @ (p - demanded)
        return found, demanded + rest, misfit


class Spectra:
    """Hold -ln|T| and -φ of registered objects, unwrapped and free of the wavelength.

    Both are divided by wavelength over mean wavelength, so that they follow f'' and f'.
    """

    def __init__(self, registered: Registered, energy: np.ndarray) -> None:
        self._turn = np.exp(-1j * np.angle(registered.mean))
        self._base = unwrapped(np.angle(registered.mean), registered.vacuum)
        self.relative = energy.mean() / energy

    def of(
        self, field: np.ndarray, relative: Any, rows: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return both for `field` (..., r, x), on these rows of the grid.

        Parameters
        ----------
        field
            Registered objects.
        relative
            Wavelength over its mean, for each object.
        rows
            Rows of the grid.
        """
        modulus = np.maximum(np.abs(field), 1e-6)
        phase = self._base[rows] + np.angle(field * self._turn[rows])
        return -np.log(modulus) / relative, -phase / relative


def constrain(
    registered: Registered,
    energy: np.ndarray,
    constraint: Constraint,
    relaxation: float,
    factor: Images,
) -> np.ndarray:
    """Find the factors that make absorption and phase agree; return the misfit.

    The factor is 1 in vacuum and where not every energy has light. The misfit (y, x) is
    in rad of the phase at the mean energy.

    Parameters
    ----------
    registered
        The objects.
    energy : (energy,)
        Energies in eV.
    constraint
        Relation of absorption and phase.
    relaxation
        Fraction of the change that is made.
    factor
        Receives the factors.
    """
    spectra = Spectra(registered, energy)
    relative = spectra.relative[:, None]
    where = registered.grid.inside & ~registered.vacuum
    where[[0, -1]] = where[:, [0, -1]] = False  # the edge goes on beyond the grid
    misfit = np.empty(where.shape)
    for rows in registered.fields.tiles():
        fields = registered.fields.rows(rows)
        a, p = spectra.of(fields, relative[:, None], rows)
        flat = a.reshape(len(a), -1), p.reshape(len(p), -1)
        new_a, new_p, found = constraint(*flat)
        misfit[rows] = found.reshape(-1, where.shape[1])
        change = -(new_a - flat[0]) - 1j * (new_p - flat[1])
        part = np.exp(relaxation * relative * change).reshape(fields.shape)
        part = np.where(where[rows], part, 1.0)
        for k in range(len(energy)):
            factor.write(k, part[k], rows.start)
    return misfit
