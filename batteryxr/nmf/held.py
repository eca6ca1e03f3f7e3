"""Factorise data held in memory, and judge the factors by what they leave over."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import warn_quality
from batteryxr.nmf.beam import drifting, lit, unshifted
from batteryxr.nmf.solving import run_starts, spread_out

if TYPE_CHECKING:
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.solving import Block, Factors
    from batteryxr.nmf.starting import Starts

#: Constraints contradict the data where they raise the squared residual by this factor
#: and the residual by more than this fraction of the signal.
_WORSE, _EXACT = 1.1, 1e-3
#: Standard deviations beyond which a value is a spike.
_SPIKE = 6.0


class Facts(NamedTuple):
    """Hold what the data tell of their factors.

    Parameters
    ----------
    weights
        (k, all samples) their weights.
    residual, chi2
        (all samples,) root mean square residual of the factors, and its mean square
        over the errors; NaN where a sample was left out.
    memory
        How much the noise of neighbouring points adds up in a weight.
    noise
        Noise of each sample, and of each point, over the usual; None where it is not
        known.
    far
        (all samples,) samples whose intensity is another.
    """

    weights: np.ndarray
    residual: np.ndarray
    chi2: np.ndarray
    memory: float
    noise: tuple[np.ndarray, np.ndarray] | None
    far: np.ndarray


def solve(
    block: Block,
    starts: Starts,
    rules: Rules,
    *,
    shift: np.ndarray | None,
    series: bool,
) -> tuple[Block, Factors]:
    """Return the data with beam, and their factors.

    Parameters
    ----------
    block
        All measured data.
    starts, rules
        Initial guesses at all points, and constraints of the factors.
    shift
        (all points,) the curve that was subtracted, or None.
    series
        Whether the samples have an order.
    """
    if rules.closure and series:
        block = lit(block, starts, shift)
    if rules.given is not None:
        rules = replace(rules, given=rules.given[:, block.samples])
    here = starts.at(block.points)
    factors = run_starts(block.values, block.v, here, rules)
    if rules.given is not None or rules.unimodal is not None:
        _tell_contradiction(block, here, rules, factors)
    return block, spread_out(factors, block.samples, block.points)


def _tell_contradiction(
    block: Block, starts: Starts, rules: Rules, factors: Factors
) -> None:
    """Warn if the data fit far better without what is said of the weights."""
    free = replace(rules, given=None, unimodal=None)
    first = replace(starts, first=factors.components, number=1)
    loose = run_starts(block.values, block.v, first, free)
    if factors.error**2 > _WORSE * loose.error**2 + _EXACT**2:
        warn_quality(
            "presence, weights or unimodal contradict the data: with them the residual "
            f"is {factors.error / max(loose.error, 1e-9):.1f} times as large "
            f"({factors.error:.2%} of the signal). Widen or drop them."
        )


def judge(
    block: Block,
    factors: Factors,
    *,
    shift: np.ndarray | None,
    closure: bool,
    known: bool,
) -> Facts:
    """Return what a series tells of its factors; warn where its intensity varies.

    Parameters
    ----------
    block, factors
        The data that were factorised, and their factors.
    shift
        (all points,) the curve that was subtracted, or None.
    closure
        Weights sum to one.
    known
        Whether the statistical weights come from given errors.
    """
    v, samples = block.v, block.samples
    rest = residuals_of(block, factors)
    there = np.ones(rest.shape, dtype=bool) if v is None else v > 0
    count = np.maximum(there.sum(axis=1), 1)
    residual, chi2 = np.full((2, samples.size), np.nan)
    residual[samples] = np.sqrt((rest**2 * there).sum(axis=1) / count)
    chi2[samples] = (rest**2 if v is None else rest**2 * v).sum(axis=1) / count
    far = np.zeros(samples.size, dtype=bool)
    if closure:
        whole = there.all(axis=1)
        rows = unshifted(block, shift)
        odd = drifting(rows[whole], np.flatnonzero(samples)[whole], len(factors.used))
        far[odd] = True
    components = factors.components[:, block.points]
    memory = memory_of(rest, v, components, closure=closure)
    noise = noise_of(block) if known else None
    assert factors.weights is not None
    return Facts(factors.weights, residual, chi2, memory, noise, far)


def residuals_of(block: Block, factors: Factors) -> np.ndarray:
    """Return the data less their factors."""
    weights = np.asarray(factors.weights)[:, block.samples]
    return np.asarray(block.values - weights.T @ factors.components[:, block.points])


def memory_of(
    rest: np.ndarray, v: np.ndarray | None, components: np.ndarray, *, closure: bool
) -> float:
    """Return how much the noise of neighbouring points adds up in a weight.

    Parameters
    ----------
    rest, v : (samples, points)
        What the factors leave over, and the statistical weights of the data.
    components : (n, points)
    closure
        Weights sum to one.
    """
    from batteryxr.nmf.kernels.correlation import adding_up

    if v is not None:
        rest = rest * np.sqrt(v / v.max())
        components = components * np.sqrt(v.mean(axis=0) / v.max())
    return adding_up(rest, components, closure=closure)


def noise_of(block: Block) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the noise of each sample, and of each point, over the usual."""
    _, v, samples, points = block
    if v is None:
        return None
    log = np.full((samples.size, points.size), np.nan)
    with np.errstate(divide="ignore"):
        log[np.ix_(samples, points)] = np.where(v > 0, -0.5 * np.log(v), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # empty scans and points
        level = np.nanmean(log, axis=1)
        level -= np.nanmedian(level)
        profile = np.exp(np.nanmean(log - level[:, None], axis=0))
    return np.exp(level), profile / np.sqrt(np.nanmean(profile**2))


def without_spikes(patterns: Patterns, block: Block, factors: Factors) -> Patterns:
    """Return the patterns without values too far off to be noise."""
    rest = residuals_of(block, factors)
    scale = np.ones_like(rest) if block.v is None else np.sqrt(block.v)
    far = np.abs(rest * scale)
    here = far[scale > 0]
    spread = 1.4826 * float(np.median(here)) if here.size else 0.0
    spikes = np.zeros((block.samples.size, block.points.size), dtype=bool)
    spikes[np.ix_(block.samples, block.points)] = far > _SPIKE * max(spread, 1e-300)
    keep = xr.DataArray(~spikes, dims=patterns.data.dims)
    data, whole = patterns.data.where(keep), patterns.whole.where(keep)
    data.attrs = whole.attrs = patterns.data.attrs
    return replace(patterns, data=data, whole=whole)
