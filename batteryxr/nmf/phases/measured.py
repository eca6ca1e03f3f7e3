"""Read from a G(r), and from its header, how it was measured."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    DataError,
    DimensionError,
    UnitsError,
    warn_quality,
)
from batteryxr.core.labels import matched, require_monotonic
from batteryxr.core.units import affine, in_units, in_units_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.nmf.kernels.pattern_fit import Mixed

#: Names that headers use for each field of the instrument.
_CALLED = {
    "q_max": ("q_max", "qmax", "q_maximum"),
    "q_damp": ("q_damp", "qdamp"),
    "q_broad": ("q_broad", "qbroad"),
    "radiation": ("radiation", "mode", "scatteringtype", "stype", "rad_type"),
}
_NUMBERS = ("q_max", "q_damp", "q_broad")
#: Factor over the largest finite error that stands for an infinite one.
_UNKNOWN = 1e12
_RADIATION = {"x": "xray", "n": "neutron"}
#: Share of the errors given that the scatter of a good fit cannot be below.
_LEAST = 1 / 3
#: R_w beyond the noise above which structures explain too little; with the noise where
#: that is not known.
LOST = 0.1
#: Standard deviations by which residuals of one scan recur in those beside it.
RECURS = 5.0
#: The residual is no noise if one pattern holds this many times its share of noise, or
#: if it has this many times the squares of the noise; and what is told at all.
_ALIKE, MUCH, LITTLE = 2.5, 1.5, 0.005
#: Error of a ratio from which it is open.
_OPEN = 0.2
#: Q (1/Angstrom) that G(r) has hardly anything of.
_HIGH = 30.0
#: Units in headers that the units library does not know.
_PER = {"a-1": "1/Angstrom", "å-1": "1/Angstrom", "å^-1": "1/Angstrom"}


def told(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the facts on the instrument in attributes and their header."""
    header = attrs.get("header", "{}")
    try:
        entries = json.loads(header) if isinstance(header, str) else dict(header)
    except (ValueError, TypeError):
        entries = {}
    every = {_plain(k): v for k, v in entries.items()} | {
        _plain(k): v for k, v in attrs.items()
    }
    out: dict[str, Any] = {}
    for name, words in _CALLED.items():
        text = next((every[_plain(w)] for w in words if _plain(w) in every), None)
        if text is None:
            continue
        if name == "radiation":
            kind = _RADIATION.get(str(text).strip().lower()[:1])
            if kind is None and str(text).strip():
                warn_quality(
                    f"the header tells of {str(text).strip()!r}, for which nothing is "
                    "calculated here: the patterns are taken as those of X-rays."
                )
            out |= {name: kind} if kind else {}
            continue
        if (number := _per_angstrom(name, str(text))) is not None:
            out[name] = number
    return out


def of_scans(data: xr.DataArray) -> dict[str, Any]:
    """Return the facts on the instrument in coordinates; warn if scans differ in them.

    Headers that agree are attributes. A header that differs is a coordinate, of
    which the median counts, or the most frequent word.
    """
    out: dict[str, Any] = {}
    for name, coord in data.coords.items():
        word = _plain(name).removeprefix("header")
        field = next((f for f, w in _CALLED.items() if word in map(_plain, w)), "")
        if not field or coord.ndim > 1 or coord.dtype.kind not in "fiuUO":
            continue
        values, counts = np.unique(coord.values.astype(str), return_counts=True)
        if values.size > 1:
            shown = ", ".join(values[:5]) + (", ..." if values.size > 5 else "")
            warn_quality(
                f"{field} is not the same in all scans ({shown}): a phase has another "
                "pattern in each. Ratios may be off by that, and what is calculated "
                "takes the usual one. Transform all scans alike, or fit them apart."
            )
        if field == "radiation":
            out |= told({field: values[counts.argmax()]})
            continue
        units = str(coord.attrs.get("units", "1"))
        numbers = np.asarray(coord.values, dtype=np.float64)
        text = f"{np.nanmedian(numbers)} {'' if units == '1' else units}".strip()
        value = _per_angstrom(field, text)
        out |= {field: value} if value is not None and np.isfinite(value) else {}
    return out


def _per_angstrom(name: str, text: str) -> float | None:
    """Return a number of a header in 1/Angstrom, also the default unit.

    A unit that is not understood gives a warning, and the number is left out.
    """
    number, _, unit = text.strip().partition(" ")
    try:
        value = float(number)
    except ValueError:
        return None
    unit = unit.strip().strip("()[]")
    if not unit:
        return value
    try:
        factor, _ = affine(_PER.get(unit.lower(), unit), "1/Angstrom")
    except UnitsError:
        warn_quality(f"the header tells {name} in {unit!r}, which is not understood.")
        return None
    return value * factor


def instrument_of(data: xr.DataArray, given: PdfInstrument | None) -> PdfInstrument:
    """Return the instrument, given or read from the data; warn if facts are missing."""
    known = told(data.attrs) | of_scans(data)
    if given is not None:
        _tell_other(given, known)
        return given
    missing = [name for name in ("q_max", "q_damp") if name not in known]
    if missing:
        warn_quality(
            f"nothing tells {' and '.join(missing)} of these patterns: ripples and "
            "damping of the measurement go into size and misfit. Pass "
            "instrument=nmf.PdfInstrument(q_max=..., q_damp=...)."
        )
    try:
        return PdfInstrument(**known)
    except BatteryxrError as error:
        warn_quality(f"the header tells {known}, which cannot be: {error}")
        return PdfInstrument()


def patterns_of(data: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return patterns along an evenly spaced r in Angstrom.

    Raises
    ------
    DimensionError
        If the patterns have no such axis.
    """
    array = data["components"] if isinstance(data, xr.Dataset) else data
    if "r" not in array.dims or "r" not in array.coords:
        raise DimensionError(
            "Patterns along 'r' (Angstrom) are needed, with its values; found "
            f"{array.dims}. Only pair distribution functions are calculated here."
        )
    array = array.assign_coords(r=in_units(array["r"], "Angstrom", caller="identify"))
    steps = np.diff(array["r"].values)
    if steps.size < 10 or np.ptp(steps) > 1e-3 * abs(steps.mean()) or steps[0] <= 0:
        raise DimensionError(
            "Structures are fitted on evenly spaced, rising r; found steps from "
            f"{steps.min():.4g} to {steps.max():.4g}. Use `.interp(r=...)`."
        )
    if not array.chunks:
        _tell_too_fine(array)
    return array


def _tell_too_fine(patterns: xr.DataArray) -> None:
    """Warn if patterns change along r faster than any Q that is measured lets them.

    In white noise as much lies above half the largest Q of the grid as below: it is no
    sign of another unit.
    """
    step = float(np.diff(patterns["r"].values[:2])[0])
    values = np.nan_to_num(patterns.transpose(..., "r").values.astype(np.float64))
    power = np.abs(np.fft.rfft(np.diff(values, axis=-1))) ** 2
    # A difference raises the power by the square of Q.
    q = 2 * np.pi * np.fft.rfftfreq(values.shape[-1] - 1, step)
    power = power.reshape(-1, q.size).sum(axis=0)[1:] / q[1:] ** 2
    if not power.sum() > 0:
        return
    half, most = np.interp([0.5, 0.9], np.cumsum(power) / power.sum(), q[1:])
    if half > _HIGH and most < 0.5 * q[-1]:
        warn_quality(
            f"half of what is in G(r) oscillates with Q above {half:.3g} 1/Angstrom, "
            f"and nothing above {_HIGH:g} is measured. Was r in nm? Multiply it by 10: "
            "`.assign_coords(r=10 * data.r)`."
        )


def within(patterns: xr.DataArray, r_range: tuple[float, float] | None) -> xr.DataArray:
    """Return the patterns between two distances, without r = 0."""
    require_monotonic(patterns["r"], caller="identify")
    low, high = r_range or (0.0, math.inf)
    r = patterns["r"].values
    kept = patterns.isel(r=np.flatnonzero((r >= max(low, 1e-6)) & (r <= high)))
    if kept.sizes["r"] < 10:
        inside = bool(r[0] <= 0.01 * high <= 1.1 * r[-1])
        mend = f"Was it pm? Pass ({low / 100:g}, {high / 100:g})." if inside else ""
        raise ArgumentError(
            "r_range",
            r_range,
            f"distances between {r[0]:g} and {r[-1]:g} Angstrom",
            mend,
        )
    return kept


def deviations(
    errors: xr.DataArray | None,
    rows: xr.DataArray,
) -> np.ndarray | None:
    """Return errors as (patterns, points), all positive, or None.

    Raises
    ------
    DataError
        If a value is not possible.
    """
    if errors is None:
        return None
    near = matched(rows, in_units_of(rows, errors), argument="errors")
    wide = near.variable.set_dims(dict(rows.sizes)).transpose(*rows.dims)
    values = np.asarray(wide.values, dtype=np.float64).reshape(-1, rows.sizes["r"])
    measured = np.isfinite(rows.values.reshape(values.shape))
    wrong = ~(values >= 0) & measured
    if wrong.any():
        raise DataError(
            "errors",
            f"{int(wrong.sum())} of {wrong.size} values are negative or NaN where "
            f"there are data, such as {values[wrong][0]:g}",
            "Pass standard deviations.",
        )
    positive = (values > 0) & np.isfinite(values)
    if not positive.any():
        raise DataError("errors", "no value > 0; expected standard deviations")
    # A zero error (of a fixed component) would outweigh all other points.
    usual = np.median(values[positive])
    # An unknown value weighs nothing, but its model is still calculated.
    unknown = _UNKNOWN * values[positive].max()
    return np.where(positive, values, np.where(np.isinf(values), unknown, usual))


def tell_errors(rest: np.ndarray) -> None:
    """Warn if residuals over the errors that were given are too small for these."""
    level = float(np.sqrt(np.nanmedian(rest**2) / 0.455)) if rest.size else 1.0
    if level < _LEAST:
        warn_quality(
            f"the fit leaves {level:.2g} of the errors that were given: another unit, "
            "variances, or errors of other data? Errors of all parameters are larger "
            "than they should be by as much."
        )


def noise_of(x: np.ndarray, n: int, known: bool) -> float:
    """Return the noise of patterns (scans, points) over the errors given, or NaN.

    Without errors it is what a smooth series of n phases does not hold.
    """
    from batteryxr.nmf.kernels.noise import scatter

    found = scatter(x, n)
    return float(np.nanmax([found, 1.0])) if known else found


def _in_one(rest: np.ndarray) -> float:
    """Return the fraction of squared residuals in one pattern, relative to noise."""
    from batteryxr.nmf.kernels.noise import together

    s = np.linalg.svd(rest, compute_uv=False)
    scans, points = len(rest), rest.shape[1] / max(together(rest), 1.0)
    # The largest singular value of noise: Marchenko & Pastur, Sb. Math. 1, 457 (1967).
    noise = (1 + math.sqrt(scans / points)) ** 2 / scans
    return float(s[0] ** 2 / max(float((s**2).sum()), 1e-300)) / min(noise, 1.0)


def patterned(found: Mixed) -> bool:
    """Tell whether more than noise is left."""
    from batteryxr.nmf.kernels.noise import repeated

    recurs = repeated(found.rest)
    # Scans beside one another share their neighbours: they are half as many.
    many = float(recurs.sum()) > RECURS * math.sqrt(2 * recurs.size)
    return (many or _in_one(found.rest) > _ALIKE) and found.r_w > 2 * LITTLE


def tell_misfit(
    result: xr.Dataset, found: Mixed, noise: float, *, closure: bool
) -> None:
    """Warn of phases at a bound, and of a series that is poorly explained."""
    if bool(result["at_bound"].any()):
        names = result["component"].values[result["at_bound"].values]
        warn_quality(
            f"{', '.join(map(str, names))} ended at a bound of lattice, widths or "
            "occupancy (see at_bound): another structure, or nothing that is there."
        )
    off, times = float(result["r_w"].median()), 0.0
    lost = off > LOST
    if noise > 0:
        times = math.sqrt(float((found.rest**2).mean())) / noise
        lost = off**2 * (1 - 1 / max(times, 1.0) ** 2) > LOST**2
    alike = patterned(found)
    beyond = times**2 > MUCH and off > LITTLE
    if lost or alike or beyond:
        text = f", {times:.1f} times the noise of the series" if beyond else ""
        text += ", much of it one pattern" if alike else ""
        warn_quality(
            f"the structures leave {off:.1%} of the patterns (R_w){text}: a phase is "
            "missing, or changes in a way that is not among the parameters (a higher "
            "`degree`, `occupancy`)"
            + (", or intensities differ (closure=False)" if closure else "")
            + ". Ratios may be off by more than their errors."
        )


def tell_open(result: xr.Dataset, alike: list[tuple[int, int]]) -> None:
    """Warn of ratios that the patterns do not determine."""
    names = [str(name) for name in result["component"].values]
    for i, j in alike:
        warn_quality(
            f"{names[i]} or {names[j]} alone explains as much as both: the ratio "
            "between them is not determined. Leave one out, or narrow `strain`."
        )
    error = result["weights_error"].median(str(result["weights"].dims[0]))
    total = float(result["weights"].sum("component").median())
    apart = [n for pair in alike for n in pair]
    wide = [
        names[k] for k in np.flatnonzero(error.values > _OPEN * total) if k not in apart
    ]
    if wide:
        warn_quality(
            f"the ratios of {', '.join(wide)} have errors of {float(error.max()):.2g}: "
            "their patterns are too alike to tell them apart, or noise is too strong."
        )


def _tell_other(given: PdfInstrument, known: Mapping[str, Any]) -> None:
    """Warn if the header names facts that were not passed, or another radiation."""
    left_out = [n for n in _NUMBERS if n in known and not getattr(given, n)]
    if known.get("radiation", given.radiation) != given.radiation:
        left_out.append("radiation")
    if left_out:
        words = ", ".join(f"{name}={known[name]!r}" for name in left_out)
        warn_quality(
            f"the header tells {words}, the instrument that was passed does not: it "
            "goes as it was passed."
        )


def _plain(word: object) -> str:
    return str(word).strip().lower().replace("_", "").replace(" ", "")
