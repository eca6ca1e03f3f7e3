"""Peaks of dQ/dV fitted together, on a background, beside a hold of the voltage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import warn_quality
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.curves import Smoothing
from batteryxr.echem.cycling.peaks import peaks

if TYPE_CHECKING:
    from batteryxr.core.checks import Positive

#: Between the width of a logistic step and the half width of its derivative.
_HALF_WIDTH = 2.0 * float(np.arccosh(np.sqrt(2.0)))
_OF_PEAK = (
    ("position", "V", "Peak position"),
    ("width", "V", "Peak width at half height"),
    ("area", "charge", "Charge of the peak"),
)
_OF_CURVE = (
    ("background", "charge", "Charge of the background"),
    ("hold", "charge", "Charge of a hold at the last voltage"),
)


class _Curve(NamedTuple):
    """One curve, and how a sharp one would look in it."""

    v: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    bin: float
    charging: bool


@recorded
def fit_peaks(result: xr.Dataset, *, prominence: Positive | None = None) -> xr.Dataset:
    """Fit the peaks of dQ/dV curves, with what lies below and beside them.

    Reads once; the result is small and in memory.

    Each curve is a sum of peaks (derivatives of logistic steps, as of a reaction with
    a width), a straight background, and the charge of a hold at the last voltage, all
    seen through the smoothing of the curve. Overlapping peaks share the charge between
    them by their shapes, not at the minimum.

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
        with the areas to that of the curve, and ``residual``, the root mean square of
        what is left. Each with ``<name>_error``, one standard deviation, widened by
        what the shapes do not fit. NaN where no fit was found.

    Raises
    ------
    ArgumentError
        If `prominence` is not positive.
    DimensionError, VariableError
        If it is no result of `dqdv`.

    Warns
    -----
    DataQualityWarning
        If a curve could not be fitted.
    """
    require_variables(result, ("dqdv", "total_capacity"), caller="fit_peaks")
    require_dims(result, ("half_cycle", "voltage"), caller="fit_peaks")
    start = peaks(result, prominence=prominence)
    smooth, curves = Smoothing.from_attrs(result.attrs), result["dqdv"]
    v, charging = result["voltage"].values, result["direction"].values == "charge"
    rows = []
    for k, y in enumerate(curves.values):
        inside = np.isfinite(y)
        curve = _Curve(
            v[inside], y[inside], smooth.weights(), float(smooth.bin), bool(charging[k])
        )
        n = int(start["n_peaks"].values[k])
        first = [start[name].values[k, :n] for name in ("position", "width", "height")]
        rows.append(_fitted(curve, np.array(first).T, start.sizes["peak"]))
    if lost := sum(not np.isfinite(row[2]) for row in rows):
        warn_quality(f"fit_peaks: {lost} of {len(rows)} curves could not be fitted")
    return _labelled(result, start, rows)


def _model(curve: _Curve, p: np.ndarray) -> np.ndarray:
    """Return the curve of peaks, background and hold, through the smoother."""
    v = curve.v
    middle, span = 0.5 * (v[0] + v[-1]), v[-1] - v[0]
    sharp = p[0] + p[1] * (v - middle) / span
    # Peaks as differences of steps: their charge within a bin, however narrow.
    edges = np.append(v, v[-1] + curve.bin) - 0.5 * curve.bin
    for place, width, area in p[3:].reshape(-1, 3):
        steps = 0.5 * np.tanh(0.5 * (edges - place) / width)
        sharp = sharp + area * np.diff(steps) / curve.bin
    sharp[-1 if curve.charging else 0] += p[2] / curve.bin
    half = curve.weights.size // 2
    padded = np.pad(sharp, half, mode="symmetric")
    return np.convolve(padded, curve.weights, mode="valid")


def _fitted(
    curve: _Curve, first: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what is found, its errors, and what is left."""
    from scipy.optimize import least_squares

    size = 3 * most + len(_OF_CURVE)
    nothing = (np.full(size, np.nan), np.full(size, np.nan), np.nan)
    if curve.y.size < 3 * len(first) + 6:
        return nothing
    span, total = curve.v[-1] - curve.v[0], float(curve.y.sum()) * curve.bin
    level = float(np.percentile(curve.y, 5))
    begin = [level, 0.0, 0.0]
    for place, width, height in first:
        w = max(width, 2 * curve.bin) / _HALF_WIDTH
        begin += [place, w, max(height - level, 0.1 * height) * 4 * w]
    scale = np.array(
        [total / span, total / span, total, *[0.05, 0.02, total] * len(first)]
    )
    low = [-np.inf, -np.inf, 0.0, *[curve.v[0], 0.2 * curve.bin, 0.0] * len(first)]
    high = [np.inf, np.inf, np.inf, *[curve.v[-1], span, np.inf] * len(first)]
    starts = np.clip(begin, np.array(low) + 1e-12, high)

    def left(p: np.ndarray) -> np.ndarray:
        return (_model(curve, p) - curve.y) * (span / total)

    found = least_squares(left, starts, bounds=(low, high), x_scale=scale)
    if not found.success:
        return nothing
    return _summary(curve, found.x, found.jac, found.fun, most)


def _summary(
    curve: _Curve, p: np.ndarray, jacobian: np.ndarray, residual: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions, widths, areas, background and hold, with errors."""
    # Neighbours in a smoothed curve are not independent.
    r = residual
    lags = [float(r[k:] @ r[: r.size - k]) for k in range(1, r.size // 4)]
    positive = next((k for k, x in enumerate(lags) if x <= 0), len(lags))
    together = 1.0 + 2.0 * sum(lags[:positive]) / max(float(r @ r), 1e-300)
    variance = float(r @ r) / max(r.size - p.size, 1) * max(together, 1.0)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * variance
    span = curve.v[-1] - curve.v[0] + curve.bin
    gradient = np.zeros((3 * most + 2, p.size))
    order = np.argsort(p[3::3])
    for k, peak in enumerate(order):
        at = 3 + 3 * peak
        gradient[k, at], gradient[most + k, at + 1] = 1.0, _HALF_WIDTH
        gradient[2 * most + k, at + 2] = 1.0
    gradient[-2, 0], gradient[-1, 2] = span, 1.0
    values = gradient @ p
    errors = np.sqrt(np.einsum("ij,jk,ik->i", gradient, covariance, gradient))
    for block in range(3):
        empty = slice(block * most + order.size, (block + 1) * most)
        values[empty] = errors[empty] = np.nan
    rms = float(np.sqrt(np.mean((_model(curve, p) - curve.y) ** 2)))
    return values, errors, rms


def _labelled(
    result: xr.Dataset,
    start: xr.Dataset,
    rows: list[tuple[np.ndarray, np.ndarray, float]],
) -> xr.Dataset:
    most = start.sizes["peak"]
    size = 3 * most + len(_OF_CURVE)
    values = np.reshape([row[0] for row in rows], (len(rows), size))
    errors = np.reshape([row[1] for row in rows], (len(rows), size))
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
    variables["residual"] = ("half_cycle", np.array([r[2] for r in rows]), about)
    return xr.Dataset(variables).assign_coords(start.coords)
