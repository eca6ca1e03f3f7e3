"""Find pixels with enough of the element for a fit, from the noise."""

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
    from collections.abc import Hashable, Mapping

    from batteryxr.core.checks import NonNegative
    from batteryxr.xanes.spectra import Range

#: Number of spectra that tell whether a model is right, about.
_SOME = 900


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
    """Mask pixels whose edge jump is below the noise.

    *Reads once* if `method` is "pooled" and `noise` is not given, else *lazy*.

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
        "pooled" compares with one noise for all pixels: the median of their noise,
        corrected for its bias. "paper" compares each pixel with its own noise (Uematsu
        et al., PCCP 25, 3867 (2023)); with four points that passes a tenth of the
        empty pixels.
    threshold
        Least jump of kept pixels, in standard deviations of the noise. Default: 5 for
        "pooled" and 1 for "paper".
    noise
        Standard deviation of the noise, if known.
    jump
        Edge jump of each pixel, for example a fitted one. Default: the mean over
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

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> absorption = stack["absorption"]
    >>> mask = absorption.xanes.noise_mask(pre=(5420, 5460), post=(5500, 5540))
    >>> list(mask.data_vars)
    ['mask', 'noise', 'jump']
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
    """Return options for `blocks.apply` of `edge_levels`: noise and step per pixel."""
    return {
        "core_dims": [["energy"]],
        "output_dims": [(), ()],
        "dtypes": [float, float],
        "pre": windows[0],
        "post": windows[1],
    }


def survey(
    array: xr.DataArray,
    windows: np.ndarray | None,
    at: Mapping[Hashable, np.ndarray],
    *,
    dim: str,
    caller: str,
) -> tuple[float, np.ndarray, xr.DataArray]:
    """Return pooled noise, mean spectrum and the spectra `at`, reading the data once.

    The mean is weighted by each pixel's jump, without pixels that have none. Without
    windows it is the plain mean, and the noise is 0.
    """
    from batteryxr.xanes.kernels.normalisation import edge_levels, pooled_sd

    others = [d for d in array.dims if d != dim]
    names = [f"some {d}" for d in array.dims]
    some = xr.DataArray(array.isel(at).data, dims=names)
    if windows is None:
        require_whole(array, dim, caller=caller)
        mean, some = _together(array.astype(float).mean(others), some)
        return 0.0, mean.values, xr.DataArray(some.values, dims=array.dims)
    deviation, step = blocks.apply(
        edge_levels, array, caller=caller, **_of_levels(windows)
    )
    weight = xr.where(step > 5.0 * deviation, step, 0.0)
    finite = np.isfinite(array)
    total = xr.dot(weight, array.where(finite, 0.0), dim=others)
    count = xr.dot(weight, finite, dim=others)
    deviation, total, count, some = _together(deviation, total, count, some)
    noise = pooled_sd(deviation.values, int(windows[0].sum()))
    some = xr.DataArray(some.values, dims=array.dims)
    if not count.values.any():
        return noise, np.asarray(array.astype(float).mean(others).values), some
    with np.errstate(invalid="ignore"):
        return noise, np.asarray((total / count).values), some


def spread_over(array: xr.DataArray, dim: str) -> dict[Hashable, np.ndarray]:
    """Return places of about `_SOME` spectra, spread over all dimensions but `dim`."""
    sizes = {d: size for d, size in array.sizes.items() if d != dim}
    left, at = float(_SOME), {}
    for k, name in enumerate(sorted(sizes, key=lambda d: (sizes[d], str(d)))):
        size = sizes[name]
        count = min(size, int(np.ceil(left ** (1 / (len(sizes) - k)))))
        at[name] = np.linspace(0, size - 1, count).astype(int)
        left /= max(count, 1)
    return at


def _together(*arrays: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """Compute several arrays while reading their source once."""
    computed = xr.Dataset({str(i): a for i, a in enumerate(arrays)}).compute()
    return tuple(computed[str(i)] for i in range(len(arrays)))
