"""Scans without beam, and drifting beam intensity, for ratios that sum to one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.nmf.data import lay_out, weigh
from batteryxr.nmf.solving import Block

if TYPE_CHECKING:
    from batteryxr.nmf.constraints import Constraints
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.starting import Starts

#: Fraction of the usual signal below which a scan had no beam.
_DARK = 0.05
#: Number of scans that may be much brighter than all others with beam.
_FEW = 3
#: Standard deviations by which a drift must stand out of the noise, and its least size.
_CLEARLY, _SLIGHT = 5.0, 3e-3
#: Share of a pattern that noise may take where its intensity is judged, and by which
#: intensity may be off; share of a scan above which no other scan explaining it counts.
_INSIDE, _OFF, _STRANGE = 0.1, 0.05, 0.05
#: Leverage of a scan from which it may have a component of its own.
_LEVERAGE = 0.5
#: Patterns, and points, beyond the components that a judgement of drift needs.
_SPARE = 5


def lit(block: Block, starts: Starts, shift: np.ndarray | None) -> Block:
    """Return the block without the scans of a series that had no beam.

    Parameters
    ----------
    block
        All measured scans.
    starts
        The components, of which fixed scans need beam.
    shift
        (all points,) the curve that was subtracted, or None.

    Raises
    ------
    DataError
        If a scan without beam is fixed.
    """
    values, v, samples, points = block
    if len(values) < 3:
        return block
    share = 1.0 if v is None else (v > 0).mean(axis=1)
    dark = without_beam(unshifted(block, shift), starts.n, share)
    if not dark.any():
        return block
    gone = np.flatnonzero(samples)[dark]
    for name, scan in zip(starts.names, starts.scans, strict=True):
        if scan in gone:
            raise DataError(
                f"fixed[{name!r}]",
                f"scan {scan}, which has less than {_DARK:.0%} of the usual signal: "
                "no beam?",
                "Choose another scan.",
            )
    samples = samples.copy()
    samples[gone] = False
    return Block(values[~dark], None if v is None else v[~dark], samples, points)


def without_beam(x: np.ndarray, n: int, share: np.ndarray | float = 1.0) -> np.ndarray:
    """Return which patterns (scans, points) had no beam, given `n` components.

    `share` is the fraction of points measured in each pattern. The usual signal is that
    of scans with beam, which may be few: a tenth of all, and three, may be brighter.
    """
    power = (_scores(x, n) ** 2).sum(axis=1) / share
    high = np.sort(power)[-1 - min(max(_FEW, len(power) // 10), (len(power) - 1) // 2)]
    usual = np.median(power[power >= _DARK**2 * high])
    return np.asarray(power < _DARK**2 * usual)


def tell_dark(scans: np.ndarray, flag: str = "") -> None:
    """Warn of scans without beam, and name the flag that they get."""
    warn_quality(
        f"{scans.size} scans have less than {_DARK:.0%} of the usual signal: no beam? "
        f"They get no ratios{flag}: {_listed(scans)}."
    )


def flag_dark(result: xr.Dataset, dark: np.ndarray) -> xr.Dataset:
    """Return the result with flag 2 and no ratios at scans without beam.

    Parameters
    ----------
    result
        Result for a series.
    dark
        (scans,) scans that had data, and no beam.
    """
    if not dark.any():
        return result
    tell_dark(np.flatnonzero(dark), " and flag 2")
    here = xr.DataArray(~dark, dims=result["flag"].dims)
    named = ("weights", "residual", "relative_residual", "chi2", "weights_spread")
    out = {n: result[n].where(here) for n in named if n in result}
    for name, array in out.items():
        array.attrs = result[name].attrs
    flag = result["flag"].where(here, 2).astype(result["flag"].dtype)
    flag.attrs = result["flag"].attrs
    return result.assign(out | {"flag": flag})


def flag_scans(result: xr.Dataset, odd: np.ndarray, value: int) -> xr.Dataset:
    """Return the result with a flag at odd scans, (scans,) bool."""
    if not odd.any():
        return result
    flag = result["flag"]
    told = flag.where(xr.DataArray(~odd, dims=flag.dims), value).astype(flag.dtype)
    return result.assign(flag=told.assign_attrs(flag.attrs))


def drifting(x: np.ndarray, scans: np.ndarray, n: int) -> np.ndarray:
    """Warn if no combination of the scores is constant: the intensity varies.

    The residuals do not tell it, as free components may absorb a drift between two
    fixed scans. Returns those of `scans` that deviate by more than a fifth.
    """
    x = x / (np.abs(x).max(initial=0.0) or 1.0)
    if len(x) < n + _SPARE or x.shape[1] < n + _SPARE:
        return scans[:0]
    scores, axes = beyond_noise(x, n)
    same = _constant(scores)
    level = scores @ same
    off = float(np.sqrt(np.mean((level - 1.0) ** 2)))
    if off < _SLIGHT:
        return scans[:0]
    expected = _by_chance(x - scores @ axes.T, axes, same)
    chance = 1.0 + _CLEARLY * np.sqrt(2.0 / (len(x) - n))
    if off**2 < chance * expected**2:
        return scans[:0]
    far = scans[np.abs(level - np.median(level)) > 0.2]
    odd = f" Farthest off: {_listed(far)}." if far.size else ""
    warn_quality(
        "no ratios that sum to one give these from patterns that stay the same: their "
        f"level goes from {level.min():.3f} to {level.max():.3f}, where noise makes "
        f"{expected:.3f} (at least, as ratios can take up the rest).{odd} "
        "Either the intensity is not the same in all scans: divide by the incident "
        "intensity, constraints=nmf.Constraints(pattern_scale=...), let 'estimate' "
        "find it, or use closure=False. Or a phase changes, as a solid solution does: "
        "`nmf.fit_structures` follows its lattice and composition."
    )
    return far


def strange(x: np.ndarray, scans: np.ndarray, n: int) -> np.ndarray:
    """Return those of `scans` that hold much that no other scan holds; warn of them."""
    x = x / (np.abs(x).max(initial=0.0) or 1.0)
    if len(x) < n + _SPARE or x.shape[1] < n + _SPARE:
        return scans[:0]
    scores, axes = beyond_noise(x, n)
    size = np.maximum((scores**2).sum(axis=0), 1e-300)
    lever = (scores**2 / size).sum(axis=1)
    left = _rms(x - scores @ axes.T)
    doubted = (lever > _LEVERAGE) | (left > _CLEARLY * np.median(left))
    found = []
    for i in np.flatnonzero(doubted)[: len(x) // 5]:
        others = np.delete(x, i, axis=0)
        scores, axes = beyond_noise(others, n)
        usual = float(np.median(_rms(others - scores @ axes.T)))
        own = float(_rms(x[i] - axes @ (x[i] @ axes)))
        if own > max(_CLEARLY * usual, _STRANGE * float(_rms(x[i]))):
            found.append(i)
    odd = scans[found]
    if odd.size:
        warn_quality(
            f"{odd.size} scans hold what no other scan holds: a phase that occurs "
            "once, spikes, damage, or no sample? Components may follow them, and all "
            f"ratios then err. They get flag 5; look at them, or mask: {_listed(odd)}."
        )
    return odd


def _rms(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt((rows**2).mean(axis=-1)))


def tell_levels(x: np.ndarray, patterns: dict[str, np.ndarray], n: int) -> None:
    """Warn of known patterns (points,) whose intensity is not that of the scans x."""
    unit = np.abs(x).max(initial=0.0) or 1.0
    if not patterns or len(x) < n + _SPARE or x.shape[1] < n + _SPARE:
        return
    scores, axes = beyond_noise(x / unit, n)
    same = _constant(scores)
    spread = float(np.median(np.abs(scores @ same - 1.0)))
    for name, pattern in patterns.items():
        inside = pattern / unit @ axes
        left = np.linalg.norm(pattern / unit - axes @ inside)
        level = float(inside @ same)
        known = left < _INSIDE * np.linalg.norm(pattern / unit)
        if known and abs(level - 1.0) > _OFF + _CLEARLY * spread:
            warn_quality(
                f"fixed[{name!r}] has {level:.3g} times the intensity of the scans: "
                f"ratios that sum to one then err. Divide it by {level:.3g}, bring it "
                "to the unit of the data, or use closure=False."
            )


def beyond_noise(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and axes of at least `n` components, and all above the noise.

    Phases beyond the `n` that are fitted are no drift: all that stand out of the noise
    may take part in the combination that is constant.
    """
    from batteryxr.core.kernels.decompose import leading

    scans, points = x.shape
    most = max(n, min(scans, points) // 3)
    scores, axes = leading(x, most)
    power = (scores**2).sum(axis=0)
    left = float(np.vdot(x, x)) - np.concatenate([[0.0], np.cumsum(power)])
    # The largest singular value of noise: Marchenko & Pastur, Sb. Math. 1, 457 (1967).
    for rank in range(n, most + 1):
        if rank == min(scans, points):  # nothing is left to be noise
            break
        square = max(float(left[rank]), 0.0) / ((scans - rank) * (points - rank))
        edge = 1.1 * square * (np.sqrt(scans) + np.sqrt(points)) ** 2
        if rank == most or power[rank] < edge:
            break
    return scores[:, :rank], axes[:, :rank]


def _by_chance(rest: np.ndarray, axes: np.ndarray, same: np.ndarray) -> float:
    """Return how far noise alone takes the level of a pattern from one."""
    from batteryxr.nmf.kernels.noise import adding_up

    (scans, points), rank = rest.shape, len(same)
    back = axes @ same  # how each point enters the level
    each = (rest**2).sum(axis=0) / (scans - rank) * points / (points - rank)
    memory = adding_up(rest, back[None], closure=False)
    return float(np.sqrt(memory * (each @ back**2)))


def with_levels(
    data: Several, constraints: Constraints, n: int, *, closure: bool
) -> Constraints:
    """Return constraints with an estimated intensity of each pattern.

    In a series of n phases whose ratios sum to one, some combination of the first n
    scores is the same number in each scan. The combination that is constant in most
    scans gives the intensity of the others. A change that ratios could also explain
    is not found.
    """
    if not closure:
        raise ArgumentError(
            "pattern_scale",
            "estimate",
            "numbers, or None: without closure the weights have the intensity in them",
        )
    patterns = lay_out(data, constraints.signal)
    if not patterns.series or not patterns.held:
        raise DataError(
            "pattern_scale",
            "'estimate' for data that are no series in memory",
            "Give the intensities, or use closure=False.",
        )
    patterns = weigh(patterns, None, constraints.mask, None)
    x = patterns.data.values.reshape(-1, patterns.n_points).astype(np.float64)
    finite = np.isfinite(x)
    x, finite = x[:, finite.any(axis=0)], finite[:, finite.any(axis=0)]
    good = np.asarray(finite.all(axis=1) & (x.shape[1] > 0))
    if good.sum() <= n:
        raise DataError(
            "data",
            f"fewer than {n + 1} patterns without gaps",
            "Fill the gaps, or pass more patterns.",
        )
    level = _levels(x, finite, good, n)
    # Scans without beam have no intensity: they are left as they are, and flagged.
    level[level < _DARK] = 1.0
    (dim,) = patterns.samples
    axis = patterns.data.coords
    coords = {dim: axis[dim]} if dim in axis else {}
    array = xr.DataArray(level, dims=dim, coords=coords, attrs={"units": "1"})
    return replace(constraints, pattern_scale=array)


def _levels(x: np.ndarray, finite: np.ndarray, good: np.ndarray, n: int) -> np.ndarray:
    """Return the intensity of each pattern over the median, 1 where it is unknown.

    The intensity of a pattern with gaps comes from its measured points.
    """
    from batteryxr.core.kernels.decompose import leading

    unit = np.abs(x[good]).max() or 1.0
    scores, axes = leading(x[good] / unit, min(n, *x[good].shape))
    same = _constant(scores)
    level = np.ones(len(x))
    level[good] = scores @ same
    middle = float(np.median(level[good]))
    for i in np.flatnonzero(~good):
        here = finite[i]
        if here.sum() > n:
            own = np.linalg.lstsq(axes[here], x[i, here] / unit, rcond=1e-10)[0]
            level[i] = own @ same
        else:
            level[i] = middle
    return level / middle


def _constant(scores: np.ndarray) -> np.ndarray:
    """Return the combination of scores (scans, n) that is 1 in most scans."""
    weight = np.ones(len(scores))
    found = np.zeros(scores.shape[1])
    for _ in range(100):
        root = np.sqrt(weight)
        new = np.linalg.lstsq(scores * root[:, None], root, rcond=1e-10)[0]
        if np.allclose(new, found, rtol=1e-9, atol=0.0):
            break
        found = new
        weight = 1.0 / np.maximum(np.abs(scores @ found - 1.0), 1e-4)
    return found


def unshifted(block: Block, shift: np.ndarray | None) -> np.ndarray:
    """Return the patterns before a shift was subtracted; gaps stay zero."""
    if shift is None:
        return block.values
    x = block.values + shift[block.points]
    return x if block.v is None else np.where(block.v > 0, x, 0.0)


def _scores(x: np.ndarray, n: int) -> np.ndarray:
    from batteryxr.core.kernels.decompose import leading

    return leading(x, min(n, *x.shape))[0]


def _listed(scans: np.ndarray) -> str:
    shown = ", ".join(map(str, scans[:10].tolist()))
    return shown + (f" and {scans.size - 10} more" if scans.size > 10 else "")
