"""Degradation modes from slow charges of a full cell and curves of its electrodes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.blocks import compute
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELECTRODES = ("cathode", "anode")
#: Points that a curve has at least.
_LEAST = 20
#: Name, units and words of what each curve gives.
_OF_EACH = (
    ("cathode_capacity", "mA h", "Capacity of the cathode"),
    ("anode_capacity", "mA h", "Capacity of the anode"),
    ("cathode_content", "1", "Content of the cathode at the beginning"),
    ("anode_content", "1", "Content of the anode at the beginning"),
    ("cathode_content_end", "1", "Content of the cathode at the end"),
    ("anode_content_end", "1", "Content of the anode at the end"),
    ("lithium", "mA h", "Lithium that can move"),
)
#: Loss -> what is lost.
_LOSSES = {
    "lli": ("lithium", "Loss of lithium"),
    "lam_cathode": ("cathode_capacity", "Loss of cathode"),
    "lam_anode": ("anode_capacity", "Loss of anode"),
}
#: What is fitted: capacities of cathode and anode, and their contents at the beginning.
_PARAMETERS = ("cathode_capacity", "anode_capacity", "cathode_content", "anode_content")
#: Sizes of electrodes against the cell's capacity, and contents, to begin with.
_SIZES = (1.0, 1.1, 1.25, 1.45, 1.7, 2.0)
_FULL = (1.0, 0.95, 0.88, 0.8, 0.7, 0.6)
_EMPTY = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
#: Points of a curve that tell good starts from bad ones, and starts that are tried.
_LOOKED_AT, _TRIED = 24, 5
#: How steep a half cell is taken to be beyond what was measured (V for all of it).
_BEYOND = 50.0


@recorded
def degradation_modes(
    data: xr.DataArray, *, standards: Mapping[str, xr.DataArray]
) -> xr.Dataset:
    """Return what a full cell has lost, from slow charges and half-cell curves.

    Reads once. The voltage of the cell is that of its cathode less that of its anode;
    how large each is and where it begins is fitted to every curve (Dubarry et al., J.
    Power Sources 219, 204 (2012)).

    Parameters
    ----------
    data
        Voltage (V) along ``capacity`` (mA h, rising from the discharged state) of
        slow charges, and along one more dimension, the state: ``cycle``, say. The
        first is what the others are compared with. NaN where a curve has ended.
    standards
        "cathode" and "anode" -> voltage (V) along ``li_content``, of a half cell of
        the electrode: from 0 (nothing that can move is left) to 1 (full).

    Returns
    -------
    xarray.Dataset
        For each curve ``lli`` (loss of lithium), ``lam_cathode`` and ``lam_anode``
        (losses of active material), as fractions; ``cathode_capacity``,
        ``anode_capacity`` and ``lithium`` (mA h); ``cathode_content``,
        ``anode_content`` and ``..._end``, the limits between which each works; each
        with ``<name>_error``, one standard deviation, widened by what the curves do
        not fit. ``fitted`` (V) and ``residual`` (V, root mean square).

    Raises
    ------
    ArgumentError
        If a curve of an electrode is missing, or is none.
    DataError
        If a curve has fewer than 20 points.
    DimensionError, UnitsError
        If something is missing.

    Warns
    -----
    DataQualityWarning
        If curves leave more than 20 mV: the half cells are not of these electrodes.

    Examples
    --------
    ::

        curves = xr.concat([slow.sel(cycle=1), slow.sel(cycle=200)], dim="cycle")
        losses = curves.echem.degradation_modes(standards={"cathode": a, "anode": b})
        losses[["lli", "lam_cathode", "lam_anode"]]
    """
    require_dims(data, ("capacity",), caller="degradation_modes")
    cathode, anode = (_half_cell(standards, name) for name in _ELECTRODES)
    others = [str(d) for d in data.dims if d != "capacity"]
    if len(others) > 1:
        raise DataError("data", f"has the dimensions {others}", "Select one of them.")
    dim = others[0] if others else "state"
    array = data if others else data.expand_dims("state")
    (array,) = compute(array.transpose(dim, "capacity"))
    volts = in_units(array, "V", caller="degradation_modes").values.astype(float)
    capacity = in_units(array["capacity"], "mA h", caller="degradation_modes").values
    if not (np.diff(capacity) > 0).all():
        raise DataError(
            "capacity", "does not rise", "Sort it: data.sortby('capacity')."
        )
    rows = []
    fitted = np.full(volts.shape, np.nan)
    for k, curve in enumerate(volts):
        there = np.isfinite(curve)
        if there.sum() < _LEAST:
            raise DataError("data", f"curve {k + 1} has only {there.sum()} points", "")
        found = _balance(capacity[there], curve[there], cathode, anode)
        fitted[k, there] = found.fitted
        rows.append(_summary(found.values, found.covariance, np.ptp(capacity[there])))
    residual = np.sqrt(np.nanmean((fitted - volts) ** 2, axis=1))
    if (residual > 0.02).any():
        warn_quality(
            f"degradation_modes: {int((residual > 0.02).sum())} of {residual.size} "
            "curves leave more than 20 mV: are the half cells of these electrodes?"
        )
    values, errors = (np.array(c) for c in zip(*rows, strict=True))
    result = _labelled(dim, values, errors)
    about = {"units": "V", "long_name": "Fitted voltage"}
    result["fitted"] = (dim, "capacity"), fitted, about
    result["residual"] = dim, residual, {"units": "V", "long_name": "What is left, rms"}
    return result.assign_coords(array.coords)


def _half_cell(standards: Mapping[str, xr.DataArray], name: str) -> _HalfCell:
    curve = standards.get(name)
    expected = f"a curve {name!r}: voltage along 'li_content', from 0 to 1"
    if not isinstance(curve, xr.DataArray) or curve.dims != ("li_content",):
        raise ArgumentError("standards", sorted(standards), expected)
    curve = curve.dropna("li_content").sortby("li_content")
    x = curve["li_content"].values.astype(float)
    if x.size < 5 or x[0] < -0.05 or x[-1] > 1.05 or not (np.diff(x) > 0).all():
        raise ArgumentError("standards", f"{name} from {x[:1]} to {x[-1:]}", expected)
    volts = in_units(curve, "V", caller="degradation_modes").values.astype(float)
    return _HalfCell(x, volts)


def _summary(
    values: np.ndarray, covariance: np.ndarray, span: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_OF_EACH` names, and the errors."""
    cathode, anode, y, x = values
    numbers = np.array(
        [cathode, anode, y, x, y - span / cathode, x + span / anode,
         cathode * y + anode * x]
    )  # fmt: skip
    gradient = np.zeros((len(_OF_EACH), len(_PARAMETERS)))
    gradient[range(4), range(4)] = 1.0
    gradient[4, [0, 2]] = span / cathode**2, 1.0
    gradient[5, [1, 3]] = -span / anode**2, 1.0
    gradient[6] = y, x, cathode, anode
    spread = np.einsum("ij,jk,ik->i", gradient, covariance, gradient)
    return numbers, np.sqrt(np.maximum(spread, 0.0))


def _labelled(dim: str, values: np.ndarray, errors: np.ndarray) -> xr.Dataset:
    variables: dict[str, Any] = {}
    names = [name for name, _, _ in _OF_EACH]
    for loss, (name, words) in _LOSSES.items():
        k = names.index(name)
        now, first = values[:, k], values[0, k]
        of_now, of_first = errors[:, k] / first, errors[0, k] * now / first**2
        about = {"units": "1", "long_name": words}
        variables[loss] = dim, 1.0 - now / first, about
        error = np.hypot(of_now, of_first)
        error[0] = 0.0  # compared with itself
        about = {"units": "1", "long_name": f"{words}, one sd"}
        variables[f"{loss}_error"] = dim, error, about
    for k, (name, units, words) in enumerate(_OF_EACH):
        variables[name] = dim, values[:, k], {"units": units, "long_name": words}
        about = {"units": units, "long_name": f"{words}, one sd"}
        variables[f"{name}_error"] = dim, errors[:, k], about
    return xr.Dataset(variables)


class _HalfCell(NamedTuple):
    """Voltage (V) of an electrode against its content, which rises."""

    content: np.ndarray
    voltage: np.ndarray

    def at(self, content: np.ndarray) -> np.ndarray:
        """Return the voltage; beyond the curve it falls steeply, as a cell's does."""
        inside = np.clip(content, self.content[0], self.content[-1])
        over = content - inside
        return np.interp(inside, self.content, self.voltage) - _BEYOND * over


class _Balance(NamedTuple):
    """Parameters in the order of `_PARAMETERS`, their covariance, and the curve."""

    values: np.ndarray
    covariance: np.ndarray
    fitted: np.ndarray


def _balance(
    capacity: np.ndarray, volts: np.ndarray, cathode: _HalfCell, anode: _HalfCell
) -> _Balance:
    """Fit the electrodes of a full cell to a charge of it.

    Parameters
    ----------
    capacity
        (points,) mA h; the first is where the charge begins.
    volts
        (points,) of the cell.
    cathode, anode
        Half cells.
    """
    from scipy.optimize import least_squares

    span = float(np.ptp(capacity))
    charge = (capacity - capacity[0]) / span
    # Where rows crowd (at the ends) they count no more than elsewhere.
    weight = np.sqrt(np.gradient(charge) * charge.size)

    def model(p: np.ndarray) -> np.ndarray:
        p = np.asarray(p)
        y = p[..., 2, None] - charge / p[..., 0, None]
        x = p[..., 3, None] + charge / p[..., 1, None]
        return cathode.at(y) - anode.at(x)

    def left(p: np.ndarray) -> np.ndarray:
        return (model(p) - volts) * weight

    low, high = [0.7, 0.7, 0.0, -0.05], [10.0, 10.0, 1.05, 1.0]
    results = [
        least_squares(left, start, bounds=(low, high), x_scale=[0.1, 0.1, 0.02, 0.02])
        for start in _starts(charge, volts, cathode, anode)
    ]
    best = min(results, key=lambda r: float(r.cost))
    spread = _covariance(best.jac, best.fun)
    scale = np.array([span, span, 1.0, 1.0])
    return _Balance(best.x * scale, spread * np.outer(scale, scale), model(best.x))


def _starts(
    charge: np.ndarray, volts: np.ndarray, cathode: _HalfCell, anode: _HalfCell
) -> np.ndarray:
    grid = np.array(list(itertools.product(_SIZES, _SIZES, _FULL, _EMPTY)))
    possible = (grid[:, 2] - 1 / grid[:, 0] > -0.02) & (
        grid[:, 3] + 1 / grid[:, 1] < 1.02
    )
    grid = grid[possible]
    some = np.unique(np.linspace(0, charge.size - 1, _LOOKED_AT).round().astype(int))
    y = grid[:, [2]] - charge[some] / grid[:, [0]]
    x = grid[:, [3]] + charge[some] / grid[:, [1]]
    away = ((cathode.at(y) - anode.at(x) - volts[some]) ** 2).sum(axis=1)
    return grid[np.argsort(away)[:_TRIED]]


def _covariance(jacobian: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the covariance; residuals side by side are alike, and count so."""
    r, n = residual, residual.size
    lags = [float(r[k:] @ r[: n - k]) for k in range(1, n // 4)]
    positive = next((k for k, x in enumerate(lags) if x <= 0), len(lags))
    together = 1.0 + 2.0 * sum(lags[:positive]) / max(float(r @ r), 1e-300)
    variance = float(r @ r) / max(n - len(_PARAMETERS), 1) * max(together, 1.0)
    found: np.ndarray = np.linalg.pinv(jacobian.T @ jacobian) * variance
    return found
