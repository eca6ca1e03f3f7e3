"""Describe the processes of a spectrum as arcs and Warburg elements.

An arc is R/(1 + (jωτ)ⁿ)ᵇ (Havriliak and Negami, Polymer 8, 161 (1967)). With b = 1 it
is a depressed arc, with n = 1 and b = 1/2 a Gerischer element. A Warburg element of
finite length is a ladder of RC elements: R tanh(√jωτ)/√jωτ with times
τ/(π (k - 1/2))²; R coth(√jωτ)/√jωτ, beside its capacitor, with times τ/(π k)² and R/3
in all. Distributions, their tops and means are known in closed form.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.impedance.kernels.relaxation_peaks import RelaxationPeak, tops_of

if TYPE_CHECKING:
    from collections.abc import Callable

#: Forms: an arc that is depressed (b = 1), skewed, skewed with n = 1; a Warburg element
#: of finite length, short or open.
PLAIN, SKEWED, SHARP, SHORT, OPEN = range(5)
_LARGEST_N = 1.0 - 1e-4
_EULER = 0.5772156649015329
_RUNGS = np.arange(1, 20_001)
#: ln(top/tau) and the mean of ln(times/tau) of Warburg elements.
_TOPS = {SHORT: np.log(4.0) - 2 * np.log(np.pi), OPEN: -2 * np.log(np.pi)}
_MEANS = {
    SHORT: -4
    * float(np.sum(np.log(np.pi * (_RUNGS - 0.5)) / (_RUNGS - 0.5) ** 2))
    / np.pi**2,
    OPEN: -12 * float(np.sum(np.log(np.pi * _RUNGS) / _RUNGS**2)) / np.pi**2,
}


class Arcs(NamedTuple):
    """Hold the processes of one spectrum (ln tau, ln resistance, n, b), fast to slow.

    Parameters
    ----------
    values
        (arcs, 4); n and b of Warburg elements are 1.
    covariance
        (4 arcs, 4 arcs), in the order of `values`.
    form
        (arcs,) PLAIN to OPEN.
    more
        (2, arcs) errors of place and of ln resistance beside those of the covariance.
    ambiguous
        Whether another number of processes fits as well.
    """

    values: np.ndarray
    covariance: np.ndarray
    form: np.ndarray
    more: np.ndarray
    ambiguous: bool = False

    def tops(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ln tau of the tops, and one sd."""
        place, sd = _told(self, _top)
        return place + self._offset(_TOPS), np.hypot(sd, self.more[0])

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ln of the resistances, and one sd."""
        size, sd = _told(self, lambda values: values[..., 1])
        return size, np.hypot(sd, self.more[1])

    def means(self) -> np.ndarray:
        """Return the means of ln tau."""
        finite = self.form >= SHORT
        middle: np.ndarray = np.where(finite, self.values[:, 0], _middle(self.values))
        return middle + self._offset(_MEANS)

    def _offset(self, of: dict[int, float]) -> np.ndarray:
        return np.array([of.get(form, 0.0) for form in self.form.tolist()])


def place_of(form: int) -> float:
    """Return ln(top/tau) of a process of n = b = 1."""
    return _TOPS.get(form, 0.0)


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
    arcs: Arcs, gamma: np.ndarray, log_tau: np.ndarray
) -> list[RelaxationPeak]:
    """Return processes as peaks, with errors and the height of a distribution."""
    (place, off), (size, share) = arcs.tops(), arcs.sizes()
    height = np.interp(place, log_tau, gamma)
    columns = place, arcs.means(), np.exp(size), height, off, np.exp(size) * share
    table = np.column_stack([*columns, arcs.form + 1.0])
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
    return [start(one, log_tau, t) if t.size else None for one, t in each]


def start(gamma: np.ndarray, log_tau: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """Return initial arcs (arcs, 4) at the tops of one distribution."""
    step = log_tau[1] - log_tau[0]
    inner = itertools.pairwise(tops.tolist())
    valleys = [a + int(np.argmin(gamma[a : b + 1])) for a, b in inner]
    edges = [0, *valleys, gamma.size]
    area = np.array([gamma[a:b].sum() * step for a, b in itertools.pairwise(edges)])
    area = np.maximum(area, 1e-300)
    n = 1.0 - 2.0 / np.pi * np.arctan(area / (2 * np.pi * gamma[tops]))
    return np.column_stack([log_tau[tops], np.log(area), n, np.ones(n.size)])
