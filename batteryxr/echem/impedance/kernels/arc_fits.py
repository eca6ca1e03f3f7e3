"""Fit arcs and Warburg elements to spectra, starting from peaks of distributions."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.impedance.circuit import parse
from batteryxr.echem.impedance.kernels import arcs, levenberg, linear
from batteryxr.echem.impedance.kernels.arcs import OPEN, PLAIN, SHARP, SHORT, SKEWED
from batteryxr.echem.impedance.kernels.elements import EXPONENTS
from batteryxr.echem.impedance.kernels.levenberg import CircuitProblem, Space
from batteryxr.echem.impedance.kernels.network import impedance
from batteryxr.echem.impedance.kernels.relaxation_peaks import tops_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.echem.impedance.kernels.arcs import Arcs

#: Iterations, and largest distance of a size or a time from its initial guess (ln).
_STEPS, _WIDE = 60, 4.0
#: Iterations after which a fit is given up whose squares exceed the noise by a factor.
_FIRST, _HOPELESS = 12, 30.0
#: Largest number of arcs, and of arcs among which some may be skewed.
_MOST, _FEW = 8, 3
#: Largest variance of the residuals relative to the noise; errors of the noise by which
#: it may be larger where neighbouring residuals are not alike.
_AS_GOOD, _SPREAD = 1.2, 3.0
#: Smallest arc as a fraction of the largest, and largest error (of ln) of a determined
#: value.
_SHARE, _LOOSE = 1e-3, 0.5
#: Exponent below which a depressed arc may as well be two.
_BROAD = 0.7
#: Exponent b of a Gerischer element; distance from it, and errors of b, beyond which a
#: skewed arc is none.
_GERISCHER, _UNLIKE, _SURE = 0.5, 0.1, 3.0
#: Exponent below which one top is taken for two; forms of these.
_WIDTH, _PAIRS = 0.8, ((PLAIN, PLAIN), (PLAIN, SHARP), (SHARP, PLAIN))
#: Distance (ln tau) from its top beyond which an arc is another process; distance at
#: which one top is taken for two.
_AWAY, _APART = 1.5, 1.2
#: Initial exponents: range of a depressed arc's, and those of a skewed one.
_START, _SKEW = (0.5, 0.97), (0.97, 0.6)
#: Differences of the criteria below which a rival of another number of processes is as
#: likely (BIC; Kass and Raftery, J. Am. Stat. Assoc. 90, 773 (1995)), and one of the
#: same number widens the errors (AIC, which costs a parameter less); errors by which
#: such a rival is another answer.
_ALIKE, _RIVAL, _OTHER = 2.0, 6.0, 2.0
#: Names of elements by the form of a process.
_ELEMENT = {PLAIN: "HN", SKEWED: "HN", SHARP: "HN", SHORT: "Ws", OPEN: "Wo"}


class BesideArcs(NamedTuple):
    """Hold what is fitted beside the arcs.

    Parameters
    ----------
    terms
        (spectra, 4) resistance, inductance, and 1/Q and n of slower processes (0:
        none).
    tails
        Exponents n that are tried where there are slower processes; 0: any.
    finite
        Forms of a slowest process that are tried: SHORT, OPEN.
    """

    terms: np.ndarray
    tails: tuple[float, ...]
    finite: tuple[int, ...]


class NoisySpectra(NamedTuple):
    """Hold spectra (spectra, frequencies), angular frequencies, and the noise.

    The noise is the variance of each part, relative to the modulus.
    """

    measured: np.ndarray
    omega: np.ndarray
    noise: np.ndarray


class _Candidate(NamedTuple):
    """Hold arcs, and two criteria of how likely they are (BIC, AIC)."""

    score: float
    milder: float
    arcs: Arcs


class _Best:
    """Keep the most likely arcs of each spectrum, and those that are as likely."""

    def __init__(self, data: NoisySpectra) -> None:
        size = len(data.measured)
        self.noise = data.noise
        self.n = 2 * np.isfinite(data.measured).sum(axis=1)
        self.found: list[list[_Candidate]] = [[] for _ in range(size)]
        self.least = np.full(size, np.inf)
        self.tail, self._of_tail = np.full(size, -1.0), np.full(size, np.inf)

    def put(
        self,
        rows: np.ndarray,
        fits: tuple[list[Arcs | None], np.ndarray, np.ndarray, int],
        tail: float,
    ) -> None:
        """Note fits: arcs, variances, correlations, and how many parameters."""
        each, left, alike, size = fits
        n = self.n[rows]
        score = n * np.log(np.maximum(left, 1e-300)) + size * np.log(n)
        self.least[rows] = np.minimum(self.least[rows], left / self.noise[rows])
        better = rows[score < self._of_tail[rows]]
        self.tail[better] = tail
        self._of_tail[rows] = np.minimum(self._of_tail[rows], score)
        allowed = _AS_GOOD + _SPREAD * np.sqrt(2.0 / n) * (alike < linear.SYSTEMATIC)
        good = left <= allowed * self.noise[rows]
        for row, one, near, value in zip(rows, each, good, score, strict=True):
            if one is not None and near:
                milder = float(value) + size * (2.0 - float(np.log(self.n[row])))
                self.found[row].append(_Candidate(float(value), milder, one))

    def number(self, row: int) -> int:
        """Return how many arcs the best fit has; 0: none fits."""
        found = self.found[row]
        return len(min(found, key=lambda one: one.score).arcs.values) if found else 0

    def answers(self) -> list[Arcs | None]:
        """Return the best arcs; their errors hold what differs from rivals."""
        return [_with_rivals(each) if each else None for each in self.found]


def _with_rivals(each: list[_Candidate]) -> Arcs:
    """Return the most likely arcs, with errors that hold what differs from rivals."""
    least, mild, best = min(each, key=lambda one: one.score)
    (place, place_sd), (size, size_sd) = best.tops(), best.sizes()
    # Two processes that overlap look like a broad one, or a skewed one that is no
    # Gerischer element.
    broad = (best.form == PLAIN) & (best.values[:, 2] < _BROAD)
    limit = np.maximum(_UNLIKE, _SURE * np.sqrt(best.covariance.diagonal()[3::4]))
    none = (best.form == SHARP) & (np.abs(best.values[:, 3] - _GERISCHER) > limit)
    more, ambiguous = best.more, bool((broad | none | (best.form == SKEWED)).any())
    for score, milder, other in each:
        if len(other.values) != len(best.values):
            ambiguous |= score - least < _ALIKE
        elif other is not best and milder - mild < _RIVAL:
            # Spread of two answers about one, by the weight of the other (Akaike).
            share = 1.0 / np.sqrt(1.0 + np.exp(0.5 * (milder - mild)))
            moved = np.abs([other.tops()[0] - place, other.sizes()[0] - size])
            more = np.maximum(more, share * moved)
            apart = (moved > _OTHER * np.stack([place_sd, size_sd])).any()
            ambiguous |= bool(apart) and score - least < _ALIKE
    return best._replace(more=more, ambiguous=ambiguous)


def fitted(
    data: NoisySpectra, starts: list[np.ndarray | None], beside: BesideArcs
) -> list[Arcs | None]:
    """Fit depressed arcs to spectra; None where the residuals exceed the noise.

    Parameters
    ----------
    data
        Spectra.
    starts
        Initial guess for each spectrum (arcs, 4), as in `Arcs`; None: no arcs.
    beside
        Terms beside the arcs.
    """
    best = _Best(data)
    _plain(best, data, starts, beside)
    return best.answers()


def likeliest(
    data: NoisySpectra,
    distributions: tuple[np.ndarray, np.ndarray, float],
    beside: BesideArcs,
) -> list[Arcs | None]:
    """Fit the processes of each spectrum; None where residuals exceed the noise.

    All tops of a distribution are tried as depressed arcs; the most prominent up to
    three also as skewed ones with any n or n = 1; and the slowest as a Warburg element
    of finite length. Where none fits, or an arc is broad, one top is taken for two. The
    Bayesian criterion chooses.

    Parameters
    ----------
    data, beside
        As in `fitted`.
    distributions
        The distributions (spectra, times), ln tau (times,), and `least` of
        `tops_of`.
    """
    gamma, log_tau, least = distributions
    best = _Best(data)
    starts = arcs.starts(gamma, log_tau, least)
    _plain(best, data, starts, beside)
    tops = [tops_of(one, least) for one in gamma]
    counts = np.array([one.size for one in tops], int)
    tails = best.tail.copy()
    known = np.array([best.number(k) for k in range(len(gamma))], int)

    def begun(rows: np.ndarray, count: int) -> np.ndarray:
        mine = [_main(gamma[k], tops[k], count) for k in rows]
        each = [
            arcs.start(gamma[k], log_tau, m) for k, m in zip(rows, mine, strict=True)
        ]
        return np.stack(each)

    for form in _forms(beside.finite):
        finite = bool(form[-1] >= SHORT)
        plain = (form == PLAIN).all()
        again = plain & (counts == form.size)  # as begun
        tried = finite | (known == 0) | ((known >= form.size) & (known <= _FEW))
        tried &= (counts >= form.size) & ~(again & (known > 0))
        for tail in [-1.0] if finite else (-1.0, *beside.tails):
            mine = finite | (tails == tail) | (plain & (tails >= 0) & (tail >= 0))
            rows = np.flatnonzero(tried & mine)
            if not rows.size:
                continue
            fits = _group(data, begun(rows, form.size), beside, rows, form, tail)
            best.put(rows, fits, tail)
            if (form == SKEWED).all():
                # Where the richest form is far from the noise, no other is near it.
                known[rows[best.least[rows] > _HOPELESS]] = -1
    _with_more(best, data, starts, beside)
    return best.answers()


def _plain(
    best: _Best, data: NoisySpectra, starts: list[np.ndarray | None], beside: BesideArcs
) -> None:
    """Fit depressed arcs from initial guesses."""
    counts = np.array([0 if one is None else len(one) for one in starts])
    slow = beside.terms[:, 2] > 0
    for count in np.unique(counts[counts <= _MOST]).tolist():
        for tail in (-1.0, *beside.tails):
            rows = np.flatnonzero((counts == count) & (slow == (tail >= 0)))
            if not rows.size or not (count or tail >= 0):
                continue
            mine = [starts[k] if count else np.empty((0, 4)) for k in rows.tolist()]
            first = np.stack([one for one in mine if one is not None])
            form = np.full(count, PLAIN)
            best.put(rows, _group(data, first, beside, rows, form, tail), tail)
            if count and tail >= 0:  # nothing but slower processes
                none = first[:, :0], beside, rows, form[:0], tail
                best.put(rows, _group(data, *none), tail)


def _with_more(
    best: _Best, data: NoisySpectra, starts: list[np.ndarray | None], beside: BesideArcs
) -> None:
    """Fit one process more than tops: beyond the range, or in one top of two."""
    late = -np.log(data.omega.min())
    for row, one in enumerate(starts):
        if one is None or len(one) > _FEW:
            continue
        rows, slow = np.array([row]), beside.terms[row, 2:]
        if slow[0] > 0:
            for form in beside.finite:
                tau = late + 1.0
                size = np.log(slow[0]) + slow[1] * tau - np.log(3.0) * (form == OPEN)
                last = [[tau + arcs.place_of(form), size, 1.0, 1.0]]
                first = np.concatenate([one, last])[None]
                forms = np.array([PLAIN] * len(one) + [form])
                best.put(rows, _group(data, first, beside, rows, forms, -1.0), -1.0)
        if best.found[row] and not _broad(best.found[row]):
            continue
        for k, pair in itertools.product(range(len(one)), _PAIRS):
            two = np.repeat(one, [1 + (j == k) for j in range(len(one))], axis=0)
            two[k : k + 2, 0] += np.array([-_APART, _APART])
            two[k : k + 2, 1] -= np.log(2.0)
            two[k : k + 2, 2] = _START[1]
            forms = np.full(len(two), PLAIN)
            forms[k : k + 2] = pair
            tail = float(best.tail[row])
            best.put(rows, _group(data, two[None], beside, rows, forms, tail), tail)


def _broad(found: list[_Candidate]) -> bool:
    """Tell whether the likeliest arcs have a broad one, which may be two."""
    likeliest = min(found, key=lambda one: one.score).arcs
    arc = likeliest.form == PLAIN
    return bool((likeliest.values[arc, 2] < _WIDTH).any())


def _forms(finite: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield the forms of one to a few arcs, from rich to poor.

    Skewed arcs are all of one kind. The slowest may be a Warburg element.
    """
    for count in range(_FEW, 0, -1):
        for which in itertools.product((True, False), repeat=count):
            for kind in (SKEWED, SHARP) if any(which) else (PLAIN,):
                yield np.where(which, kind, PLAIN)
    for last in finite:
        for count in range(_FEW + 1):
            yield np.array([PLAIN] * count + [last])


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
    data: NoisySpectra,
    first: np.ndarray,
    beside: BesideArcs,
    rows: np.ndarray,
    form: np.ndarray,
    tail: float,
) -> tuple[list[Arcs | None], np.ndarray, np.ndarray, int]:
    """Fit processes of given forms.

    Returns them, the variances and correlations of the residuals, and how many
    parameters are free.

    `tail` is the exponent of slower processes; 0: any, -1: there are none.
    """
    kinds = [_ELEMENT[one] for one in form.tolist()]
    names = "".join(f"-{kind}{k + 1}" for k, kind in enumerate(kinds))
    root = parse("R0-L0" + "-CPE0" * (tail >= 0) + names).root
    measured, terms = data.measured[rows], beside.terms[rows]
    there = np.isfinite(measured)
    clean = np.where(there, measured, 1.0)
    limit = data.noise[rows] * 2 * there.sum(axis=1)
    problem = CircuitProblem(root, data.omega, clean, there / np.abs(clean))
    head = 4 if tail >= 0 else 2
    theta, places = _begun(first, form, _lifted(terms, clean, data.omega, tail), head)
    log, free = np.ones(theta.shape[1], bool), np.ones(theta.shape[1], bool)
    exponents = places[:, 2:][places[:, 2:] >= 0]
    log[exponents] = False
    free[places[form == SHARP, 2]] = False
    free[places[form == PLAIN, 3]] = False
    if head == 4:
        log[3], free[3] = False, tail == 0
    low = np.where(log, theta.min(axis=0) - _WIDE, EXPONENTS[0])
    high = np.where(log, theta.max(axis=0) + _WIDE, EXPONENTS[1])
    low[:head] -= 20.0 * log[:head]  # terms beside the arcs may be almost zero
    space = Space(log, low, high, free)
    theta, left, converged = _searched(problem, space, theta, limit)
    spare = np.maximum(2 * there.sum(axis=1) - free.sum(), 1)
    variance = left / spare
    _, _, curvature = levenberg.normal(problem, space, theta)
    spread = levenberg.covariance(curvature, variance)
    spread = spread * free[:, None] * free
    each = [
        _arcs(t, c, (places, form), begun[:, 0]) if done else None
        for t, c, begun, done in zip(theta, spread, first, converged, strict=True)
    ]
    off = np.where(there, impedance(root, data.omega, space.values(theta))[0], np.nan)
    alike = linear.correlation((off - clean) / np.abs(clean), omega=data.omega)
    return each, variance, alike, int(free.sum())


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


def _lifted(
    terms: np.ndarray, clean: np.ndarray, omega: np.ndarray, tail: float
) -> np.ndarray:
    """Return initial guesses above zero of the terms beside the arcs: R, L, Q, n."""
    size, n = 1e-4 * np.abs(clean).min(axis=1), terms[:, 3]
    slow = np.maximum(terms[:, 2], size * omega.min() ** n)
    if tail > 0:  # the same modulus at the lowest frequency
        slow, n = slow * omega.min() ** (tail - n), np.full(len(n), tail)
    lifted: np.ndarray = np.column_stack(
        [
            np.log(np.maximum(terms[:, 0], size)),
            np.log(np.maximum(terms[:, 1], size / omega.max())),
            -np.log(slow),
            np.clip(n, 0.5, 0.99) if tail == 0 else n,
        ]
    )
    return lifted


def _begun(
    first: np.ndarray, form: np.ndarray, terms: np.ndarray, head: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the search begins, and the places of tau, R, n and b (-1: none)."""
    columns, places = [terms[:, :head]], np.full((form.size, 4), -1)
    at = head
    for k, kind in enumerate(form.tolist()):
        log_tau, log_r, n, b = first[:, k].T
        log_tau = log_tau - arcs.place_of(kind)
        if kind >= SHORT:
            log_r = log_r + np.log(3.0) * (kind == OPEN)
            mine = [log_r, log_tau]
        else:
            n = np.clip(n, *_START) if kind == PLAIN else np.full(len(n), _SKEW[0])
            n = np.ones(len(n)) if kind == SHARP else n
            b = b if kind == PLAIN else np.full(len(n), _SKEW[1])
            mine = [log_r, log_tau, n, b]
        places[k, : len(mine)] = at + np.array([1, 0, 2, 3])[: len(mine)]
        columns.append(np.column_stack(mine))
        at += len(mine)
    return np.concatenate(columns, axis=1), places


def _arcs(
    theta: np.ndarray,
    spread: np.ndarray,
    what: tuple[np.ndarray, np.ndarray],
    begun: np.ndarray,
) -> Arcs | None:
    """Return the processes at a point of the search.

    None if one of them is not determined, or has left its top.
    """
    places, form = what
    there = places >= 0
    values = np.where(there, theta[places], 1.0)
    values[:, 1] -= np.log(3.0) * (form == OPEN)
    flat, known = places.ravel(), there.ravel()
    covariance = spread[np.ix_(flat, flat)] * known * known[:, None]
    found = arcs.Arcs(values, covariance, form, np.zeros((2, form.size)))
    (top, top_error), (size, size_error) = found.tops(), found.sizes()
    told = (top_error < _LOOSE) & (size_error < _LOOSE) & (np.abs(top - begun) <= _AWAY)
    told &= size >= size.max(initial=-np.inf) + np.log(_SHARE)
    if not told.all():
        return None
    order = np.argsort(top)
    flat = (4 * order[:, None] + np.arange(4)).ravel()
    return found._replace(
        values=values[order],
        covariance=covariance[np.ix_(flat, flat)],
        form=form[order],
    )
