"""Which pixels hold enough of the element to be fitted, judged by the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.model import label, require_whole
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra, window

if TYPE_CHECKING:
    from batteryxr.core.checks import NonNegative
    from batteryxr.xanes.spectra import Range


@recorded
def noise_mask(
    spectra: xr.DataArray | xr.Dataset,
    *,
    pre: Range,
    post: Range,
    method: Literal["pooled", "paper"] = "pooled",
    threshold: NonNegative | None = None,
    noise: NonNegative | None = None,
    jump: xr.DataArray | None = None,
) -> xr.Dataset:
    """Mask pixels whose edge jump drowns in the noise.

    *Reads once* where `method` is "pooled" and `noise` is not given, else *lazy*.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions.
    pre
        Energies below the pre-edge, in eV, at least three: their standard deviation
        is the noise.
    post
        Energies above the edge, in eV.
    method
        "pooled" compares with one noise for all pixels: the median of theirs,
        corrected for its bias. "paper" compares each pixel with its own noise
        (Uematsu et al., PCCP 25, 3867 (2023)); with four points that lets a tenth of
        the empty pixels through.
    threshold
        Kept is what exceeds so many standard deviations of the noise; by default 5 if
        pooled and 1 by the paper's rule.
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
        If a range holds too few energies.
    """
    from batteryxr.xanes.kernels.normalisation import edge_levels, pooled_sd

    array = as_spectra(spectra, caller="noise_mask")
    factor = (
        threshold if threshold is not None else (5.0 if method == "pooled" else 1.0)
    )
    axis = array.energy.values
    before = window(axis, pre, name="pre", least=3)
    windows = np.stack([before, window(axis, post, name="post")])
    deviation, step = blocks.apply(
        edge_levels, array, caller="noise_mask", **_of_levels(windows)
    )
    if jump is not None:
        step = jump
    if method == "pooled" and noise is None:
        deviation, step = _together(deviation, step)
        noise = pooled_sd(deviation.values, int(windows[0].sum()))
    limit = deviation if method == "paper" or noise is None else noise
    mask = step > factor * limit
    result = xr.Dataset(
        {
            "mask": label(mask, "mask", units="1", long_name="Above the noise"),
            "noise": label(deviation, "noise", units="1", long_name="Pre-edge noise"),
            "jump": label(step, "jump", units="1", long_name="Step over the edge"),
        }
    )
    known = {} if noise is None else {"noise_sd": float(noise)}
    return inherit(result, array, method=method, threshold=float(factor), **known)


def _of_levels(windows: np.ndarray) -> dict[str, Any]:
    """Return how `edge_levels` is applied: noise and step of each pixel, lazily."""
    return {
        "core_dims": [["energy"]],
        "output_dims": [(), ()],
        "dtypes": [float, float],
        "pre": windows[0],
        "post": windows[1],
    }


def survey(
    array: xr.DataArray, windows: np.ndarray | None, *, dim: str, caller: str
) -> tuple[float, np.ndarray]:
    """Return pooled noise and mean spectrum in one reading.

    The mean weighs each pixel by its jump, and leaves out those without one; without
    windows it is the plain mean, and the noise is 0.
    """
    from batteryxr.xanes.kernels.normalisation import edge_levels, pooled_sd

    others = [d for d in array.dims if d != dim]
    if windows is None:
        require_whole(array, dim, caller=caller)
        return 0.0, np.asarray(array.astype(float).mean(others).values)
    deviation, step = blocks.apply(
        edge_levels, array, caller=caller, **_of_levels(windows)
    )
    weight = xr.where(step > 5.0 * deviation, step, 0.0)
    finite = np.isfinite(array)
    total = xr.dot(weight, array.where(finite, 0.0), dim=others)
    count = xr.dot(weight, finite, dim=others)
    deviation, total, count = _together(deviation, total, count)
    noise = pooled_sd(deviation.values, int(windows[0].sum()))
    if not count.values.any():
        return noise, np.asarray(array.astype(float).mean(others).values)
    with np.errstate(invalid="ignore"):
        return noise, np.asarray((total / count).values)


def _together(*arrays: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """Compute several arrays in one reading of their source."""
    computed = xr.Dataset({str(i): a for i, a in enumerate(arrays)}).compute()
    return tuple(computed[str(i)] for i in range(len(arrays)))
