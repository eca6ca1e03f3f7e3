"""Normalisation: pre-edge line, post-edge polynomial, edge step, flattening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from batteryxr.core.checks import Whole

#: Part of the energies, relative to the edge; None where a rule decides.
Limits = tuple[float | None, float | None]
#: Nearer to the edge than so many eV no line is fitted.
_LEAST = 1.0
#: Degree of the polynomial after the edge.
Degree = Annotated[int, Bounds(low=0, high=5)]


@recorded
def normalise(
    spectra: xr.DataArray | xr.Dataset,
    *,
    e0: float | xr.DataArray | None = None,
    pre: Limits = (None, None),
    post: Limits = (None, None),
    degree: Degree | None = None,
    victoreen: Whole = 0,
    curves: bool = False,
) -> xr.Dataset:
    """Normalise and flatten spectra, with the definitions of Athena and Larch.

    *Lazy*.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions.
    e0
        Edge energy in eV: a number, or one for each spectrum. By default the steepest
        rise of each spectrum; for the noisy spectra of a map give one number.
    pre
        Range of the pre-edge line, relative to `e0`. By default from the second energy
        (rounded to 5 eV) to half of that.
    post
        Range of the post-edge polynomial, relative to `e0`. By default from 25 eV (or
        a fifteenth of the range, if that is less) to the last energy.
    degree
        Degree of the post-edge polynomial, 0 to 5; by default 2, or 1 for less than
        300 eV, or 0 for less than 30 eV.
    victoreen
        The pre-edge line is fitted to the absorption times the energy to this power.
    curves
        Return `pre_edge` and `post_edge` too.

    Returns
    -------
    xarray.Dataset
        `normalised` and `flattened` along `energy`; `edge_step` (at the energy nearest
        to `e0`, without sign), `e0`, and `flag` (1: no data, or `e0` outside them, 2:
        no step, 4: the step is downwards).

    Raises
    ------
    ArgumentError
        If `e0` lies outside the energies.
    DataError
        If there are fewer than five energies.
    """
    array = as_spectra(spectra, caller="normalise")
    x = array.energy.values
    if x.size < 5:
        raise DataError("energy", f"{x.size} points; normalise needs five")
    bounds.check("photon energy", e0, argument="e0")
    if not isinstance(e0, xr.DataArray | None) and not x[1] <= e0 <= x[-2]:
        raise ArgumentError("e0", e0, f"an energy inside {x[0]:g} to {x[-1]:g} eV")
    for name, limits in (("pre", pre), ("post", post)):
        _check_limits(name, limits, x, e0)
    origin = edge_origin(array, e0)
    dtype = np.float32 if array.dtype == np.float32 else float
    wide, single = ["energy"], list[str]()
    names = ["normalised", "flattened", "edge_step", "flag"]
    names += ["pre_edge", "post_edge"] if curves else []
    dims = [wide, wide, single, single] + ([wide, wide] if curves else [])
    types = [dtype, dtype, dtype, np.uint8] + ([dtype, dtype] if curves else [])
    parts = blocks.apply(
        _kernel,
        array,
        origin,
        core_dims=[wide, single],
        output_dims=dims,
        dtypes=types,
        caller="normalise",
        x=x,
        pre=tuple(pre),
        post=tuple(post),
        degree=degree,
        victoreen=victoreen,
        curves=curves,
    )
    unit = str(array.attrs.get("units", "1"))
    meanings = {
        "normalised": ("1", "Normalised absorption"),
        "flattened": ("1", "Flattened absorption"),
        "edge_step": (unit, "Edge step"),
        "flag": ("1", "Quality of the normalisation"),
        "pre_edge": (unit, "Pre-edge line"),
        "post_edge": (unit, "Post-edge polynomial"),
    }
    out = {"e0": label(origin, "e0", units="eV", long_name="Edge energy E0")}
    for name, part in zip(names, parts, strict=True):
        units, long_name = meanings[name]
        part = part.transpose(*(d for d in array.dims if d in part.dims))
        out[name] = label(part, name, units=units, long_name=long_name)
    out["flag"].attrs |= {
        "flag_masks": [1, 2, 4],
        "flag_meanings": "no_data no_step negative_step",
    }
    return inherit(xr.Dataset(out), array)


def _check_limits(
    name: str, limits: Limits, x: np.ndarray, e0: float | xr.DataArray | None
) -> None:
    """Raise where a range that is relative to E0 is in keV, or is not relative."""
    span, step = float(x[-1] - x[0]), float(np.diff(x).min())
    given = [v for v in limits if v is not None and np.isfinite(v) and v != 0]
    expected = f"eV relative to e0, of energies that span {span:g} eV"
    if any(abs(v) > span and x[0] <= v <= x[-1] for v in given):
        mend = "It looks absolute: subtract e0."
        if isinstance(e0, int | float):
            apart = tuple(None if v is None else round(v - e0, 6) for v in limits)
            mend = f"It looks absolute: pass {apart}."
        raise ArgumentError(name, limits, expected, mend)
    both = len(given) == len(limits)
    empty = both and abs(given[1] - given[0]) < step
    if given and (empty or max(map(abs, given)) < _LEAST):
        mend = ""
        if max(map(abs, given)) * 1e3 <= span:
            apart = tuple(None if v is None else 1e3 * v for v in limits)
            mend = f"Was it keV? Pass {apart}."
        elif not empty:
            return
        raise ArgumentError(name, limits, expected, mend)


def edge_origin(array: xr.DataArray, e0: float | xr.DataArray | None) -> xr.DataArray:
    """Return E0 of each spectrum: as given, or the steepest rise."""
    if e0 is None:
        return blocks.apply(
            _steepest,
            array,
            core_dims=[["energy"]],
            dtypes=[float],
            caller="normalise",
            x=array.energy.values,
        )
    return e0 if isinstance(e0, xr.DataArray) else xr.DataArray(float(e0))


def _kernel(*arrays: np.ndarray, **options: object) -> object:
    from batteryxr.xanes.kernels import normalisation

    return normalisation.normalise(*arrays, **options)  # type: ignore[arg-type]


def _steepest(data: np.ndarray, x: np.ndarray) -> np.ndarray:
    from batteryxr.xanes.kernels.edge_energy import steepest

    return steepest(data, x=x)
