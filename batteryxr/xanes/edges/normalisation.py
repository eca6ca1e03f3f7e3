"""Normalise spectra: pre-edge line, post-edge polynomial, edge step, flattening."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label, together
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from batteryxr.core.checks import Whole

#: Range of energies relative to the edge; None: set by a rule.
Limits = tuple[float | None, float | None]
#: Least distance (eV) of a range from the edge.
_LEAST = 1.0
#: Degree of the polynomial after the edge.
Degree = Annotated[int, Bounds(low=0, high=5)]
#: Bits of the variable `flag`.
_FLAGS = {
    1: "no_data",
    2: "no_step",
    4: "negative_step",
    8: "range_empty",
    16: "range_on_edge",
    32: "e0_isolated_point",
    64: "range_uneven",
    128: "e0_in_gap",
}
_MENDS = {
    8: "pre or post holds too few energies{}, others were used; give ranges relative "
    "to e0, inside the data",
    16: "pre or post reaches over the edge{}, which makes the step wrong; move it away",
    32: "the steepest rise{} is the flank of a point that stands out; give e0, or take "
    "the point out",
    64: "pre or post{} holds more than a smooth curve and noise, such as the start of "
    "a scan, a jump or another edge; give ranges without it",
    128: "the steepest rise{} lies where values are missing; give e0",
}
#: Advice for an incomplete Athena project.
_MEND = "Normalise it in Athena again, or pass the ranges yourself."
#: Numbers of coefficients of the post-edge curve that Athena offers.
_ORDERS = (0, 1, 2, 3)


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
    like: Annotated[xr.Dataset | xr.DataTree | None, OwnLabels()] = None,
) -> xr.Dataset:
    """Normalise and flatten spectra, with the definitions of Athena and Larch.

    *Lazy*.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions.
    e0
        Edge energy in eV: a number, or one for each spectrum. Default: the steepest
        rise of each spectrum. For noisy spectra of a map, give one number.
    pre
        Range of the pre-edge line, relative to `e0`. Default: from the second energy
        (rounded to 5 eV) to half of that.
    post
        Range of the post-edge polynomial, relative to `e0`. Default: from 25 eV (or
        a fifteenth of the range, if that is less) to the last energy.
    degree
        Degree of the post-edge polynomial, 0 to 5. Default: 2, or 1 for less than
        300 eV, or 0 for less than 30 eV.
    victoreen
        Power of the energy that multiplies the absorption in the pre-edge fit.
    curves
        Return `pre_edge` and `post_edge` too.
    like
        A spectrum of an Athena project, as from `read_athena`. It gives edge energy,
        ranges and degree unless they are passed here.

    Returns
    -------
    xarray.Dataset
        `normalised` and `flattened` along `energy`; `edge_step` (at the energy nearest
        to `e0`, without sign), `e0`, and `flag` (bits; 1: no data, or `e0` outside
        them, 2: no step, 4: the step is downwards, 8: a given range holds too few
        energies, 16: a range reaches over the edge, 32: the automatic `e0` is the
        flank of one or two points that stand out, 64: a range holds more than a smooth
        curve and noise, 128: the automatic `e0` lies where values are missing).

    Raises
    ------
    ArgumentError
        If `e0` lies outside the energies.
    DataError
        If there are fewer than five energies, or the step of `like` was set by hand.

    Warns
    -----
    DataQualityWarning
        If a spectrum has one of the last five flags (not for lazy data: look at
        `flag`), or a range has its higher end first.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> flat = spectra.xanes.normalise(e0=8345, pre=(-30, -16), post=(20, 55), degree=1)
    >>> list(flat.data_vars)[:4]
    ['e0', 'normalised', 'flattened', 'edge_step']
    """
    array = as_spectra(spectra, caller="normalise")
    if like is not None:
        e0, pre, post, degree = _parameters(like).fill(e0, pre, post, degree)
    x = array.energy.values
    if x.size < 5:
        raise DataError("energy", f"{x.size} points; normalise needs five")
    _warn_of_order(pre=pre, post=post)
    bounds.check("photon energy", e0, argument="e0")
    if not isinstance(e0, xr.DataArray | None) and not x[1] <= e0 <= x[-2]:
        raise ArgumentError("e0", e0, f"an energy inside {x[0]:g} to {x[-1]:g} eV")
    for name, limits in (("pre", pre), ("post", post)):
        check_limits(name, limits, x, e0)
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
        found=e0 is None,
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
        "flag_masks": list(_FLAGS),
        "flag_meanings": " ".join(_FLAGS.values()),
    }
    result = inherit(together(out), array)
    if not blocks.is_lazy(result):
        _warn(result.flag)
    return result


def _warn_of_order(**ranges: Limits) -> None:
    """Warn of ranges with exchanged ends, which are swapped as in Larch."""
    for argument, (low, high) in ranges.items():
        # After the edge, an end below zero is counted from the last energy.
        counted = argument == "post" and high is not None and high < 0
        if low is not None and high is not None and low > high and not counted:
            warn_quality(
                f"normalise: {argument}=({low:g}, {high:g}) has its higher end "
                f"first; it is taken as ({high:g}, {low:g})."
            )


def _warn(flag: xr.DataArray) -> None:
    """Warn of spectra with doubtful ranges or edge energies."""
    bits = flag.values
    for bit, mend in _MENDS.items():
        count = int(np.count_nonzero(bits & bit))
        if count:
            which = "" if flag.size == 1 else f" in {count} of {flag.size} spectra"
            warn_quality(f"normalise: {mend.format(which)} (flag {_FLAGS[bit]}).")
    falling = int(np.count_nonzero(bits & 4))
    if 2 * falling > flag.size:
        warn_quality(
            f"normalise: {falling} of {flag.size} spectra fall at the edge: these may "
            "be intensities. Take `optical_density` first (flag negative_step)."
        )


def check_limits(
    name: str, limits: Limits, x: np.ndarray, e0: float | xr.DataArray | None
) -> None:
    """Raise if a range relative to E0 is in keV, or is absolute."""
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
    small = (empty or max(map(abs, given)) < _LEAST) if given else False
    if small and max(map(abs, given)) * 1e3 <= span:
        apart = tuple(None if v is None else 1e3 * v for v in limits)
        raise ArgumentError(name, limits, expected, f"Was it keV? Pass {apart}.")


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


def _kernel(
    data: np.ndarray, origin: np.ndarray, *, found: bool, **options: Any
) -> tuple[np.ndarray, ...]:
    from batteryxr.xanes.kernels import edge_energy, normalisation

    parts = normalisation.normalise(data, origin, **options)
    if found:  # an automatic e0 may be the flank of an isolated point
        lone = normalisation.is_isolated(data, origin, x=options["x"])
        flag = np.where(lone, normalisation.E0_ISOLATED, 0).astype(np.uint8)
        at = np.broadcast_to(origin, data.shape[:-1])
        rows = data.reshape(-1, data.shape[-1])
        gap = edge_energy.in_gap(rows, at.reshape(-1), options["x"])
        flag |= np.uint8(normalisation.E0_IN_GAP) * gap.reshape(at.shape)
        parts = (*parts[:3], parts[3] | flag, *parts[4:])
    return parts


def _steepest(data: np.ndarray, x: np.ndarray) -> np.ndarray:
    from batteryxr.xanes.kernels.edge_energy import steepest

    return steepest(data, x=x)


class _Normalised(NamedTuple):
    """Hold parameters by the names of `normalise`; None if unknown."""

    e0: float | None
    pre: Limits
    post: Limits
    degree: int | None

    def fill(
        self,
        e0: float | xr.DataArray | None,
        pre: Limits,
        post: Limits,
        degree: int | None,
    ) -> tuple[float | xr.DataArray | None, Limits, Limits, int | None]:
        """Return the given values, and these where none are given."""
        nothing = (None, None)
        return (
            self.e0 if e0 is None else e0,
            self.pre if tuple(pre) == nothing else pre,
            self.post if tuple(post) == nothing else post,
            self.degree if degree is None else degree,
        )


def _parameters(like: xr.Dataset | xr.DataTree) -> _Normalised:
    """Return the parameters stored with a spectrum of a project.

    Raises
    ------
    ArgumentError
        If none are stored.
    DataError
        If its step was set by hand, which no range reproduces, or its parameters
        cannot be read.
    """
    stored = getattr(like, "attrs", {}).get("athena", "")
    if not stored:
        raise ArgumentError(
            "like",
            type(like).__name__,
            "a spectrum of a project, as read_athena gives it, with the parameters of "
            "its normalisation",
        )
    label = like.attrs.get("label", "this spectrum")
    told = _told(stored, label)
    if told.get("bkg_fixstep", "0") not in ("0", "", "no"):
        raise DataError(
            "like",
            f"the step of {label!r} was set by hand to {told.get('bkg_step')}",
            "Divide by it yourself, or free it in Athena.",
        )

    def number(name: str) -> float | None:
        try:
            value = float(told[name]) if name in told else None
        except (TypeError, ValueError):
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise DataError("like", f"{label!r} has {name} = {told[name]!r}", _MEND)
        return value

    order = number("bkg_nnorm")  # Athena counts coefficients: 3 is a parabola
    if order is not None and order not in _ORDERS:
        raise DataError("like", f"{label!r} has bkg_nnorm = {order:g}", _MEND)
    return _Normalised(
        number("bkg_e0"),
        (number("bkg_pre1"), number("bkg_pre2")),
        (number("bkg_nor1"), number("bkg_nor2")),
        None if order is None else max(int(order) - 1, 0),
    )


def _told(stored: str, label: str) -> dict[str, Any]:
    """Return the parameters stored in an attribute."""
    try:
        told = json.loads(stored)
    except (TypeError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise DataError("like", f"the parameters of {label!r} cannot be read", _MEND)
    return told
