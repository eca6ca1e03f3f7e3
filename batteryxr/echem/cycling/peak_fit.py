"""Peaks of dQ/dV fitted together, on a background, beside a hold of the voltage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import warn_quality
from batteryxr.core.labels import require_monotonic
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.curves import Smoothing
from batteryxr.echem.cycling.peaks import peaks
from batteryxr.echem.kernels.peak_shapes import (
    BEFORE,
    HOLD,
    LEVEL,
    PLACE,
    SHAPES,
    Curve,
    Fit,
    fit,
)

if TYPE_CHECKING:
    from batteryxr.core.checks import Positive

_OF_PEAK = (
    ("position", "V", "Peak position"),
    ("width", "V", "Peak width at half height"),
    ("area", "charge", "Charge of the peak"),
)
_OF_CURVE = (
    ("background", "charge", "Charge of the background"),
    ("hold", "charge", "Charge of a hold at the last voltage"),
)


#: Bits of ``flag``: what is odd about a curve.
NOT_FITTED, MISFIT = 1, 2
_FLAGS = {"flag_masks": [NOT_FITTED, MISFIT], "flag_meanings": "not_fitted misfit"}
#: Of the charge, what the shapes may miss beyond the noise before it is told.
_MISSED = 0.01


class _Row(NamedTuple):
    """What is found of one curve."""

    values: np.ndarray
    errors: np.ndarray
    rms: float
    shape: str
    flag: int


@recorded
def fit_peaks(result: xr.Dataset, *, prominence: Positive | None = None) -> xr.Dataset:
    """Fit the peaks of dQ/dV curves, with what lies below and beside them.

    Reads once; the result is small and in memory.

    Each curve is a sum of peaks, a straight background, and the charge of a hold at
    the last voltage, all seen through the smoothing of the curve. Overlapping peaks
    share the charge between them by their shapes, not at the minimum. Peaks of three
    shapes are tried, logistic, Gaussian and Lorentzian; the one that fits best is
    given. What the others say otherwise is part of the errors, as far as the curve
    does not tell between them. The area of a peak includes what of it lies beyond the
    ends of the curve.

    Parameters
    ----------
    result
        Result of `dqdv`.
    prominence
        Peaks to start from; see `peaks`.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``peak``): ``position``, ``width`` (at half height) and
        ``area``; on ``half_cycle``: ``background`` and ``hold``, charges that add up
        with the areas to that of the curve; ``shape``; and ``residual``, the root mean
        square of what is left. Each with ``<name>_error``, one standard deviation,
        widened by what the shapes do not fit. ``flag`` tells where no fit was found
        (NaN), and where more than 1 % of the charge lies otherwise than the peaks
        have it: there are more of them than tops in the curve, or they have another
        shape, and no area can be trusted beyond its error.

    Raises
    ------
    ArgumentError
        If `prominence` is not positive.
    DimensionError, VariableError
        If it is no result of `dqdv`.

    Warns
    -----
    DataQualityWarning
        If a curve could not be fitted, or is flagged.
    """
    require_variables(result, ("dqdv", "total_capacity"), caller="fit_peaks")
    require_dims(result, ("half_cycle", "voltage"), caller="fit_peaks")
    if "voltage" in result.coords:
        require_monotonic(result["voltage"], caller="fit_peaks")
    start = peaks(result, prominence=prominence)
    smooth, curves = Smoothing.from_attrs(result.attrs), result["dqdv"]
    v, charging = result["voltage"].values, result["direction"].values == "charge"
    noise, step = result["voltage_noise"].values, result["charge_step"].values
    rows = []
    for k, y in enumerate(curves.values):
        inside = np.isfinite(y)
        curve = Curve(
            v[inside],
            y[inside],
            smooth.weights(),
            float(smooth.bin),
            bool(charging[k]),
            float(np.nan_to_num(noise[k])),
            float(np.nan_to_num(step[k])),
        )
        n = int(start["n_peaks"].values[k])
        first = [start[name].values[k, :n] for name in ("position", "width", "height")]
        rows.append(_row(curve, np.array(first).T, start.sizes["peak"]))
    if lost := sum(row.flag == NOT_FITTED for row in rows):
        warn_quality(f"fit_peaks: {lost} of {len(rows)} curves could not be fitted")
    if odd := sum(row.flag == MISFIT for row in rows):
        warn_quality(
            f"fit_peaks: in {odd} of {len(rows)} curves more than {_MISSED:.0%} of the "
            "charge lies otherwise than the peaks have it: some may be two, or of "
            "another shape. Look at ['flag'], or pass a smaller prominence=, or to "
            "dqdv a smaller smoothing="
        )
    return _labelled(result, start, rows)


def _row(curve: Curve, first: np.ndarray, most: int) -> _Row:
    """Return what the shapes say of a curve, together."""
    nothing = np.full(3 * most + len(_OF_CURVE), np.nan)
    fits = {}
    if curve.y.size >= 3 * len(first) + 7:
        for shape in SHAPES if len(first) else ("logistic",):
            if (found := fit(curve, shape, first)) is not None:
                fits[shape] = found
    if not fits:
        return _Row(nothing, nothing, np.nan, "", NOT_FITTED)
    shape = min(fits, key=lambda name: fits[name].rms)
    best = fits[shape]
    values, errors = _summary(curve, best, most)
    variance = errors**2
    for other in fits.values():
        # Of shapes between which the curve hardly tells, each may be the right one.
        worse = np.log(max(other.rms, 1e-300) / max(best.rms, 1e-300))
        likely = np.exp(-best.independent * worse)
        variance += likely * (_summary(curve, other, most)[0] - values) ** 2
    charge = float(np.abs(curve.y).sum()) * curve.bin
    flag = MISFIT if best.misfit > _MISSED * charge else 0
    return _Row(values, np.sqrt(variance), best.rms, shape, flag)


def _summary(curve: Curve, found: Fit, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions, widths, areas, background and hold, with errors."""
    p = found.p
    span = curve.v[-1] - curve.v[0] + curve.bin - p[PLACE]
    gradient = np.zeros((3 * most + len(_OF_CURVE), p.size))
    order = np.argsort(p[BEFORE::3])
    for k, peak in enumerate(order):
        for block in range(3):
            gradient[block * most + k, BEFORE + 3 * peak + block] = 1.0
    gradient[-2, LEVEL], gradient[-1, HOLD] = span, 1.0
    values = gradient @ p
    errors = np.sqrt(np.einsum("ij,jk,ik->i", gradient, found.covariance, gradient))
    for block in range(3):
        empty = slice(block * most + order.size, (block + 1) * most)
        values[empty] = errors[empty] = np.nan
    return values, errors


def _labelled(
    result: xr.Dataset,
    start: xr.Dataset,
    rows: list[_Row],
) -> xr.Dataset:
    most = start.sizes["peak"]
    size = 3 * most + len(_OF_CURVE)
    values = np.reshape([row.values for row in rows], (len(rows), size))
    errors = np.reshape([row.errors for row in rows], (len(rows), size))
    units = {"V": "V", "charge": result["total_capacity"].attrs["units"]}
    variables: dict[str, Any] = {}
    for k, (name, kind, words) in enumerate((*_OF_PEAK, *_OF_CURVE)):
        peak = k < len(_OF_PEAK)
        at: Any = slice(k * most, (k + 1) * most) if peak else 3 * most + k - 3
        dims = ("half_cycle", "peak") if peak else ("half_cycle",)
        about = {"units": units[kind], "long_name": words}
        variables[name] = (dims, values[:, at], about)
        about = about | {"long_name": f"{words}, one sd"}
        variables[f"{name}_error"] = (dims, errors[:, at], about)
    about = {"units": result["dqdv"].attrs["units"], "long_name": "What is left, rms"}
    variables["residual"] = ("half_cycle", np.array([row.rms for row in rows]), about)
    shapes = np.array([row.shape for row in rows], "U10")
    variables["shape"] = ("half_cycle", shapes, {"long_name": "Shape of the peaks"})
    flag = np.array([row.flag for row in rows], np.int16)
    about = {"units": "1", "long_name": "What is odd"} | _FLAGS
    variables["flag"] = ("half_cycle", flag, about)
    return xr.Dataset(variables).assign_coords(start.coords)
