"""Prepare stacks: optical density and binning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    LabelsError,
    VariableError,
    warn_quality,
)
from batteryxr.core.labels import OwnLabels, matched, require_even
from batteryxr.core.labels.axes import require_monotonic
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.spectra import Spectra, axis_of

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, Positive

_IMAGE = ("y", "x")
#: Densities that few samples have, at the middle and everywhere; values looked at.
_BRIGHT, _OPAQUE, _SOME = -0.25, 4.6, 100_000


@recorded
def optical_density(
    stack: xr.DataArray | xr.Dataset,
    *,
    i0: Annotated[xr.DataArray | Positive | None, OwnLabels(("energy",))] = None,
    dark: xr.DataArray | float | None = None,
) -> xr.DataArray:
    """Return the optical density -ln((I - dark) / (I0 - dark)).

    *Lazy*; with a mask as `i0`, *reads once* for the mean intensity in it.

    Parameters
    ----------
    stack
        Transmitted intensity along `energy` and any other dimensions, or a Dataset
        with `intensity`.
    i0
        Incident intensity: a spectrum along `energy` (interpolated if its energies
        differ), flat fields along `y` and `x` too, a number, or a boolean mask (y, x)
        that is True where the beam misses the sample. None: the coordinate `i0`.
    dark
        Detector signal without beam. None: the coordinate `dark`, else 0.

    Returns
    -------
    xarray.DataArray
        `optical_density`; NaN where an intensity is not above zero. A spectrum of I0
        is kept as the coordinate `i0`.

    Raises
    ------
    DataError
        If `i0` is missing, marks no pixel, or does not cover the energies.
    VariableError
        If the values are complex.

    Warns
    -----
    DataQualityWarning
        If energies repeat or are missing, so that no spectrum can be made later.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> counts = xr.DataArray(
    ...     np.full((3, 16, 16), 700.0),
    ...     {"energy": [8330.0, 8345.0, 8360.0]},
    ...     ("energy", "y", "x"),
    ... )
    >>> flat = xr.DataArray(np.full((16, 16), 1000.0), dims=("y", "x"))
    >>> density = counts.xanes.optical_density(i0=flat)
    >>> float(density[0, 0, 0].round(3))
    0.357
    """
    array = _intensity(stack)
    _tell_repeats(array)
    if i0 is None:
        if "i0" not in array.coords:
            raise DataError(
                "i0",
                "is neither passed nor a coordinate of the stack",
                "Pass an incident intensity, or a mask of empty pixels such as "
                "i0=stack.mean('energy') > 300.",
            )
        incident: Any = array["i0"]
    elif isinstance(i0, xr.DataArray):
        incident = _empty(array, i0) if i0.dtype.kind == "b" else _incident(array, i0)
    else:
        incident = float(i0)
    level: Any = array.coords.get("dark", 0.0) if dark is None else dark
    if isinstance(level, xr.DataArray):
        level = level.reset_coords(drop=True)
    array = array.drop_vars(["i0", "dark"], errors="ignore")
    if isinstance(incident, xr.DataArray):
        incident = incident.reset_coords(drop=True)
    single = np.dtype(array.dtype) == np.float32
    if single:  # in blocks of half the bytes
        level, incident = _single(level), _single(incident)
    above, below = _floating(array) - level, _floating(incident) - level
    ratio = above / below
    result = -np.log(ratio.where((above > 0) & (below > 0)))
    if single:
        result = result.astype(np.float32)
    result = label(result.transpose(*array.dims, ...), "optical_density")
    _tell_scale(result)
    if isinstance(incident, xr.DataArray) and incident.dims == ("energy",):
        attrs = {"units": "1", "long_name": "Incident intensity"}
        result = result.assign_coords(i0=("energy", incident.values, attrs))
    return result


@recorded
def rebin(
    stack: Spectra,
    *,
    factor: Count | Mapping[str, Count] = 2,
    combine: Literal["mean", "sum"] = "mean",
) -> Spectra:
    """Combine neighbouring pixels for more signal.

    *Lazy*. Pixels that fill no whole bin are left out.

    Parameters
    ----------
    stack
        A stack, maps or objects. Bin intensities or objects before taking the
        logarithm: the mean of a logarithm favours thin pixels.
    factor
        Pixels per bin along `y` and `x`, or by dimension, such as ``{"energy": 2}``.
    combine
        "mean", or "sum" for counts.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Like `stack`, with coordinates at the middle of each bin.

    Raises
    ------
    ArgumentError
        If a bin would be larger than the stack.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> coarse = stack["absorption"].xanes.rebin(factor=2)
    >>> dict(coarse.sizes)
    {'particle': 1, 'energy': 40, 'y': 24, 'x': 24}
    """
    factors = factor if isinstance(factor, Mapping) else dict.fromkeys(_IMAGE, factor)
    sizes = {dim: int(n) for dim, n in factors.items()}
    require_dims(stack, sizes, caller="rebin")
    require_even(
        stack, [d for d, n in sizes.items() if d in _IMAGE and n > 1], caller="rebin"
    )
    for dim, n in sizes.items():
        if n > stack.sizes[dim]:
            limit = f"at most the {stack.sizes[dim]} points along {dim!r}"
            raise ArgumentError("factor", factor, limit)
        if dim in stack.coords and n > 1:
            require_monotonic(stack[dim], caller="rebin")
    bins = stack.coarsen(sizes, boundary="trim")
    result: Spectra = getattr(bins, combine)(keep_attrs=True)
    for name, coordinate in stack.coords.items():
        if name in result.coords:
            result[name].attrs = dict(coordinate.attrs)
    return result


def _intensity(stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(stack, xr.Dataset):
        if "intensity" not in stack:
            raise VariableError(
                f"optical_density needs 'intensity'; found {[str(v) for v in stack]}."
            )
        stack = stack["intensity"]
    if np.iscomplexobj(stack):
        raise VariableError(
            "optical_density needs intensities; these are complex. "
            "Use from_transmission."
        )
    return stack


def _tell_repeats(stack: xr.DataArray) -> None:
    """Warn if energies repeat or are missing, so that no spectrum can be made."""
    if "energy" not in stack.indexes:
        return
    energy = stack.indexes["energy"]
    odd = int(energy.isna().sum()), int(energy.duplicated().sum())
    if any(odd):
        warn_quality(
            f"energy: {odd[1]} energies repeat and {odd[0]} are missing. Each image "
            "keeps its own optical density; before spectra are looked at, average "
            "what was measured twice: `.groupby('energy').mean()`."
        )


def _empty(array: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    """Return the mean intensity where a mask is True, computed now."""
    if not set(mask.dims) <= set(array.dims):
        raise DimensionError(
            f"optical_density: the mask i0 lies along {mask.dims}, the stack along "
            f"{array.dims}."
        )
    inside = matched(array, mask.reset_coords(drop=True), argument="i0")
    if not bool(inside.any()):
        raise DataError("i0", "the mask is True nowhere", "Mark empty pixels.")
    dims = [d for d in mask.dims if d != "energy"]
    return array.where(inside).astype(float).mean(dims).compute()


def _single(values: Any) -> Any:
    """Return a number, or an array in single precision."""
    return values.astype(np.float32) if isinstance(values, xr.DataArray) else values


def _floating(values: Any) -> Any:
    """Return integer counts as floats, whose differences do not wrap round."""
    whole = isinstance(values, xr.DataArray) and values.dtype.kind in "iub"
    return values.astype(np.float64) if whole else values


def _tell_scale(density: xr.DataArray) -> None:
    """Warn where most of an image is brighter than the beam, or all of it is dark.

    Lazy values are not judged.
    """
    if density.chunks or not density.size:
        return
    some = density.values.reshape(-1)[:: max(1, density.size // _SOME)]
    known = some[np.isfinite(some)]
    if known.size < 0.5 * some.size:
        warn_quality(
            f"optical_density: {1 - known.size / some.size:.0%} of the values are "
            "missing: no counts are left above the dark. Is it of the same exposure?"
        )
    elif (middle := float(np.median(known))) < _BRIGHT:
        warn_quality(
            "optical_density: most pixels are brighter than i0, half of them more than "
            f"{math.exp(-middle):.3g} times. Is i0 in the units of the counts, and of "
            "the same exposure?"
        )
    elif (least := float(np.percentile(known, 1))) > _OPAQUE:
        warn_quality(
            f"optical_density: nothing lets more than {math.exp(-least):.2g} of i0 "
            "through. Is i0 in the units of the counts, and of the same exposure?"
        )


def _incident(array: xr.DataArray, i0: xr.DataArray) -> xr.DataArray:
    """Return I0 on the energies of the stack, interpolated linearly."""
    for each in (array, i0):
        if "energy" in each.coords and "energy" in each.dims:
            axis_of(each, "energy", caller="optical_density")
    try:
        return matched(array, i0.astype(float), argument="i0", interpolate=True)
    except LabelsError as error:
        if "energy" not in array.coords or "energy" not in i0.coords:
            raise
        ranges = [f"{float(a.energy.min()):g} to {float(a.energy.max()):g} eV"
                  for a in (i0, array)]  # fmt: skip
        raise DataError(
            "i0",
            f"it reaches from {ranges[0]}, the stack from {ranges[1]}",
            "Pass a spectrum that covers the energies of the stack.",
        ) from error
