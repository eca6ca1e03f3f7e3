"""Find initial guesses of circuit fits: trial time constants, then sizes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.echem.impedance.kernels.elements import EXPONENT_NAMES, KINDS
from batteryxr.echem.impedance.kernels.network import elements, impedance, shape, span

if TYPE_CHECKING:
    from batteryxr.echem.impedance.circuit import Element, Node, Series
    from batteryxr.echem.impedance.kernels.levenberg import CircuitProblem

#: Trial time constants for each element, and the largest number of choices.
_GRID, _MOST = 8, 700
#: Number of frequencies used to compare initial guesses.
_LOOKED_AT = 24
_EXPONENT = 0.85
#: Smallest size of a part, as a fraction of the largest.
_LEAST = 1e-3


def candidates(root: Series, omega: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return trial parameters (choices, parameters), with parts of size 1 ohm.

    Every element with a time constant gets one from a grid over the frequencies.
    Among parts of the same kind the faster comes first.
    """
    size = span(root)[1]
    places = [e for part in root.parts for e in elements(part) if _has_delay(part, e)]
    grid = np.exp(np.linspace(-np.log(omega.max()), -np.log(omega.min()), _GRID))
    every = itertools.product(range(_GRID), repeat=len(places))
    if _GRID ** len(places) > 50 * _MOST:
        chosen = rng.integers(0, _GRID, (50 * _MOST, len(places)))
    else:
        chosen = np.array(list(every), np.int64)
    chosen = chosen[_in_order(root, places, chosen)]
    if len(chosen) > _MOST:
        chosen = chosen[np.sort(rng.permutation(len(chosen))[:_MOST])]
    values = np.ones((max(len(chosen), 1), size))
    for e in elements(root):
        for k, (name, _) in enumerate(KINDS[e.kind].parameters):
            if name in EXPONENT_NAMES:
                values[:, e.first + k] = _EXPONENT
    for column, e in enumerate(places):
        tau = grid[chosen[:, column]]
        values[:, e.first + KINDS[e.kind].delay] = _delayed(e.kind, tau)
    return values


def _has_delay(part: Node, element: Element) -> bool:
    """Tell whether an element has a time constant in addition to a size."""
    kind = KINDS[element.kind]
    if kind.delay < 0:
        return False
    return part is not element or (len(kind.parameters) > 1 and element.kind != "CPE")


def _delayed(kind: str, tau: np.ndarray) -> np.ndarray:
    """Return the parameter that gives a time constant `tau` beside 1 ohm."""
    if kind in ("CPE", "T", "TB"):
        return tau**_EXPONENT
    if kind == "W":
        return 1.0 / np.sqrt(tau)
    return tau


def _in_order(root: Series, places: list[Element], chosen: np.ndarray) -> np.ndarray:
    kept = np.ones(len(chosen), bool)
    owner = {id(e): k for k, part in enumerate(root.parts) for e in elements(part)}
    kinds = [shape(part) for part in root.parts]
    firsts: dict[int, int] = {}
    for column, e in enumerate(places):
        firsts.setdefault(owner[id(e)], column)
    for a, b in itertools.combinations(sorted(firsts), 2):
        if kinds[a] == kinds[b]:
            kept &= chosen[:, firsts[a]] < chosen[:, firsts[b]]
    return kept if kept.any() else np.ones(len(chosen), bool)


def best_starts(
    problem: CircuitProblem, choices: np.ndarray, scales: np.ndarray, keep: int
) -> np.ndarray:
    """Return the best initial guesses (keep, spectra, parameters) of each spectrum.

    Parameters
    ----------
    problem
        The spectra and the circuit.
    choices
        Trial parameters from `candidates`.
    scales
        (parameters,) power with which each parameter scales with resistance.
    keep
        Number of guesses for each spectrum.
    """
    n, k = len(problem.measured), len(problem.root.parts)
    left = np.empty((n, len(choices)))
    sizes = np.empty((n, len(choices), k))
    for rows, some in _looked_at(problem.weights > 0):
        shapes = np.stack(
            [impedance(p, problem.omega[some], choices)[0] for p in problem.root.parts],
            axis=2,
        )
        shapes = np.concatenate([shapes.real, shapes.imag], axis=1)
        for row in rows.tolist():
            y = problem.measured[row, some] * problem.weights[row, some]
            w = np.tile(problem.weights[row, some], 2)
            left[row], sizes[row] = _sized(np.concatenate([y.real, y.imag]), w, shapes)
    order = _diverse(left, choices, keep)
    starts = []
    for k_th in range(order.shape[1]):
        pick = order[:, k_th]
        values = choices[pick].copy()
        mine = sizes[np.arange(n), pick]
        for part, size in zip(problem.root.parts, mine.T, strict=True):
            a, b = span(part)
            values[:, a:b] *= size[:, None] ** scales[a:b]
        starts.append(values)
    return np.stack(starts)


def _looked_at(there: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return groups of spectra, and the frequencies used to compare guesses of each.

    Most spectra share one choice. Those with few points there, as where lists of
    frequencies alternate, get their own.
    """
    size = there.shape[1]
    some = np.unique(np.linspace(0, size - 1, _LOOKED_AT).round().astype(int))
    points = there.sum(axis=1)
    poor = 2 * there[:, some].sum(axis=1) < np.minimum(points, some.size)
    groups = [(np.flatnonzero(~poor), some)]
    for mask in np.unique(there[poor], axis=0) if poor.any() else ():
        rows = np.flatnonzero(poor & (there == mask).all(axis=1))
        own = np.flatnonzero(mask)
        at = np.unique(np.linspace(0, own.size - 1, _LOOKED_AT).round().astype(int))
        groups.append((rows, own[at]))
    return [(rows, places) for rows, places in groups if rows.size]


def _sized(
    y: np.ndarray, w: np.ndarray, shapes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the misfit of each choice for one spectrum, and the sizes of its parts."""
    a = shapes * w[None, :, None]
    norm = np.sqrt(np.einsum("cfk,cfk->ck", a, a)) + 1e-300
    a = a / norm[:, None, :]
    gram = np.matmul(a.transpose(0, 2, 1), a) + 1e-9 * np.eye(shapes.shape[2])
    right = np.matmul(a.transpose(0, 2, 1), y[:, None])
    size = np.linalg.solve(gram, right)[:, :, 0]
    least = _LEAST * np.abs(size).max(axis=1, keepdims=True) + 1e-30
    size = np.maximum(size, least)
    rest = y - np.matmul(a, size[:, :, None])[:, :, 0]
    return np.einsum("cf,cf->c", rest, rest), size / norm


def _diverse(left: np.ndarray, choices: np.ndarray, keep: int) -> np.ndarray:
    """Return the best choices of each spectrum, avoiding neighbours of chosen ones."""
    log = np.log(choices)
    apart = np.abs(log[:, None, :] - log[None, :, :]).max(axis=2)
    step = np.median(np.where(apart > 0, apart, np.inf).min(axis=1))
    near = apart <= 1.01 * step
    left = left.copy()
    order = np.empty((len(left), keep), np.int64)
    for k in range(keep):
        order[:, k] = np.argmin(left, axis=1)
        # Neighbouring choices lead to the same minimum.
        left[near[order[:, k]]] *= 4.0
        left[np.arange(len(left)), order[:, k]] = np.inf
    return order
