"""Errors, quantiles and ranges from several chains, labelled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.model import label

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.sampling import Chain

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
#: Noise added at both ends of a range that fits, in standard deviations.
NOISE = 3.0


@dataclass(frozen=True)
class Labels:
    """Label arrays of the kernels in the shape and order of a result.

    Parameters
    ----------
    result
        A factorisation.
    order
        (k,) row of an array for each component of the result.
    samples, points
        Masks of the patterns and points that had data.
    shift
        Curve or number added to components.
    """

    result: xr.Dataset
    order: np.ndarray
    samples: np.ndarray
    points: np.ndarray
    shift: Any = 0.0

    def factor(
        self,
        kind: Literal["weights", "components"],
        values: np.ndarray,
        name: str,
        text: str,
        *lead: xr.DataArray,
        **attrs: Any,
    ) -> xr.DataArray:
        """Label weights (..., k, samples) or components (..., k, points).

        `lead` holds the coordinates of leading dimensions; components get the shift.
        """
        known = self.result[kind]
        like = known.transpose("component", ...)
        ours = kind == "weights"
        wide = _wide(values, self.samples if ours else self.points)
        wide = wide[..., self.order, :] + (0.0 if ours else self.shift)
        before = [str(c.dims[0]) for c in lead]
        array = xr.DataArray(
            wide.reshape(*(c.size for c in lead), *like.shape),
            dims=(*before, *like.dims),
            coords={c.dims[0]: c for c in lead} | dict(like.coords),
        ).transpose(*before, *known.dims)
        units = str(known.attrs["units"])
        return label(array, name, **({"units": units} | attrs), long_name=text)


def label_chains(
    chains: list[Chain], best: int, labels: Labels, closure: bool
) -> dict[str, xr.DataArray]:
    """Return the variables that several chains add to a factorisation."""
    chain = labels.result["chain"]
    rows = _same_order(chains, best)
    found = [
        np.array([c.run.weights[o] for c, o in zip(chains, rows, strict=True)]),
        np.array([c.run.components[o] for c, o in zip(chains, rows, strict=True)]),
    ]
    out = {
        "chain_weights": labels.factor(
            "weights", found[0], "chain_weights", "Weight found by each chain", chain
        ),
        "chain_components": labels.factor(
            "components",
            found[1],
            "chain_components",
            "Component found by each chain",
            chain,
        ),
    }
    for name, text, numbers in (
        (
            "acceptance",
            "Fraction of proposals accepted",
            [c.acceptance for c in chains],
        ),
        ("excess", "Misfit of draws over optimum", [c.excess for c in chains]),
    ):
        out[f"chain_{name}"] = label(
            xr.DataArray(numbers, dims="chain", coords={"chain": chain}),
            f"chain_{name}",
            units="1",
            long_name=text,
        )
    whole = [(c, o) for c, o in zip(chains, rows, strict=True) if c.range is not None]
    if whole:
        out |= _spreads(whole, chains[best], labels, closure)
    return out


def _same_order(chains: list[Chain], best: int) -> list[np.ndarray]:
    """Match each chain's components to those of the best chain."""
    from batteryxr.nmf.kernels.comparing import match

    reference = chains[best].run.components
    # The mean of all components does not help to tell them apart.
    middle = reference.mean(axis=0) if len(reference) > 1 else 0.0
    return [match(reference - middle, c.run.components - middle)[0] for c in chains]


def _spreads(
    whole: list[tuple[Chain, np.ndarray]], best: Chain, labels: Labels, closure: bool
) -> dict[str, xr.DataArray]:
    """Return errors, quantiles and ranges, and how far the chains agree on them."""
    from batteryxr.nmf.kernels.sampling import effective_size, potential_scale

    w = np.array([np.asarray(c.weights)[:, o] for c, o in whole])
    noise = np.median([np.asarray(c.noise)[o] for c, o in whole], axis=0)
    ranges = [(c.range, o) for c, o in whole if c.range is not None]
    top = 1.0 if closure else np.inf
    low = np.min([r.weights[0][o] for r, o in ranges], axis=0)
    high = np.max([r.weights[1][o] for r, o in ranges], axis=0)
    between = intervals(low, high, noise)
    error_w = farther(best.run.weights, between)
    between[2] = np.clip(np.median(w, axis=(0, 1)), between[1], between[3])
    between = np.clip(between, 0.0, top)
    width = (np.clip(high, 0.0, top) - np.clip(low, 0.0, top)).mean(axis=1)
    low, high = low - NOISE * noise, high + NOISE * noise
    low_h = np.min([r.components[0][o] for r, o in ranges], axis=0)
    high_h = np.max([r.components[1][o] for r, o in ranges], axis=0)
    noise_h = np.median([np.asarray(c.scatter)[o] for c, o in whole], axis=0)
    error_h = farther(best.run.components, intervals(low_h, high_h, noise_h))
    quantile = xr.DataArray(list(QUANTILES), dims="quantile")
    quantile.attrs = {"units": "1", "long_name": "Quantile"}
    weights = partial(labels.factor, "weights")
    components = partial(labels.factor, "components")
    bare = replace(labels, shift=0.0)
    ratio = potential_scale(w)
    size = effective_size(w)
    units = str(labels.result["weights"].attrs["units"])
    return {
        **mean_ranges(width[labels.order], units),
        "weights_error": weights(error_w, "weights_error", "Error of a weight"),
        "weights_low": weights(
            np.clip(low, 0.0, top), "weights_low", "Lowest weight that fits"
        ),
        "weights_high": weights(
            np.clip(high, 0.0, top), "weights_high", "Highest weight that fits"
        ),
        "weights_quantiles": weights(
            between, "weights_quantiles", "Quantiles of a weight", quantile
        ),
        "components_error": bare.factor(
            "components", error_h, "components_error", "Error of a component"
        ),
        "components_low": components(
            low_h, "components_low", "Lowest component that fits"
        ),
        "components_high": components(
            high_h, "components_high", "Highest component that fits"
        ),
        "rhat": weights(ratio, "rhat", "Between-chain R-hat of a weight", units="1"),
        "effective_draws": weights(
            size, "effective_draws", "Effective number of draws", units="1"
        ),
    }


def mean_ranges(widths: np.ndarray, units: str) -> dict[str, xr.DataArray]:
    """Return the mean range of the weights of each component (k,), and of all."""
    return {
        "component_range": label(
            xr.DataArray(widths, dims="component"),
            "component_range",
            units=units,
            long_name="Mean range of a weight, by component",
        ),
        "range_width": label(
            xr.DataArray(float(widths.mean())),
            "range_width",
            units=units,
            long_name="Mean range of a weight",
        ),
    }


def intervals(low: np.ndarray, high: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the ends of intervals at `QUANTILES`, (quantile, ...); medians halfway.

    A value is known to lie between low and high, and no more; noise blurs both. An
    interval holds the truth as often as it says wherever that is: where low and high
    are one, it has the ends of a normal one, and where they are far apart, the noise
    counts at one end only (Imbens & Manski, Econometrica 72, 1845, 2004).
    """
    from scipy.special import ndtr, ndtri

    room = (high - low) / np.where(noise > 0, noise, 1e-300)
    out = np.array([low, low, 0.5 * (low + high), high, high])
    for under, over in ((0, 4), (1, 3)):
        held = QUANTILES[over] - QUANTILES[under]
        few = np.full(room.shape, ndtri(held))
        many = np.full(room.shape, ndtri(0.5 * (1 + held)))
        for _ in range(40):
            reach = 0.5 * (few + many)
            enough = ndtr(reach + room) - ndtr(-reach) >= held
            few, many = np.where(enough, few, reach), np.where(enough, reach, many)
        out[under] -= many * noise
        out[over] += many * noise
    return out


def farther(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the distance of values to the farther end of the 68 % interval."""
    return np.maximum(values - ends[1], ends[3] - values)


def _wide(values: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Insert NaN where there were no data, along the last axis."""
    if here.all():
        return values
    out = np.full((*values.shape[:-1], here.size), np.nan)
    out[..., here] = values
    return out
