"""Fit depressed arcs to spectra, starting from the peaks of their distributions."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from batteryxr.echem.impedance.circuit import parse
from batteryxr.echem.impedance.kernels import levenberg, linear
from batteryxr.echem.impedance.kernels.elements import EXPONENTS
from batteryxr.echem.impedance.kernels.levenberg import CircuitProblem, Space
from batteryxr.echem.impedance.kernels.relaxation_peaks import RelaxationPeak, tops_of

#: Iterations, and largest distance of a size or a time from its initial guess (ln).
_STEPS, _WIDE = 60, 4.0
#: Range of initial exponents; largest number of arcs.
_START, _MOST = (0.5, 0.97), 8
#: Largest variance of the residuals relative to the noise.
_AS_GOOD = 1.2
#: Smallest arc as a fraction of the largest, and largest error (of ln) of a determined
#: value.
_SHARE, _LOOSE = 1e-3, 0.5
#: Distance (ln tau) from its top beyond which an arc is another process.
_AWAY = 1.5


class Arcs(NamedTuple):
    """Hold the arcs of one spectrum (ln tau, ln resistance, exponent), fast to slow.

    Parameters
    ----------
    values
        (arcs, 3).
    covariance
        (3 arcs, 3 arcs), in the order of `values`.
    """

    values: np.ndarray
    covariance: np.ndarray

    def errors(self) -> np.ndarray:
        """Return one standard deviation of each value (arcs, 3)."""
        variance = np.maximum(np.diag(self.covariance), 0.0)
        return np.sqrt(variance).reshape(-1, 3)


def fitted(
    measured: np.ndarray,
    omega: np.ndarray,
    starts: list[np.ndarray | None],
    beside: np.ndarray,
    noise: np.ndarray,
) -> list[Arcs | None]:
    """Fit arcs to spectra; None where the residuals exceed the noise.

    Parameters
    ----------
    measured
        (spectra, frequencies) complex; NaN where there is no point.
    omega
        (frequencies,) rad/s.
    starts
        Initial guess for each spectrum (arcs, 3), as in `Arcs`; None: no arcs.
    beside
        (spectra, 3) resistance, inductance and inverse capacitance. A capacitance is
        fitted to all if any spectrum has one.
    noise
        (spectra,) variance of each part, relative to the modulus.
    """
    found: list[Arcs | None] = [None] * len(measured)
    counts = np.array([0 if one is None else len(one) for one in starts])
    blocking = bool((np.nan_to_num(beside[:, 2]) > 0).any())
    for count in np.unique(counts[(counts > 0) & (counts <= _MOST)]).tolist():
        rows = np.flatnonzero(counts == count)
        mine = [starts[k] for k in rows.tolist()]
        first = np.stack([one for one in mine if one is not None])
        each = _group(measured[rows], omega, first, beside[rows], blocking)
        for row, begun, arcs, left in zip(rows.tolist(), first, *each, strict=True):
            if arcs is None or left > _AS_GOOD * noise[row]:
                continue
            away = np.abs(arcs.values[:, 0] - begun[:, 0])
            if away.max() <= _AWAY:
                found[row] = arcs
    return found


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
    blocking: bool,
) -> tuple[list[Arcs | None], np.ndarray]:
    """Fit a given number of arcs; return them and the variance of the residuals."""
    count = first.shape[1]
    names = [f"-p(R{k + 1},CPE{k + 1})" for k in range(count)]
    root = parse("R0-L0" + "-C0" * blocking + "".join(names)).root
    there = np.isfinite(measured)
    clean = np.where(there, measured, 1.0)
    problem = CircuitProblem(root, omega, clean, there / np.abs(clean))
    values = _values(first, _lifted(beside, clean, omega), blocking)
    head = 2 + blocking
    log = np.ones(values.shape[1], bool)
    log[head + 2 :: 3] = False
    space = Space(log, np.zeros(log.size), np.zeros(log.size), np.ones(log.size, bool))
    theta = space.theta(values)
    low = np.where(log, theta.min(axis=0) - _WIDE, EXPONENTS[0])
    high = np.where(log, theta.max(axis=0) + _WIDE, EXPONENTS[1])
    low[:head] -= 20.0  # the terms beside the arcs may be almost zero
    space = space._replace(low=low, high=high)
    theta, left, converged = levenberg.search(problem, space, theta, _STEPS)
    free = np.maximum(2 * there.sum(axis=1) - theta.shape[1], 1)
    variance = left / free
    _, _, curvature = levenberg.normal(problem, space, theta)
    spread = levenberg.covariance(curvature, variance)
    arcs = [
        _arcs(t[head:], c[head:, head:]) if done else None
        for t, c, done in zip(theta, spread, converged.tolist(), strict=True)
    ]
    return arcs, variance


def _lifted(beside: np.ndarray, clean: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Return the terms beside the arcs, raised above zero."""
    size = 1e-4 * np.abs(clean).min(axis=1)[:, None]
    least = size * np.array([1.0, 1.0 / omega.max(), omega.min()])
    lifted: np.ndarray = np.maximum(beside, least)
    return lifted


def _values(first: np.ndarray, beside: np.ndarray, blocking: bool) -> np.ndarray:
    """Return the circuit's parameters from arcs (spectra, arcs, 3)."""
    log_tau, log_r, n = np.moveaxis(first, -1, 0)
    n = np.clip(n, *_START)
    each = np.stack([np.exp(log_r), np.exp(n * log_tau - log_r), n], axis=-1)
    parts = [beside[:, :2], each.reshape(len(first), -1)]
    if blocking:
        parts.insert(1, 1.0 / beside[:, 2:])
    return np.concatenate(parts, axis=1)


def _arcs(theta: np.ndarray, spread: np.ndarray) -> Arcs | None:
    """Return arcs from their ln R, ln Q and n; None if one is not determined."""
    log_r, log_q, n = theta.reshape(-1, 3).T
    log_tau = (log_r + log_q) / n
    gradient = np.zeros((theta.size, theta.size))
    for k in range(n.size):
        a = 3 * k
        gradient[a, a : a + 3] = 1 / n[k], 1 / n[k], -log_tau[k] / n[k]
        gradient[a + 1, a] = gradient[a + 2, a + 2] = 1.0
    covariance = gradient @ spread @ gradient.T
    arcs = Arcs(np.column_stack([log_tau, log_r, n]), covariance)
    told = (arcs.errors()[:, :2] < _LOOSE).all()
    if not told or log_r.min() < log_r.max() + np.log(_SHARE):
        return None
    order = np.argsort(log_tau)
    places = (3 * order[:, None] + np.arange(3)).ravel()
    return Arcs(arcs.values[order], covariance[np.ix_(places, places)])


def peaks_of(arcs: Arcs, heights: np.ndarray) -> list[RelaxationPeak]:
    """Return arcs as peaks, with errors."""
    errors = arcs.errors()
    return [
        RelaxationPeak(
            place,
            place,
            float(np.exp(log_r)),
            height,
            off,
            float(np.exp(log_r)) * share,
        )
        for (place, log_r, _), (off, share, _), height in zip(
            arcs.values.tolist(), errors.tolist(), heights.tolist(), strict=True
        )
    ]


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
    place, log_r, n = values.T[:, :, None]
    theta = (1.0 - np.minimum(n, 1.0 - 1e-4)) * np.pi
    across = np.cosh(np.clip(n * (log_tau - place), -60, 60)) - np.cos(theta)
    found: np.ndarray = (np.exp(log_r) / (2 * np.pi) * np.sin(theta) / across).sum(0)
    return found


def starts(
    gamma: np.ndarray, log_tau: np.ndarray, least: float
) -> list[np.ndarray | None]:
    """Return initial arcs (arcs, 3) at the tops of each distribution.

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
    return np.column_stack([log_tau[tops], np.log(area), n])
