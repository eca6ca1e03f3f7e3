"""Patterns as rows: find the dimension of a pattern and of samples, add errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import DataError, DimensionError
from batteryxr.core.labels import matched, require_monotonic
from batteryxr.core.units import in_units_of
from batteryxr.nmf.joining import SIGNALS, join
from batteryxr.nmf.phases.measured import of_scans

if TYPE_CHECKING:
    from batteryxr.core.checks import Positive
    from batteryxr.nmf.joining import Several

#: Above either limit the data are read in passes instead of held in memory.
_SAMPLES_HELD = 65_536
_BYTES_HELD = 256e6
#: Within these limits a square is a normal number, in float32 too.
_SOUND = (1e-12, 1e12)
#: Share of the usual error that no error can be below.
_TINY = 5e-4
#: Patterns of lazy data that are tried before all data are read.
_TRIED = 9


@dataclass(frozen=True, eq=False)
class Patterns:
    """Hold patterns as rows.

    Parameters
    ----------
    data
        Sample dimensions first, the signal last; scaled, masked and shifted.
    whole
        The data before a shift was subtracted.
    blank
        One pattern of zeros, with the labels and units of the data: what a pattern
        from elsewhere is brought to.
    samples, signal
        Names of the dimensions.
    n_samples, n_points
        Number of patterns, and of points of a pattern.
    series
        Whether the samples have an order: one sample dimension.
    units
        Units of the data.
    held
        Whether they are factorised whole, in memory, or else read in passes.
    errors
        One standard deviation, sample dimensions first; or None.
    levels
        Number that each pattern was divided by; or None.
    shift
        (points,) the curve that was subtracted; None for none.
    unit
        Number that all of these were divided by: 1, or the power of two that keeps
        the squares of the data within the range of floating-point numbers.
    """

    data: xr.DataArray
    whole: xr.DataArray
    blank: xr.DataArray
    samples: tuple[str, ...]
    signal: str
    n_samples: int
    n_points: int
    series: bool
    units: str
    held: bool
    errors: xr.DataArray | None = None
    levels: xr.DataArray | None = None
    shift: np.ndarray | None = None
    unit: float = 1.0


def lay_out(data: Several, signal: str | None = None) -> Patterns:
    """Return the patterns of one or several data sets.

    Raises
    ------
    DimensionError
        If the pattern's dimension is not clear, or no sample dimension is left.
    DataError
        If a Dataset does not hold exactly one series, or the data are complex or
        booleans.
    """
    if isinstance(data, xr.Dataset):
        data = _only_series(data, signal)
    array = data if isinstance(data, xr.DataArray) else join(data, signal=signal)
    signal = _signal_of([str(d) for d in array.dims], signal)
    samples = tuple(str(d) for d in array.dims if d != signal)
    if not samples:
        raise DimensionError(
            f"Components need several patterns; found one, along {signal!r}. "
            "Concatenate them: xr.concat(patterns, dim='scan')."
        )
    if array.dtype.kind == "c":
        raise DataError(
            "data",
            "complex; expected real values",
            "Unmix the modulus or the phase: `abs(data)`, `np.angle(data)`.",
        )
    if array.dtype.kind == "b":
        raise DataError(
            "data",
            "true or false; expected measured values",
            "This looks like a mask: pass the data it was made of, and the mask as "
            "constraints=nmf.Constraints(mask=...), or data.astype(float) if meant.",
        )
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.chunks is not None:
        # Chunk before transposing, to keep the order in memory.
        array = array.chunk({signal: -1})
    if signal in array.coords:
        require_monotonic(array[signal], caller="a factorisation")
    if signal == "r":
        of_scans(array)
    n_points = int(array.sizes[signal])
    n_samples = int(np.prod([array.sizes[d] for d in samples]))
    array = array.transpose(*samples, signal)
    axis = {signal: array[signal]} if signal in array.coords else {}
    return Patterns(
        data=array,
        whole=array,
        blank=xr.DataArray(np.zeros(n_points), axis, signal, attrs=array.attrs),
        samples=samples,
        signal=signal,
        n_samples=n_samples,
        n_points=n_points,
        series=len(samples) == 1,
        units=str(array.attrs.get("units", "1")),
        held=n_samples <= _SAMPLES_HELD and 8 * n_samples * n_points <= _BYTES_HELD,
    )


def in_sound_unit(patterns: Patterns) -> Patterns:
    """Return patterns whose squares fit the range of numbers, float32 included.

    The unit is a power of two, so that nothing is rounded. It is 1 for usual data.
    From lazy data only the first pattern is read, and more where that is blank.
    """
    some = patterns.whole
    if some.chunks is not None:
        shape = tuple(some.sizes[d] for d in patterns.samples)
        last, largest = patterns.n_samples - 1, 0.0
        for number in dict.fromkeys(np.linspace(0, last, _TRIED).astype(int).tolist()):
            place = np.unravel_index(number, shape)
            one = some.isel(dict(zip(patterns.samples, map(int, place), strict=True)))
            if largest := _largest(one.values):
                break
        else:
            largest = _largest(abs(some).max().values)
    else:
        largest = _largest(some.values)
    if largest == 0.0 or _SOUND[0] < largest < _SOUND[1]:
        return patterns
    unit = float(2.0 ** np.floor(np.log2(largest)))
    whole = _over(some, unit)
    return replace(
        patterns,
        data=whole if some is patterns.data else _over(patterns.data, unit),
        whole=whole,
        errors=None if patterns.errors is None else _over(patterns.errors, unit),
        shift=None if patterns.shift is None else patterns.shift / unit,
        unit=unit,
    )


def _largest(values: np.ndarray) -> float:
    """Return the largest absolute finite value; 0 if there is no such value."""
    size = np.abs(values)
    return float(np.max(size, where=np.isfinite(size), initial=0.0))


def _over(array: xr.DataArray, unit: float) -> xr.DataArray:
    """Return an array divided by a number, its dtype kept."""
    # Divide in two steps: a unit such as 1e-300 is out of the range of float32.
    root = 2.0 ** (math.frexp(unit)[1] // 2)
    dtype = array.dtype.type
    out = array / dtype(root) / dtype(unit / root)
    out.attrs = array.attrs
    return out


#: Variables of a result in the units of the data, with closure and without.
_SCALED = {
    True: ("components", "chain_components", "residual", "noise", "shift_curve"),
    False: ("weights", "chain_weights", "residual", "noise", "shift_curve"),
}


def in_unit_of_data(
    result: xr.Dataset, unit: float, *, closure: bool, relative: bool = False
) -> xr.Dataset:
    """Return a result in the unit of the user's data.

    Parameters
    ----------
    result
        Result in the unit of the patterns.
    unit
        Number that the patterns were divided by.
    closure
        Weights sum to one.
    relative
        Whether the noise is relative to given errors.
    """
    if unit == 1.0:
        return result
    scaled = {}
    for name, array in result.data_vars.items():
        text = str(name)
        base = text
        for end in ("_spread", "_error", "_low", "_high", "_quantiles", "_released"):
            base = base.removesuffix(end)
        if base not in _SCALED[closure]:
            continue
        if base == "noise" and relative:
            continue
        scaled[text] = _over(array, 1.0 / unit).astype(array.dtype)
    return result.assign(scaled)


def weigh(
    patterns: Patterns,
    errors: Positive | xr.DataArray | None,
    mask: xr.DataArray | None,
    pattern_scale: xr.DataArray | None,
) -> Patterns:
    """Return the patterns with their errors, scaled and masked.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If errors, mask or scale do not fit the data.
    """
    array = patterns.data
    levels = None
    if pattern_scale is not None:
        levels = select_rows(array, pattern_scale, "pattern_scale")
        if patterns.signal in levels.dims:
            raise DimensionError(
                f"pattern_scale has the dimensions {levels.dims}; expected one number "
                f"for each pattern of data of the sizes {dict(array.sizes)}."
            )
        if not bool((levels > 0).all()):
            raise DataError(
                "pattern_scale", "has values <= 0 or NaN", "Leave these patterns out."
            )
        array = array / levels
    if mask is not None:
        left_out = select_rows(array, mask, "mask")
        if left_out.dtype != bool:
            raise DataError(
                "mask", f"is {left_out.dtype}; expected booleans, True where left out"
            )
        array = array.where(~left_out)
    array = array.transpose(*patterns.samples, patterns.signal)
    array.attrs = patterns.data.attrs
    sigma = None
    if isinstance(errors, xr.DataArray):
        sigma = select_rows(array, _deviations(errors, patterns.blank), "errors")
    elif errors is not None:
        sigma = patterns.blank + float(errors)
    if sigma is not None and levels is not None:
        sigma = (sigma / levels).transpose(*array.dims)
    if sigma is not None and is_lazy(sigma):
        sigma = sigma.chunk({patterns.signal: -1})
    return replace(patterns, data=array, whole=array, errors=sigma, levels=levels)


def _deviations(errors: xr.DataArray, blank: xr.DataArray) -> xr.DataArray:
    """Return the errors in units of the data, with the dimension of a pattern."""
    errors = in_units_of(blank, real(errors, "errors"))
    signal = str(blank.dims[0])
    if signal in errors.dims:
        return errors
    errors = errors.drop_vars(signal, errors="ignore")
    return errors.expand_dims({signal: blank.size}, axis=-1)


def refuse_errors(sigma: np.ndarray | None, x: np.ndarray) -> None:
    """Raise for errors that a measured value cannot have."""
    if sigma is None:
        return
    wrong = ~(np.isfinite(sigma) & (sigma > 0)) & np.isfinite(x)
    if wrong.any():
        first = np.broadcast_to(sigma, x.shape)[wrong][0]
        raise DataError(
            "errors",
            f"{int(wrong.sum())} of {wrong.size} values are zero, negative, NaN or "
            f"infinite where there are data, such as {first:g}; expected standard "
            "deviations",
            "Leave such values out with a mask, constraints=nmf.Constraints(mask=...).",
        )
    there = np.broadcast_to(sigma, x.shape)[np.isfinite(x)]
    if there.size and there.min() < _TINY * np.median(there):
        raise DataError(
            "errors",
            f"as low as {there.min():.3g}, where {np.median(there):.3g} is usual: such "
            "values alone would decide the components; expected errors of one "
            "measurement, and in one unit",
            "Raise them to what they can be, np.maximum(errors, lowest).",
        )


def real(array: xr.DataArray, argument: str) -> xr.DataArray:
    """Return an array of real numbers as it is.

    Raises
    ------
    DataError
        If it holds complex numbers, text or dates.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(
            argument,
            f"{array.dtype} values; expected real numbers",
            "Pass the modulus of complex values, `abs(array)`, and numbers for text.",
        )
    return array


def select_rows(data: xr.DataArray, extra: xr.DataArray, name: str) -> xr.DataArray:
    """Return an array that matches the data, its dimensions in their order.

    Raises
    ------
    DimensionError
        If it has a dimension that the data lack, or other labels or sizes.
    """
    unknown = [d for d in extra.dims if d not in data.dims]
    if unknown:
        raise DimensionError(
            f"{name} has the dimension {unknown[0]!r}, which the data lack; "
            f"they have {data.dims}."
        )
    extra = matched(data, real(extra, name), argument=name)
    return extra.transpose(*(d for d in data.dims if d in extra.dims))


def _signal_of(dims: list[str], signal: str | None) -> str:
    if signal is not None:
        if signal not in dims:
            raise DimensionError(f"signal={signal!r} is not among {tuple(dims)}.")
        return signal
    found = [d for d in SIGNALS if d in dims] or [d for d in dims if d == "channel"]
    if len(found) != 1:
        raise DimensionError(
            f"The dimension of a pattern is one of {SIGNALS}; found {tuple(dims)}. "
            f"Say which one it is, for example signal={dims[-1]!r} "
            "(where there are constraints, among them)."
        )
    return found[0]


def _only_series(data: xr.Dataset, signal: str | None) -> xr.DataArray:
    """Return the only variable of a Dataset that is a series or a stack."""
    if "components" in data:
        raise DataError(
            "data",
            "a result, which has components already",
            "Call the method on the data that it was made from.",
        )
    wanted = SIGNALS if signal is None else (signal,)
    found = [
        str(name)
        for name, array in data.data_vars.items()
        if array.ndim > 1 and any(d in wanted for d in array.dims)
    ]
    if not found:
        dims = {str(name): array.dims for name, array in data.data_vars.items()}
        raise DataError(
            "data",
            f"a Dataset without a variable of patterns along one of {wanted}; "
            f"found {dims}",
            "Call the method on a DataArray, `data[name].nmf`.",
        )
    if len(found) > 1:
        raise DataError(
            "data",
            f"a Dataset of several series: {found}",
            f"Call the method on one of them, such as data[{found[0]!r}].nmf.fit(...); "
            "or, where they share components, pass them together: "
            f"nmf.fit({{name: data[name] for name in {found}}}, ...).",
        )
    return data[found[0]]
