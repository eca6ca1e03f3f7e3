"""Initial guesses of a factorisation: pure samples, singular vectors, or random."""

from __future__ import annotations

import numpy as np

from batteryxr.core.kernels.decompose import leading

#: Scores (samples, r) and orthonormal axes (points, r), of `leading`.
Span = tuple[np.ndarray, np.ndarray]
#: Most rounds in which gaps are filled, and change of a value at which they are.
_ROUNDS, _STILL = 20, 1e-3


def pure_samples(
    x: np.ndarray, n: int, known: np.ndarray | None = None, span: Span | None = None
) -> np.ndarray:
    """Return the indices of the purest rows of `x`, by successive projections.

    Each pick is the sample farthest from the span of the previous picks (Araújo et al.,
    Chemom. Intell. Lab. Syst. 57, 65, 2001). Before, the samples are denoised to the
    rank sought, and scaled to equal sums where all sums are positive.

    Parameters
    ----------
    x
        (samples, points).
    n
        Number of samples to pick.
    known
        (components, points) patterns whose span need not be found again.
    span
        The leading components of `x`, if already computed.

    Returns
    -------
    numpy.ndarray
        (n,) indices of samples.
    """
    known = np.empty((0, x.shape[1])) if known is None else known
    rank = min(n + len(known), *x.shape)
    left, right = _leading(x, rank, span)
    rest = left
    sums = left @ right.sum(axis=0)
    if np.all(sums > 0.05 * np.median(sums)):
        rest = left / sums[:, None]
    for pattern in known @ right:
        rest = _without(rest, pattern)
    found: list[int] = []
    for _ in range(n):
        power = (rest**2).sum(axis=1)
        power[found] = -1.0
        found.append(int(np.argmax(power)))
        rest = _without(rest, rest[found[-1]])
    return np.array(found)


def filled(x: np.ndarray, there: np.ndarray, rank: int) -> np.ndarray:
    """Return the samples (samples, points) with values at their gaps.

    A gap of zeros would look like a pattern of its own. It gets what the leading
    components of all samples say (Grung & Manne, Chemom. Intell. Lab. Syst. 42, 125,
    1998).

    Parameters
    ----------
    x, there
        Samples, and where they were measured.
    rank
        Number of leading components.
    """
    if there.all():
        return x
    usual = (x * there).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    out = np.where(there, x, usual)
    for _ in range(_ROUNDS):
        scores, axes = leading(out, min(rank, *x.shape))
        before, out = out, np.where(there, x, np.maximum(scores @ axes.T, 0.0))
        if np.abs(out - before).max() <= _STILL * np.abs(out).max():
            break
    return out


def _without(rows: np.ndarray, direction: np.ndarray) -> np.ndarray:
    length = float(direction @ direction)
    if length <= 0:
        return rows
    return rows - np.outer(rows @ direction, direction) / length


def _leading(x: np.ndarray, rank: int, span: Span | None) -> Span:
    if span is not None and span[0].shape[1] >= rank:
        return span[0][:, :rank], span[1][:, :rank]
    return leading(np.asarray(x, dtype=np.float64), rank)


def singular(x: np.ndarray, n: int, span: Span | None = None) -> Span:
    """Return weights (n, samples) and components (n, points) from singular vectors.

    From each pair of vectors the stronger of the positive and negative parts is kept
    (Boutsidis & Gallopoulos, Pattern Recognit. 41, 1350, 2008).
    """
    left, right = _leading(x, n, span)
    weights, components = np.empty((n, len(x))), np.empty((n, x.shape[1]))
    for j in range(n):
        length = max(float(np.linalg.norm(left[:, j])), 1e-300)
        u, v = left[:, j] / length, right[:, j]
        signs = (1.0, -1.0) if j else (np.sign(v.sum()),)
        parts = []
        for sign in signs:
            a, b = np.maximum(sign * u, 0.0), np.maximum(sign * v, 0.0)
            norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
            parts.append((norms[0] * norms[1], norms, a, b))
        share, norms, a, b = max(parts, key=lambda part: part[0])
        root = np.sqrt(length * share)
        weights[j] = root * a / max(norms[0], 1e-300)
        components[j] = root * b / max(norms[1], 1e-300)
    return weights, components


def at_random(x: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n, points): different random samples, each value scaled at random."""
    rows = rng.choice(len(x), n, replace=len(x) < n)
    noise = rng.uniform(0.5, 1.5, (n, x.shape[1]))
    return np.maximum(np.asarray(x[rows], dtype=np.float64), 0.0) * noise


def complete(
    x: np.ndarray,
    fixed: np.ndarray,
    given: np.ndarray,
    kind: str,
    rng: np.random.Generator,
    *,
    span: Span | None = None,
) -> np.ndarray:
    """Return `given` (k, points) with its free rows filled by a start of one kind.

    Parameters
    ----------
    x
        (samples, points), non-negative.
    fixed
        (k,) bool: rows of `given` to keep.
    given
        (k, points).
    kind
        ``"pure"``, ``"singular"`` or ``"random"``.
    rng
        Random numbers of random starts.
    span
        The leading components of `x`, if already computed.
    """
    out = given.astype(np.float64)
    n = int((~fixed).sum())
    if n == 0:
        return out
    if kind == "pure":
        rows = pure_samples(x, n, given[fixed], span)
        out[~fixed] = np.maximum(x[rows], 0.0)
    elif kind == "singular":
        out[~fixed] = singular(x, n, span)[1]
    else:
        out[~fixed] = at_random(x, n, rng)
    return out
