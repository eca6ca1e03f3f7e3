"""Find degradation modes from slow charges of a full cell and half-cell curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.blocks import compute
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.degradation.balance import PARAMETERS, HalfCell, balance, half_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELECTRODES = ("cathode", "anode")
_LEAST = 20
#: Largest residual (V), and largest content beyond a curve.
_LEFT, _OVER = 0.02, 0.01
_MISFIT, _BEYOND, _LOOSE, _APART, _POLARISED, _UNEVEN = 1, 2, 4, 8, 16, 32
#: A course is left: means over parts of a charge stray by so many errors, and V.
_COURSE, _PARTS, _BEYOND_NOISE, _SMALL = 64, 24, 3.0, 1.5e-4
#: Least overvoltage (V) that is told, and errors that it must exceed.
_LIFTED, _SURE = 0.002, 3.0
#: Least share of the voltages of two curves that both have.
_SHARED = 0.5
_FLAG = {
    "units": "1",
    "long_name": "What is odd about the fit",
    "flag_masks": [_MISFIT, _BEYOND, _LOOSE, _APART, _POLARISED, _UNEVEN, _COURSE],
    "flag_meanings": "misfit beyond_half_cell undetermined other_window polarised "
    "uneven course",
}
_WORDS = {
    _MISFIT: "leave more than 20 mV: are the half cells of these electrodes?",
    _BEYOND: "go beyond a curve of an electrode, where it is not known",
    _LOOSE: "do not determine the electrodes: too little of a charge, or too flat",
    _APART: "share less than half of their voltages with the first curve",
    _POLARISED: (
        "lie off the voltage of their electrodes by one overvoltage, as of a charge "
        "that is not slow enough, which moves the losses: kind='polarised' fits it"
    ),
    _UNEVEN: (
        "have an overvoltage that changes along the charge, which moves the losses: "
        "errors hold what an even change does. Charge more slowly"
    ),
    _COURSE: (
        "leave a course that is no noise, as of other half cells or an overvoltage "
        "that changes: losses may be off by several errors"
    ),
}
#: Relative error of a capacity above which it is undetermined.
_VAGUE = 0.05
#: Name, units and long name of the values of each curve.
_OF_EACH = (
    ("cathode_capacity", "mA h", "Capacity of the cathode"),
    ("anode_capacity", "mA h", "Capacity of the anode"),
    ("cathode_content", "1", "Content of the cathode at the beginning"),
    ("anode_content", "1", "Content of the anode at the beginning"),
    ("cathode_content_end", "1", "Content of the cathode at the end"),
    ("anode_content_end", "1", "Content of the anode at the end"),
    ("lithium", "mA h", "Lithium that can move"),
)
_OVERVOLTAGE = ("overvoltage", "V", "Overvoltage")
#: Loss -> the quantity that is lost.
_LOSSES = {
    "lli": ("lithium", "Loss of lithium"),
    "lam_cathode": ("cathode_capacity", "Loss of cathode"),
    "lam_anode": ("anode_capacity", "Loss of anode"),
}


@recorded
def degradation_modes(
    data: xr.DataArray,
    *,
    standards: Mapping[str, xr.DataArray],
    kind: Literal["equilibrium", "polarised"] = "equilibrium",
) -> xr.Dataset:
    """Return the losses of a full cell, from slow charges and half-cell curves.

    Reads once. The voltage of the cell is that of its cathode less that of its anode.
    The size and the initial content of each electrode are fitted to every curve
    (Dubarry et al., J. Power Sources 219, 204 (2012)).

    Parameters
    ----------
    data
        Voltage (V) along ``capacity`` (mA h, rising from the discharged state) of slow
        charges, and along one more dimension, such as ``cycle``. The first curve is
        the reference. NaN after the end of a curve.
    standards
        "cathode" and "anode" -> voltage (V) along ``li_content`` of a half cell of
        the electrode, from 0 (no lithium that can move) to 1 (full). It falls; where
        noise makes it rise, the falling curve next to it is taken.
    kind
        "equilibrium", or "polarised": an even overvoltage of each curve (current times
        resistance, of a charge that is not slow enough) is fitted too.

    Returns
    -------
    xarray.Dataset
        For each curve ``lli`` (loss of lithium), ``lam_cathode`` and ``lam_anode``
        (losses of active material), as fractions; ``cathode_capacity``,
        ``anode_capacity`` and ``lithium`` (mA h); ``cathode_content``,
        ``anode_content`` and ``..._end``, the limits of each electrode; each with
        ``<name>_error``, one standard deviation, widened by the misfit. Further
        ``overvoltage`` (V) with its error, of a fit that has one; ``fitted`` (V),
        ``residual`` (V, root mean square) and ``fit_flag`` (misfit; beyond half cell;
        undetermined; other window, with few voltages in common with the first curve;
        polarised, by an overvoltage above 2 mV that was not fitted; uneven, by one
        that changes by more than that along the charge, whose errors hold how far an
        even change moves the values; course, where another is left that is no noise).

    Raises
    ------
    ArgumentError
        If a half-cell curve is missing, is no curve, rises with its content, or the
        cathode's lies below the anode's.
    DataError
        If a curve has fewer than 20 points, or falls as a discharge does.
    DimensionError, UnitsError
        If something is missing.

    Warns
    -----
    DataQualityWarning
        If curves have residuals above 20 mV, go beyond a half cell, do not determine
        the electrodes, are polarised, or have other voltages than the first.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> x = np.linspace(0.0, 1.0, 201)
    >>> voltages = {
    ...     "cathode": 4.2 - 0.8 * x - 0.2 * np.tanh(9 * x - 5),
    ...     "anode": 0.1 + 0.5 * np.exp(-12 * x) - 0.05 * x,
    ... }
    >>> halves = {
    ...     name: xr.DataArray(v, {"li_content": x}, attrs={"units": "V"})
    ...     for name, v in voltages.items()
    ... }
    >>> def charge(cathode, lithium):
    ...     q = np.linspace(0.0, 0.9 * lithium, 300)
    ...     voltage = np.interp((lithium - q) / cathode, x, voltages["cathode"])
    ...     voltage = voltage - np.interp(q / 2.2 + 0.02, x, voltages["anode"])
    ...     capacity = ("capacity", q, {"units": "mA h"})
    ...     return xr.DataArray(voltage, {"capacity": capacity}, attrs={"units": "V"})
    >>> curves = xr.concat(
    ...     [charge(2.0, 1.9), charge(1.9, 1.7)], dim="cycle", join="outer"
    ... )
    >>> losses = curves.echem.degradation_modes(standards=halves)
    >>> losses["lam_cathode"].round(2).values.tolist()
    [0.0, 0.05]
    """
    require_dims(data, ("capacity",), caller="degradation_modes")
    cathode, anode = (_half_cell(standards, name) for name in _ELECTRODES)
    if np.median(cathode.voltage) <= np.median(anode.voltage):
        raise ArgumentError(
            "standards",
            f"a cathode below the anode ({np.median(cathode.voltage):.3g} V, "
            f"{np.median(anode.voltage):.3g} V)",
            "the curve of higher voltage as 'cathode'",
        )
    others = [str(d) for d in data.dims if d != "capacity"]
    if len(others) > 1:
        raise DataError("data", f"has the dimensions {others}", "Select one of them.")
    dim = others[0] if others else "state"
    array = data if others else data.expand_dims("state")
    (array,) = compute(array.transpose(dim, "capacity"))
    volts = in_units(array, "V", caller="degradation_modes").values.astype(float)
    capacity = in_units(array["capacity"], "mA h", caller="degradation_modes").values
    if not (np.diff(capacity) > 0).all():
        raise DataError("capacity", "does not rise", "Sort: data.sortby('capacity').")
    rows, flag = [], np.zeros(len(volts), np.int8)
    fitted = np.full(volts.shape, np.nan)
    for k, curve in enumerate(volts):
        there = np.isfinite(curve)
        if there.sum() < _LEAST:
            raise DataError("data", f"curve {k + 1} has only {there.sum()} points", "")
        if _falls(curve[there]):
            raise DataError(
                "data",
                f"curve {k + 1} falls along 'capacity', as a discharge does",
                "Give charges, or count the capacity from the discharged state on.",
            )
        electrodes = capacity[there], curve[there], cathode, anode
        found = balance(*electrodes, polarised=kind == "polarised")
        fitted[k, there] = found.fitted
        numbers, errors = _summary(
            found.values, found.covariance, np.ptp(capacity[there])
        )
        change, sd = found.uneven
        flag[k] = _UNEVEN * (abs(change) > max(_LIFTED, _SURE * sd))
        rows.append(([*numbers, found.overvoltage[0]], [*errors, found.overvoltage[1]]))
        loose = found.at_bound or (errors[:2] > _VAGUE * numbers[:2]).any()
        flag[k] |= _LOOSE * loose + _BEYOND * _beyond(numbers, cathode, anode)
        flag[k] |= _COURSE * _strays(found.fitted - curve[there], cathode, anode)
    residual = np.sqrt(np.nanmean((fitted - volts) ** 2, axis=1))
    flag |= np.where(residual > _LEFT, _MISFIT, 0).astype(np.int8)
    values, errors = (np.array(c) for c in zip(*rows, strict=True))
    told = np.abs(values[:, -1]) > np.maximum(_LIFTED, _SURE * errors[:, -1])
    flag |= np.where(told & (kind == "equilibrium"), _POLARISED, 0).astype(np.int8)
    flag[flag & (_POLARISED | _UNEVEN) > 0] &= ~_COURSE  # it is told why
    flag |= flag[0]  # losses are relative to the first
    flag |= np.where(_apart(volts), _APART, 0).astype(np.int8)
    for bit, words in _WORDS.items():
        if n := int((flag & bit > 0).sum()):
            warn_quality(f"degradation_modes: {n} of {flag.size} curves {words}")
    result = _labelled(dim, values, errors)
    about = {"units": "V", "long_name": "Fitted voltage"}
    result["fitted"] = (dim, "capacity"), fitted, about
    result["residual"] = dim, residual, {"units": "V", "long_name": "What is left, rms"}
    result["fit_flag"] = dim, flag, _FLAG
    return result.assign_coords(array.coords)


def _apart(volts: np.ndarray) -> np.ndarray:
    """Tell which curves have few voltages in common with the first."""
    low, high = np.nanmin(volts, axis=1), np.nanmax(volts, axis=1)
    shared = np.minimum(high, high[0]) - np.maximum(low, low[0])
    span = np.maximum(high, high[0]) - np.minimum(low, low[0])
    found: np.ndarray = shared < _SHARED * span
    return found


def _falls(voltage: np.ndarray) -> bool:
    """Tell whether a curve ends below its beginning, apart from noise."""
    tenth = max(voltage.size // 10, 1)
    return bool(np.median(voltage[-tenth:]) < np.median(voltage[:tenth]))


def _beyond(numbers: np.ndarray, cathode: HalfCell, anode: HalfCell) -> bool:
    """Tell whether an electrode works outside of its measured curve."""
    y, x, y_end, x_end = numbers[2:6]
    return bool(
        y > cathode.content[-1] + _OVER
        or y_end < cathode.content[0] - _OVER
        or x < anode.content[0] - _OVER
        or x_end > anode.content[-1] + _OVER
    )


def _strays(left: np.ndarray, cathode: HalfCell, anode: HalfCell) -> bool:
    """Tell whether what is left has a course beyond its noise and the half cells'."""
    n = min(_PARTS, left.size // 4)
    means = [part.mean() for part in np.array_split(left, n)]
    noise = np.std(np.diff(left)) / np.sqrt(2) + cathode.noise + anode.noise
    expected = noise * np.sqrt(n / left.size)
    return bool(np.std(means) > max(_SMALL, _BEYOND_NOISE * expected))


def _half_cell(standards: Mapping[str, xr.DataArray], name: str) -> HalfCell:
    curve = standards.get(name)
    expected = f"a curve {name!r}: voltage along 'li_content', from 0 to 1"
    if not isinstance(curve, xr.DataArray) or curve.dims != ("li_content",):
        raise ArgumentError("standards", sorted(standards), expected)
    curve = curve.dropna("li_content").sortby("li_content")
    x = curve["li_content"].values.astype(float)
    if x.size < 5 or x[0] < -0.05 or x[-1] > 1.05 or not (np.diff(x) > 0).all():
        raise ArgumentError("standards", f"{name} from {x[:1]} to {x[-1:]}", expected)
    volts = in_units(curve, "V", caller="degradation_modes").values.astype(float)
    if not _falls(volts):
        raise ArgumentError(
            "standards",
            f"{name}, which rises with its content",
            f"{expected}: the voltage falls as it fills",
            "Turn it round: curve.assign_coords(li_content=1 - curve.li_content).",
        )
    return half_cell(x, volts)


def _summary(
    values: np.ndarray, covariance: np.ndarray, span: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values named in `_OF_EACH`, and their errors."""
    cathode, anode, y, x = values
    numbers = np.array(
        [cathode, anode, y, x, y - span / cathode, x + span / anode,
         cathode * y + anode * x]
    )  # fmt: skip
    gradient = np.zeros((len(_OF_EACH), len(PARAMETERS)))
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
    for k, (name, units, words) in enumerate((*_OF_EACH, _OVERVOLTAGE)):
        variables[name] = dim, values[:, k], {"units": units, "long_name": words}
        about = {"units": units, "long_name": f"{words}, one sd"}
        variables[f"{name}_error"] = dim, errors[:, k], about
    return xr.Dataset(variables)
