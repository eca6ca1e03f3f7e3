"""Fit lattice parameters along a series, from reflections fitted one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.diffraction.cells import Cell, Reflections, form_of
from batteryxr.xanes.diffraction.doubts import leaning, other_offset, tell
from batteryxr.xanes.diffraction.geometry import (
    Asked,
    asked_of,
    patterns_of,
    place,
    q_range_of,
)
from batteryxr.xanes.diffraction.phases import reflections
from batteryxr.xanes.diffraction.profiles import Positions, fit_positions
from batteryxr.xanes.diffraction.solved import FAINT, Solved, lattice_variables, pair
from batteryxr.xanes.diffraction.solving import solve
from batteryxr.xanes.diffraction.tracking import tracked
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

#: Distance, in widths, from which a neighbour does not disturb.
_APART = 1.8
#: Relative strength above which reflections disturb their neighbours.
_DISTURBS = 0.03
#: Summed signal to noise below which a lattice is not significant.
_FAINT_SCORE = 4.0
#: Distance, in widths, within which two reflections are one line.
_SAME = 0.5


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
    all scans, and their changes by a few ppm. Only `reference` tells. If all scans
    together show one of 100 ppm, or the divergence along the axis of the instrument,
    all are flagged ``error_may_exceed_100_ppm``.

    A second lattice less than 0.1 % away widens reflections as strain does, and counts
    do not tell it: lengths are then the mean of both.

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
        moved, seen = other_offset(asked, used, few, there, chosen=offset is not None)
        result["lattice_flag"].data |= np.int16(seen)
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
