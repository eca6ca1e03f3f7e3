"""Factorise data held in memory, and judge the factors by what they leave over."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import warn_quality
from batteryxr.nmf.beam import (
    beyond_noise,
    drifting,
    flag_scans,
    lit,
    strange,
    tell_levels,
    unshifted,
)
from batteryxr.nmf.solving import gapless, run_starts, spread_out

if TYPE_CHECKING:
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.solving import Block, Factors
    from batteryxr.nmf.starting import Starts

#: Constraints contradict the data where they raise the squared residual by this factor
#: and the residual by more than this fraction of the signal.
_WORSE, _EXACT = 1.1, 1e-3
#: What is said of them.
_INHERITED = "All ratios inherit them. Fix another scan"
_ROBUST = "constraints=nmf.Constraints(robust=True), which leaves these points out"
_LEFT_OUT = "These points are left out"
#: Factor beyond which given errors are not those of the data.
_OFF = 3.0
#: Squared noise, in that of a value, up to which a fixed pattern mixes other ones.
_MIXED = 100.0
#: Number of scans, or points, and factor between them, from which noise is uneven.
_MANY, _UNEVEN = 10, 1.6


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
    far, odd
        (all samples,) samples whose intensity is another, and that hold what no other
        sample holds.
    """

    weights: np.ndarray
    residual: np.ndarray
    chi2: np.ndarray
    memory: float
    noise: tuple[np.ndarray, np.ndarray] | None
    far: np.ndarray
    odd: np.ndarray


class Factorised(NamedTuple):
    """Hold what was factorised, less spikes, and its factors.

    Parameters
    ----------
    spikes
        Where fixed patterns have spikes, among all points, by their names.
    dark
        (all samples,) samples that had data, and no beam.
    """

    patterns: Patterns
    block: Block
    factors: Factors
    spikes: dict[str, np.ndarray]
    dark: np.ndarray


def factorise(
    patterns: Patterns, starts: Starts, rules: Rules, *, robust: bool
) -> Factorised:
    """Return the factors of data held in memory; `robust` leaves spikes out.

    Warns of spikes in fixed patterns, which all other patterns inherit.
    """
    from batteryxr.nmf.kernels.noise import spikes_among

    signed = rules.signed is not None
    find = partial(
        _solve, starts=starts, rules=rules, shift=patterns.shift, series=patterns.series
    )
    whole = gapless(patterns, signed=signed)
    if spikes := spikes_of_fixed(whole, starts):
        done = _LEFT_OUT if robust else f"{_INHERITED}, or use {_ROBUST}"
        tell_spikes(spikes, patterns, done)
    if spikes and robust:
        patterns = without_points(patterns, spikes)
        whole = gapless(patterns, signed=signed)
    if robust:
        there = (
            np.ones(whole.values.shape, dtype=bool) if whole.v is None else whole.v > 0
        )
        high = spikes_among(whole.values, there, starts.n)
        patterns = _only(patterns, _spread(~high, whole, patterns))
        whole = gapless(patterns, signed=signed)
    block, factors = find(whole)
    if robust:
        patterns = without_spikes(patterns, block, factors)
        whole = gapless(patterns, signed=signed)
        block, factors = find(whole)
    return Factorised(patterns, block, factors, spikes, whole.samples & ~block.samples)


def _solve(
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
    starts: Starts,
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
    starts
        The components that were known.
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
    far, odd = np.zeros((2, samples.size), dtype=bool)
    if closure:
        whole = there.all(axis=1)
        rows, k = unshifted(block, shift)[whole], len(factors.used)
        here = np.flatnonzero(samples)[whole]
        odd[strange(rows, here, k)] = True
        sound = ~odd[here]
        far[drifting(rows[sound], here[sound], k)] = True
        raw = starts.raw[:, block.points]
        given = {
            name: row
            for name, row, origin in zip(starts.names, raw, starts.origins, strict=True)
            if origin == "pattern"
        }
        tell_levels(rows[sound], given, k)
    components = factors.components[:, block.points]
    memory = memory_of(rest, v, components, closure=closure)
    if len(starts.names) > 1 and (whole := there.all(axis=1)).any():
        scores, axes = beyond_noise(block.values[whole], len(factors.used))
        level = float(np.sqrt(((block.values[whole] - scores @ axes.T) ** 2).mean()))
        _tell_mixed(starts.at(block.points), level, memory, closure=closure)
    noise = noise_of(block) if known else None
    if known:
        tell_errors(block, len(factors.used))
    assert factors.weights is not None
    return Facts(factors.weights, residual, chi2, memory, noise, far, odd)


def _tell_mixed(starts: Starts, noise: float, memory: float, *, closure: bool) -> None:
    """Warn of fixed patterns that are mixtures of other fixed ones, within noise."""
    from batteryxr.nmf.kernels.nnls import solve

    for i, name in enumerate(starts.names):
        row, others = starts.fixed[i], np.delete(starts.fixed, i, axis=0)
        share = solve(others @ others.T, (others @ row)[:, None], closure=closure)[:, 0]
        left, chance = float(((row - share @ others) ** 2).sum()), _MIXED
        if starts.origins[i] == "scan":  # it has noise of its own
            sure = row.size + 5.0 * np.sqrt(2.0 * memory * row.size)
            chance = max(chance, float(1.0 + share @ share) * sure)
        if left < chance * noise**2 + 1e-18 * float(row @ row):
            names = [n for n in starts.names if n != name]
            parts = [f"{w:.2f} {n}" for w, n in zip(share, names, strict=True) if w > 0]
            warn_quality(
                f"fixed[{name!r}] is {' + '.join(parts)} within noise: how much there "
                "is of each is open. Leave one of them out."
            )


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
    from batteryxr.nmf.kernels.noise import adding_up

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


def tell_errors(block: Block, n: int) -> None:
    """Warn of given errors that are not those of the data, whatever explains them.

    The noise is what all components that stand out of it leave over, at least `n`.
    """
    if block.v is None:
        return
    whole = (block.v > 0).all(axis=1)
    v = block.v[whole]
    if len(v) < 2 * n + 2 or v.shape[1] < 2 * n + 2:
        return
    level = np.sqrt(np.median(v, axis=0))
    x = block.values[whole] * (level / level.max())
    scores, axes = beyond_noise(x, n)
    rest = (x - scores @ axes.T) / (level / level.max()) * np.sqrt(v)
    left = float(np.prod([1.0 - scores.shape[1] / size for size in rest.shape]))
    ratio = 1.4826 * float(np.median(np.abs(rest))) / np.sqrt(left)
    if not 1.0 / _OFF < ratio < _OFF:
        warn_quality(
            f"the data scatter by {ratio:.2g} times the errors that were given: "
            "another unit, variances, per cent, or errors of other data? Ratios depend "
            "on how errors compare and not on their size; chi2 does, and means nothing."
        )


def tell_noise(block: Block, n: int, rest: np.ndarray, memory: float) -> None:
    """Warn of given errors that are not those of the data, or of noise that is uneven.

    Parameters
    ----------
    block, n
        The data, and the number of components.
    rest : (scans, points)
        What these leave over.
    memory
        How much the noise of neighbouring points adds up.
    """
    if block.v is not None:
        tell_errors(block, n)
        return
    for axis, what, share in ((1, "scans", memory), (0, "points", 1.0)):
        level = np.sqrt((rest**2).mean(axis=axis))
        level = level[level > 1e-3 * np.median(level)]
        if level.size < _MANY:
            continue
        low, high = np.quantile(level, (0.1, 0.9))
        # Normal noise: the standard deviation of the logarithm of a level.
        chance = np.sqrt(share / (2.0 * rest.shape[axis]))
        if high > _UNEVEN * low * np.exp(2.56 * chance):
            warn_quality(
                f"what {what} leave over differs by a factor of {high / low:.1f}, and "
                "no errors were given: those of weights are those of equal noise, too "
                "small for some and too large for others. Pass errors=, or another "
                "component if one is missing."
            )


def without_spikes(patterns: Patterns, block: Block, factors: Factors) -> Patterns:
    """Return the patterns without values too far off to be noise."""
    from batteryxr.nmf.kernels.noise import SPIKE

    rest = residuals_of(block, factors)
    scale = np.ones_like(rest) if block.v is None else np.sqrt(block.v)
    far = np.abs(rest * scale)
    here = far[scale > 0]
    spread = 1.4826 * float(np.median(here)) if here.size else 0.0
    sound = far <= SPIKE * max(spread, 1e-300)
    return _only(patterns, _spread(sound, block, patterns))


def _spread(sound: np.ndarray, block: Block, patterns: Patterns) -> xr.DataArray:
    """Return which values of the patterns to keep, of those that a block holds."""
    keep = np.ones((block.samples.size, block.points.size), dtype=bool)
    keep[np.ix_(block.samples, block.points)] = sound
    return xr.DataArray(keep.reshape(patterns.data.shape), dims=patterns.data.dims)


def _only(patterns: Patterns, keep: xr.DataArray) -> Patterns:
    """Return the patterns with gaps where values are not to be kept."""
    data, whole = patterns.data.where(keep), patterns.whole.where(keep)
    data.attrs = whole.attrs = patterns.data.attrs
    return replace(patterns, data=data, whole=whole)


def spikes_of_fixed(block: Block, starts: Starts) -> dict[str, np.ndarray]:
    """Return at which of all points fixed patterns have spikes, by their names.

    The other scans explain all of a pattern but its spikes. What they do not explain
    at many points is a phase of its own, or a change of its peaks.
    """
    from batteryxr.nmf.kernels.noise import find_spikes, spike_model

    values, v, samples, points = block
    free = ~np.isin(np.flatnonzero(samples), starts.scans)
    if v is not None:
        free &= (v > 0).all(axis=1)
    x = values[free]
    if not starts.names or min(x.shape) <= 2 * starts.n:
        return {}
    axes, usual = spike_model(x, starts.n)
    found = {}
    fixed = zip(starts.names, starts.fixed[:, points], starts.origins, strict=True)
    for name, pattern, origin in fixed:
        if origin != "found":
            here = find_spikes(pattern, x, axes, usual)
            if here.size:
                found[name] = np.flatnonzero(points)[here]
    return found


def tell_spikes(
    spikes: dict[str, np.ndarray], patterns: Patterns, done: str = _INHERITED
) -> dict[str, np.ndarray]:
    """Warn of spikes in fixed patterns, say what was done, and return them."""
    axis = patterns.data[patterns.signal]
    for name, at in spikes.items():
        where = ", ".join(f"{float(axis[i]):.6g}" for i in at[:5])
        warn_quality(
            f"fixed[{name!r}] has {at.size} values that no other scan bears out, at "
            f"{axis.name} = {where}{', ...' if at.size > 5 else ''}: spikes? {done}."
        )
    return spikes


def flag_spikes(
    result: xr.Dataset, spikes: dict[str, np.ndarray], starts: Starts
) -> xr.Dataset:
    """Return the result with flag 4 at fixed scans that have spikes."""
    scans = dict(zip(starts.names, starts.scans, strict=True))
    spoilt = [scans[name] for name in spikes if scans[name] >= 0]
    return flag_scans(result, np.isin(np.arange(result["flag"].size), spoilt), 4)


def without_points(patterns: Patterns, spikes: dict[str, np.ndarray]) -> Patterns:
    """Return the patterns without the points at which a fixed one has a spike."""
    good = np.ones(patterns.n_points, dtype=bool)
    good[np.concatenate(list(spikes.values()))] = False
    return _only(patterns, xr.DataArray(good, dims=patterns.signal))
