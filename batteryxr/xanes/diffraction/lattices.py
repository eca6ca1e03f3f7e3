"""Lattice parameters along a series, from reflections fitted one by one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.diffraction import profiles
from batteryxr.xanes.diffraction.cells import (
    FREE,
    Cell,
    Reflections,
    form_of,
    parameters,
)
from batteryxr.xanes.diffraction.drift import drifting
from batteryxr.xanes.diffraction.instrument import (
    Diffractometer,
    convert_axis,
    from_q,
    pattern_axis,
    to_q,
    wavelength_of,
)
from batteryxr.xanes.diffraction.phases import reflections
from batteryxr.xanes.diffraction.tracking import Track, follow
from batteryxr.xanes.preparing.inputs import SIGNALS
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import Strain
    from batteryxr.core.crystals import Crystal
    from batteryxr.xanes.spectra import Range

    Phase = str | os.PathLike[str] | Crystal | Cell

Offset = Literal["displacement", "zero", "none"]
#: Bits of ``lattice_flag``.
MISSING, MISFIT, FAINT, FOREIGN = 1, 2, 4, 8
_FLAGS = {
    "flag_masks": [MISSING, MISFIT, FAINT, FOREIGN],
    "flag_meanings": (
        "too_few_reflections reflections_disagree hardly_above_noise "
        "foreign_lines_left_out"
    ),
}
_NAMES = ("a", "b", "c", "alpha", "beta", "gamma", "volume")
_UNITS = ("Angstrom",) * 3 + ("deg",) * 3 + ("Angstrom3",)
#: Half a window, and nearest neighbour that does not disturb, in widths.
_WINDOW, _APART = 3.0, 1.8
#: chi2 beyond the usual one from which a position is looked for that is foreign.
_FOREIGN = 4.0
#: Scans on either side that a foreign line may disturb alike.
_CROSSED = 6
#: Smallest eigenvalue of what tells the unknowns apart.
_SINGULAR = 1e-9
#: Patterns whose widths differ by less than this factor are fitted in like windows.
_AS_WIDE = 1.4
#: Reflections that say how wide all are.
_STRONG = 12
#: Reflections stronger than this share disturb their neighbours.
_DISTURBS = 0.03
#: Summed signal to noise below which a lattice is no finding.
_FAINT_SCORE = 4.0
#: Misfit beyond which reflections disagree, in standard deviations.
_DISAGREE = 4.0


@dataclass(frozen=True)
class Asked:
    """What is wanted of a lattice: how positions are read.

    The axis is that of the fit, where the data may have been `given` along another.
    """

    axis: str
    wavelength: float | None
    instrument: Diffractometer
    offset: str
    given: str

    @property
    def shifts(self) -> int:
        """How many parameters an offset has."""
        return 0 if self.offset == "none" else 1

    @property
    def doublet(self) -> tuple[float, float] | None:
        """The doublet, where the axis shows one."""
        return self.instrument.doublet if self.axis == "two_theta" else None


@recorded
def fit_lattice(
    spectra: xr.DataArray | xr.Dataset,
    *,
    candidate: str | os.PathLike[str] | Crystal | Cell,
    peaks: Sequence[Sequence[int]] | None = None,
    instrument: Diffractometer | None = None,
    offset: Offset | None = None,
    reference: str | os.PathLike[str] | Crystal | Cell | None = None,
    limits: Range | None = None,
    strain: Strain = 0.03,
) -> xr.Dataset:
    """Follow the lattice of a phase along a series of powder patterns.

    *Reads once*. All its reflections together tell where the lattice lies in each
    pattern; each is then fitted by a pseudo-Voigt, with its K-alpha doublet where the
    instrument has a tube; the positions give the lattice, and what shifts them.

    Parameters
    ----------
    spectra
        Patterns along two_theta, q or d, in any other dimensions.
    candidate
        The phase: a CIF, a crystal, or a `Cell` (system and lengths alone).
    peaks
        Indices (h, k, l) of the reflections to use. By default all that stand alone.
    instrument
        A `Diffractometer`: wavelength or tube. By default as the data tell.
    offset
        What shifts positions along two_theta and is fitted too: "displacement" of the
        sample (by cos(theta); the default there), "zero" error of the angle, or "none"
        (the default along q and d).
    reference
        An internal standard whose lattice is known: its reflections tell the offset.
    limits
        Part of the axis to use, along which the patterns were given.
    strain
        Largest relative change of a length against `candidate` that is looked for.

    Returns
    -------
    xarray.Dataset
        ``a``, ``b``, ``c``, ``alpha``, ``beta``, ``gamma`` where the system leaves them
        free, and ``volume``; the ``offset`` (deg for a zero error; for a displacement
        mm, or relative to the radius where that is unknown); along ``reflection``
        ``peak_position``, ``peak_fwhm``, ``peak_area``, ``peak_height``,
        ``lorentzian_share``; each with ``_error``. ``lattice_misfit``, what positions
        leave, in their standard deviations; ``lattice_flag`` (bits);
        ``reflection_used``, false where a foreign line disturbs a position.

    Raises
    ------
    ArgumentError
        If the wavelength is not known, or reflections asked for do not lie in range.
    DataError
        If fewer reflections stand alone than there are unknowns.

    Notes
    -----
    A displacement and the lattice are told apart by reflections far from each other:
    with few of them at low angles the errors are large, and say so.

    Examples
    --------
    >>> lattice = xrd.xanes.fit_lattice(
    ...     candidate=Cell("hexagonal", a=2.88, c=14.2, centring="R"),
    ...     instrument=Diffractometer(tube="Cu", radius=150.0),
    ... )
    >>> lattice.c.values
    """
    array, asked = asked_of(spectra, instrument, offset, caller="fit_lattice")
    x, y, rows = patterns_of(array, asked, limits)
    q_range = q_range_of(x, asked)
    lines = reflections(candidate, q_range, asked.instrument)
    standard = None
    if reference is not None:
        standard = reflections(reference, q_range, asked.instrument)
    if not lines.form.size:
        raise ArgumentError("candidate", candidate, "a phase with reflections in range")
    track, widths = tracked(x, y, lines, asked, strain)
    width = float(np.median(widths))
    used = _chosen(lines, standard, peaks, asked, width)
    found = _fits(x, y, used, track.metric, asked, widths)
    known = None
    if standard is not None:
        alone = _alone(standard, lines, asked, width)
        if not alone.any():
            raise DataError(
                "reference", "has no reflection that stands alone", "Widen limits."
            )
        inner = standard.keep(alone)
        metric = np.repeat(inner.metric[None], len(y), axis=0)
        known = inner, _fits(x, y, inner, metric, asked, widths)
    solved = solve(used, found, track.metric, asked, known)
    return _labelled(array, rows, asked, used, found, solved, track.score, candidate)


def tracked(
    x: np.ndarray, y: np.ndarray, lines: Reflections, asked: Asked, strain: float
) -> tuple[Track, np.ndarray]:
    """Find the lattice roughly, and how wide reflections are in each pattern."""
    step = float(np.diff(x).mean())
    some = np.unique(np.linspace(0, len(y) - 1, min(len(y), 60)).astype(int))
    find = partial(follow, axis=asked.axis, wavelength=asked.wavelength, strain=strain)
    track = find(x, y[some], lines)
    strong = lines.keep(np.argsort(-lines.strength, kind="stable")[:_STRONG])
    widths = np.full(some.size, track.width * step)
    for _ in range(2):  # again, in windows that are wide enough
        found = _fits(x, y[some], strong, track.metric, asked, widths)
        widths = _typical(found, widths, step)
    points = float(np.median(widths)) / step
    every = np.interp(np.arange(len(y)), some, widths)
    return find(x, y, lines, width=points), every


def _typical(found: Positions, widths: np.ndarray, step: float) -> np.ndarray:
    """Return the width of the clear reflections of each pattern, as neighbours tell."""
    signal = np.where(np.isfinite(found.fwhm), found.height / found.height_error, 0.0)
    clear = signal > max(10.0, 0.2 * float(np.nanmax(signal, initial=0.0)))
    if not clear.any():
        return widths
    known = np.flatnonzero(clear.any(axis=1))
    each = np.array([np.median(found.fwhm[k, clear[k]]) for k in known])
    near = np.lib.stride_tricks.sliding_window_view(np.pad(each, 2, "edge"), 5)
    smooth = np.median(near, axis=1)
    return np.maximum(np.interp(np.arange(len(widths)), known, smooth), 2 * step)


def asked_of(
    spectra: xr.DataArray | xr.Dataset,
    instrument: Diffractometer | None,
    offset: str | None,
    *,
    caller: str,
) -> tuple[xr.DataArray, Asked]:
    """Return the patterns, and how their positions are read."""
    axis = given = pattern_axis(spectra, caller=caller)
    device = instrument or Diffractometer()
    known = wavelength_of(spectra, device)
    chosen = offset or ("displacement" if axis == "two_theta" else "none")
    if axis != "two_theta" and device.tube is not None:
        # A doublet lies as it was measured along the angle alone.
        spectra, axis = (
            convert_axis(spectra, axis="two_theta", instrument=device),
            ("two_theta"),
        )
    if axis == "two_theta" and known is None:
        raise ArgumentError(
            "instrument",
            instrument,
            "a Diffractometer with the wavelength, which the data do not tell",
            'Pass instrument=Diffractometer(wavelength=1.5406), or tube="Cu".',
        )
    if axis != "two_theta" and chosen != "none":
        raise ArgumentError("offset", offset, f"'none' along {axis}")
    if device.wavelength is None and known is not None:
        device = Diffractometer(
            radiation=device.radiation,
            wavelength=known,
            tube=device.tube,
            ratio=device.ratio,
            radius=device.radius,
            polarisation=device.polarisation,
        )
    names: tuple[str, ...] = SIGNALS
    if isinstance(spectra, xr.Dataset):
        names = tuple(n for n in SIGNALS if n in spectra and axis in spectra[n].dims)
    array = as_spectra(spectra, caller=caller, dim=axis, names=names)
    if axis == "d":
        q = 2 * np.pi / array["d"].values
        array = array.rename(d="q").assign_coords(q=("q", q, attributes("q")))
        array, axis = array.sortby("q"), "q"
    return array, Asked(axis, known, device, chosen, given)


def patterns_of(
    array: xr.DataArray, asked: Asked, limits: Range | None
) -> tuple[np.ndarray, np.ndarray, xr.DataArray]:
    """Return axis, patterns (N, m), and an array along what they differ by."""
    axis = asked.axis
    x = array[axis].values.astype(float)
    if limits is not None:
        array = array.sel({axis: slice(*_moved(limits, asked))})
        x = array[axis].values.astype(float)
    if x.size < 30:
        raise ArgumentError(
            "limits", limits, f"a range with 30 points of {asked.given}"
        )
    rows = array.transpose(..., axis)
    y = np.asarray(rows.values, np.float64).reshape(-1, x.size)
    return x, y, rows.isel({axis: 0}, drop=True)


def _moved(limits: Range, asked: Asked) -> tuple[float, float]:
    """Return limits of the axis that was given as those of the axis of the fit."""
    if asked.given == asked.axis:
        return limits
    q = to_q(np.asarray(limits, dtype=float), asked.given, asked.wavelength)
    if asked.wavelength is not None:
        q = np.minimum(q, (1 - 1e-12) * 4 * np.pi / asked.wavelength)
    low, high = np.sort(from_q(q, asked.axis, asked.wavelength))
    return float(low), float(high)


def q_range_of(x: np.ndarray, asked: Asked) -> tuple[float, float]:
    """Return the momentum transfers that an axis reaches from and to."""
    ends = to_q(x[[0, -1]], asked.axis, asked.wavelength)
    return float(max(ends[0], 1e-3)), float(ends[1])


def place(metric: np.ndarray, form: np.ndarray, asked: Asked) -> np.ndarray:
    """Return positions (N, reflections) without offset."""
    q = 2 * np.pi * np.sqrt(np.maximum(metric @ form.T, 1e-12))
    return from_q(q, asked.axis, asked.wavelength)


def _chosen(
    lines: Reflections,
    standard: Reflections | None,
    peaks: Any,
    asked: Asked,
    width: float,
) -> Reflections:
    """Return the reflections asked for, or those that stand alone.

    Raises
    ------
    ArgumentError, DataError
        If they are not there, or too few.
    """
    unknown = lines.metric.size + asked.shifts * (standard is None)
    if peaks is not None:
        wanted = form_of(np.asarray(peaks, dtype=int).reshape(-1, 3), lines.system)
        same = (np.abs(wanted[:, None] - lines.form[None]) < 1e-9).all(axis=2)
        if not same.any(axis=1).all():
            absent = list(np.asarray(peaks)[~same.any(axis=1)][0])
            raise ArgumentError(
                "peaks",
                tuple(int(i) for i in absent),
                f"reflections in range: {', '.join(lines.names[:30])}",
            )
        used = lines.keep(np.unique(same.argmax(axis=1)))
    else:
        used = lines.keep(_alone(lines, standard, asked, width))
    rank = np.linalg.matrix_rank(used.form) if used.form.size else 0
    if used.form.shape[0] < unknown or rank < lines.metric.size:
        raise DataError(
            "reflections",
            f"{used.form.shape[0]} stand alone ({', '.join(used.names)}) for "
            f"{unknown} unknowns",
            "Use fit_pattern, a wider range, or offset='none' if that is known.",
        )
    return used


def _alone(
    lines: Reflections, other: Reflections | None, asked: Asked, width: float
) -> np.ndarray:
    """Tell which reflections have no strong neighbour."""
    at = place(lines.metric, lines.form, asked)
    every = [(at, lines.strength, lines.strength)]
    if other is not None:
        there = place(other.metric, other.form, asked)
        every.append((there, other.strength, np.ones_like(at)))
    clear = np.isfinite(at)
    for places, strength, own in every:
        apart = np.abs(places[None] - at[:, None])
        near = (apart < 2 * _APART * width) & (apart > 1e-12)
        if places is not at:
            near = apart < 2 * _APART * width
        clear &= ~(near & (strength[None] > _DISTURBS * own[:, None])).any(axis=1)
    return clear


class Positions(NamedTuple):
    """Fitted reflections: by name, (N, reflections) each."""

    position: np.ndarray
    position_error: np.ndarray
    fwhm: np.ndarray
    fwhm_error: np.ndarray
    area: np.ndarray
    area_error: np.ndarray
    height: np.ndarray
    height_error: np.ndarray
    share: np.ndarray
    share_error: np.ndarray


def _fits(
    x: np.ndarray,
    y: np.ndarray,
    lines: Reflections,
    metric: np.ndarray,
    asked: Asked,
    widths: np.ndarray,
) -> Positions:
    """Fit every reflection in every pattern, those as wide together."""
    start = place(metric, lines.form, asked)
    kinds = np.rint(np.log(widths / np.median(widths)) / np.log(_AS_WIDE))
    shape = (len(y), lines.form.shape[0])
    out = Positions(*(np.full(shape, np.nan) for _ in Positions._fields))
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        width = float(np.median(widths[rows]))
        for k in range(shape[1]):
            fitted = _window(x, y[rows], start[rows, k], asked, width)
            for whole, part in zip(out, fitted, strict=True):
                whole[rows, k] = part
    return out


def _window(
    x: np.ndarray, y: np.ndarray, start: np.ndarray, asked: Asked, width: float
) -> Positions:
    """Fit one reflection in patterns of one width."""
    known = start[np.isfinite(start)]
    step = float(np.interp(np.median(known) if known.size else x[0], x, np.gradient(x)))
    right = half = max(int(np.ceil(_WINDOW * width / step)), 8)
    if asked.doublet is not None:
        second, _ = profiles.second_line(start, asked.doublet)
        right += int(np.ceil(np.nanmax(np.nan_to_num(second - start)) / step))
    first = np.searchsorted(x, np.nan_to_num(start, nan=x[0])) - half
    size = min(half + right, x.size)
    first = np.clip(first, 0, x.size - size)
    index = first[:, None] + np.arange(size)
    window = np.take_along_axis(y, index, axis=1)
    fitted = profiles.fit(x[index], window, start, width=width, doublet=asked.doublet)
    return _reliable(fitted, start, width)


def _reliable(
    fitted: profiles.ReflectionFits, start: np.ndarray, width: float
) -> Positions:
    """Return what a fit found, missing where it found no reflection."""
    v, e = fitted.values, fitted.errors
    with np.errstate(invalid="ignore"):
        good = fitted.converged & (v[:, 0] > 4 * e[:, 0]) & (e[:, 1] < 0.3 * v[:, 2])
        good &= e[:, 1] > 0  # nothing was there
        good &= (np.abs(v[:, 1] - start) < 1.5 * width) & (v[:, 2] < 4 * width)
    columns = [v[:, 1], e[:, 1], v[:, 2], e[:, 2], fitted.area, fitted.area_error]
    columns += [v[:, 0], e[:, 0], v[:, 3], e[:, 3]]
    return Positions(*(np.where(good, c, np.nan) for c in columns))


class Solved(NamedTuple):
    """Lattices of N patterns.

    Attributes
    ----------
    metric, metric_cov : (N, free), (N, free, free)
        Reciprocal metric and its covariance.
    offset, offset_error : (N,)
        As fitted.
    misfit : (N,)
        Root mean square of what positions leave, in standard deviations.
    flag : (N,) int8
        Bits.
    used : (N, reflections) bool, optional
        Which positions the lattice goes by.
    """

    metric: np.ndarray
    metric_cov: np.ndarray
    offset: np.ndarray
    offset_error: np.ndarray
    misfit: np.ndarray
    flag: np.ndarray
    used: np.ndarray | None = None


def solve(
    lines: Reflections,
    found: Positions,
    start: np.ndarray,
    asked: Asked,
    known: tuple[Reflections, Positions] | None,
) -> Solved:
    """Solve positions for the lattice and the offset, all patterns at once."""
    at, error = found.position, found.position_error
    free = lines.metric.size
    if known is not None:
        at = np.concatenate([at, known[1].position], axis=1)
        error = np.concatenate([error, known[1].position_error], axis=1)
    good = np.isfinite(at) & np.isfinite(error) & (error > 0)
    sd = np.where(good, error, 1.0)
    p = np.concatenate([start, np.zeros((len(at), asked.shifts))], axis=1)
    weight = good / sd**2
    count = good[:, : lines.form.shape[0]].sum(axis=1)
    enough = (count >= free) & (good.sum(axis=1) >= p.shape[1])
    p[~enough] = np.nan
    none = np.zeros((2, len(at)))
    newton = partial(_newton, lines, asked=asked, known=known)
    q, covariance, left = newton(at, weight, p, prior=none)
    chi2, degrees = _chi2(left, weight, p.shape[1])
    usual = _usual(chi2, degrees, share=0.15)
    prior = none
    if asked.shifts:
        agree = np.where(chi2 < _FOREIGN * usual, q[:, free], np.nan)
        prior = drifting(agree, covariance[:, free, free] * usual, usual)
    kept = _without_foreign(newton, at, weight, p, prior, usual)
    if asked.shifts:
        # Scans that foreign lines disturbed tell their offset too, now.
        q, covariance, left = newton(at, kept, p, prior=none)
        chi2, degrees = _chi2(left, kept, p.shape[1])
        usual = _usual(chi2, degrees)
        agree = np.where(chi2 < _FOREIGN * usual, q[:, free], np.nan)
        prior = drifting(agree, covariance[:, free, free] * usual, usual)
        weight = _without_disturbed(weight, kept, p.shape[1])
        kept = _without_foreign(newton, at, weight, p, prior, usual)
    weight = kept
    p, covariance, left = newton(at, weight, p, prior=prior)
    chi2, degrees = _chi2(left, weight, p.shape[1])
    usual = _usual(chi2, degrees)
    # Errors of positions hold no asymmetry: what is left tells how much they lack.
    factor = np.where(degrees >= 3, np.maximum(usual, chi2 / 2.5), usual)
    covariance *= np.maximum(factor, 1.0)[:, None, None]
    misfit = np.sqrt(np.where(degrees > 0, chi2, np.nan))
    flag = np.where(enough, 0, MISSING)
    flag |= np.where(misfit > _DISAGREE * np.sqrt(usual), MISFIT, 0)
    shift, shift_error = np.full((2, len(at)), np.nan)
    if asked.shifts:
        shift = p[:, free]
        shift_error = np.sqrt(np.maximum(covariance[:, free, free], 0))
    return Solved(
        p[:, :free],
        covariance[:, :free, :free],
        shift,
        shift_error,
        misfit,
        flag.astype(np.int8),
        weight[:, : lines.form.shape[0]] > 0,
    )


def _chi2(
    left: np.ndarray, weight: np.ndarray, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return chi2 per degree of freedom, and how many of these there are."""
    degrees = (weight > 0).sum(axis=1) - unknown
    return (left**2 * weight).sum(axis=1) / np.maximum(degrees, 1), degrees


def _without_foreign(
    newton: Any,
    at: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    prior: np.ndarray,
    usual: float,
) -> np.ndarray:
    """Drop one or two positions where the others then agree: lines of another phase."""
    _, _, left = newton(at, weight, p, prior=prior)
    chi2, degrees = _chi2(left, weight, p.shape[1])
    rows = np.flatnonzero((chi2 > _FOREIGN * usual) & (degrees >= 2))
    weight = weight.copy()
    for n in (1, 2):
        if not rows.size:
            break
        best = chi2[rows].copy()
        kept = weight[rows].copy()
        for out in itertools.combinations(range(at.shape[1]), n):
            tried = weight[rows].copy()
            tried[:, out] = 0.0
            _, _, left = newton(at[rows], tried, p[rows], prior=prior[:, rows])
            now, spare = _chi2(left, tried, p.shape[1])
            better = (now < best) & (spare >= 1)
            best = np.where(better, now, best)
            kept[better] = tried[better]
        done = (best < 0.67 * _FOREIGN * usual) | (n == 2)
        weight[rows[done]] = kept[done]
        rows = rows[~done]
        rows = rows[((weight[rows] > 0).sum(axis=1) - p.shape[1]) >= 3]
    return weight


def _without_disturbed(
    weight: np.ndarray, kept: np.ndarray, unknown: int
) -> np.ndarray:
    """Leave out positions that were dropped in several scans nearby.

    A foreign line that is crossed disturbs a run of scans; in some of them another
    position looks as odd by chance.
    """
    dropped = (weight > 0) & (kept == 0)
    from scipy.ndimage import correlate1d

    reach = np.ones(2 * _CROSSED + 1)
    ends = ((_CROSSED, _CROSSED), (0, 0))
    near = correlate1d(np.pad(1.0 * dropped, ends), reach, axis=0)[_CROSSED:-_CROSSED]
    out = np.where(near >= _CROSSED // 2, 0.0, weight)
    few = (out > 0).sum(axis=1) <= unknown
    return np.where(few[:, None], weight, out)


def _usual(chi2: np.ndarray, degrees: np.ndarray, share: float = 0.5) -> float:
    """Return the chi2 per degree of freedom that is usual in a series.

    It is told by the median, or by the best where foreign lines may disturb most.
    """
    told = chi2[(degrees > 0) & np.isfinite(chi2)]
    if not told.size:
        return 1.0
    from scipy.stats import chi2 as distribution

    free = float(np.median(degrees[degrees > 0]))
    expected = distribution.ppf(share, free) / free
    return float(max(1.0, np.quantile(told, share) / expected))


def offset_slope(theta: np.ndarray, asked: Asked) -> np.ndarray:
    """Return by how much a unit of the offset moves positions at 2 theta (deg)."""
    if asked.offset == "zero":
        return np.ones_like(theta)
    return np.asarray(-2 * np.degrees(1.0) * np.cos(np.radians(theta) / 2))


def place_slope(
    metric: np.ndarray, form: np.ndarray, asked: Asked
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (N, R) and their slopes (N, R, free) against the metric."""
    power = np.maximum(metric @ form.T, 1e-12)
    q = 2 * np.pi * np.sqrt(power)
    slope = np.pi / np.sqrt(power)
    at = from_q(q, asked.axis, asked.wavelength)
    if asked.axis == "two_theta":
        assert asked.wavelength is not None
        sine = np.minimum(q * asked.wavelength / (4 * np.pi), 0.999999)
        per_q = 2 * asked.wavelength / (4 * np.pi) / np.sqrt(1 - sine**2)
        slope = slope * np.degrees(per_q)
    return at, slope[:, :, None] * form[None]


def _newton(
    lines: Reflections,
    at: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    *,
    asked: Asked,
    known: tuple[Reflections, Positions] | None,
    prior: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimise what positions leave; return parameters, covariance and residuals.

    `prior` (2, N) is the offset that is expected, and its weight.
    """
    free = lines.metric.size
    p = p.copy()
    fine = np.isfinite(p).all(axis=1)
    q = np.where(fine[:, None], p, np.concatenate([lines.metric, [0] * asked.shifts]))
    given = np.nan_to_num(at)
    inverse = np.zeros((len(at), p.shape[1], p.shape[1]))
    left = np.zeros_like(given)
    for _ in range(8):
        calculated, slopes = place_slope(q[:, :free], lines.form, asked)
        if known is not None:
            fixed, _ = place_slope(known[0].metric[None], known[0].form, asked)
            fixed = np.repeat(fixed, len(at), axis=0)
            calculated = np.concatenate([calculated, fixed], axis=1)
            none = np.zeros((len(at), fixed.shape[1], free))
            slopes = np.concatenate([slopes, none], axis=1)
        calculated = np.nan_to_num(calculated)
        if asked.shifts:
            moved = offset_slope(calculated, asked)
            calculated = calculated + q[:, free, None] * moved
            slopes = np.concatenate([slopes, moved[:, :, None]], axis=2)
        slopes = np.nan_to_num(slopes)
        left = np.where(weight > 0, given - calculated, 0.0)
        weighted = slopes * weight[:, :, None]
        matrix = weighted.transpose(0, 2, 1) @ slopes
        force = (weighted.transpose(0, 2, 1) @ left[:, :, None])[:, :, 0]
        if asked.shifts:
            matrix[:, free, free] += prior[1]
            force[:, free] += prior[1] * (prior[0] - q[:, free])
        scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-300))
        scaled = matrix / scale[:, :, None] / scale[:, None, :]
        fine &= np.linalg.eigvalsh(scaled)[:, 0] > _SINGULAR
        scaled[~fine] = np.eye(p.shape[1])
        inverse = np.linalg.inv(scaled) / scale[:, :, None] / scale[:, None, :]
        q = q + np.where(fine[:, None], (inverse @ force[:, :, None])[:, :, 0], 0.0)
    return np.where(fine[:, None], q, np.nan), inverse, left


def lattice_errors(
    metric: np.ndarray, covariance: np.ndarray, system: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 7) parameters and their errors from the reciprocal metric."""
    values = parameters(metric, system)
    free = metric.shape[1]
    slopes = np.zeros((len(metric), 7, free))
    for k in range(free):
        step = 1e-6 * np.maximum(np.abs(metric).max(axis=1), 1e-12)
        up, down = metric.copy(), metric.copy()
        up[:, k] += step
        down[:, k] -= step
        change = parameters(up, system) - parameters(down, system)
        slopes[:, :, k] = change / (2 * step[:, None])
    variance = np.einsum("nik,nkl,nil->ni", slopes, covariance, slopes)
    return values, np.sqrt(np.maximum(variance, 0.0))


def lattice_variables(
    solved: Solved, system: str, shape: tuple[int, ...], dims: list[str], asked: Asked
) -> dict[str, xr.DataArray]:
    """Return lattice, offset, misfit and flags, labelled."""
    values, errors = lattice_errors(solved.metric, solved.metric_cov, system)
    out: dict[str, xr.DataArray] = {}
    words = {"volume": "Volume of the cell"}
    for k, name in enumerate(_NAMES):
        if name not in (*FREE[system], "volume"):
            continue
        text = words.get(name, f"Lattice parameter {name}")
        out |= pair(name, values[:, k], errors[:, k], _UNITS[k], text, shape, dims)
    if asked.shifts:
        radius = asked.instrument.radius
        unit, scale, text = "deg", 1.0, "Zero error"
        if asked.offset == "displacement":
            unit, scale = ("mm", radius) if radius else ("1", 1.0)
            text = "Sample displacement"
            text += "" if radius else " relative to the radius"
        out |= pair(
            "offset",
            solved.offset * scale,
            solved.offset_error * scale,
            unit,
            text,
            shape,
            dims,
        )
    misfit = xr.DataArray(solved.misfit.reshape(shape), dims=dims)
    out["lattice_misfit"] = label(
        misfit,
        "lattice_misfit",
        units="1",
        long_name="What positions leave, in standard deviations",
    )
    flag = xr.DataArray(solved.flag.reshape(shape), dims=dims)
    out["lattice_flag"] = label(
        flag, "lattice_flag", units="1", long_name="Quality of the lattice", **_FLAGS
    )
    return out


def pair(
    name: str,
    value: np.ndarray,
    error: np.ndarray,
    units: str,
    long_name: str,
    shape: tuple[int, ...],
    dims: list[str],
) -> dict[str, xr.DataArray]:
    """Return a value and its error, labelled."""
    both = (
        (name, value, long_name),
        (
            f"{name}_error",
            error,
            f"{long_name}, standard error",
        ),
    )
    return {
        n: label(xr.DataArray(v.reshape(shape), dims=dims), n, units=units, long_name=t)
        for n, v, t in both
    }


def _labelled(
    array: xr.DataArray,
    rows: xr.DataArray,
    asked: Asked,
    lines: Reflections,
    found: Positions,
    solved: Solved,
    score: np.ndarray,
    candidate: Any,
) -> xr.Dataset:
    shape, dims = rows.shape, [str(d) for d in rows.dims]
    faint = np.where(score < _FAINT_SCORE, FAINT, 0).astype(np.int8)
    solved = solved._replace(flag=solved.flag | faint)
    out = lattice_variables(solved, lines.system, shape, dims, asked)
    units = attributes(asked.axis)["units"]
    data_units = str(array.attrs.get("units", "1"))
    area_units = units if data_units == "1" else f"{data_units} {units}"
    names = ("peak_position", "peak_fwhm", "peak_area", "peak_height")
    texts = ("Position", "Full width at half maximum", "Area", "Height")
    kinds = (units, units, area_units, data_units)
    for k, (name, text, unit) in enumerate(zip(names, texts, kinds, strict=True)):
        along = (*shape, found[0].shape[1])
        both = found[2 * k], found[2 * k + 1]
        out |= pair(name, *both, unit, text, along, [*dims, "reflection"])
    out |= pair(
        "lorentzian_share",
        found.share,
        found.share_error,
        "1",
        "Lorentzian share",
        (*shape, found[0].shape[1]),
        [*dims, "reflection"],
    )
    assert solved.used is not None
    used = solved.used.reshape(*shape, -1)
    out["reflection_used"] = label(
        xr.DataArray(used, dims=[*dims, "reflection"]),
        "reflection_used",
        units="1",
        long_name="The lattice goes by this position",
    )
    coords: dict[str, Any] = {str(k): v for k, v in rows.coords.items()}
    coords["reflection"] = (
        "reflection",
        lines.names,
        {"units": "1", "long_name": "Reflection"},
    )
    for i, letter in enumerate("hkl"):
        attrs = {"units": "1", "long_name": f"Index {letter}"}
        coords[letter] = ("reflection", lines.hkl[:, i], attrs)
    if asked.wavelength is not None:
        coords["wavelength"] = ((), asked.wavelength, attributes("wavelength"))
    result = xr.Dataset(out).assign_coords(coords)
    return inherit(
        result, array, system=lines.system, axis=asked.axis, offset=asked.offset
    )
