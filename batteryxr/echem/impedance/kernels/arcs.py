"""Fit arcs to spectra, starting from the peaks of their distributions.

An arc is R/(1 + (jωτ)ⁿ)ᵇ (Havriliak and Negami, Polymer 8, 161 (1967)). With b = 1 it
is a depressed arc, with n = 1 and b = 1/2 a Gerischer element. Its distribution of
relaxation times, its top and its mean are known in closed form.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.impedance.circuit import parse
from batteryxr.echem.impedance.kernels import levenberg, linear
from batteryxr.echem.impedance.kernels.elements import EXPONENTS
from batteryxr.echem.impedance.kernels.levenberg import CircuitProblem, Space
from batteryxr.echem.impedance.kernels.relaxation_peaks import RelaxationPeak, tops_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Iterations, and largest distance of a size or a time from its initial guess (ln).
_STEPS, _WIDE = 60, 4.0
#: Iterations after which a fit is given up whose squares exceed the noise by a factor.
_FIRST, _HOPELESS = 12, 30.0
#: Range of initial exponents; largest number of arcs.
_START, _MOST = (0.5, 0.97), 8
#: Largest variance of the residuals relative to the noise.
_AS_GOOD = 1.2
#: Smallest arc as a fraction of the largest, and largest error (of ln) of a determined
#: value.
_SHARE, _LOOSE = 1e-3, 0.5
#: Distance (ln tau) from its top beyond which an arc is another process.
_AWAY = 1.5
#: Forms of an arc: depressed (b = 1), skewed, skewed with n = 1.
_PLAIN, _SKEWED, _SHARP = 0, 1, 2
#: Initial exponents of a skewed arc; largest number of arcs among which some may be.
_SKEW, _FEW = (0.97, 0.6), 3
_LARGEST_N = 1.0 - 1e-4
_EULER = 0.5772156649015329


class Arcs(NamedTuple):
    """Hold the arcs of one spectrum (ln tau, ln resistance, n, b), fast to slow.

    Parameters
    ----------
    values
        (arcs, 4).
    covariance
        (4 arcs, 4 arcs), in the order of `values`.
    """

    values: np.ndarray
    covariance: np.ndarray


def fitted(
    measured: np.ndarray,
    omega: np.ndarray,
    starts: list[np.ndarray | None],
    beside: np.ndarray,
    noise: np.ndarray,
) -> list[Arcs | None]:
    """Fit depressed arcs to spectra; None where the residuals exceed the noise.

    Parameters
    ----------
    measured
        (spectra, frequencies) complex; NaN where there is no point.
    omega
        (frequencies,) rad/s.
    starts
        Initial guess for each spectrum (arcs, 4), as in `Arcs`; None: no arcs.
    beside
        (spectra, 3) resistance, inductance and inverse capacitance. A capacitance is
        fitted to all if any spectrum has one.
    noise
        (spectra,) variance of each part, relative to the modulus.
    """
    found: list[Arcs | None] = [None] * len(measured)
    counts = np.array([0 if one is None else len(one) for one in starts])
    for count in np.unique(counts[(counts > 0) & (counts <= _MOST)]).tolist():
        rows = np.flatnonzero(counts == count)
        mine = [starts[k] for k in rows.tolist()]
        first = np.stack([one for one in mine if one is not None])
        form = np.full(count, _PLAIN)
        each, left = _group(measured, omega, first, beside, rows, form, noise)
        for row, arcs, rest in zip(rows.tolist(), each, left, strict=True):
            if rest <= _AS_GOOD * noise[row]:
                found[row] = arcs
    return found


def skewed(
    measured: np.ndarray,
    omega: np.ndarray,
    distributions: tuple[np.ndarray, np.ndarray, float],
    beside: np.ndarray,
    plain: list[Arcs | None],
) -> list[Arcs | None]:
    """Fit arcs of which some may be skewed; None where residuals exceed the noise.

    The most prominent tops of each distribution are tried, up to three, each as a
    depressed arc, and as a skewed one with any n or n = 1. The Bayesian criterion
    chooses. Where depressed arcs fit, only fewer arcs are tried.

    Parameters
    ----------
    measured, omega, beside
        As in `fitted`.
    distributions
        The distributions (spectra, times), ln tau (times,), and `least` of `tops_of`.
    plain
        Result of `fitted`.
    """
    gamma, log_tau, least = distributions
    found, best = list(plain), np.full(len(plain), np.inf)
    tops = [tops_of(one, least) for one in gamma]
    counts = np.array([one.size for one in tops], int)
    known = np.array([0 if one is None else len(one.values) for one in plain], int)
    noise, n = noise_of(measured, omega), 2 * np.isfinite(measured).sum(axis=1)
    for form in _forms():
        tried = (known == 0) | ((known > form.size) & (known <= _FEW))
        tried |= (known == form.size) & (form == _PLAIN).all()
        rows = np.flatnonzero((counts >= form.size) & tried)
        if not rows.size:
            continue
        mine = [_main(gamma[k], tops[k], form.size) for k in rows]
        begun = [_starts(gamma[k], log_tau, m) for k, m in zip(rows, mine, strict=True)]
        each, left = _group(measured, omega, np.stack(begun), beside, rows, form, noise)
        if (form == _SKEWED).all():
            # Where the richest form is far from the noise, no other is near it.
            known[rows[left > _HOPELESS * noise[rows]]] = -1
        size = 3 * form.size + (form == _SKEWED).sum()
        score = n[rows] * np.log(np.maximum(left, 1e-300)) + size * np.log(n[rows])
        for row, arcs, rest, value in zip(
            rows.tolist(), each, left, score.tolist(), strict=True
        ):
            if arcs and rest <= _AS_GOOD * noise[row] and value < best[row]:
                found[row], best[row] = arcs, value
    return found


def _forms() -> Iterator[np.ndarray]:
    """Yield the forms of one to a few arcs, from rich to poor.

    Skewed arcs are all of one kind.
    """
    for count in range(_FEW, 0, -1):
        for which in itertools.product((True, False), repeat=count):
            for kind in (_SKEWED, _SHARP) if any(which) else (_SKEWED,):
                yield np.where(which, kind, _PLAIN)


def _main(gamma: np.ndarray, tops: np.ndarray, count: int) -> np.ndarray:
    """Return the most prominent tops of a distribution, in order."""
    from scipy.signal import find_peaks

    padded = np.concatenate([[0.0], gamma, [0.0]])
    every, about = find_peaks(padded, prominence=0.0)
    size = about["prominences"][np.isin(every - 1, tops)]
    return np.sort(tops[np.argsort(-size, kind="stable")[:count]])


def noise_of(measured: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Return the variance of the residuals of a chain of RC elements (spectra).

    It is that of each part, relative to the modulus, for processes of any kind.
    """
    _, residual, count, _ = linear.test(measured, omega=omega, number=0)
    squares = np.nansum(np.abs(residual) ** 2, axis=-1)
    points = np.isfinite(measured).sum(axis=-1)
    found: np.ndarray = squares / np.maximum(2 * points - count - 3, 1)
    return found


def _group(
    measured: np.ndarray,
    omega: np.ndarray,
    first: np.ndarray,
    beside: np.ndarray,
    rows: np.ndarray,
    form: np.ndarray,
    noise: np.ndarray,
) -> tuple[list[Arcs | None], np.ndarray]:
    """Fit a given number of arcs; return them and the variance of the residuals."""
    count = first.shape[1]
    blocking = bool((np.nan_to_num(beside[:, 2]) > 0).any())
    names = "".join(f"-HN{k + 1}" for k in range(count))
    root = parse("R0-L0" + "-C0" * blocking + names).root
    measured, beside = measured[rows], beside[rows]
    there = np.isfinite(measured)
    clean = np.where(there, measured, 1.0)
    limit = noise[rows] * 2 * there.sum(axis=1)
    problem = CircuitProblem(root, omega, clean, there / np.abs(clean))
    head = 2 + blocking
    log = np.ones(head + 4 * count, bool)
    log[head:] = np.tile([True, True, False, False], count)
    free = np.ones(log.size, bool)
    free[head + 2 :: 4], free[head + 3 :: 4] = form != _SHARP, form != _PLAIN
    space = Space(log, np.zeros(log.size), np.zeros(log.size), free)
    beside = _lifted(beside, clean, omega)
    parts = [beside[:, :2], 1.0 / beside[:, 2:]] if blocking else [beside[:, :2]]
    theta = np.concatenate([np.log(one) for one in parts], axis=1)
    theta = np.concatenate([theta, _begun(first, form)], axis=1)
    low = np.where(log, theta.min(axis=0) - _WIDE, EXPONENTS[0])
    high = np.where(log, theta.max(axis=0) + _WIDE, EXPONENTS[1])
    low[:head] -= 20.0  # the terms beside the arcs may be almost zero
    space = space._replace(low=low, high=high)
    theta, left, converged = _searched(problem, space, theta, limit)
    spare = np.maximum(2 * there.sum(axis=1) - free.sum(), 1)
    variance = left / spare
    _, _, curvature = levenberg.normal(problem, space, theta)
    spread = levenberg.covariance(curvature, variance)
    spread = spread * free[:, None] * free
    arcs = [
        _arcs(t[head:], c[head:, head:], begun[:, 0]) if done else None
        for t, c, begun, done in zip(theta, spread, first, converged, strict=True)
    ]
    return arcs, variance


def _searched(
    problem: CircuitProblem, space: Space, theta: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search for the best fits; give up those far above the limit after some steps."""
    theta, left, converged = levenberg.search(problem, space, theta, _FIRST)
    near = np.flatnonzero(~converged & (left < _HOPELESS * limit))
    if near.size:
        weights = problem.weights[near]
        part = problem._replace(measured=problem.measured[near], weights=weights)
        theta[near], left[near], converged[near] = levenberg.search(
            part, space, theta[near], _STEPS - _FIRST
        )
    return theta, left, converged


def _lifted(beside: np.ndarray, clean: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Return the terms beside the arcs, raised above zero."""
    size = 1e-4 * np.abs(clean).min(axis=1)[:, None]
    least = size * np.array([1.0, 1.0 / omega.max(), omega.min()])
    lifted: np.ndarray = np.maximum(beside, least)
    return lifted


def _begun(first: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Return where the search begins: ln R, ln tau, n and b of each arc."""
    log_tau, log_r, n, b = np.moveaxis(first, -1, 0)
    n = np.where(form == _PLAIN, np.clip(n, *_START), _SKEW[0])
    n = np.where(form == _SHARP, 1.0, n)
    b = np.where(form == _PLAIN, b, _SKEW[1])
    return np.stack([log_r, log_tau, n, b], axis=-1).reshape(len(first), -1)


def _arcs(theta: np.ndarray, spread: np.ndarray, begun: np.ndarray) -> Arcs | None:
    """Return arcs from their ln R, ln tau, n and b.

    None if one of them is not determined, or has left its top.
    """
    order = np.array([1, 0, 2, 3])
    places = (4 * np.arange(theta.size // 4)[:, None] + order).ravel()
    values = theta[places].reshape(-1, 4)
    arcs = Arcs(values, spread[np.ix_(places, places)])
    top, top_error = _told(arcs, _top)
    log_r = values[:, 1]
    told = max(top_error.max(), np.sqrt(np.diag(arcs.covariance)[1::4]).max()) < _LOOSE
    told = told and np.abs(top - begun).max() <= _AWAY
    if not told or log_r.min() < log_r.max() + np.log(_SHARE):
        return None
    order = np.argsort(top)
    places = (4 * order[:, None] + np.arange(4)).ravel()
    return Arcs(values[order], arcs.covariance[np.ix_(places, places)])


def _top(values: np.ndarray) -> np.ndarray:
    """Return ln tau of the tops of the distributions of arcs (..., 4)."""
    log_tau, _, n, b = np.moveaxis(values, -1, 0)
    part = np.pi * np.minimum(n, _LARGEST_N) / (1.0 + b)
    found: np.ndarray = log_tau + np.log(np.sin(b * part) / np.sin(part)) / n
    return found


def _middle(values: np.ndarray) -> np.ndarray:
    """Return the means of ln tau of the distributions of arcs (..., 4)."""
    from scipy.special import digamma

    log_tau, _, n, b = np.moveaxis(values, -1, 0)
    found: np.ndarray = log_tau + (digamma(b) + _EULER) / n
    return found


def _told(
    arcs: Arcs, of: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a quantity of each arc, and one standard deviation of it."""
    step = 1e-5
    base = of(arcs.values)
    slopes = (base[:, None] - of(arcs.values[:, None] - step * np.eye(4))) / step
    spread = arcs.covariance.reshape(len(base), 4, len(base), 4)
    variance = np.einsum("ap,apaq,aq->a", slopes, spread, slopes)
    return base, np.sqrt(np.maximum(variance, 0.0))


def peaks_of(
    arcs: Arcs, gamma: np.ndarray, tops: np.ndarray, log_tau: np.ndarray
) -> list[RelaxationPeak]:
    """Return arcs as peaks, with errors; each has the height of the nearest top."""
    place, off = _told(arcs, _top)
    size, share = _told(arcs, lambda values: values[..., 1])
    near = np.abs(log_tau[tops] - place[:, None]).argmin(axis=1)
    columns = place, _middle(arcs.values), np.exp(size), gamma[tops[near]], off
    table = np.column_stack([*columns, np.exp(size) * share])
    return [RelaxationPeak(*row) for row in table.tolist()]


def distribution(arcs: Arcs, log_tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distribution of arcs on a grid, and one sd of its logarithm."""
    step = 1e-5
    base = np.log(_height(arcs.values, log_tau))
    slopes = np.empty((arcs.values.size, log_tau.size))
    for k in range(arcs.values.size):
        moved = arcs.values.copy()
        moved.flat[k] -= step  # an exponent stays below 1
        slopes[k] = (base - np.log(_height(moved, log_tau))) / step
    variance = np.einsum("pt,pq,qt->t", slopes, arcs.covariance, slopes)
    return np.exp(base), np.sqrt(np.maximum(variance, 0.0))


def _height(values: np.ndarray, log_tau: np.ndarray) -> np.ndarray:
    """Return the sum of arcs (ohm per unit of ln tau)."""
    place, log_r, n, b = values.T[:, :, None]
    n = np.minimum(n, _LARGEST_N)
    far = np.clip(n * (place - log_tau), -60, 60)
    turned = (1.0 + np.exp(far - 1j * np.pi * n)) ** -b
    found: np.ndarray = (np.exp(log_r) / np.pi * turned.imag).sum(0)
    return found


def starts(
    gamma: np.ndarray, log_tau: np.ndarray, least: float
) -> list[np.ndarray | None]:
    """Return initial arcs (arcs, 4) at the tops of each distribution.

    Parameters
    ----------
    gamma
        (spectra, times).
    log_tau
        (times,) evenly spaced.
    least
        Height above its valleys, as a fraction of the largest top, at least.
    """
    each = [(one, tops_of(one, least)) for one in gamma]
    return [_starts(one, log_tau, t) if t.size else None for one, t in each]


def _starts(gamma: np.ndarray, log_tau: np.ndarray, tops: np.ndarray) -> np.ndarray:
    step = log_tau[1] - log_tau[0]
    inner = itertools.pairwise(tops.tolist())
    valleys = [a + int(np.argmin(gamma[a : b + 1])) for a, b in inner]
    edges = [0, *valleys, gamma.size]
    area = np.array([gamma[a:b].sum() * step for a, b in itertools.pairwise(edges)])
    area = np.maximum(area, 1e-300)
    n = 1.0 - 2.0 / np.pi * np.arctan(area / (2 * np.pi * gamma[tops]))
    return np.column_stack([log_tau[tops], np.log(area), n, np.ones(n.size)])
