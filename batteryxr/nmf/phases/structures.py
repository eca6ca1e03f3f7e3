"""Fit a series of G(r) by structures and their ratios, all scans at once."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.provenance import recorded
from batteryxr.nmf.beam import tell_dark, without_beam
from batteryxr.nmf.phases.candidates import (
    Candidate,
    CandidateSeries,
    between,
    carried,
    crystals_of,
    nodes,
)
from batteryxr.nmf.phases.measured import (
    deviations,
    instrument_of,
    noise_of,
    patterned,
    patterns_of,
    tell_errors,
    tell_misfit,
    tell_open,
    within,
)
from batteryxr.nmf.phases.tables import SeriesTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from batteryxr.core.bounds.kinds import RRange, Strain
    from batteryxr.core.crystals import PdfInstrument
    from batteryxr.nmf.kernels.pattern_fit import Mixed, Mixing, Spread
    from batteryxr.nmf.phases.candidates import Candidates

#: q_max assumed where the data do not state it (1/Angstrom).
_USUAL_Q_MAX = 20.0
#: Number of rounds in which the lattices of all phases are searched one by one.
_ROUNDS = 3
#: Distances to which lattices are looked for first, where the whole range fails.
_CLOSE = 8.0
#: Another start is taken if it lowers the squares below this fraction.
_BETTER = 0.999
#: By how much the lattice and the share of an element of a candidate may be off, and
#: the difference of squares in these units below which neither of two names is nearer.
_STRAIN, _TAKEN, _UNTOLD = 0.005, 0.1, 6.0
#: By how much the degree is raised to tell what polynomials miss.
_MORE = 2
#: Patterns of two candidates on one cell that are as alike as this may be exchanged.
_SAME = 0.99


@recorded
def fit_structures(
    data: xr.DataArray,
    *,
    candidates: Candidates,
    occupancy: Mapping[str, str] | None = None,
    degree: Annotated[int, Bounds(low=0, high=4)] = 1,
    closure: bool = True,
    r_range: RRange | None = None,
    instrument: PdfInstrument | None = None,
    strain: Strain = 0.03,
    errors: xr.DataArray | None = None,
) -> xr.Dataset:
    """Factorise a series of G(r) into crystal structures and their ratios.

    Reads once. Components are calculated from candidates instead of being free curves.
    The ambiguity of `fit` then disappears, if the candidates are the phases present.
    All scans are fitted at once. Lattice, size and composition of each phase follow a
    polynomial in the Li content; its mean square displacement is one number.

    Parameters
    ----------
    data
        (scan, r). Polynomials run along ``li_content``, or else along the scan number.
    candidates
        CIFs or crystals of all phases; a mapping gives them names.
    occupancy
        Phases whose composition is free, with the element that varies:
        ``{"LiFeO2": "Fe"}``. Where it fills its sites together with one other element,
        the other is reduced to match.
    degree
        Degree of the polynomials; 0 for phases that do not change.
    closure
        Let the ratios of each pattern sum to one, with one scale for all; a scan
        without beam then gets no ratios. Use False where the total may vary.
    r_range, instrument, strain, errors
        As in `identify`.

    Returns
    -------
    xarray.Dataset
        ``weights`` (scan, component), fractions of the signal; along scan, component
        ``strain`` (mean of all directions), ``cell_length``, ``cell_angle``,
        ``lattice`` (length of the first axis), ``diameter`` (infinite for bulk) and,
        where free, ``occupancy``; ``u_iso`` (component); each with ``_error``.
        ``components``, the mean pattern of each phase where it occurs; ``fitted``;
        ``residual``, ``relative_residual``, ``r_w`` and ``flag`` of each scan (1: no
        data; 2: no beam; 6: misfit well above the noise); ``at_bound`` where a phase
        ended at the end of its search range; ``undetermined`` where another phase
        explains as much, so that any ratio of the two does. Errors come from all
        parameters together, scaled by the misfit and by the correlation of neighbouring
        residuals.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If an argument does not fit; raised before any fit.

    Notes
    -----
    `amounts` turns fractions of signal into moles. Golub & Pereyra, SIAM J. Numer.
    Anal. 10, 413 (1973).

    Examples
    --------
    >>> from diffpy.structure import Atom, Lattice, Structure
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> cubic = {a: Lattice(a, a, a, 90, 90, 90) for a in (2.87, 4.16)}
    >>> fcc = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    >>> salt = [Atom("Fe", place) for place in fcc]
    >>> salt += [Atom("O", [x + 0.5, y + 0.5, z + 0.5]) for x, y, z in fcc]
    >>> iron = [Atom("Fe", [0, 0, 0]), Atom("Fe", [0.5, 0.5, 0.5])]
    >>> Structure(iron, cubic[2.87]).write("iron.cif", "cif")
    >>> Structure(salt, cubic[4.16]).write("salt.cif", "cif")
    >>> phases = oxide["scans"]["pdf"][8:].nmf.fit_structures(
    ...     candidates=["iron.cif", "salt.cif"], r_range=(1.5, 12.0)
    ... )
    >>> phases["weights"].dims
    ('scan', 'component')
    """
    from batteryxr.nmf.kernels.pattern_fit import spread_of

    patterns = patterns_of(data)
    if patterns.ndim != 2:
        raise DimensionError(
            f"fit_structures needs one dimension besides 'r'; found {patterns.dims}."
        )
    if "component" in patterns.dims:
        raise DimensionError(
            "fit_structures needs a series; found 'component', of which `identify` "
            "names each. Rename it, such as `.rename(component='scan')`."
        )
    rows = within(patterns, r_range).transpose(..., "r")
    instrument = instrument_of(data, instrument)
    y = rows.values.astype(np.float64)
    crystals = crystals_of(candidates)
    lit = _lit(y, len(crystals), closure=closure)
    _refuse(crystals, occupancy, int(lit.sum()), degree)
    sigma = deviations(errors, rows)
    r = rows["r"].values.astype(np.float64)
    fits = {
        name: Candidate(
            crystal,
            r,
            instrument=instrument,
            strain=strain,
            occupancy=(occupancy or {}).get(name),
        )
        for name, crystal in crystals.items()
    }
    phases = _Phases(
        fits=fits,
        y=y[lit],
        weight=np.ones_like(y[lit]) if sigma is None else 1.0 / sigma[lit],
        t=_along(rows)[lit],
        reach=(instrument.q_max or _USUAL_Q_MAX) * float(r[-1]),
        near=r <= max(_CLOSE, 2.5 * float(r[0])),
    )
    model, problem, found = phases.fitted(degree, closure=closure)
    spread = spread_of(problem, found, sigma is not None)
    spread = phases.bent(model, found, spread, known=sigma is not None)
    pairs = phases.alike(model, problem, found)
    for pair in map(list, pairs):  # any ratio between them does
        half = found.scales[:, pair].sum(axis=1, keepdims=True) / 2
        spread.scales[:, pair] = np.maximum(spread.scales[:, pair], half)
    noise = noise_of(phases.weight * phases.y, len(fits), sigma is not None)
    told = SeriesTable(rows, lit, model, found, spread, noise, pairs)
    result = told.result(crystals)
    result.attrs = {
        "closure": int(closure),
        "scale": "closure" if closure else "norm",
        "degree": int(degree),
        "model": "data = weights . structures(Li content)",
    }
    tell_misfit(result, found, noise, closure=closure)
    tell_open(result, pairs)
    if sigma is not None:
        tell_errors(found.rest)
    return result


def _lit(y: np.ndarray, n: int, *, closure: bool) -> np.ndarray:
    """Return which patterns are fitted: without gaps and, under closure, with beam.

    Noise forced into ratios that sum to one would move all structures.
    """
    lit = np.asarray(np.isfinite(y).all(axis=1) & y.any(axis=1))
    if closure and lit.sum() >= 3:
        unit = np.abs(y[lit]).max()
        dark = np.flatnonzero(lit)[without_beam(y[lit] / unit, n)]
        if dark.size:
            tell_dark(dark)
            lit[dark] = False
    return lit


def _refuse(
    crystals: Mapping[str, object],
    occupancy: Mapping[str, str] | None,
    scans: int,
    degree: int,
) -> None:
    """Raise for data or arguments that cannot be fitted."""
    unknown = [name for name in occupancy or {} if name not in crystals]
    if unknown:
        raise ArgumentError(
            "occupancy",
            dict(occupancy or {}),
            f"names among {list(crystals)}, each with an element",
        )
    if scans <= max(degree, 1):
        raise DataError(
            "data",
            f"{scans} patterns without gaps; expected more than {max(degree, 1)}",
            "Lower degree, or use `identify` for single patterns.",
        )


def _along(rows: xr.DataArray) -> np.ndarray:
    """Return the Li content scaled to -1 to 1, or else the scan number."""
    dim = str(rows.dims[0])
    x = np.arange(rows.sizes[dim], dtype=np.float64)
    if "li_content" in rows.coords and rows["li_content"].dims == (dim,):
        content = rows["li_content"].values.astype(np.float64)
        if np.isfinite(content).all() and np.ptp(content) > 0:
            x = content
        elif not np.isfinite(content).all():
            warn_quality(
                f"li_content is not known at {int((~np.isfinite(content)).sum())} of "
                f"{content.size} scans: structures follow the number of the scan. Fill "
                "it, such as by `.interpolate_na`, or leave these scans out."
            )
    return 2.0 * (x - x.min()) / max(float(np.ptp(x)), 1e-300) - 1.0


@dataclass(frozen=True, eq=False)
class _Phases:
    """Hold all phases, the data (scans, points), and their place along the series.

    Parameters
    ----------
    reach
        q_max times the longest distance: how fast patterns change with the lattice.
    near
        (points,) the distances at which a lattice is looked for from farther off.
    """

    fits: dict[str, Candidate]
    y: np.ndarray
    weight: np.ndarray
    t: np.ndarray
    reach: float
    near: np.ndarray

    def fitted(
        self, degree: int, *, closure: bool
    ) -> tuple[CandidateSeries, Mixing, Mixed]:
        """Fit phases that stay the same, then phases that change."""
        from batteryxr.nmf.kernels.pattern_fit import solve

        model = self.model(0, 1, closure=False)
        problem = self.problem(model, 1.0)
        found = solve(problem, np.concatenate(self.start()), 40)
        tried = solve(problem, np.concatenate(self.as_given()), 40)
        found = tried if self.preferred(model, tried, found) else found
        for other in self.exchanged(model, found):
            tried = solve(problem, other, 40)
            found = tried if self.preferred(model, tried, found) else found
        scale = float(np.median(found.scales.sum(axis=1))) or 1.0
        begin = (model, found.values, scale)
        first = self.refined(begin, degree, closure=closure)
        if not patterned(first[2]):
            return self.named(first)
        # Structures that change may have taken each other's place while they were held
        # the same. Near distances tell them apart from farther off.
        near = replace(
            self, weight=self.weight * self.near, reach=self.reach * self.near.mean()
        )
        begin = (model, np.concatenate(self.as_given()), scale)
        changed, _, close = near.refined(begin, min(degree, 1), closure=closure)
        anew = self.refined((changed, close.values, scale), degree, closure=closure)
        best = min(first, anew, key=lambda one: float((one[2].rest ** 2).sum()))
        return self.named(best)

    def named(
        self, best: tuple[CandidateSeries, Mixing, Mixed]
    ) -> tuple[CandidateSeries, Mixing, Mixed]:
        """Give each of two like phases the structure that is nearest to its candidate.

        Structures that change fit as well under one another's names.
        """
        from batteryxr.nmf.kernels.pattern_fit import solve

        model, problem, found = best
        names, told = list(self.fits), []
        for i, j in self.twins():
            tried = solve(problem, self.exchange(model, found.values, i, j), 30)
            moved = [self.moved(model, one) for one in (tried, found)]
            near = 0.05 * found.scales.max()
            if (
                _even(tried, found)
                and not np.allclose(tried.scales, found.scales, atol=near)
                and abs(moved[0] - moved[1]) < _UNTOLD
            ):
                told.append(f"{names[i]} and {names[j]}")
            found = tried if self.preferred(model, tried, found) else found
        if told:
            warn_quality(
                f"{'; '.join(told)} fit as well under one another's names, and their "
                "lattices and compositions are about as near to either candidate: "
                "these names may be exchanged. Hold the composition of one, or narrow "
                "`strain`."
            )
        return model, problem, found

    def twins(self) -> list[tuple[int, int]]:
        """Return the pairs of phases that can have the same pattern."""
        fits, given, out = list(self.fits.values()), self.as_given(), []
        for i, j in itertools.combinations(range(len(fits)), 2):
            one, two = fits[i], fits[j]
            if one.occupancy == two.occupancy and len(given[i]) == len(given[j]):
                p = _as_other(one, two, list(given[i]))
                a, b = one.model(given[i]), two.model(np.array(p))
                size = float(np.linalg.norm(a) * np.linalg.norm(b))
                if abs(p[0]) < 2 * two.strain and float(a @ b) > _SAME * size:
                    out.append((i, j))
        return out

    def exchange(
        self, model: CandidateSeries, p: np.ndarray, i: int, j: int
    ) -> np.ndarray:
        """Return parameters in which two like phases have each other's structures."""
        other, places = p.copy(), model.places()
        for here, there in ((i, j), (j, i)):
            its = [p[place] for place in places[there]]
            moved = _as_other(model.fits[there], model.fits[here], its)
            for place, values in zip(places[here], moved, strict=True):
                other[place] = values
        return other

    def alike(
        self, model: CandidateSeries, problem: Mixing, found: Mixed
    ) -> list[tuple[int, int]]:
        """Return the pairs of phases of which one alone explains as much as both."""
        from batteryxr.nmf.kernels.noise import together
        from batteryxr.nmf.kernels.pattern_fit import solve

        out = []
        spare = together(found.rest) * together(found.rest.T) / found.rest.size
        for i, j in self.twins():
            less, more = sorted((i, j), key=lambda k: float(found.scales[:, k].sum()))

            def shapes(p: np.ndarray, gone: int = less) -> np.ndarray:
                return np.delete(problem.shapes(p), gone, axis=1)

            def slopes(p: np.ndarray, w: np.ndarray, gone: int = less) -> np.ndarray:
                return problem.slopes(p, np.insert(w, gone, 0.0, axis=1))

            alone = problem._replace(shapes=shapes, slopes=slopes)
            one = solve(alone, found.values, 20)
            count = len(found.rest) + len(model.fits[more].bounds["low"])
            chance = 1 + (count + 4 * math.sqrt(2 * count)) * spare
            if (one.rest**2).sum() < chance * (found.rest**2).sum():
                out.append((i, j))
        return out

    def refined(
        self,
        begin: tuple[CandidateSeries, np.ndarray, float],
        degree: int,
        *,
        closure: bool,
    ) -> tuple[CandidateSeries, Mixing, Mixed]:
        """Fit from a model, its parameters and the scale of the data."""
        from batteryxr.nmf.kernels.pattern_fit import solve

        before, p, scale = begin
        few = self.needed(before, p, degree)
        for _ in range(3):
            model = self.model(degree, few, closure=closure)
            problem = self.problem(model, scale)
            found = solve(problem, carried(before, model, p, scale), 60)
            before, p = model, found.values
            needed = self.needed(before, p, degree)
            if degree == 0 or needed <= few:
                break
            few = needed
        return model, problem, found

    def bent(
        self, model: CandidateSeries, found: Mixed, spread: Spread, *, known: bool
    ) -> Spread:
        """Add to errors what structures deviate from the polynomials.

        Polynomials of a higher degree tell how much.
        """
        from batteryxr.nmf.kernels.pattern_fit import missed, solved

        degree = model.basis.shape[1] - 1
        higher = min(degree + _MORE, len(self.t) - 1)
        if higher <= degree:
            return spread
        few = max(self.needed(model, found.values, 1), higher + 2)
        wider = self.model(higher, few, closure=model.closure)
        scale = float(found.values[-1]) if model.closure else 1.0
        problem = self.problem(wider, scale)
        here = solved(problem, carried(model, wider, found.values, scale))
        more = here.values.size - found.values.size
        step, moved = missed(problem, here, known, more)
        bent = []
        for own, share in zip(wider.places(), found.scales.T, strict=True):
            columns = [
                np.full(len(self.t), step[place][0])
                if i == 1
                else wider.basis @ step[place]
                for i, place in enumerate(own)
            ]
            bent.append(_evened(np.column_stack(columns), share**2))
        scales = np.sqrt(spread.scales**2 + _evened(moved, np.ones(len(moved))))
        return spread._replace(scales=scales, bent=bent)

    def problem(self, model: CandidateSeries, scale: float) -> Mixing:
        """Return the problem of fitting the data by a model, near a scale."""
        from batteryxr.nmf.kernels.pattern_fit import Mixing

        return Mixing(
            self.weight * self.y,
            model.shapes,
            model.slopes,
            model.bounds(scale),
            model.closure,
        )

    def model(self, degree: int, few: int, *, closure: bool) -> CandidateSeries:
        """Return a model whose patterns are calculated at `few` places."""
        places = nodes(degree)
        at = np.zeros(1)
        if few >= self.t.size:
            at, spread = self.t, np.eye(self.t.size)
        else:
            if few > 1:
                at = np.cos(np.pi * (np.arange(few) + 0.5) / few)
            spread = between(at, self.t)
        return CandidateSeries(
            list(self.fits.values()),
            between(places, self.t),
            between(places, at),
            spread,
            self.weight,
            closure,
        )

    def needed(self, model: CandidateSeries, p: np.ndarray, degree: int) -> int:
        """Return at how many places patterns must be calculated for all scans."""
        if degree == 0:
            return 1
        change = 0.0
        for k in range(len(model.fits)):
            change = max(
                change, float(np.ptp(model.parameters(p, k, model.basis)[:, 0]))
            )
        # Chebyshev coefficients of a wave fall fast beyond half its phase.
        return 6 + math.ceil(0.5 * self.reach * change)

    def as_given(self) -> list[np.ndarray]:
        """Return the parameters of all phases as bulk, with the given lattices."""
        banks = [fit.starts() for fit in self.fits.values()]
        return [min(b, key=lambda p: (abs(p[0]), p[2])) for b in banks]

    def exchanged(self, model: CandidateSeries, found: Mixed) -> list[np.ndarray]:
        """Return parameters in which two phases exchange their structures.

        For phases with similar lattices, each may have taken the place of the other.
        Those that cannot have the same pattern exchange the lattice alone.
        """
        fits, p, out = model.fits, found.values, []
        places, twins = [own[0].start for own in model.places()], self.twins()
        for i, j in itertools.combinations(range(len(fits)), 2):
            other = p.copy()
            for here, there in ((i, j), (j, i)):
                moved = _as_other(fits[there], fits[here], [p[places[there]]])
                other[places[here]] = moved[0]
            small = np.abs(other[[places[i], places[j]]]) < fits[i].strain
            if small.all():
                out.append(self.exchange(model, p, i, j) if (i, j) in twins else other)
        return out

    def preferred(self, model: CandidateSeries, tried: Mixed, found: Mixed) -> bool:
        """Tell whether a solution is better, or as good and nearer to what was given.

        Phases with free compositions may fit as well under one another's names.
        """
        if _even(tried, found):
            return self.moved(model, tried) < self.moved(model, found)
        return float((tried.rest**2).sum()) < float((found.rest**2).sum())

    def moved(self, model: CandidateSeries, solution: Mixed) -> float:
        """Return how far structures are from the candidates, as a sum of squares."""
        far = 0.0
        for fit, own in zip(model.fits, model.places(), strict=True):
            p = [float(solution.values[place].mean()) for place in own]
            far += (p[0] / _STRAIN) ** 2
            if fit.occupancy:
                far += ((p[3] - 1) * fit.share / _TAKEN) ** 2
        return far

    def start(self) -> list[np.ndarray]:
        """Return the lattice and size of each phase that explain the series together.

        Each phase in turn is tried with many lattices, all others unchanged.
        """
        _, s, axes = np.linalg.svd(self.y, full_matrices=False)
        rank = min(len(self.fits) + 3, len(s))
        goal = s[:rank, None] * axes[:rank]
        banks = [fit.starts() for fit in self.fits.values()]
        shapes = [
            [fit.model(p) for p in bank]
            for fit, bank in zip(self.fits.values(), banks, strict=True)
        ]
        # Smallest strain first, then bulk before small particles.
        now = [
            min((abs(p[0]), p[2], i) for i, p in enumerate(bank))[2] for bank in banks
        ]
        for _ in range(_ROUNDS):
            before = list(now)
            for k, bank in enumerate(shapes):
                others = [shapes[j][now[j]] for j in range(len(now)) if j != k]
                explained = [_explained(goal, [*others, shape]) for shape in bank]
                now[k] = int(np.argmax(explained))
            if now == before:
                break
        return [bank[i] for bank, i in zip(banks, now, strict=True)]


def _even(one: Mixed, other: Mixed) -> bool:
    """Tell whether two solutions explain the data as well."""
    squares = [float((found.rest**2).sum()) for found in (one, other)]
    return min(squares) >= _BETTER * max(squares)


def _as_other(one: Candidate, other: Candidate, p: Sequence[Any]) -> list[Any]:
    """Return the parameters by which another candidate has the structure of one."""
    out = [p[0], *p[1:]]
    edges = [float(np.linalg.norm(fit.crystal.cell[0])) for fit in (one, other)]
    out[0] = (1 + p[0]) * edges[0] / edges[1] - 1
    if one.occupancy and len(out) > 3:
        out[3] = p[3] * one.share / other.share
    return out


def _evened(change: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return squares (scans, values), half of them those of all scans.

    `share` is how much a phase matters in each scan: where it is absent, its structure
    could be anything.
    """
    square = change**2
    usual = share @ square / max(float(share.sum()), 1e-300)
    return np.asarray(0.5 * (np.minimum(square, 4 * usual) + usual))


def _explained(goal: np.ndarray, shapes: list[np.ndarray]) -> float:
    """Return the squared signal that shapes explain together."""
    q, _ = np.linalg.qr(np.array(shapes).T)
    return float(((goal @ q) ** 2).sum())
