"""Fit a series of G(r) by structures and their ratios, all scans at once."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

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
    patterns_of,
    tell_errors,
    within,
)
from batteryxr.nmf.phases.tables import SeriesTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from batteryxr.core.bounds.kinds import RRange, Strain
    from batteryxr.core.crystals import PdfInstrument
    from batteryxr.nmf.kernels.pattern_fit import Mixed, Mixing
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
_STRAIN, _TAKEN, _UNTOLD = 0.005, 0.1, 1.0
#: R_w above which the structures explain too little.
_LOST = 0.3
#: The residual is no noise if one pattern holds this many times its share of noise,
#: and if it is more than this fraction of the patterns.
_ALIKE, _LITTLE = 2.5, 0.01


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
        ``residual``, ``relative_residual`` and ``r_w`` of each scan; ``at_bound`` where
        a phase ended at the end of its search range. Errors come from all parameters
        together, scaled by the misfit and by the correlation of neighbouring residuals.

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
    told = SeriesTable(rows, lit, model, found, spread)
    result = told.result(crystals)
    result.attrs = {
        "closure": int(closure),
        "scale": "closure" if closure else "norm",
        "degree": int(degree),
        "model": "data = weights . structures(Li content)",
    }
    _warn(result, _in_one(found.rest), closure=closure)
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
        if not _patterned(first[2]):
            return first
        # Structures that change may have taken each other's place while they were held
        # the same. Near distances tell them apart from farther off.
        near = replace(
            self, weight=self.weight * self.near, reach=self.reach * self.near.mean()
        )
        begin = (model, np.concatenate(self.as_given()), scale)
        changed, _, close = near.refined(begin, min(degree, 1), closure=closure)
        anew = self.refined((changed, close.values, scale), degree, closure=closure)
        return min(first, anew, key=lambda one: float((one[2].rest ** 2).sum()))

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
        """Return parameters in which two phases exchange lattices and compositions.

        For phases with similar lattices, each may have taken the place of the other.
        """
        fits, p = model.fits, found.values
        first = [float(np.linalg.norm(f.crystal.cell[0])) for f in fits]
        places = [own[0].start for own in model.places()]
        edge = [a * (1 + p[i]) for a, i in zip(first, places, strict=True)]
        out = []
        for i, j in itertools.combinations(range(len(first)), 2):
            other = p.copy()
            for here, there in ((i, j), (j, i)):
                at, of = places[here], places[there]
                other[at] = edge[there] / first[here] - 1
                if fits[i].occupancy and fits[i].occupancy == fits[j].occupancy:
                    other[at + 1 : at + 3] = p[of + 1 : of + 3]
                    share = fits[there].share / fits[here].share
                    other[at + 3] = p[of + 3] * share
            small = np.abs(other[[places[i], places[j]]]) < fits[i].strain
            if small.all():
                out.append(other)
        return out

    def preferred(self, model: CandidateSeries, tried: Mixed, found: Mixed) -> bool:
        """Tell whether a solution is better, or as good and nearer to what was given.

        Phases with free compositions may fit as well under one another's names.
        """
        better = float((tried.rest**2).sum()) / max(
            float((found.rest**2).sum()), 1e-300
        )
        if not _BETTER <= better <= 1 / _BETTER:
            return better < 1
        far = []
        for solution in (tried, found):
            moved = 0.0
            for fit, own in zip(model.fits, model.places(), strict=True):
                p = solution.values[[place.start for place in own]]
                moved += float((p[0] / _STRAIN) ** 2)
                if fit.occupancy:
                    moved += float(((p[3] - 1) * fit.share / _TAKEN) ** 2)
            far.append(moved)
        same = np.allclose(tried.scales, found.scales, atol=0.05 * found.scales.max())
        if not same and abs(far[0] - far[1]) < _UNTOLD:
            warn_quality(
                "two phases fit as well under one another's names, and their lattices "
                "and compositions are about as near to either candidate: these names "
                "may be exchanged. Hold the composition of one, or narrow `strain`."
            )
        return far[0] < far[1]

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


def _explained(goal: np.ndarray, shapes: list[np.ndarray]) -> float:
    """Return the squared signal that shapes explain together."""
    q, _ = np.linalg.qr(np.array(shapes).T)
    return float(((goal @ q) ** 2).sum())


def _in_one(rest: np.ndarray) -> float:
    """Return the fraction of squared residuals in one pattern, relative to noise."""
    s = np.linalg.svd(rest, compute_uv=False)
    scans, points = rest.shape
    # The largest singular value of noise: Marchenko & Pastur, Sb. Math. 1, 457 (1967).
    noise = (1 + math.sqrt(scans / points)) ** 2 / scans
    return float(s[0] ** 2 / max(float((s**2).sum()), 1e-300)) / min(noise, 1.0)


def _patterned(found: Mixed) -> bool:
    """Tell whether more than noise is left."""
    return _in_one(found.rest) > _ALIKE and found.r_w > _LITTLE


def _warn(result: xr.Dataset, in_one: float, *, closure: bool) -> None:
    """Warn of phases at a bound, and of a series that is poorly explained."""
    if bool(result["at_bound"].any()):
        names = result["component"].values[result["at_bound"].values]
        warn_quality(
            f"{', '.join(map(str, names))} ended at a bound of lattice, widths or "
            "occupancy (see at_bound): another structure, or nothing that is there."
        )
    off = float(result["r_w"].median())
    alike = in_one > _ALIKE and off > _LITTLE
    if off > _LOST or alike:
        text = ", much of it one pattern" if alike else ""
        warn_quality(
            f"the structures leave {off:.1%} of the patterns (R_w){text}: a phase is "
            "missing, or changes in a way that is not among the parameters (a higher "
            "`degree`, `occupancy`)"
            + (", or intensities differ (closure=False)." if closure else ".")
        )
