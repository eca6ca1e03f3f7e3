"""Weights of which something is known: where a component may be, or how much."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.labels import matched
from batteryxr.core.model import label

if TYPE_CHECKING:
    from batteryxr.nmf.constraints import Constraints
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.solving import Block, Factors
    from batteryxr.nmf.starting import Starts

#: Standard deviations beyond which a value is a spike.
_SPIKE = 6.0


def with_profiles(
    patterns: Patterns, starts: Starts, constraints: Constraints
) -> tuple[Starts, np.ndarray | None]:
    """Return starts whose components are named, and the weights that are known.

    Raises
    ------
    ArgumentError, DataError
        For more names than components, or weights that cannot be.
    """
    windows, weights = constraints.presence or {}, constraints.weights or {}
    if not windows and not weights:
        return starts, None
    if not patterns.series or not patterns.held:
        name = "presence" if windows else "weights"
        raise ArgumentError(name, dict(windows or weights), "None for images")
    if constraints.weight_smoothness:
        raise ArgumentError(
            "weight_smoothness", constraints.weight_smoothness, "0 with known weights"
        )
    every = [*starts.names]
    every += [n for n in (*windows, *weights) if n not in every]
    every = list(dict.fromkeys(every))
    if len(every) > starts.n:
        raise ArgumentError(
            "presence", every, f"at most {starts.n} names, one for each component"
        )
    given = np.full((starts.n, patterns.n_samples), np.nan)
    for name, (first, last) in windows.items():
        if not 0 <= first <= last < patterns.n_samples:
            raise ArgumentError(
                f"presence[{name!r}]",
                (first, last),
                f"two scans between 0 and {patterns.n_samples - 1}",
            )
        outside = np.ones(patterns.n_samples, dtype=bool)
        outside[first : last + 1] = False
        given[every.index(name), outside] = 0.0
    for name, profile in weights.items():
        given[every.index(name)] = _profile(patterns, name, profile)
    total = np.nansum(given, axis=0)
    none = ~np.isnan(given).any(axis=0)
    if (total > 1 + 1e-9).any() or (none & (total < 1 - 1e-9)).any():
        raise DataError(
            "weights",
            "known weights that do not leave ratios which sum to one",
            "Lower them, or widen the windows of presence.",
        )
    called = tuple(every[len(starts.names) :])
    return replace(starts, called=called), given


def _profile(patterns: Patterns, name: str, profile: xr.DataArray) -> np.ndarray:
    where = f"weights[{name!r}]"
    (dim,) = patterns.samples
    if profile.dims != (dim,):
        raise ArgumentError(where, profile, f"values along {dim!r}")
    values = matched(patterns.data, profile, argument=where).values.astype(np.float64)
    if np.nanmin(values, initial=0.0) < 0 or np.isinf(values).any():
        raise DataError(where, "has negative or infinite values")
    return values


def without_spikes(patterns: Patterns, block: Block, factors: Factors) -> Patterns:
    """Return the patterns without the values that no noise explains."""
    rows = np.asarray(factors.weights)[:, block.samples].T
    rest = block.values - rows @ factors.components[:, block.points]
    scale = np.ones_like(rest) if block.v is None else np.sqrt(block.v)
    far = np.abs(rest * scale)
    here = far[scale > 0]
    spread = 1.4826 * float(np.median(here)) if here.size else 0.0
    spikes = np.zeros((block.samples.size, block.points.size), dtype=bool)
    spikes[np.ix_(block.samples, block.points)] = far > _SPIKE * max(spread, 1e-300)
    keep = xr.DataArray(~spikes, dims=patterns.data.dims)
    kept: dict[str, Any] = {"data": patterns.data.where(keep)}
    if patterns.unshifted is not None:
        kept["unshifted"] = patterns.unshifted.where(keep)
    for array in kept.values():
        array.attrs = patterns.data.attrs
    return replace(patterns, **kept)


def as_constrained(
    result: xr.Dataset, block: Block, factors: Factors, order: np.ndarray
) -> xr.Dataset:
    """Return the result with the weights that obey what is known; residuals too."""
    weights = np.asarray(factors.weights)[order].T
    rest = np.full((block.samples.size, block.points.size), np.nan)
    rows = np.asarray(factors.weights)[:, block.samples].T
    values = block.values - rows @ factors.components[:, block.points]
    rest[np.ix_(block.samples, block.points)] = (
        values if block.v is None else np.where(block.v > 0, values, np.nan)
    )
    count = np.maximum(np.isfinite(rest).sum(axis=1), 1)
    level = np.sqrt(np.nansum(rest**2, axis=1) / count)
    level = np.where(block.samples, level, np.nan)
    before = result["residual"].values
    ratio = level / np.where(before > 0, before, np.nan)
    new = {
        "weights": weights,
        "residual": level,
        "relative_residual": result["relative_residual"].values * ratio,
    }
    return result.assign(
        {
            name: label(
                result[name].copy(data=array),
                name,
                units=str(result[name].attrs["units"]),
                long_name=str(result[name].attrs["long_name"]),
            )
            for name, array in new.items()
        }
    )
