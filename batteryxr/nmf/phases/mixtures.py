"""Find the structures that make up a pattern together: at most three."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.pattern_fit import PatternFit
    from batteryxr.nmf.phases.candidates import Candidate

#: Misfit beyond noise, relative to the pattern, above which no result is accepted.
_BELIEVED = 0.2
#: Fraction of the squared signal below which a pattern may be noise alone.
_SIGNAL = 0.05
#: Smallest fraction of the signal at which a phase is accepted.
_LEAST = 0.05
#: Number of pairs and of triples that are refined; a coarse grid ranks triples badly.
_REFINED, _TRIPLES = 3, 6
#: Fraction of a parameter's range within which a value counts as at its end.
_NEAR = 0.07
#: Fraction of the lattices tried beyond which a crystal is another of the same kind.
_OTHER = 0.5
#: Difference of the criterion below which two names are a tie (twice the log odds).
_TIE = 6.0
#: Order of the differences from which noise is estimated.
_ORDER = 6


@dataclass
class Mixture:
    """Hold the structures that make up a pattern.

    Parameters
    ----------
    names, shares
        Names of the structures, and the fraction of the pattern for each; empty where
        no structure is accepted.
    r_w
        R_w of all structures together.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    r_w: float


@dataclass(frozen=True, eq=False)
class Shapes:
    """Hold patterns of all candidates for many lattices, bulk and small particles.

    Parameters
    ----------
    names
        (shapes,) names of the candidates.
    starts
        (shapes,) parameters.
    values
        (shapes, points), each of unit norm.
    """

    names: list[str]
    starts: list[np.ndarray]
    values: np.ndarray


def shapes_of(fits: dict[str, Candidate]) -> Shapes:
    """Return the shapes of all candidates."""
    names, starts, rows = [], [], []
    for name, fit in fits.items():
        for start in fit.starts():
            shape = fit.model(start)
            names.append(name)
            starts.append(start)
            rows.append(shape / np.linalg.norm(shape))
    return Shapes(names, starts, np.array(rows))


def mixture_of(
    y: np.ndarray,
    fits: dict[str, Candidate],
    shapes: Shapes,
    single: dict[str, PatternFit],
    *,
    independent: float,
    sigma: np.ndarray | None = None,
) -> Mixture:
    """Return the fewest structures that explain a pattern, if any.

    Parameters
    ----------
    y
        (points,) the pattern.
    fits, shapes, single
        The candidates, their shapes, and the fit of each candidate alone.
    independent
        Number of independent points of the pattern.
    sigma
        (points,) errors of the pattern.
    """
    none = Mixture((), (), math.nan)
    noise = noise_share(y)
    order = sorted(single, key=lambda name: single[name].r_w)
    tried: list[tuple[float, Mixture, bool]] = []
    for name in order[:_REFINED]:
        fit = single[name]
        sure = _credible(fits[name], fit.values[:-1])
        tried.append(
            (
                _criterion(fit.r_w, fit.values.size, independent),
                Mixture((name,), (1.0,), fit.r_w),
                sure,
            )
        )
    alone = min((m.r_w for _, m, sure in tried if sure), default=math.inf)
    if alone > _good(noise):
        for names, starts in _combinations(y, shapes):
            mine = [fits[n] for n in names]
            found = [_refined(y, mine, starts, sigma)]
            found += [
                _refined(y, mine, other, sigma) for other in _exchanged(mine, found[0])
            ]
            for one in found:
                sure = min(one.shares) >= _LEAST and all(
                    _credible(fit, p) for fit, p in zip(mine, one.parts, strict=True)
                )
                mixture = Mixture(names, tuple(one.shares), one.r_w)
                free = sum(part.size + 1 for part in one.parts)
                value = _criterion(one.r_w, free, independent)
                tried.append((value, mixture, sure))
    believed = [(value, m) for value, m, ok in tried if ok]
    if not believed:
        return none
    _, best = min(believed, key=lambda pair: pair[0])
    explained = 1.0 - best.r_w**2
    excess = math.sqrt(max(best.r_w**2 - noise**2, 0.0))
    if explained < _SIGNAL + 30.0 / y.size or excess > _BELIEVED:
        return Mixture((), (), best.r_w)
    return best


def _exchanged(fits: list[Candidate], found: _Together) -> list[list[np.ndarray]]:
    """Return parameters in which two structures take the lattice of one another.

    Structures of one kind explain each other's part: each may have taken the place of
    the other, with a lattice that is not its own. None where both are credible.
    """
    edge = [float(np.linalg.norm(fit.crystal.cell[0])) for fit in fits]
    out = []
    for i, j in itertools.combinations(range(len(fits)), 2):
        a, b = found.parts[i], found.parts[j]
        moved = (edge[j] * (1 + b[0]) / edge[i] - 1, edge[i] * (1 + a[0]) / edge[j] - 1)
        worst = max(abs(a[0]), abs(b[0]))
        if min(found.shares[i], found.shares[j]) < _LEAST or worst < max(
            abs(moved[0]), abs(moved[1])
        ):
            continue
        parts = [part.copy() for part in found.parts]
        parts[i][:3], parts[j][:3] = (moved[0], *b[1:3]), (moved[1], *a[1:3])
        out.append(parts)
    return out


def _good(noise: float) -> float:
    """Return the misfit below which one structure is enough."""
    return max(1.05 * noise, 0.01)


def tied(r_w: np.ndarray, independent: float) -> np.ndarray:
    """Return which candidates differ from the best by no more than chance."""
    value = 2 * independent * np.log(np.maximum(r_w, 1e-6))
    return np.asarray(value - np.nanmin(value) < _TIE)


def _criterion(r_w: float, free: int, independent: float) -> float:
    """Return the Bayesian information criterion for a number of free parameters."""
    misfit = 2 * independent * math.log(max(r_w, 1e-6))
    return misfit + free * math.log(max(independent, 2.0))


def noise_share(y: np.ndarray) -> float:
    """Return the noise of neighbouring points relative to the pattern."""
    power = float((y**2).mean())
    if power == 0.0 or y.size < 4 * _ORDER:
        return 0.0
    rough = np.diff(y, _ORDER)
    return math.sqrt(float((rough**2).mean()) / math.comb(2 * _ORDER, _ORDER) / power)


def _credible(fit: Candidate, values: np.ndarray) -> bool:
    """Tell whether a structure can be named: no parameter is far from its candidate."""
    moved = np.abs([values[0], *values[fit.shape]])
    return not at_bound(fit, values) and bool((moved <= _OTHER * fit.strain).all())


def at_bound(fit: Candidate, values: np.ndarray) -> bool:
    """Tell whether a parameter lies at the end of its search range.

    A bulk crystal, of curvature zero, does not count.
    """
    low, high = fit.bounds["low"], fit.bounds["high"]
    room = _NEAR * (high - low)
    room[fit.shape] = 1e-6 * (high - low)[fit.shape]
    near = values > high - room
    near[fit.shape] |= values[fit.shape] < (low + room)[fit.shape]
    near[0] |= values[0] < low[0] + room[0]
    near[1] |= values[1] < 1.2 * low[1]
    if fit.occupancy:
        # A pure end member fills its sites, so the full occupancy is no bound.
        near[3] = not low[3] + 1e-6 < values[3] < high[3] - 1e-6
    return bool(near.any())


def _combinations(
    y: np.ndarray, shapes: Shapes
) -> list[tuple[tuple[str, ...], list[np.ndarray]]]:
    """Return the most promising pairs and triples of different candidates."""
    names = np.array(shapes.names)
    gram = shapes.values @ shapes.values.T
    along = shapes.values @ y
    kinds = list(dict.fromkeys(shapes.names))
    best: list[tuple[float, tuple[int, ...]]] = []
    for a, b in itertools.combinations(kinds, 2):
        i, j = np.flatnonzero(names == a), np.flatnonzero(names == b)
        c = gram[np.ix_(i, j)]
        free = np.maximum(1 - c**2, 1e-9)
        p, q = along[i][:, None], along[j][None, :]
        gain = (p**2 + q**2 - 2 * c * p * q) / free
        gain[((p - c * q) <= 0) | ((q - c * p) <= 0)] = 0.0
        place = np.unravel_index(int(gain.argmax()), gain.shape)
        best.append((float(gain[place]), (int(i[place[0]]), int(j[place[1]]))))
    best.sort(key=lambda item: -item[0])
    triples = []
    for _, pair in best[:_REFINED]:
        for kind in kinds:
            if kind in names[list(pair)]:
                continue
            k = np.flatnonzero(names == kind)
            gains = [_gain(gram, along, (*pair, int(x))) for x in k]
            at = int(np.argmax(gains))
            triples.append((gains[at], (*pair, int(k[at]))))
    triples.sort(key=lambda item: -item[0])
    chosen = [places for _, places in best[:_REFINED]]
    for _, places in triples[:_TRIPLES]:
        if not any(set(places) == set(other) for other in chosen):
            chosen.append(places)
    return [
        (tuple(str(names[i]) for i in places), [shapes.starts[i] for i in places])
        for places in chosen
    ]


def _gain(gram: np.ndarray, along: np.ndarray, places: tuple[int, ...]) -> float:
    """Return the squared signal that shapes explain; 0 where a scale is negative."""
    part, right = gram[np.ix_(places, places)], along[list(places)]
    scale = np.linalg.lstsq(part, right, rcond=1e-9)[0]
    return float(scale @ right) if (scale > 0).all() else 0.0


@dataclass
class _Together:
    parts: list[np.ndarray]
    shares: list[float]
    r_w: float


def _refined(
    y: np.ndarray,
    fits: list[Candidate],
    starts: list[np.ndarray],
    sigma: np.ndarray | None,
) -> _Together:
    """Fit several structures to one pattern together."""
    from batteryxr.nmf.kernels.pattern_fit import fit_patterns

    models = [
        (fit.model, start, fit.bounds) for fit, start in zip(fits, starts, strict=True)
    ]
    found, power = fit_patterns(y, models, sigma)
    cuts = np.cumsum([len(start) for start in starts])[:-1]
    parts = np.split(found.values, cuts)
    total = power.sum() or 1.0
    return _Together(parts, (power / total).tolist(), found.r_w)
