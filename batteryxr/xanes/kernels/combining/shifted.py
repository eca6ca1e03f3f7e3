"""Fit spectra as sums of standards that may each be shifted in energy.

At given shifts the weights follow exactly. The shifts descend along the slope that
remains after the weights have followed (L. Kaufman, BIT 15, 49 (1975)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.xanes.kernels.combining.active_set import solve_rows
from batteryxr.xanes.kernels.combining.fixed import told_apart
from batteryxr.xanes.kernels.combining.results import (
    AT_LIMIT,
    NO_DATA,
    SUM_NOT_ONE,
    Combined,
    empty,
)
from batteryxr.xanes.kernels.combining.spread import correlated_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batteryxr.xanes.kernels.combining.results import Design

#: Distance (eV) between initial shifts of the descent; largest number of iterations.
_APART, _STEPS = 1.0, 30
#: Most shifts whose columns are kept.
_KEPT = 100


class Movable(NamedTuple):
    """Hold standards as functions of energy, and how far they may move.

    Attributes
    ----------
    curves, slopes
        Function of energies (m,) for each standard, and its derivative.
    most
        Largest shift, in eV.
    shared
        Whether all standards have the same shift.
    """

    curves: Sequence[Callable[[np.ndarray], np.ndarray]]
    slopes: Sequence[Callable[[np.ndarray], np.ndarray]]
    most: float
    shared: bool


class _Spectrum(NamedTuple):
    """Hold one spectrum without gaps, and what it is fitted by.

    `known` keeps columns and their factors by shifts, for spectra of these energies.
    """

    y: np.ndarray
    design: Design
    movable: Movable
    basis: np.ndarray
    known: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]]

    def columns(self, shifts: np.ndarray, slope: bool = False) -> np.ndarray:
        """Return moved standards, or their slopes, without the background."""
        found = self.moved(shifts, slope)
        return np.asarray(found - self.basis @ (self.basis.T @ found))

    def moved(self, shifts: np.ndarray, slope: bool = False) -> np.ndarray:
        """Return the standards at energies less their shifts, or their slopes."""
        each = self.movable.slopes if slope else self.movable.curves
        all_shifts = np.broadcast_to(shifts, len(each))
        energy = self.design.energy
        moved = [f(energy - d) for f, d in zip(each, all_shifts, strict=True)]
        return np.stack(moved, axis=1)

    def solve(
        self, shifts: np.ndarray, sum_to_one: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights, residual and columns at given shifts."""
        key = np.asarray(shifts).tobytes()
        if key not in self.known:
            if len(self.known) > _KEPT:
                self.known.clear()
            columns = self.columns(shifts)
            self.known[key] = columns, *np.linalg.qr(columns)
        a, q, r = self.known[key]
        w = np.empty((1, a.shape[1]))
        z = np.ascontiguousarray((self.y @ q)[None])
        solve_rows(np.ascontiguousarray(r), z, self.design.non_negative, sum_to_one, w)
        return w[0], self.y - a @ w[0], a


def combine_shifted(
    data: np.ndarray, *, design: Design, movable: Movable
) -> tuple[np.ndarray, ...]:
    """Fit weights and energy shifts of standards to spectra, one after the other.

    Parameters
    ----------
    data : (..., m)
        Spectra; energies that are not finite are left out of their spectrum.
    design, movable
        Standards and constraints, and how the standards may move.

    Returns
    -------
    weights, errors, backgrounds, quality, flags
        As from `combine`.
    shifts, shift_errors : (..., s)
        Shift added to the energies of each standard, in eV; NaN for standards without
        weight. Errors are NaN at the largest shift.
    """
    shape = data.shape[:-1]
    rows = data.reshape(-1, data.shape[-1])
    n, n_back = len(design.standards), len(design.background)
    results = empty(len(rows), n, n_back)
    moved = np.full((2, len(rows), n), np.nan)
    alike: dict[bytes, tuple[Any, ...]] = {}
    for i, row in enumerate(rows):
        there = np.isfinite(row)
        if there.sum() <= 2 * n + n_back or not row[there].any():
            continue
        key = there.tobytes()
        if key not in alike:
            alike.clear()
            part = design.at(there)
            basis = np.linalg.qr(part.background.T)[0]
            alike[key] = told_apart(design, there), part, basis, {}
        apart, part, basis, known = alike[key]
        if not apart:
            continue
        y = row[there].astype(float)
        spectrum = _Spectrum(y - basis @ (basis.T @ y), part, movable, basis, known)
        shifts = _descend(spectrum)
        found, errors = _report(spectrum, shifts, y)
        if found.flags & NO_DATA:
            continue
        for target, source in zip(results, found, strict=True):
            target[i] = source
        present = found.weights != 0.0
        moved[0, i, present] = np.broadcast_to(shifts, n)[present]
        moved[1, i, present] = np.broadcast_to(errors, n)[present]
    wide = (a.reshape((*shape, *a.shape[1:])) for a in (*results, *moved))
    return tuple(wide)


def _descend(spectrum: _Spectrum) -> np.ndarray:
    """Return the shifts of least squares."""
    most, one = spectrum.movable.most, spectrum.design.sum_to_one
    size = 1 if spectrum.movable.shared else len(spectrum.design.standards)
    steps = max(int(np.ceil(most / _APART)), 1)
    starts = [np.full(size, s) for s in np.linspace(-most, most, 2 * steps + 1)]
    costs = [float(np.sum(spectrum.solve(s, one)[1] ** 2)) for s in starts]
    shifts, chi2, damping = starts[int(np.argmin(costs))], min(costs), 1e-3
    enough = 1e-24 * float(spectrum.y @ spectrum.y)
    for _ in range(_STEPS):
        w, left, a = spectrum.solve(shifts, one)
        slopes = _slopes(spectrum, shifts, w)
        basis = np.linalg.qr(a[:, w != 0.0])[0]
        slopes = slopes - basis @ (basis.T @ slopes)
        square, gain = slopes.T @ slopes, slopes.T @ left
        free = np.diag(square) > 1e-14 * max(np.diag(square).max(), 1e-300)
        lowered = False
        for _ in range(8):
            step = np.zeros(size)
            damped = square[np.ix_(free, free)]
            damped = damped + damping * np.diag(np.diag(damped))
            step[free] = np.linalg.lstsq(damped, gain[free], rcond=None)[0]
            trial = np.clip(shifts + step, -most, most)
            cost = float(np.sum(spectrum.solve(trial, one)[1] ** 2))
            if cost < chi2:
                lowered = True
                break
            damping *= 8.0
        if not lowered:
            break
        settled = chi2 - cost <= 1e-7 * chi2 or cost <= enough
        shifts, chi2, damping = trial, cost, max(0.1 * damping, 1e-12)
        if settled:
            break
    return shifts


def _independent(matrix: np.ndarray) -> bool:
    """Tell whether the columns are linearly independent, for any lengths."""
    length = np.linalg.norm(matrix, axis=0)
    if not (length > 0).all():
        return False
    return int(np.linalg.matrix_rank(matrix / length, tol=1e-6)) == length.size


def _slopes(spectrum: _Spectrum, shifts: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the derivative of the fit by the shifts, (m, shifts)."""
    each = -w * spectrum.columns(shifts, slope=True)
    return each.sum(axis=1, keepdims=True) if spectrum.movable.shared else each


def _report(
    spectrum: _Spectrum, shifts: np.ndarray, y: np.ndarray
) -> tuple[Combined, np.ndarray]:
    """Return the fit at its shifts, and the errors of the shifts."""
    design, n = spectrum.design, len(spectrum.design.standards)
    any_sum, one = spectrum.solve(shifts, False), spectrum.solve(shifts, True)
    free, _, a = any_sum
    w, left, _ = one if design.sum_to_one else any_sum
    slopes = _slopes(spectrum, shifts, w)
    # A shift that ended at its limit is unknown, so it adds to the weights' errors.
    fitted = np.abs(slopes).max(axis=0) > 0
    ended = np.abs(shifts) >= spectrum.movable.most
    matrix = np.concatenate([a, slopes[:, fitted]], axis=1)
    inverse = np.linalg.pinv(matrix)
    flag = np.zeros((), np.uint8)
    if not _independent(matrix):  # a shift does what other weights would
        flag = np.full((), NO_DATA, np.uint8)
    if design.sum_to_one:
        covariance = inverse @ inverse.T
        along = covariance[:, :n].sum(axis=1)
        tied = np.outer(along, inverse[:n].sum(axis=0)) / along[:n].sum()
        inverse = inverse - tied
    m = len(y)
    freedom = m - matrix.shape[1] - spectrum.basis.shape[1] + int(design.sum_to_one)
    errors, length = correlated_errors(inverse, left[None], freedom, spectrum.basis)
    pulled = (inverse @ inverse.T)[:n, :n] @ (m * design.noise**2 * w)
    square, power = float(left @ left), float(y @ y)
    rest = [float(np.sum((spectrum.y - a @ v) ** 2)) for v in (free, one[0])]
    quality = [square, freedom, rest[0] / power, rest[1] / power, m / length[0]]
    error = np.sqrt(square / freedom * length[0] * (inverse @ inverse.T)[:n, :n].sum())
    if not design.sum_to_one and abs(w.sum() - 1.0) > max(0.1, 3.0 * error):
        flag = flag | np.uint8(SUM_NOT_ONE)
    curves = spectrum.moved(shifts)
    back = np.linalg.pinv(design.background.T) @ (y - curves @ w)
    moved = np.full(shifts.size, np.nan)
    moved[fitted] = errors[0, n:]
    moved[ended] = np.nan
    if (ended & fitted).any():
        flag = flag | np.uint8(AT_LIMIT)
    weight_errors = np.hypot(errors[0, :n], pulled)
    return Combined(w, weight_errors, back, np.array(quality), flag), moved
