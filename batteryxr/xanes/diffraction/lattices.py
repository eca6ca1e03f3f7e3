"""Fit lattice parameters along a series, from reflections fitted one by one."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.diffraction.cells import (
    FREE,
    Cell,
    Reflections,
    form_of,
    parameters,
)
from batteryxr.xanes.diffraction.doubts import (
    FAINT,
    FLAGS,
    MISFIT,
    MISSING,
    UNCHECKED,
    Solved,
    leaning,
    other_offset,
    tell,
    uncertain,
)
from batteryxr.xanes.diffraction.geometry import (
    Asked,
    asked_of,
    offset_slope,
    patterns_of,
    place,
    place_slope,
    q_range_of,
)
from batteryxr.xanes.diffraction.phases import reflections
from batteryxr.xanes.diffraction.profiles import Positions, fit_positions
from batteryxr.xanes.diffraction.tracking import drifting, tracked
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import Strain
    from batteryxr.core.crystals import Crystal
    from batteryxr.xanes.diffraction.geometry import Offset
    from batteryxr.xanes.diffraction.instrument import Diffractometer
    from batteryxr.xanes.spectra import Range

    Phase = str | os.PathLike[str] | Crystal | Cell

_NAMES = ("a", "b", "c", "alpha", "beta", "gamma", "volume")
_UNITS = ("Angstrom",) * 3 + ("deg",) * 3 + ("Angstrom3",)
#: Distance, in widths, from which a neighbour does not disturb.
_APART = 1.8
#: Ratio of chi2 to the usual one above which a foreign position is searched.
_FOREIGN = 4.0
#: Scans on each side that one foreign line may disturb.
_CROSSED = 6
#: Smallest eigenvalue at which the unknowns are distinguishable.
_SINGULAR = 1e-9
#: Relative strength above which reflections disturb their neighbours.
_DISTURBS = 0.03
#: Summed signal to noise below which a lattice is not significant.
_FAINT_SCORE = 4.0
#: Misfit, in standard deviations, above which reflections disagree.
_DISAGREE = 4.0
#: Misfit, in widths of the widest reflection, above which they disagree in any series.
_PART = 0.15
#: Distance, in widths, within which two reflections are one line; share of the usual
#: number of reflections below which a lattice is not checked by the others.
_SAME, _FEW = 0.5, 0.6


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

    *Reads once*. All reflections together first locate the lattice in each pattern.
    Each reflection is then fitted by a pseudo-Voigt, with its K-alpha doublet if the
    instrument has a tube. The positions give the lattice, and their offset.

    Parameters
    ----------
    spectra
        Patterns along two_theta, q or d, in any other dimensions.
    candidate
        Phase: a CIF, a crystal, or a `Cell` (system and lengths alone).
    peaks
        Indices (h, k, l) of the reflections to use; default: all isolated ones.
    instrument
        A `Diffractometer` with wavelength or tube; default: from the data.
    offset
        Offset of positions along two_theta, which is fitted too: "displacement" of the
        sample (by cos(theta); the default there), "zero" error of the angle, or "none"
        (the default along q and d).
    reference
        Internal standard of known lattice, whose reflections give the offset.
    limits
        Range of the axis to use, in units of the given patterns.
    strain
        Largest relative change of a length from `candidate` that is searched.

    Returns
    -------
    xarray.Dataset
        ``a``, ``b``, ``c``, ``alpha``, ``beta``, ``gamma`` if the system leaves them
        free, and ``volume``; the ``offset`` (deg for a zero error; for a displacement
        mm, or relative to the radius if that is unknown). Along ``reflection``:
        ``peak_position``, ``peak_fwhm``, ``peak_area``, ``peak_height``,
        ``lorentzian_share``. Each has ``_error``. ``lattice_misfit`` is the residual of
        positions in standard deviations. ``lattice_flag`` (bits) marks scans that may
        be wrong; ``reflection_used`` is false if a foreign line disturbs a position.
        ``offset_doubt`` is the relative change of lengths with the other kind of
        offset, instead of the fitted one or, if all scans together show it, beside it.

    Raises
    ------
    ArgumentError
        If the wavelength is unknown, or reflections in `peaks` are out of range.
    DataError
        If there are fewer isolated reflections than unknowns.

    Notes
    -----
    Reflections far from each other separate a displacement from the lattice. With few
    of them at low angles the errors are large. A zero error moves them nearly alike:
    0.05 deg beside a displacement, or taken for one, change lengths by about 150 ppm in
    all scans, and their changes by a few ppm. Only `reference` tells.

    Errors are those of counting, raised by what the positions leave: in weak patterns
    noise alone exceeds 100 ppm, which is flagged from 1.5 errors on.
    ``another_lattice_is_seen`` marks scans that also show a lattice found in other
    scans, as while two phases coexist;
    ``reflections_lean_to_one_side`` those whose reflections are no symmetric lines: a
    second lattice that is not resolved may lie under them, and move all lengths.

    Examples
    --------
    >>> from batteryxr.xanes import Cell, Diffractometer
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> patterns = batteryxr.read_series("samples/xrd/*.xrdml")
    >>> lattice = patterns.xanes.fit_lattice(
    ...     candidate=Cell("hexagonal", a=2.88, c=14.2, centring="R"),
    ...     instrument=Diffractometer(tube="Cu"),
    ... )
    >>> lattice["c"].dims
    ('scan',)
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
    lines = lines._replace(metric=np.median(track.metric, axis=0))
    used = _chosen(lines, standard, peaks, asked, width)
    start = place(track.metric, used.form, asked)
    found = fit_positions(x, y, start, widths, asked.doublet)
    found = Positions(*(np.where(_shared(found), np.nan, part) for part in found))
    known = None
    if standard is not None:
        alone = _alone(standard, lines, asked, width)
        if not alone.any():
            raise DataError(
                "reference", "has no reflection that stands alone", "Widen limits."
            )
        inner = standard.keep(alone)
        metric = np.repeat(inner.metric[None], len(y), axis=0)
        start = place(metric, inner.form, asked)
        known = inner, fit_positions(x, y, start, widths, asked.doublet)

    solved = solve(used, found, track.metric, asked, known)
    assert solved.used is not None
    faint = np.where(track.score < _FAINT_SCORE, FAINT, 0) | track.doubt
    faint |= leaning(found, solved.used, asked)
    solved = solved._replace(flag=(solved.flag | faint).astype(np.int16))
    result = _labelled(array, rows, asked, used, found, solved)
    if asked.shifts and known is None:
        some = np.unique(np.linspace(0, len(y) - 1, min(len(y), 60)).astype(int))
        few, there = Positions(*(part[some] for part in found)), track.metric[some]
        moved = other_offset(
            asked,
            lambda kind, off: solve(
                used, few._replace(position=few.position - off), there, kind, None
            ),
            few.position,
            chosen=offset is not None,
        )
        words = "Relative change of lengths with the other kind of offset"
        result["offset_doubt"] = label(
            xr.DataArray(moved), "offset_doubt", units="1", long_name=words
        )
    tell(result["lattice_flag"].values)
    return result


def _chosen(
    lines: Reflections,
    standard: Reflections | None,
    peaks: Any,
    asked: Asked,
    width: float,
) -> Reflections:
    """Return the reflections in `peaks`, or all isolated ones.

    Raises
    ------
    ArgumentError, DataError
        If they do not exist, or are too few.
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
            f"{used.form.shape[0]} stand alone ({', '.join(used.names)}); "
            f"{unknown} are needed, as many as unknowns",
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


def solve(
    lines: Reflections,
    found: Positions,
    start: np.ndarray,
    asked: Asked,
    known: tuple[Reflections, Positions] | None,
) -> Solved:
    """Solve positions for the lattice and the offset, for all patterns at once."""
    at, error, width = found.position, found.position_error, found.fwhm
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
        # Now scans with foreign lines also give their offset.
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
    # Errors of positions neglect asymmetry: the residuals show how much is missing.
    factor = np.where(degrees >= 3, np.maximum(usual, chi2 / 2.5), usual)
    covariance *= np.maximum(factor, 1.0)[:, None, None]
    misfit = np.sqrt(np.where(degrees > 0, chi2, np.nan))
    flag = np.where(enough, 0, MISSING)
    odd = misfit > _DISAGREE * np.sqrt(usual)
    odd |= (misfit > _DISAGREE) & (
        _typical(left, weight) > _PART * np.fmax.reduce(width, axis=1)
    )
    flag |= np.where(odd, MISFIT, 0)
    few = count < _FEW * float(np.median(count[enough])) if enough.any() else 0
    flag |= np.where(enough & ((degrees < 1) | few), UNCHECKED, 0)
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
        flag.astype(np.int16),
        weight[:, : lines.form.shape[0]] > 0,
    )


def _shared(found: Positions) -> np.ndarray:
    """Tell which reflections were found at the line of another one."""
    at, width = found.position, found.fwhm
    out = np.zeros(at.shape, bool)
    for k in range(at.shape[1]):
        with np.errstate(invalid="ignore"):
            same = np.abs(at - at[:, [k]]) < _SAME * np.fmax(width, width[:, [k]])
        same[:, k] = False
        out |= same
    return out


def _typical(left: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted root mean square of residuals (N, m)."""
    total = np.maximum(weight.sum(axis=1), 1e-300)
    return np.asarray(np.sqrt((left**2 * weight).sum(axis=1) / total))


def _chi2(
    left: np.ndarray, weight: np.ndarray, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return chi2 per degree of freedom, and the number of degrees of freedom."""
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
    """Drop one or two positions, taken as foreign lines, if the others then agree."""
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
    """Leave out positions that were dropped in several nearby scans.

    A crossing foreign line disturbs a run of scans. In some of them another position
    looks as odd by chance.
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
    """Return the usual chi2 per degree of freedom in a series.

    It is the median, or a low quantile if foreign lines may disturb most scans.
    """
    told = chi2[(degrees > 0) & np.isfinite(chi2)]
    if not told.size:
        return 1.0
    from scipy.stats import chi2 as distribution

    free = float(np.median(degrees[degrees > 0]))
    expected = distribution.ppf(share, free) / free
    return float(max(1.0, np.quantile(told, share) / expected))


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
    """Minimise the residuals of positions; return parameters, covariance, residuals.

    `prior` (2, N) is the expected offset, and its weight.
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
    """Return labelled lattice, offset, misfit and flags."""
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
    every = solved.flag | uncertain(values, errors)
    flag = xr.DataArray(every.reshape(shape), dims=dims)
    out["lattice_flag"] = label(
        flag, "lattice_flag", units="1", long_name="Quality of the lattice", **FLAGS
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
    """Return a labelled value and its error."""
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
) -> xr.Dataset:
    shape, dims = rows.shape, [str(d) for d in rows.dims]
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
