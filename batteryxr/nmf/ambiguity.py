"""How far ratios and components could be others and fit as well."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply, stream
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import DataError
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.nmf.posterior import NOISE, Labels

if TYPE_CHECKING:
    from batteryxr.core.checks import Seed
    from batteryxr.nmf.kernels.feasible import Range

#: Of more patterns than this the outermost are taken: the others are among them.
_PATTERNS = 4000


@recorded
def bands(
    result: xr.Dataset,
    *,
    noise: Annotated[float, Bounds(low=0.0, below=math.inf)] | None = None,
    steps: Annotated[int, Bounds(low=400)] = 40_000,
    seed: Seed = 0,
) -> xr.Dataset:
    """Return the range of every weight and component that fits as well as the result.

    Reads the weights of the result once; the ranges of an image stay lazy. All
    factorisations with the same product, and nothing below zero beyond noise, are
    walked by hit-and-run. The range narrows as components are fixed, and as the shift
    follows the data. It holds for the shift that was used: where a true component
    dips below it, as it may below an envelope, the truth can lie outside.

    Parameters
    ----------
    result
        Of `fit`, `raise_n` or `metropolis`.
    noise
        Standard deviation of a value of the data; None takes the root mean square
        residual.
    steps
        Of the walk.
    seed
        Of the walk.

    Returns
    -------
    xarray.Dataset
        ``weights_low``, ``weights_high`` and ``weights_width``, three standard
        deviations of noise included; ``components_low`` and ``components_high``.
        Without closure each component keeps its area.

    Raises
    ------
    DataError
        For a fit with stretched components, which can not be turned into one another.
    """
    from batteryxr.nmf.kernels.feasible import explore

    needed = ["components", "weights", "residual", "fixed", "shift_curve"]
    require_variables(result, needed, caller="bands")
    rng = generator(seed)
    if "stretch" in result:
        raise DataError("result", "its components stretch; expected a result of `fit`")
    if noise is None:
        noise = float(np.sqrt((result["residual"].astype(np.float64) ** 2).mean()))
    closure = bool(result.attrs.get("closure", 1))
    lift = result["shift_curve"].values if closure else 0.0
    patterns = result["components"].transpose("component", ...).values - lift
    weights = result["weights"].transpose("component", ...)
    points = np.asarray(np.isfinite(patterns).all(axis=0))
    many = weights[0].size > _PATTERNS
    if many:
        flat = _outline(weights, rng)
    else:
        flat = weights.values.reshape(len(patterns), -1).astype(np.float64)
    here = np.isfinite(flat).all(axis=0)
    found = explore(
        flat[:, here],
        np.maximum(patterns[:, points], 0.0),
        result["fixed"].values,
        rng,
        closure=closure,
        noise=float(noise),
        steps=steps,
    )
    gram = patterns[:, points] @ patterns[:, points].T
    scatter = NOISE * noise * np.sqrt(np.diag(np.linalg.pinv(gram, hermitian=True)))
    labels = Labels(result, np.arange(len(patterns)), here, points, lift)
    if many:
        low, high = _ends(result["weights"], found)
    else:
        low, high = (
            labels.factor("weights", values, "weights", "Weight")
            for values in found.weights
        )
    out = _with_noise(
        result["weights"], low, high, scatter, top=1.0 if closure else None
    )
    for index, end in enumerate(("low", "high")):
        out[f"components_{end}"] = labels.factor(
            "components",
            found.components[index],
            f"components_{end}",
            f"{'Highest' if index else 'Lowest'} component that fits",
        )
    answer = xr.Dataset(out)
    answer.attrs = {"noise": float(noise), "closure": int(closure)}
    return answer


def _ends(weights: xr.DataArray, found: Range) -> list[xr.DataArray]:
    """Return the lowest and highest weights over all rotations; lazy as the weights."""
    ends = apply(
        _range_of,
        weights.drop_vars("component"),
        core_dims=[["component"]],
        output_dims=[["component"], ["component"]],
        dtypes=[np.float64, np.float64],
        caller="bands",
        turns=np.linalg.inv(found.rotations),
    )
    return [end.transpose(*weights.dims) for end in ends]


def _with_noise(
    weights: xr.DataArray,
    low: xr.DataArray,
    high: xr.DataArray,
    scatter: np.ndarray,
    *,
    top: float | None,
) -> dict[str, xr.DataArray]:
    """Return the range of the weights, `scatter` (k,) wider at either end."""
    width = xr.DataArray(scatter, dims="component")
    low, high = (low - width).clip(0.0, top), (high + width).clip(0.0, top)
    parts = {
        "weights_low": (low, "Lowest weight that fits"),
        "weights_high": (high, "Highest weight that fits"),
        "weights_width": (high - low, "Range of a weight"),
    }
    units = str(weights.attrs["units"])
    return {
        name: label(
            array.assign_coords(weights.coords), name, units=units, long_name=text
        )
        for name, (array, text) in parts.items()
    }


def _outline(weights: xr.DataArray, rng: np.random.Generator) -> np.ndarray:
    """Return the outermost weights (k, patterns), block by block, without gaps."""
    found = np.empty((weights.sizes["component"], 0))
    for (block,) in stream(weights, dim=str(weights.dims[1])):
        columns = np.moveaxis(block, 1, 0).reshape(len(found), -1)
        columns = columns[:, np.isfinite(columns).all(axis=0)].astype(np.float64)
        found = np.concatenate([found, columns], axis=1)
        if found.shape[1] > _PATTERNS:
            found = found[:, _outermost(found, rng)]
    return found


def _outermost(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which patterns lie outermost: with them all others are feasible."""
    k = len(weights)
    total = np.maximum(weights.sum(axis=0), 1e-300)
    shares = weights / total
    picked = [shares.argmin(axis=1), shares.argmax(axis=1)]
    for _ in range(_PATTERNS // 2):
        direction = rng.normal(size=k)
        value = direction @ shares
        picked.append(np.array([value.argmin(), value.argmax()]))
    return np.unique(np.concatenate(picked))


def _range_of(
    weights: np.ndarray, *, turns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest weights (..., k) over all turns (draws, k, k)."""
    low, high = np.array(weights, dtype=np.float64), np.array(weights, dtype=np.float64)
    for turn in turns:
        other = weights @ turn
        np.minimum(low, other, out=low)
        np.maximum(high, other, out=high)
    return low, high
