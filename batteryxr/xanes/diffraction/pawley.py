"""Fit whole patterns without a structure: each reflection has a free intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.xanes.diffraction import geometry, profiles
from batteryxr.xanes.diffraction.doubts import foreign_lines, second_lattice, tell
from batteryxr.xanes.diffraction.phases import reflections
from batteryxr.xanes.diffraction.solved import (
    Whole,
    label_patterns,
)
from batteryxr.xanes.diffraction.tracking import tracked

if TYPE_CHECKING:
    import os

    import xarray as xr

    from batteryxr.core.bounds.kinds import Strain
    from batteryxr.core.crystals import Crystal
    from batteryxr.xanes.diffraction.cells import Cell, Reflections
    from batteryxr.xanes.diffraction.geometry import Asked, Offset
    from batteryxr.xanes.diffraction.instrument import Diffractometer
    from batteryxr.xanes.spectra import Range

_LIMIT, _TOLERANCE = 40, 1e-6
#: Range over which a reflection is calculated, in widths.
_REACH = 15.0
_FAR = 6.0
#: Standard errors beyond which the scans beside do not lead to a lattice.
_APART = 4.0
#: Rounds of search for foreign lines.
_ROUNDS = 5


@recorded
def fit_pattern(
    spectra: xr.DataArray | xr.Dataset,
    *,
    candidate: str | os.PathLike[str] | Crystal | Cell,
    instrument: Diffractometer | None = None,
    offset: Offset | None = None,
    reference: str | os.PathLike[str] | Crystal | Cell | None = None,
    limits: Range | None = None,
    degree: Annotated[int, Bounds(low=0, high=30)] = 8,
    strain: Strain = 0.03,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit whole patterns by a lattice alone, after Pawley.

    *Reads once*. Free parameters are the lattice, the offset of positions, widths that
    change with the angle, one Lorentzian share, a polynomial background, and the
    intensity of every reflection. Overlapping reflections determine the lattice
    together.

    Parameters
    ----------
    spectra, candidate, instrument, offset, limits, strain
        As in `fit_lattice`.
    reference
        Internal standard of known lattice; its reflections are fitted too.
    degree
        Degree of the background, a Chebyshev polynomial.
    progress
        Show a progress bar: True, False, or None for interactive sessions only.

    Returns
    -------
    xarray.Dataset
        Lattice, ``volume`` and ``offset`` as from `fit_lattice`. Along ``reflection``:
        ``peak_area`` and ``peak_position``. Further ``r_wp``, ``chi2`` and
        ``reduced_chi2`` (per degree of freedom); ``fitted``, the calculated patterns,
        and ``background``; ``lattice_flag`` as from `fit_lattice`. ``foreign`` is true
        for points left out as lines of another phase: they look like a reflection,
        stand out of the fit, and no reflection of the phase is near. A weak second
        lattice that moves lengths by 70 ppm is flagged
        ``reflections_lean_to_one_side`` where the counts show it.

    Raises
    ------
    ArgumentError
        If the wavelength is unknown, or no reflection lies in range.
    DataError
        If there are more parameters than points.

    Notes
    -----
    Pawley, J. Appl. Cryst. 14, 357 (1981). If reflections overlap completely, only the
    sum of their areas is determined. Errors are those of counting, scaled by the
    residuals. A zero error taken for a displacement changes lengths as in
    `fit_lattice`. A foreign line right under a reflection is not recognised: pass its
    phase as `reference` if its lattice is known.

    Examples
    --------
    >>> from batteryxr.xanes import Cell, Diffractometer
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> patterns = batteryxr.read_series("samples/xrd/*.xrdml")
    >>> whole = patterns[:2].xanes.fit_pattern(
    ...     candidate=Cell("hexagonal", a=2.88, c=14.2, centring="R"),
    ...     instrument=Diffractometer(tube="Cu"),
    ... )
    >>> whole["c"].dims
    ('scan',)
    """
    array, asked = geometry.asked_of(spectra, instrument, offset, caller="fit_pattern")
    x, y, rows = geometry.patterns_of(array, asked, limits)
    q_range = geometry.q_range_of(x, asked)
    lines = reflections(candidate, q_range, asked.instrument)
    if not lines.form.size:
        raise ArgumentError("candidate", candidate, "a phase with reflections in range")
    standard = None
    if reference is not None:
        standard = reflections(reference, q_range, asked.instrument)
    roughly, widths = tracked(x, y, lines, asked, strain)
    pattern = PawleyModel(x, lines, standard, asked, degree)
    if pattern.size >= x.size:
        raise DataError(
            asked.axis,
            f"{x.size} points for {pattern.size} parameters",
            "Use a smaller degree or narrower limits.",
        )
    fits = [
        pattern.fit(y[k], pattern.first(roughly.metric[k], widths[k]))
        for k in track(range(len(y)), "Fitting patterns", progress=progress)
    ]
    _from_neighbours(pattern, y, fits)
    result = label_patterns(array, rows, lines, asked, fits, x, roughly.doubt)
    tell(result["lattice_flag"].values)
    return result


class PawleyModel:
    """Model a whole pattern.

    Shape parameters come first: the metric, the offset, two for the width, the
    Lorentzian share. Intensities and background follow by linear least squares.
    """

    def __init__(
        self,
        x: np.ndarray,
        lines: Reflections,
        standard: Reflections | None,
        asked: Asked,
        degree: int,
    ) -> None:
        self.x, self.lines, self.standard, self.asked = x, lines, standard, asked
        self.free = lines.metric.size
        self.n_shape = self.free + asked.shifts + 3
        scaled = 2 * (x - x[0]) / (x[-1] - x[0]) - 1
        self.chebyshev = np.polynomial.chebyshev.chebvander(scaled, degree).T
        self.n_lines = lines.form.shape[0]
        self.n_all = self.n_lines + (0 if standard is None else standard.form.shape[0])
        self.size = self.n_shape + self.n_all + degree + 1

    def first(self, metric: np.ndarray, width: float) -> np.ndarray:
        """Return the initial guess of a search."""
        shifts = np.zeros(self.asked.shifts)
        return np.concatenate([metric, shifts, [width, 0.0, 0.5]])

    def grow(self, places: np.ndarray) -> np.ndarray:
        """Return the factor of the width's growth along the axis."""
        if self.asked.axis == "two_theta":
            return np.tan(np.radians(places) / 2)
        return places / self.x[-1]

    def shapes(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (all, m) reflections of area 1, their slopes, and positions."""
        metric = p[None, : self.free]
        at, slopes = geometry.place_slope(metric, self.lines.form, self.asked)
        at, slopes = at[0], slopes[0]
        if self.standard is not None:
            known = self.standard.metric[None]
            more, _ = geometry.place_slope(known, self.standard.form, self.asked)
            at = np.concatenate([at, more[0]])
            slopes = np.concatenate([slopes, np.zeros((more.size, self.free))])
        at = np.nan_to_num(at, nan=-1e3)
        shift = []
        if self.asked.shifts:
            shift = [geometry.offset_slope(at, self.asked)]
            at = at + p[self.free] * shift[0]
        grows = self.grow(at)
        width = np.maximum(p[-3] + p[-2] * grows, 1e-3 * np.ptp(self.x) / self.x.size)
        share = float(np.clip(p[-1], 0, 1))
        parts = self._lines(at, width, share)
        gaussian = np.sqrt(np.pi / profiles.LN2) / 2
        unit = (share * np.pi / 2 + (1 - share) * gaussian) * width[:, None]
        value, d_at, d_width, d_share = (part / unit for part in parts)
        d_width = d_width - value / width[:, None]
        d_share = d_share - value * (np.pi / 2 - gaussian) * width[:, None] / unit
        every = [d_at * slopes[:, [k]] for k in range(self.free)]
        every += [d_at * s[:, None] for s in shift]
        every += [d_width, d_width * grows[:, None], d_share]
        return value, np.stack(every), at

    def _lines(
        self, at: np.ndarray, width: np.ndarray, share: float
    ) -> list[np.ndarray]:
        """Return heights and slopes of the lines, those of a doublet combined."""
        n, m = at.size, self.x.size
        out = [np.zeros((n, m)) for _ in range(4)]
        doublet = self.asked.doublet
        kinds = [(1.0, at, np.ones(n))]
        if doublet is not None:
            kinds.append((doublet[1], *profiles.second_line(at, doublet)))
        total = sum(k[0] for k in kinds)
        for ratio, places, slope in kinds:
            low = np.searchsorted(self.x, places - _REACH * width)
            high = np.searchsorted(self.x, places + _REACH * width)
            for r in range(n):
                part = slice(low[r], high[r])
                if high[r] <= low[r]:
                    continue
                found = profiles.shape(self.x[part], places[r], width[r], share)
                for k, values in enumerate(found):
                    factor = ratio / total * (slope[r] if k == 1 else 1.0)
                    out[k][r, part] += factor * values
        return out

    def fit(self, y: np.ndarray, p: np.ndarray) -> Whole:
        """Fit the parameters of one pattern."""
        good = np.isfinite(y)
        y = np.where(good, y, 0.0)
        ones = np.ones(7)
        near = np.convolve(np.pad(1.0 * good, 3, "edge"), ones, "valid")
        smooth = np.convolve(np.pad(y, 3, "edge"), ones, "valid") / np.maximum(near, 1)
        typical = float(np.median(smooth[good])) if good.any() else 1.0
        floor = max(0.05 * abs(typical), 1e-9)
        weight = good / np.maximum(smooth, floor)
        foreign = np.zeros(y.size, bool)
        for _ in range(_ROUNDS):
            p, state, weight, ended = self._search(p, y, weight)
            own = state.coefficient[: self.n_all] @ state.basis[: self.n_all]
            chi2 = state.chi2 / max(int((weight > 0).sum()) - self.size, 1)
            more = foreign_lines(self, p, own, state.left, weight, chi2=chi2)
            if not more.any():
                break
            foreign |= more
            weight = np.where(foreign, 0.0, weight)
        return self._told(p, state, y, weight, ended, foreign)

    def _search(
        self, p: np.ndarray, y: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, _Calculated, np.ndarray, bool]:
        """Search by Levenberg-Marquardt, leaving out cosmic rays on the way."""
        damping, ended = 1e-2, False
        state = self._linear(p, y, weight)
        for turn in range(_LIMIT):
            matrix, force = self._normal(state, weight)
            scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
            scaled = matrix / np.outer(scale, scale) + damping * np.eye(len(scale))
            move = np.linalg.solve(scaled, force / scale) / scale
            tried = p + move[: self.n_shape]
            tried[-1] = np.clip(tried[-1], 0.0, 1.0)
            tried[-3] = max(tried[-3], 0.3 * p[-3] if p[-3] > 0 else p[-3])
            new = self._linear(tried, y, weight)
            if new.chi2 < state.chi2:
                gain = (state.chi2 - new.chi2) / state.chi2
                p, state, damping = tried, new, max(0.2 * damping, 1e-9)
                if gain < _TOLERANCE:
                    ended = True
                    break
            else:
                damping *= 8
                if damping > 1e6:
                    ended = True
                    break
            if turn == 4:
                weight = self._without_rays(state, weight)
                state = self._linear(p, y, weight)
        return p, state, weight, ended

    def _without_rays(self, state: _Calculated, weight: np.ndarray) -> np.ndarray:
        left = np.abs(state.left) * np.sqrt(weight)
        spread = 1.4826 * float(np.median(left[weight > 0]))
        far = left > _FAR * max(spread, 1.0)
        # Wide misfits are not due to cosmic rays.
        wide = np.convolve(far, np.ones(7), "same") > 4
        return np.where(far & ~wide, 0.0, weight)

    def _linear(self, p: np.ndarray, y: np.ndarray, weight: np.ndarray) -> _Calculated:
        value, slopes, at = self.shapes(p)
        basis = np.concatenate([value, self.chebyshev])
        root = np.sqrt(weight)
        matrix = (basis * weight) @ basis.T
        scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        scaled = matrix / np.outer(scale, scale) + 1e-10 * np.eye(len(scale))
        coefficient = np.linalg.solve(scaled, (basis @ (weight * y)) / scale) / scale
        curve = coefficient @ basis
        left = y - curve
        return _Calculated(
            basis, slopes, coefficient, left, float(((root * left) ** 2).sum()), at
        )

    def _slopes(self, state: _Calculated) -> np.ndarray:
        """Return the slopes of the model by all parameters, those of shapes first."""
        areas = state.coefficient[: self.n_all]
        shape = np.einsum("snm,n->sm", state.slopes, areas)
        return np.concatenate([shape, state.basis])

    def _normal(
        self, state: _Calculated, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        slopes = self._slopes(state)
        weighted = slopes * weight
        return weighted @ slopes.T, weighted @ state.left

    def _told(
        self,
        p: np.ndarray,
        state: _Calculated,
        y: np.ndarray,
        weight: np.ndarray,
        ended: bool,
        foreign: np.ndarray,
    ) -> Whole:
        slopes = self._slopes(state)
        areas = state.coefficient[: self.n_all]
        second = second_lattice(self, p, areas, slopes, state.left, weight)
        matrix, _ = self._normal(state, weight)
        if not 0 < p[-1] < 1:  # at a bound, and taken as known
            k = self.n_shape - 1
            matrix[k, :] = matrix[:, k] = 0.0
            matrix[k, k] = 1.0
        scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        scaled = matrix / np.outer(scale, scale) + 1e-10 * np.eye(len(scale))
        covariance = np.linalg.inv(scaled) / np.outer(scale, scale)
        free = max(int((weight > 0).sum()) - self.size, 1)
        chi2 = state.chi2 / free
        covariance *= max(chi2, 1e-12)
        errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        lines = slice(self.n_shape, self.n_shape + self.n_lines)
        total = float((weight * y**2).sum())
        return Whole(
            p,
            covariance[: self.n_shape, : self.n_shape],
            state.coefficient[: self.n_lines],
            errors[lines],
            y - state.left,
            state.coefficient[self.n_all :] @ self.chebyshev,
            chi2,
            free,
            float(np.sqrt(state.chi2 / total)) if total > 0 else np.nan,
            ended,
            foreign,
            second,
        )


def _from_neighbours(pattern: PawleyModel, y: np.ndarray, fits: list[Whole]) -> None:
    """Repeat fits that the scans beside do not lead to, from the lattices of these.

    A search may end in another minimum than the lowest one; the lower one is kept.
    """
    free, last = pattern.free, len(fits) - 1
    for k in range(len(fits) if last > 1 else 0):
        a, b = (k - 1, k + 1) if 0 < k < last else (abs(k - 1), abs(k - 2))
        one, other, own = fits[a], fits[b], fits[k]
        led = one.values + other.values
        led = led / 2 if 0 < k < last else 2 * one.values - other.values
        spread = np.diag(own.covariance + one.covariance + other.covariance)
        apart = (led - own.values)[:free] ** 2 > _APART**2 * spread[:free]
        for start in (one, other) if apart.any() else ():
            again = pattern.fit(y[k], start.values.copy())
            as_whole = again.foreign.sum() <= own.foreign.sum()
            if again.ended and as_whole and again.chi2 < fits[k].chi2:
                fits[k] = again


class _Calculated(NamedTuple):
    """Hold a calculated pattern: linear parameters, slopes, and residuals."""

    basis: np.ndarray
    slopes: np.ndarray
    coefficient: np.ndarray
    left: np.ndarray
    chi2: float
    at: np.ndarray
