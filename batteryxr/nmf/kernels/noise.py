"""Noise of patterns: how that of neighbouring points adds up, and spikes.

Points of a pattern seldom err on their own: G(r) is a transform, detectors blur, and
spectra are interpolated. A weight is a sum over points, so that its error grows where
they err together (sandwich estimator: White, Econometrica 48, 817, 1980). A spike is
in one pattern alone: many others explain all the rest of it.
"""

from __future__ import annotations

import numpy as np

from batteryxr.core.kernels.decompose import leading

#: Standard deviations beyond which a value is a spike, and how many points it may
#: have; more are a peak. Beside it less than a third is left.
SPIKE, _NARROW, _BESIDE = 6.0, 5, 1 / 3
#: Share of the points that spikes may take. What is more is no spike.
_FEW = 0.01
#: Share of the residuals that are cut where all patterns have spikes, and rounds.
_CUT, _ROUNDS = 0.03, 30
#: Number of other patterns that may have a spike at one point.
_OTHERS = 3


def autocorrelation(rest: np.ndarray) -> np.ndarray:
    """Return the correlation of residuals (scans, points) by distance, up to zero.

    It begins with one, and has no more for noise without memory or no residual.
    """
    size = rest.shape[-1]
    power = np.abs(np.fft.rfft(np.atleast_2d(rest), 2 * size)) ** 2
    alike = np.fft.irfft(power.sum(axis=0), 2 * size)[:size]
    if alike[0] <= 0.0:
        return np.ones(1)
    ends = np.flatnonzero(alike <= 0.0)
    first = int(ends[0]) if ends.size else alike.size
    return np.asarray(alike[:first] / alike[0])


def together(rest: np.ndarray) -> float:
    """Return how many neighbours on the last axis count as one point; 1 for noise."""
    return 2.0 * float(autocorrelation(rest).sum()) - 1.0


def repeated(rest: np.ndarray) -> np.ndarray:
    """Return by how many deviations residuals recur in the scans beside, (scans,).

    Noise is another in each scan of (scans, points). What a model lacks is not, however
    much noise there is.
    """
    scans, points = rest.shape
    beside = np.zeros(rest.shape)
    for step in range(1, min(3, scans)):
        beside[step:] += rest[:-step]
        beside[:-step] += rest[step:]
    size = np.sqrt((rest**2).sum(axis=1) * (beside**2).sum(axis=1))
    cosine = (rest * beside).sum(axis=1) / np.maximum(size, 1e-300)
    memory = 2.0 * float((autocorrelation(rest) ** 2).sum()) - 1.0
    return np.asarray(cosine * np.sqrt(points / memory))


def adding_up(rest: np.ndarray, components: np.ndarray, *, closure: bool) -> float:
    """Return the variance of weights over that for noise without memory, at least 1.

    Parameters
    ----------
    rest
        (samples, points) residuals.
    components
        (k, points), in units of the noise of each point.
    closure
        Whether weights sum to one.
    """
    k, points = components.shape
    rows = components - components.mean(axis=0) if closure and k > 1 else components
    back = np.linalg.pinv(rows)  # how each point enters each weight
    alike = autocorrelation(rest)
    power = np.abs(np.fft.rfft(back.T, 2 * points)) ** 2
    own = np.fft.irfft(power, 2 * points)[:, : alike.size].sum(axis=0)
    if own[0] <= 0.0:
        return 1.0
    return max(2.0 * float(alike @ own / own[0]) - 1.0, 1.0)


def unabsorbed(components: np.ndarray, memory: float, *, closure: bool) -> float:
    """Return the variance of residuals over that for noise without memory.

    Weights absorb a part of the noise, and more of it where neighbours err together.
    """
    k, points = components.shape
    share = (k - int(closure)) / max(points, 1)
    return max(1.0 - share * memory, 0.3) / max(1.0 - share, 0.3)


def scatter(x: np.ndarray, n: int) -> float:
    """Return the noise of a series that changes gradually, NaN for too few patterns.

    Parameters
    ----------
    x
        (patterns, points) in one unit of noise.
    n
        Number of phases, whose mixtures patterns are at least.

    Notes
    -----
    It is what the last quarter of the singular values holds, over what they hold of
    noise alone, where neighbouring points that err together count as one. No model is
    needed.
    """
    scans, points = x.shape
    unit = float(np.abs(x).max(initial=0.0)) or 1.0
    last = min(scans - max(1, scans // 4), points // 3)
    if last < n or scans < n + 2:
        return np.nan
    u, s, axes = np.linalg.svd(x / unit, full_matrices=False)
    rest = (u[:, last:] * s[last:]) @ axes[last:]
    apart = max(int(points / together(rest)), n + 2)
    last = max(n, min(last, apart // 3))
    pure = np.random.default_rng(0).normal(size=(scans - n, apart - n))
    alone = np.linalg.svd(pure, compute_uv=False)[last - n :]
    share = float((alone**2).sum()) / apart
    return unit * float(np.sqrt((s[last:] ** 2).sum() / (share * points)))


def spike_model(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n axes (points, n) of patterns x, and the usual residual, (points,)."""
    scores, axes = leading(x, n)
    return axes, _usual(x - scores @ axes.T, x)


def find_spikes(
    pattern: np.ndarray, x: np.ndarray, axes: np.ndarray, usual: np.ndarray
) -> np.ndarray:
    """Return the points at which a pattern has spikes.

    Parameters
    ----------
    pattern
        (points,)
    x
        (patterns, points) the others, each a mixture of a few.
    axes, usual
        Their `spike_model`.
    """
    far = np.abs(pattern - axes @ _mostly(pattern, axes))
    own = 1.4826 * float(np.median(far))
    here = _isolated(far / np.maximum(usual, own))
    if 0 < here.size <= max(_NARROW, _FEW * far.size):
        return here[_of_its_own(pattern, x, here, axes.shape[1])]
    return here[:0]


def spikes_among(x: np.ndarray, there: np.ndarray, n: int) -> np.ndarray:
    """Return which values (samples, points) are spikes, however high they are.

    A component would follow a high spike. So residuals are cut before the leading `n`
    components are found, beginning at the median pattern (pseudo-values: Huber &
    Ronchetti, Robust Statistics, 2009, section 7.8).
    """
    model = np.nanmedian(np.where(there, x, np.nan), axis=0) + np.zeros_like(x)
    for _ in range(_ROUNDS):
        rest = np.where(there, x - model, 0.0)
        cut = float(np.quantile(np.abs(rest[there]), 1.0 - _CUT))
        scores, axes = leading(model + np.clip(rest, -cut, cut), min(n, *x.shape))
        model = scores @ axes.T
    usual = 1.4826 * float(np.median(np.abs((x - model)[there])))
    usual = max(usual, 1e-9 * float(np.abs(model).max()))
    out = np.zeros(x.shape, dtype=bool)
    for row, far in zip(out, np.where(there, np.abs(x - model), 0.0), strict=True):
        here = _isolated(far / max(usual, 1e-300))
        row[here] = here.size <= max(_NARROW, _FEW * far.size)
    return out


def _of_its_own(
    pattern: np.ndarray, x: np.ndarray, here: np.ndarray, n: int
) -> np.ndarray:
    """Return which of some points of a pattern most others do not explain.

    A spike in one of the others bends the axes at its point: a pattern that is sound
    there deviates from the axes, but not from all others.
    """
    scores, axes = leading(np.delete(x, here, axis=1), n)
    share = _mostly(np.delete(pattern, here), axes)
    own = np.zeros(here.size, dtype=bool)
    for i, point in enumerate(here):
        kept = np.arange(len(x))
        far = []
        for _ in range(_OTHERS + 1):
            q, r = np.linalg.qr(scores[kept])
            y = x[kept, point]
            rest = y - q @ (q.T @ y)
            expected = share @ np.linalg.lstsq(r, q.T @ y, rcond=1e-10)[0]
            usual = float(_usual(rest[:, None], x)[0])
            far.append(abs(pattern[point] - expected) / usual)
            free = np.maximum(1.0 - (q**2).sum(axis=1), 1e-9)
            kept = np.delete(kept, int((rest**2 / free).argmax()))
        own[i] = min(far) > SPIKE
    return own


def _usual(rest: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the deviation of most residuals, above rounding, (points,)."""
    level = 1.4826 * np.median(np.abs(rest), axis=0)
    return np.asarray(np.maximum(level, 1e-4 * np.abs(x).max()))


def _mostly(pattern: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return shares (n,) of axes in a pattern by a fit that outliers do not move."""
    rest, share = pattern, np.zeros(axes.shape[1])
    for _ in range(30):
        root = np.maximum(np.abs(rest), 1e-6 * np.abs(rest).max() + 1e-300) ** -0.5
        root /= root.max()
        share = np.linalg.lstsq(axes * root[:, None], pattern * root, rcond=1e-10)[0]
        rest = pattern - axes @ share
    return np.asarray(share)


def _isolated(far: np.ndarray) -> np.ndarray:
    """Return the points of few that are far off, with none nearly as far beside."""
    edges = np.flatnonzero(np.diff(np.r_[0, far > SPIKE, 0]))
    around = np.r_[0.0, far, 0.0]
    found = [
        np.arange(first, last)
        for first, last in zip(edges[::2], edges[1::2], strict=True)
        if last - first <= _NARROW
        and max(around[first], around[last + 1]) < _BESIDE * far[first:last].max()
    ]
    return np.concatenate([np.empty(0, dtype=int), *found])
