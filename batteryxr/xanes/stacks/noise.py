"""Which pixels hold enough of the element to be fitted, judged by the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label, require_whole
from batteryxr.core.provenance import recorded
from batteryxr.xanes.spectra import inherit, spectra, window

if TYPE_CHECKING:
    from batteryxr.xanes.fit.terms import Range

_CALLER = "noise_mask"


@recorded
def noise_mask(
    obj: xr.DataArray | xr.Dataset,
    *,
    pre: Range,
    post: Range,
    rule: str = "pooled",
    n_sigma: float | None = None,
    noise: float | None = None,
    jump: xr.DataArray | None = None,
) -> xr.Dataset:
    """Mask pixels whose edge jump drowns in the noise.

    *Reads once* where the rule is "pooled" and `noise` is not given, else *lazy*.

    Parameters
    ----------
    obj
        Absorption along `energy`, in any other dimensions.
    pre
        Energies below the pre-edge, in eV, at least three: their standard deviation
        is the noise.
    post
        Energies above the edge, in eV.
    rule
        "pooled" compares with one noise for all pixels: the median of theirs,
        corrected for its bias. "paper" compares each pixel with its own noise
        (Uematsu et al., PCCP 25, 3867 (2023)); with four points that lets a tenth of
        the empty pixels through.
    n_sigma
        Kept is what exceeds so many standard deviations; by default 5 if pooled and 1
        by the paper's rule.
    noise
        The standard deviation, where it is known.
    jump
        Edge jump of each pixel, a fitted one for example. By default the mean over
        `post` less that over `pre`.

    Returns
    -------
    xarray.Dataset
        `mask` (True is kept), `noise` and `jump` of each pixel; the attribute
        `noise_sd` holds the pooled noise.

    Raises
    ------
    ArgumentError
        If `rule` is unknown or a range holds too few energies.
    """
    array = spectra(obj, caller=_CALLER)
    if rule not in ("pooled", "paper"):
        raise ArgumentError("rule", rule, "'pooled' or 'paper'")
    factor = n_sigma if n_sigma is not None else (5.0 if rule == "pooled" else 1.0)
    before, after = noise_windows(array.energy.values, pre, post)
    deviation, step = levels(array, before, after, caller=_CALLER)
    if jump is not None:
        step = jump
    if rule == "pooled" and noise is None:
        deviation, step = _together(deviation, step)
        noise = pooled(deviation.values, int(before.sum()))
    limit = deviation if rule == "paper" or noise is None else noise
    mask = step > factor * limit
    result = xr.Dataset(
        {
            "mask": label(mask, "mask", units="1", long_name="Above the noise"),
            "noise": label(deviation, "noise", units="1", long_name="Pre-edge noise"),
            "jump": label(step, "jump", units="1", long_name="Step over the edge"),
        }
    )
    known = {} if noise is None else {"noise_sd": float(noise)}
    return inherit(result, array, rule=rule, n_sigma=float(factor), **known)


def noise_windows(
    axis: np.ndarray, pre: Range, post: Range
) -> tuple[np.ndarray, np.ndarray]:
    """Return which energies are below and above the edge."""
    before = window(axis, pre, name="pre", least=3)
    return before, window(axis, post, name="post")


def levels(
    array: xr.DataArray, before: np.ndarray, after: np.ndarray, *, caller: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return noise and step of each pixel; lazy."""
    from batteryxr.xanes.kernels.levels import edge_levels

    noise, step = blocks.apply(
        edge_levels,
        array,
        core_dims=[["energy"]],
        output_dims=[(), ()],
        dtypes=[float, float],
        caller=caller,
        pre=before,
        post=after,
    )
    return noise, step


def pooled(deviations: np.ndarray, n: int) -> float:
    """Return the noise common to all pixels."""
    from batteryxr.xanes.kernels.levels import pooled_sd

    return pooled_sd(deviations, n)


def survey(
    array: xr.DataArray,
    before: np.ndarray | None,
    after: np.ndarray | None,
    *,
    dim: str,
    caller: str,
) -> tuple[float, np.ndarray]:
    """Return pooled noise and mean spectrum in one reading.

    The mean weighs each pixel by its jump, and leaves out those without one; without
    windows it is the plain mean, and the noise is 0.
    """
    require_whole(array, dim, caller=caller)
    others = [d for d in array.dims if d != dim]
    if before is None or after is None:
        return 0.0, np.asarray(array.astype(float).mean(others).values)
    deviation, step = levels(array, before, after, caller=caller)
    weight = xr.where(step > 5.0 * deviation, step, 0.0)
    finite = np.isfinite(array)
    total = xr.dot(weight, array.where(finite, 0.0), dim=others)
    count = xr.dot(weight, finite, dim=others)
    deviation, total, count = _together(deviation, total, count)
    noise = pooled(deviation.values, int(before.sum()))
    if not count.values.any():
        return noise, np.asarray(array.astype(float).mean(others).values)
    with np.errstate(invalid="ignore"):
        return noise, np.asarray((total / count).values)


def _together(*arrays: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """Compute several arrays in one reading of their source."""
    computed = xr.Dataset({str(i): a for i, a in enumerate(arrays)}).compute()
    return tuple(computed[str(i)] for i in range(len(arrays)))
