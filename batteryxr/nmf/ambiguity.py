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
from batteryxr.core.labels import OwnLabels
from batteryxr.nmf.bounds import lowest
from batteryxr.nmf.posterior import NOISE, Labels
from batteryxr.nmf.results import labelled
from batteryxr.nmf.starting import ORIGINS

if TYPE_CHECKING:
    from batteryxr.core.checks import Seed
    from batteryxr.nmf.bounds import Lowest
    from batteryxr.nmf.kernels.feasible import Range
    from batteryxr.nmf.phases.candidates import Candidates

#: Of more patterns than this the outermost are taken: the others are among them.
_PATTERNS = 4000


@recorded
def bands(
    result: xr.Dataset,
    *,
    shift: Annotated[Lowest, OwnLabels()] = "physics",
    candidates: Candidates | None = None,
    noise: Annotated[float, Bounds(low=0.0, below=math.inf)] | None = None,
    steps: Annotated[int, Bounds(low=400)] = 160_000,
    seed: Seed = 0,
) -> xr.Dataset:
    """Return the range of every weight and component that fits as well as the result.

    Reads the weights of the result once; the ranges of an image stay lazy. All
    factorisations with the same product, and nothing below zero beyond noise, are
    walked by hit-and-run. "Below" is below what physics allows, not below the shift of
    the fit: a phase that never occurs pure dips below any envelope of the data. The
    range narrows as components are fixed. A scan that was fixed has noise, which all
    other components inherit; a component that an earlier step has found is no
    fact, and moves with the free ones.

    Parameters
    ----------
    result
        Of `fit`, `raise_n` or `metropolis`.
    shift
        What no true component lies below: ``"physics"``, zero where the fit was not
        shifted and -4 pi rho0 r for G(r); ``"fit"``, the shift of the fit; or a curve.
    candidates
        Crystals or CIFs that may occur: the densest gives rho0. Without, it is 1.15
        times that of the densest scan.
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
        deviations of noise included; ``components_low`` and ``components_high``;
        ``shift_curve``, the bound, and ``on_bound``, at which share of its points a
        component of the result lies on it, within noise. Without closure each component keeps its area.

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
    lift = lowest(result, shift, candidates) if closure else 0.0
    patterns = result["components"].transpose("component", ...).values - lift
    weights = result["weights"].transpose("component", ...)
    points = np.asarray(np.isfinite(patterns).all(axis=0))
    many = weights[0].size > _PATTERNS
    if many:
        flat = _outline(weights, rng)
    else:
        flat = weights.values.reshape(len(patterns), -1).astype(np.float64)
    here = np.isfinite(flat).all(axis=0)
    known = knowledge(result)
    errors = None if many else inherited(flat[:, here], known)
    unit = float(np.nanmax(np.abs(patterns))) or 1.0
    found = explore(
        flat[:, here],
        np.maximum(patterns[:, points] / unit, 0.0),
        (known == "scan") | (known == "pattern"),
        rng,
        closure=closure,
        noise=float(noise) / unit,
        covariance=errors,
        steps=steps,
    )
    found.components *= unit
    scatter = _scatter(patterns[:, points] / unit, noise / unit, closure)
    labels = Labels(result, np.arange(len(patterns)), here, points, lift)
    if many:
        low, high = _ends(result["weights"], found)
    else:
        low, high = (
            labels.factor("weights", values, "weights", "Weight")
            for values in found.weights
        )
    wider = xr.DataArray(scatter, dims="component")
    if errors is not None:
        own = np.einsum("is,ij,js->s", flat, errors, flat)
        along = [d for d in weights.dims if d != "component"]
        shape = [weights.sizes[d] for d in along]
        wider = wider * np.sqrt(1.0 + xr.DataArray(own.reshape(shape), dims=along))
    out = _with_noise(
        result["weights"], low, high, wider, top=1.0 if closure else None
    )
    for index, end in enumerate(("low", "high")):
        out[f"components_{end}"] = labels.factor(
            "components",
            found.components[index],
            f"components_{end}",
            f"{'Highest' if index else 'Lowest'} component that fits",
        )
    near = patterns[:, points] <= 3 * float(noise)
    out["on_bound"] = labelled(
        "on_bound", "component", near.mean(axis=1), "1", "Share on the bound"
    )
    curve = result["shift_curve"].copy(data=np.zeros(points.size) + lift)
    out["shift_curve"] = curve.assign_attrs(long_name="Bound of the components")
    answer = xr.Dataset(out)
    answer.attrs = {"noise": float(noise), "closure": int(closure)}
    return answer


def knowledge(result: xr.Dataset) -> np.ndarray:
    """Return what each component is, (k,), one of `ORIGINS`."""
    if "origin" in result:
        return np.array(ORIGINS)[result["origin"].values]
    return np.where(result["fixed"].values, "pattern", "free")


def inherited(weights: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the covariance of components by noise of variance one, (k, k).

    Free components are found by least squares. They have the noise of the patterns,
    averaged, and carry that of every scan that is fixed in proportion to how much of
    it there was where they are.

    Parameters
    ----------
    weights
        (k, samples).
    known
        (k,) what each is; what was found is free.
    """
    scan = known == "scan"
    free = ~scan & (known != "pattern")
    out = np.zeros((len(weights), len(weights)))
    out[np.ix_(scan, scan)] = np.eye(int(scan.sum()))
    if not free.any():
        return out
    own = np.linalg.pinv(weights[free] @ weights[free].T, hermitian=True)
    carried = own @ weights[free] @ weights[scan].T
    out[np.ix_(free, free)] = own + carried @ carried.T
    out[np.ix_(free, scan)] = -carried
    out[np.ix_(scan, free)] = -carried.T
    return out


def _scatter(patterns: np.ndarray, noise: float, closure: bool) -> np.ndarray:
    """Return how far the noise of one pattern reaches in its weights, (k,)."""
    inverse = np.linalg.pinv(patterns @ patterns.T, hermitian=True)
    if closure:  # what all have in common tells nothing of ratios
        total = inverse.sum(axis=1)
        inverse = inverse - np.outer(total, total) / total.sum()
    return np.asarray(NOISE * noise * np.sqrt(np.maximum(np.diag(inverse), 0.0)))


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
    wider: xr.DataArray,
    *,
    top: float | None,
) -> dict[str, xr.DataArray]:
    """Return the range of the weights, `wider` at either end."""
    low = (low - wider).clip(0.0, top).transpose(*weights.dims)
    high = (high + wider).clip(0.0, top).transpose(*weights.dims)
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
