"""Candidate structures of a component: read from CIFs, and fitted to G(r)."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.crystals import Crystal, cell_of, read_crystal
from batteryxr.core.errors import (
    ArgumentError,
    warn_quality,
)
from batteryxr.core.kernels.pair_distribution import PairDistribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.crystals import PdfInstrument
    from batteryxr.nmf.kernels.pattern_fit import PatternFit

    Candidates = (
        Sequence[str | os.PathLike[str] | Crystal]
        | Mapping[str, str | os.PathLike[str] | Crystal]
    )

_SMALLEST = 4.0  # Angstrom, of a particle
#: Parameters of peaks that may be free: largest value, and a usual one.
WIDTHS = {"delta1": (3.0, 0.3), "delta2": (8.0, 1.0), "q_broad": (0.1, 0.01)}
#: Number of sizes at which each strain of the cell is tried.
_SHAPES = 13


def crystals_of(candidates: Candidates) -> dict[str, Crystal]:
    """Return the candidates by name; files are read.

    Raises
    ------
    ArgumentError
        If there are no candidates, or two have the same name.
    """
    if isinstance(candidates, str | os.PathLike | Crystal):
        candidates = [candidates]
    if isinstance(candidates, Mapping):
        named: list[tuple[str | None, Any]] = [
            (str(k), v) for k, v in candidates.items()
        ]
    else:
        named = [(None, c) for c in candidates]
    crystals = [
        (name, c if isinstance(c, Crystal) else read_crystal(c)) for name, c in named
    ]
    out = {name or c.name: c for name, c in crystals}
    if not out:
        raise ArgumentError("candidates", candidates, "at least one CIF or crystal")
    if len(out) < len(crystals):
        raise ArgumentError(
            "candidates",
            [name or c.name for name, c in crystals],
            "names that differ",
            "Pass a mapping: {'name': path}.",
        )
    return out


def _mixed(crystal: Crystal, element: str) -> tuple[str, float] | None:
    """Return the element that fills sites together with another, and the other's share.

    There occupancies are linked: one gains what the other loses. Sites that the other,
    or the element, has for itself stay as they are. Give None where
    nothing is mixed.
    """
    places: dict[tuple[float, ...], dict[str, float]] = {}
    for name, site, share in zip(
        crystal.elements, crystal.sites, crystal.occupancy, strict=True
    ):
        key = tuple(np.round(site % 1.0, 4) % 1.0)
        places.setdefault(key, {})[name] = float(share)
    mixed = [there for there in places.values() if element in there and len(there) > 1]
    if not mixed:
        return None
    first = mixed[0]
    others = {name for there in mixed for name in there} - {element}
    alike = [
        sorted(there) == sorted(first) and math.isclose(there[element], first[element])
        for there in mixed
    ]
    if len(others) == 1 and all(alike) and abs(sum(first.values()) - 1) < 1e-3:
        (other,) = others
        shares = {element: first[element], other: first[other]}
        lone = [there for there in places.values() if len(there) == 1]
        if not any(
            math.isclose(there[name], share, abs_tol=2e-3)
            for name, share in shares.items()
            for there in lone
            if name in there
        ):
            return other, first[element]
    warn_quality(
        f"{element} of {crystal.name} shares sites with {', '.join(sorted(others))} in "
        "a way that is not linked: its occupancy varies alone, at all of its sites."
    )
    return None


class Candidate:
    """Hold a structure, its G(r), and its free parameters."""

    def __init__(
        self,
        crystal: Crystal,
        r: np.ndarray,
        *,
        instrument: PdfInstrument,
        strain: float,
        occupancy: str | None = None,
        peaks: Sequence[str] = (),
    ) -> None:
        if occupancy is not None and occupancy not in crystal.elements:
            raise ArgumentError(
                "occupancy",
                occupancy,
                f"an element among {sorted(set(crystal.elements))}",
            )
        self.occupancy = occupancy
        self.strain = strain
        self.crystal = crystal
        self.partner: str | None = None
        self.share = 1.0
        if occupancy is not None:
            here = np.array([e == occupancy for e in crystal.elements])
            self.share = float(crystal.occupancy[here].mean())
            if linked := _mixed(crystal, occupancy):
                self.partner, self.share = linked
        self._calculate = PairDistribution(
            crystal, r, instrument=instrument, strain=2 * strain, directed=True
        )
        names = ["strain", "u_iso", "curvature"] + (["occupancy"] if occupancy else [])
        self.elements = sorted(set(crystal.elements))
        #: Widths that are free too, and elements with a displacement of their own.
        self.widths = [name for name in peaks if name in WIDTHS]
        self.others = self.elements[1:] if "u_element" in peaks else []
        self.own = slice(len(names), len(names) + len(self.widths))
        names += self.widths
        self.apart = slice(len(names), len(names) + len(self.others))
        names += ["u_iso"] * len(self.others)
        #: Parameters that tell the shape of the cell: the last ones.
        self.shape = slice(len(names), len(names) + len(self._calculate.modes))
        names += ["shape"] * len(self._calculate.modes)
        low = {"strain": -strain, "u_iso": 3e-4, "curvature": 0.0, "occupancy": 0.02}
        low["shape"] = -strain
        high = {
            "strain": strain,
            "u_iso": 0.08,
            "curvature": 1 / _SMALLEST,
            # Shared sites cannot hold more than one atom.
            "occupancy": 1 / self.share if self.partner else 2.0,
            "shape": strain,
        }
        step = {"strain": 1e-3, "u_iso": 2e-3, "curvature": 0.01, "occupancy": 0.1}
        step["shape"] = 1e-3
        for name, (most, usual) in WIDTHS.items():
            low[name], high[name], step[name] = 0.0, most, usual
        known = (crystal.delta1, crystal.delta2, instrument.q_broad)
        begin = dict(zip(WIDTHS, known, strict=True))
        begin = {n: min(begin[n] or step[n], high[n]) for n in WIDTHS}
        begin |= {"occupancy": 1.0, "u_iso": 0.008, "shape": 0.0}
        self._rest = [begin[name] for name in names[3:]]
        self.bounds = {
            key: np.array([table[n] for n in names])
            for key, table in (("low", low), ("high", high), ("step", step))
        }

    def model(self, p: np.ndarray) -> np.ndarray:
        """Return G(r) at unit scale."""
        factor: dict[tuple[str, float | None], float] = {}
        if self.occupancy and self.partner:
            left = 1.0 - self.share
            factor[self.occupancy, self.share] = float(p[3])
            other = max(1.0 - float(p[3]) * self.share, 0.0) / left
            factor[self.partner, left] = other
        elif self.occupancy:
            factor[self.occupancy, None] = float(p[3])
        return self._calculate(
            strain=float(p[0]),
            shape=p[self.shape],
            u_iso=self._displacements(p) if self.others else float(p[1]),
            diameter=1 / p[2] if p[2] > 0 else math.inf,
            occupancy=factor,
            widths=dict(zip(self.widths, p[self.own].tolist(), strict=True)),
        )

    def _displacements(self, p: np.ndarray) -> dict[str, float]:
        """Return the mean square displacement of each element."""
        values = [p[1], *p[self.apart]]
        return dict(zip(self.elements, map(float, values), strict=True))

    def refine(
        self, y: np.ndarray, start: np.ndarray, sigma: np.ndarray | None
    ) -> PatternFit:
        """Fit from one start."""
        from batteryxr.nmf.kernels.pattern_fit import fit_pattern

        return fit_pattern(y, self.model, start, self.bounds, sigma)

    def starts(self) -> list[np.ndarray]:
        """Return parameters of many lattices, of bulk and of small particles."""
        # Peaks that are off by more than their width do not attract one another.
        return [
            np.array([change, 0.008, curvature, *self._rest])
            for change in np.arange(-self.strain, self.strain + 1e-9, 0.005)
            for curvature in (0.0, 0.04)
        ]

    def search(self, y: np.ndarray, sigma: np.ndarray | None) -> PatternFit:
        """Fit from the best of many lattices, of bulk and of small particles."""
        found = sorted(self.starts(), key=lambda p: self._unlike(p, y))[:2]
        for k in range(self.shape.start, self.shape.stop):
            sizes = self.strain * np.linspace(-0.75, 0.75, _SHAPES)
            moved = []
            for p, size in itertools.product(found, sizes):
                moved.append(p.copy())
                moved[-1][k] = size
            found = sorted(moved, key=lambda p: self._unlike(p, y))[:2]
        fits = [self.refine(y, p, sigma) for p in found]
        return min(fits, key=lambda f: f.r_w)

    def _unlike(self, p: np.ndarray, y: np.ndarray) -> float:
        """Return how little a pattern is like that of some parameters."""
        shape = self.model(p)
        return -float(shape @ y) / float(np.linalg.norm(shape))

    def cell(
        self, p: np.ndarray, covariance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a, b, c (Angstrom) and angles (deg), (6,), and their errors."""
        here = [0, *range(self.shape.start, self.shape.stop)]

        def lengths(q: np.ndarray) -> np.ndarray:
            factor = self._calculate.strained(float(q[0]), q[1:])
            return cell_of(self.crystal.cell @ factor)

        value = lengths(p[here])
        slopes = np.array(
            [lengths(p[here] + step) - value for step in 1e-6 * np.eye(len(here))]
        )
        part = slopes.T @ covariance[np.ix_(here, here)] @ slopes * 1e12
        return value, np.sqrt(np.maximum(np.diag(part), 0.0))

    def named(self, fit: PatternFit) -> dict[str, tuple[float, float]]:
        """Return value and error of each parameter, as reported."""
        value, error = fit.values, fit.errors
        c, dc = value[2], error[2]
        bulk = c <= 1e-6
        out = {
            "strain": (value[0], error[0]),
            "u_iso": (value[1], error[1]),
            "diameter": (math.inf, np.nan) if bulk else (1 / c, dc / c**2),
            "scale": (value[-1], error[-1]),
        }
        if self.occupancy:
            out["occupancy"] = (value[3] * self.share, error[3] * self.share)
        for i, name in enumerate(self.widths, self.own.start):
            out[name] = (value[i], error[i])
        if self.others:
            del out["u_iso"]
        return out

    def displacements(self, fit: PatternFit) -> np.ndarray:
        """Return the displacement of each element and its error, (2, elements)."""
        both = np.array([fit.values, fit.errors])
        return np.concatenate([both[:, 1:2], both[:, self.apart]], axis=1)


def nodes(degree: int) -> np.ndarray:
    """Return the places at which the values of a polynomial are its parameters."""
    return np.linspace(-1.0, 1.0, degree + 1) if degree else np.zeros(1)


def between(at: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the interpolation matrix (t, nodes) of a polynomial through nodes."""
    out = np.ones((t.size, at.size))
    for i, node in enumerate(at):
        others = np.delete(at, i)
        if others.size:
            out[:, i] = np.prod((t[:, None] - others) / (node - others), axis=1)
    return out


@dataclass(frozen=True, eq=False)
class CandidateSeries:
    """Hold the patterns of all phases along the series.

    Parameters
    ----------
    fits
        The phases.
    basis
        (scans, nodes) values of the polynomials.
    few
        (few, nodes) places where patterns are calculated; the others lie between.
    spread
        (scans, few) interpolation from the calculated patterns to all scans.
    weight
        (scans, points) inverse deviations.
    closure
        Whether the last parameter is the scale of all patterns.
    """

    fits: list[Candidate]
    basis: np.ndarray
    few: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    closure: bool

    def places(self) -> list[list[slice]]:
        """Return the slices of each phase's parameters in the parameter vector."""
        out, at = [], 0
        for fit in self.fits:
            own = []
            for i in range(len(fit.bounds["low"])):
                size = 1 if i == 1 else self.basis.shape[1]  # widths do not change
                own.append(slice(at, at + size))
                at += size
            out.append(own)
        return out

    def bounds(self, scale: float) -> dict[str, np.ndarray]:
        """Return the ends and typical steps of all parameters."""
        ends: dict[str, list[float]] = {"low": [], "high": [], "step": []}
        for fit, own in zip(self.fits, self.places(), strict=True):
            for i, place in enumerate(own):
                for key, values in ends.items():
                    values += [float(fit.bounds[key][i])] * (place.stop - place.start)
        if self.closure:
            for key, share in (("low", 0.02), ("high", 50.0), ("step", 0.01)):
                ends[key].append(share * scale)
        return {key: np.array(values) for key, values in ends.items()}

    def parameters(self, p: np.ndarray, k: int, at: np.ndarray) -> np.ndarray:
        """Return a phase's parameters at rows of a basis, clipped to their bounds."""
        fit, own = self.fits[k], self.places()[k]
        columns = [
            np.full(len(at), p[place][0]) if i == 1 else at @ p[place]
            for i, place in enumerate(own)
        ]
        return np.clip(np.column_stack(columns), fit.bounds["low"], fit.bounds["high"])

    def shapes(self, p: np.ndarray) -> np.ndarray:
        """Return the pattern of each phase in each scan, (scans, phases, points)."""
        scale = p[-1] if self.closure else 1.0
        rows = []
        for k, fit in enumerate(self.fits):
            few = np.array([fit.model(q) for q in self.parameters(p, k, self.few)])
            rows.append(self.spread @ few)
        return scale * np.stack(rows, axis=1) * self.weight[:, None]

    def slopes(self, p: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Return the derivatives of the summed phases, (scans, points, parameters)."""
        from batteryxr.nmf.kernels.pattern_fit import slope

        out = np.zeros((*self.weight.shape, p.size))
        scale = p[-1] if self.closure else 1.0
        for k, (fit, own) in enumerate(zip(self.fits, self.places(), strict=True)):
            few = self.parameters(p, k, self.few)
            share = scale * scales[:, k, None] * self.weight
            for i, place in enumerate(own):
                rows = np.array([slope(fit.model, q, i, fit.bounds) for q in few])
                for d, node in enumerate(range(place.start, place.stop)):
                    part = np.ones(len(few)) if i == 1 else self.few[:, d]
                    out[..., node] = share * ((self.spread * part) @ rows)
        if self.closure:
            whole = np.einsum("sk,skp->sp", scales, self.shapes(p))
            out[..., -1] = whole / scale
        return out


def carried(
    before: CandidateSeries, after: CandidateSeries, p: np.ndarray, scale: float
) -> np.ndarray:
    """Return parameters of one model converted to a model with more nodes."""
    parts = []
    for old, new in zip(before.places(), after.places(), strict=True):
        for a, b in zip(old, new, strict=True):
            ends = [nodes(place.stop - place.start - 1) for place in (a, b)]
            parts.append(between(*ends) @ p[a])
    if after.closure:
        parts.append(p[-1:] if before.closure else np.array([scale]))
    return np.concatenate(parts)
