"""Sum the elements of fluorescence detectors, corrected for dead time."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    VariableError,
    warn_quality,
)
from batteryxr.core.kernels.monitors import doubts
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Dead-time factor above which more counts were lost than seen.
_LOST = 2.0
#: Deviation from 1 of a factor that counts as rounding.
_ROUNDED = 1e-3
#: Distance from the other elements at which one is an outlier: in usual distances, and
#: as a fraction of the signal.
_TIMES, _PART = 6.0, 0.05


@recorded
def sum_elements(
    spectra: xr.Dataset,
    *,
    columns: Mapping[str, str | tuple[str, str] | None],
    i0: str | None = None,
) -> xr.Dataset:
    """Sum the elements of a fluorescence detector, corrected for dead time.

    *Lazy*.

    Parameters
    ----------
    spectra
        Counts of each element along `energy`, as from
        ``read_series(..., columns="all")``.
    columns
        Name of an element's counts -> the pair of its input and output count rates,
        whose ratio corrects the counts; or the name of a factor from the beamline; or
        None if its counts are already corrected.
    i0
        Name of the monitor to divide by; None: no division.

    Returns
    -------
    xarray.Dataset
        `absorption` (`intensity` without a monitor) with `_error` from photon
        counting; `dead_time_factor`, the growth of the sum. NaN where a rate is zero.

    Raises
    ------
    ArgumentError
        If a column does not exist.
    DataError
        If a factor is below 1: input and output are exchanged, or it is the inverse.

    Warns
    -----
    DataQualityWarning
        If an element lost more than half of its counts somewhere, its spectrum differs
        from that of the others, or it or the monitor stands still, saturates or sees
        no beam (not for lazy data).

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> energy = np.linspace(8300.0, 8400.0, 101)
    >>> rate = 1e4 + 2e4 / (1 + np.exp(8345 - energy))  # counts per second
    >>> channels = xr.Dataset(
    ...     {"mca1": ("energy", rate), "mca2": ("energy", 1.1 * rate)},
    ...     {"energy": energy},
    ... )
    >>> channels["icr2"] = 1.3 * channels["mca2"]
    >>> channels["ocr2"] = 1.2 * channels["mca2"]
    >>> channels["i0"] = "energy", np.full(101, 1e6)
    >>> columns = {"mca1": None, "mca2": ("icr2", "ocr2")}
    >>> summed = channels.xanes.sum_elements(columns=columns, i0="i0")
    >>> list(summed.data_vars)
    ['absorption', 'absorption_error', 'dead_time_factor']
    """
    if not isinstance(spectra, xr.Dataset):
        raise VariableError(
            "sum_elements needs a Dataset with the counts of each element. "
            'Read with columns="all".'
        )
    if not columns:
        raise ArgumentError("columns", columns, "at least one element")
    raw = {name: _column(spectra, name, "columns") for name in columns}
    factors = {name: _factor(spectra, name, how) for name, how in columns.items()}
    grown = {name: raw[name] * factors[name] for name in raw}
    total, seen = _total(grown), _total(raw)
    square = _total({name: grown[name] * factors[name] for name in raw})
    monitor = xr.DataArray(1.0) if i0 is None else _column(spectra, i0, "i0")
    beam = monitor.where(monitor > 0)
    name = "intensity" if i0 is None else "absorption"
    text = "Fluorescence" if i0 is None else "Fluorescence over monitor"
    parts = (
        (name, total / beam, text),
        (f"{name}_error", square**0.5 / beam, f"{text}, standard error"),
        ("dead_time_factor", total / seen.where(seen > 0), "Growth by dead time"),
    )
    out = xr.Dataset({n: label(a, n, units="1", long_name=t) for n, a, t in parts})
    if not any(blocks.is_lazy(array) for array in (*raw.values(), *factors.values())):
        _look_at_readings(raw | ({} if i0 is None else {i0: monitor}), i0)
        _look(grown, factors)
    return inherit(out, spectra)


def _total(parts: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Return the sum of arrays that lie on the same labels."""
    return functools.reduce(operator.add, parts.values())


def _column(spectra: xr.Dataset, name: str, argument: str) -> xr.DataArray:
    """Return a column along a rising energy, as float."""
    if name not in spectra.data_vars:
        raise ArgumentError(argument, name, f"one of {list(spectra.data_vars)}")
    return as_spectra(spectra[name].astype(float), caller="sum_elements")


def _factor(
    spectra: xr.Dataset, name: str, how: str | tuple[str, str] | None
) -> xr.DataArray:
    """Return the dead-time factor of an element; NaN if unknown.

    Raises
    ------
    DataError
        If it is less than 1.
    """
    if how is None:
        return xr.DataArray(1.0)
    if isinstance(how, str):
        factor = _column(spectra, how, "columns")
        said = f"{how!r} of {name!r}"
    else:
        if len(how) != 2:
            raise ArgumentError("columns", how, "a factor, or (input, output) rates")
        into, out = (_column(spectra, rate, "columns") for rate in how)
        factor = into / out.where(out > 0)
        said = f"{how[0]!r} over {how[1]!r} of {name!r}"
    factor = factor.where(factor > 0)
    if not blocks.is_lazy(factor) and float(factor.min()) < 1 - _ROUNDED:
        raise DataError(
            said,
            f"is {float(factor.min()):.4g}, and dead time loses counts",
            "Exchange input and output rate; a live fraction enters as its inverse.",
        )
    return factor


def _look_at_readings(raw: Mapping[str, xr.DataArray], i0: str | None) -> None:
    """Warn of elements and monitors that stand still, saturate or see no beam."""
    for name, array in raw.items():
        rows = array.transpose(..., "energy").values.reshape(-1, array.sizes["energy"])
        found = [doubts(row, beam=name == i0) for row in rows]
        for kind in dict.fromkeys(kind for each in found for kind in each):
            some = [each[kind] for each in found if kind in each]
            warn_quality(
                f"sum_elements: {name} {kind} in {len(some)} of {len(rows)} spectra: "
                f"{some[0]}. Leave such elements and spectra out."
            )


def _look(grown: dict[str, xr.DataArray], factors: dict[str, xr.DataArray]) -> None:
    """Warn of elements that lost many counts, and of those unlike the others."""
    lost = [name for name, f in factors.items() if float(f.max()) > _LOST]
    if lost:
        warn_quality(
            f"sum_elements: {', '.join(lost)} lost more than half of their counts "
            "somewhere: the correction is large there, and so is its error."
        )
    if len(grown) < 3:
        return
    stack = xr.concat(list(grown.values()), "element", coords="minimal", join="exact")
    shape = stack / stack.mean("energy")
    off = abs(shape - shape.median("element"))
    off = off.mean([d for d in off.dims if d != "element"])
    usual = float(off.median())
    far = ~(off <= max(_TIMES * usual, _PART)).values
    if far.any():
        names = ", ".join(
            name for name, is_far in zip(grown, far, strict=True) if is_far
        )
        warn_quality(
            f"sum_elements: {names} are unlike the other elements (dead, saturated, or "
            "in a Bragg peak of the sample). Look, and leave them out of columns."
        )
