"""Fit the peaks of dQ/dV together, with a background and a voltage hold.

The shape of the peaks is not known beforehand. A reaction with an intrinsic width gives
the derivative of a logistic step, disorder a Gaussian, wide tails a Lorentzian. All
three are fitted. Their differences are part of the errors, unless the curve favours
one of them.
"""

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

if TYPE_CHECKING:
    from collections.abc import Callable

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
#: Bits of ``flag``: why a curve is odd.
NOT_FITTED, MISFIT = 1, 2
_FLAGS = {"flag_masks": [NOT_FITTED, MISFIT], "flag_meanings": "not_fitted misfit"}
#: Fraction of the charge that may be misfitted beyond the noise before it is flagged.
_MISSED = 0.01
#: Parameters before those of the peaks: level, its slope, charge and place of a hold.
_LEVEL, _RISE, _HOLD, _PLACE, _BEFORE = 0, 1, 2, 3, 4


class _Row(NamedTuple):
    """Hold the fit results of one curve."""

    values: np.ndarray
    errors: np.ndarray
    rms: float
    shape: str
    flag: int


@recorded
def fit_peaks(result: xr.Dataset, *, prominence: Positive | None = None) -> xr.Dataset:
    """Fit the peaks of dQ/dV curves, with a background and a voltage hold.

    Reads once; the result is small and in memory.

    Each curve is a sum of peaks, a straight background, and the charge of a hold at
    the last voltage, all smoothed like the curve. Overlapping peaks share the charge
    by their shapes, not at the minimum. Logistic, Gaussian and Lorentzian peaks are
    tried, and the best fit is given. Differences between shapes are part of the
    errors, unless the curve favours one. The area of a peak includes its parts beyond
    the ends of the curve.

    Parameters
    ----------
    result
        Result of `dqdv`.
    prominence
        Prominence of the initial peaks; see `peaks`.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``peak``): ``position``, ``width`` (at half height) and
        ``area``; on ``half_cycle``: ``background`` and ``hold``, charges that add up
        with the areas to that of the curve; ``shape``; and ``residual``, the root mean
        square residual. Each has ``<name>_error``, one standard deviation, widened by
        the misfit. ``flag`` marks curves without a fit (NaN), and curves with more
        than 1 % of the charge misfitted. These have more peaks than tops, or peaks of
        another shape, so areas are uncertain beyond their errors.

    Raises
    ------
    ArgumentError
        If `prominence` is not positive.
    DimensionError, VariableError
        If the input is no result of `dqdv`.

    Warns
    -----
    DataQualityWarning
        If a curve could not be fitted, or is flagged.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> peaks = record.echem.dqdv(mass=7.0).echem.fit_peaks()
    >>> peaks["position"].dims
    ('half_cycle', 'peak')
    """
    require_variables(result, ("dqdv", "total_capacity"), caller="fit_peaks")
    require_dims(result, ("half_cycle", "voltage"), caller="fit_peaks")
    if "voltage" in result.coords:
        require_monotonic(result["voltage"], caller="fit_peaks")
        result = result.sortby("voltage")
    start = peaks(result, prominence=prominence)
    smooth, curves = Smoothing.from_attrs(result.attrs), result["dqdv"]
    v, charging = result["voltage"].values, result["direction"].values == "charge"
    noise, step = result["voltage_noise"].values, result["charge_step"].values
    rows = []
    for k, y in enumerate(curves.values):
        inside = np.isfinite(y)
        curve = _Curve(
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


def _row(curve: _Curve, first: np.ndarray, most: int) -> _Row:
    """Return the combined results of all shapes for a curve."""
    nothing = np.full(3 * most + len(_OF_CURVE), np.nan)
    fits = {}
    if curve.y.size >= 3 * len(first) + 7:
        for shape in _SHAPES if len(first) else ("logistic",):
            if (found := _fit_shape(curve, shape, first)) is not None:
                fits[shape] = found
    if not fits:
        return _Row(nothing, nothing, np.nan, "", NOT_FITTED)
    shape = min(fits, key=lambda name: fits[name].rms)
    best = fits[shape]
    values, errors = _summary(curve, best, most)
    variance = errors**2
    for other in fits.values():
        # Shapes that fit about as well may each be the right one.
        worse = np.log(max(other.rms, 1e-300) / max(best.rms, 1e-300))
        likely = np.exp(-best.independent * worse)
        variance += likely * (_summary(curve, other, most)[0] - values) ** 2
    charge = float(np.abs(curve.y).sum()) * curve.bin
    flag = MISFIT if best.misfit > _MISSED * charge else 0
    return _Row(values, np.sqrt(variance), best.rms, shape, flag)


def _summary(
    curve: _Curve, found: _ShapeFit, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions, widths, areas, background and hold, with errors."""
    p = found.p
    span = curve.v[-1] - curve.v[0] + curve.bin - p[_PLACE]
    gradient = np.zeros((3 * most + len(_OF_CURVE), p.size))
    order = np.argsort(p[_BEFORE::3])
    for k, peak in enumerate(order):
        for block in range(3):
            gradient[block * most + k, _BEFORE + 3 * peak + block] = 1.0
    gradient[-2, _LEVEL], gradient[-1, _HOLD] = span, 1.0
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


def _gaussian(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return np.asarray(erf(2.0 * np.sqrt(np.log(2.0)) * x))


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.tanh(2.0 * np.arccosh(np.sqrt(2.0)) * x)


def _lorentzian(x: np.ndarray) -> np.ndarray:
    return 2.0 / np.pi * np.arctan(2.0 * x)


#: Twice the charge from a peak's centre on, by distance over width at half height.
_SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logistic": _logistic,
    "gaussian": _gaussian,
    "lorentzian": _lorentzian,
}


class _Curve(NamedTuple):
    """Hold one curve, and the properties of its smoothing."""

    v: np.ndarray  # (bins,) V
    y: np.ndarray  # (bins,) charge per V
    weights: np.ndarray  # of the smoother
    bin: float  # V
    charging: bool
    noise: float  # of one voltage, V
    step: float  # charge per row


class _ShapeFit(NamedTuple):
    """Hold the parameters of a fit, their covariance, and the quality of the fit."""

    p: np.ndarray
    covariance: np.ndarray
    rms: float
    misfit: float  # charge difference between curve and fit, beyond the noise
    independent: float  # approximate number of independent points


def _model(curve: _Curve, shape: str, p: np.ndarray) -> np.ndarray:
    """Return the smoothed curve of peaks, background and hold."""
    v, step = curve.v, _SHAPES[shape]
    middle, span = 0.5 * (v[0] + v[-1]), v[-1] - v[0]
    sharp = p[_LEVEL] + p[_RISE] * (v - middle) / span
    # Peaks are differences of steps: right for the charge in a bin at any width.
    edges = np.append(v, v[-1] + curve.bin) - 0.5 * curve.bin
    for place, width, area in p[_BEFORE:].reshape(-1, 3):
        steps = 0.5 * step((edges - place) / width)
        sharp = sharp + area * np.diff(steps) / curve.bin
    # A hold is as wide as the noise, which also sets how far the curve reaches.
    end = v[-1] - p[_PLACE] if curve.charging else v[0] + p[_PLACE]
    width = 2.3548 * max(curve.noise, 0.3 * curve.bin)
    steps = 0.5 * _gaussian((edges - end) / width)
    steps[0], steps[-1] = -0.5, 0.5  # all of it lies within the curve
    behind = 0.5 + 0.5 * (steps[1:] + steps[:-1])
    sharp = sharp * (1.0 - behind if curve.charging else behind)
    sharp = sharp + p[_HOLD] * np.diff(steps) / curve.bin
    return _smoothed(sharp, curve.weights)


def _smoothed(sharp: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return a smoothed array, mirrored at its ends."""
    padded = np.pad(sharp, weights.size // 2, mode="symmetric")
    return np.convolve(padded, weights, mode="valid")


def _fit_shape(curve: _Curve, shape: str, first: np.ndarray) -> _ShapeFit | None:
    """Fit peaks of one shape; `first` has (peaks, 3) places, widths and heights."""
    from scipy.optimize import least_squares

    span, total = curve.v[-1] - curve.v[0], float(curve.y.sum()) * curve.bin
    level = float(np.percentile(curve.y, 5))
    reach = _reach(curve)
    begin = [level, 0.0, 0.0, 0.5 * reach]
    for place, width, height in first:
        w = max(width, 2 * curve.bin)
        begin += [place, w, max(height - level, 0.1 * height) * 1.1 * w]
    scale = np.array(
        [total / span, total / span, total, reach, *[0.05, 0.04, total] * len(first)]
    )
    each = [curve.v[0], 0.4 * curve.bin, 0.0] * len(first)
    low = [-np.inf, -np.inf, 0.0, 0.0, *each]
    high = [np.inf, np.inf, np.inf, reach]
    high += [curve.v[-1], 2.0 * span, np.inf] * len(first)
    starts = np.clip(begin, np.array(low) + 1e-12, high)

    def left(p: np.ndarray) -> np.ndarray:
        return (_model(curve, shape, p) - curve.y) * (span / total)

    found = least_squares(left, starts, bounds=(low, high), x_scale=scale)
    if not found.success:
        return None
    return _judged(curve, found.x, found.jac * (total / span), -left(found.x))


def _judged(
    curve: _Curve, p: np.ndarray, jacobian: np.ndarray, left: np.ndarray
) -> _ShapeFit:
    """Return a fit with its covariance, from the noise and the residual."""
    r = left * float(curve.y.sum()) * curve.bin / (curve.v[-1] - curve.v[0])
    inverse = _inverse(jacobian)
    noise = _of_noise(curve, inverse)
    unsure = 0.5 * _reach(curve)
    if noise[_PLACE, _PLACE] > unsure**2:
        # Without a hold, the end of the curve within its last bins is uncertain.
        jacobian = jacobian.copy()
        jacobian[:, _PLACE] = 0.0
        inverse = _inverse(jacobian)
        noise = _of_noise(curve, inverse)
        noise[_HOLD, _HOLD] += (
            unsure * float(np.abs(curve.y[-1 if curve.charging else 0]))
        ) ** 2
    expected = _noise_squares(curve)
    squares, size = float(r @ r), max(r.size - p.size, 1)
    # Neighbouring points of a smoothed curve are not independent.
    lags = [float(r[k:] @ r[: r.size - k]) for k in range(1, r.size // 4)]
    positive = next((k for k, x in enumerate(lags) if x <= 0), len(lags))
    together = max(1.0 + 2.0 * sum(lags[:positive]) / max(squares, 1e-300), 1.0)
    excess = max(squares - expected, 0.0)
    covariance = noise + inverse @ inverse.T * (excess / size * together)
    share = np.sqrt(excess / squares) if squares > 0 else 0.0
    rms = float(np.sqrt(squares / r.size))
    misfit = float(np.abs(r).sum() * curve.bin * share)
    return _ShapeFit(p, covariance, rms, misfit, r.size / together)


def _inverse(jacobian: np.ndarray) -> np.ndarray:
    scale = np.linalg.norm(jacobian, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.linalg.pinv(jacobian / scale, rcond=1e-8) / scale[:, None])


def _reach(curve: _Curve) -> float:
    """Return how far noise may move the end of a curve (V)."""
    return 6.0 * curve.noise + 2.0 * curve.bin


def _of_noise(curve: _Curve, functionals: np.ndarray) -> np.ndarray:
    """Return the covariance of functionals of the curve from noise of the voltage.

    Noise moves charge between bins. It is white in the integral of the sharp curve,
    and grows with the square root of the height.
    """
    half = curve.weights.size // 2
    wide = np.pad(functionals, ((0, 0), (half, half)))
    through = np.array([np.convolve(f, curve.weights, "same") for f in wide])
    through = through[:, half : half + curve.y.size]
    moved = np.diff(through, axis=1, append=through[:, -1:])
    variance = curve.noise**2 * curve.step * np.abs(curve.y) / curve.bin**3
    covariance = (moved * variance) @ moved.T
    # Charge comes in steps of a row: a peak begins anywhere within one.
    charges = [_HOLD, *range(_BEFORE + 2, len(covariance), 3)]
    covariance[charges, charges] += curve.step**2 / 12.0
    return np.asarray(covariance)


def _noise_squares(curve: _Curve) -> float:
    """Return the sum of squares that noise alone adds to the curve."""
    rough = float((np.diff(np.pad(curve.weights, 1)) ** 2).sum())
    variance = curve.noise**2 * curve.step * np.abs(curve.y) / curve.bin**3
    return float(variance.sum()) * rough
