"""Identify components by crystals: fit calculated G(r) to measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from batteryxr.core.crystals import Crystal, PdfInstrument, read_crystal
from batteryxr.core.errors import (
    DimensionError,
    warn_quality,
)
from batteryxr.core.model import label
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.nmf.phases.candidates import Candidate, crystals_of
from batteryxr.nmf.phases.measured import (
    deviations,
    instrument_of,
    patterns_of,
    tell_errors,
    within,
)
from batteryxr.nmf.phases.mixtures import at_bound, mixture_of, shapes_of, tied
from batteryxr.nmf.phases.tables import table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import RRange, Strain
    from batteryxr.nmf.kernels.pattern_fit import PatternFit
    from batteryxr.nmf.phases.candidates import Candidates


#: Parameters of `refine_along` that are free on request.
OfPeaks: TypeAlias = Literal["delta1", "delta2", "q_broad", "u_element"]
#: q_max assumed where the data do not state it (1/Angstrom).
_USUAL_Q_MAX = 20.0
#: Search anew where the misfit exceeds the last one by this factor and is above the
#: fine level, or is above the lost level.
_WORSE, _FINE, _LOST = 1.5, 0.05, 0.5
#: R_w above which what is left is more than ripples and noise.
_POOR = 0.15


@recorded
def identify(
    result: xr.DataArray | xr.Dataset,
    *,
    candidates: Candidates,
    r_range: RRange | None = None,
    instrument: PdfInstrument | None = None,
    strain: Strain = 0.03,
    errors: xr.DataArray | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit each component with each candidate, and rank the candidates.

    Reads once. Free parameters are the scale, the lengths and angles of the cell that
    its symmetry leaves free, one mean square displacement for all atoms, and the
    diameter of spherical particles.

    Parameters
    ----------
    result
        G(r) along ``r``, for components or other patterns; or a factorisation.
    candidates
        CIFs or crystals; a mapping gives them names.
    r_range
        Distances to compare (Angstrom); all by default.
    instrument
        Radiation, range and resolution of the measurement; by default taken from the
        header of the file. Without range and resolution, termination ripples and
        damping go into the misfit and the size, and a warning says so.
    strain
        Largest change of the lattice to try. No structure is named whose lattice is off
        by more than half of it: another of the same kind would be as likely.
    errors
        Standard deviations of the components; by default equal and unknown.
    progress
        Show a bar: True, False, or None (in terminals and notebooks only).

    Returns
    -------
    xarray.Dataset
        On (component, candidate): ``r_w``, ``rank`` (1 is best), ``strain`` (mean of
        all directions), ``cell_length`` and ``cell_angle``, ``u_iso``, ``diameter``
        (infinite for a bulk crystal), ``scale``, each with ``_error``;
        ``fitted`` patterns along r; ``best``, the candidate of rank 1; ``at_bound``
        where a lattice or width ended at the end of the search range, and ``tied``
        where a candidate cannot be told from the best. ``named`` (component): the one
        to three structures that explain a component together, with the ``share`` of
        its signal for each and ``named_r_w``. It is empty where no structure is
        credible, as for noise or a structure that is not among the candidates.

    Raises
    ------
    ArgumentError, DimensionError, FileFormatError
        If an argument or a file does not fit; raised before any fit.

    Notes
    -----
    Envelope of a sphere: Howell, Proffen & Conradson, Phys. Rev. B 73, 094107 (2006).
    How many structures: Schwarz, Ann. Stat. 6, 461 (1978), with as many independent
    points as range and q_max allow. A low R_w shows that a structure fits, not that no
    other would: a component of an ambiguous factorisation may resemble a mixture. Look
    at `bands` first.

    Examples
    --------
    >>> from diffpy.structure import Atom, Lattice, Structure
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> places = [Atom("Fe", [0.0, 0.0, 0.0]), Atom("Fe", [0.5, 0.5, 0.5])]
    >>> iron = Structure(places, Lattice(2.87, 2.87, 2.87, 90, 90, 90))
    >>> iron.write("iron.cif", "cif")
    >>> components = pdf[-2:].rename(scan="component")
    >>> ranked = components.nmf.identify(candidates=["iron.cif"], r_range=(1.5, 12.0))
    >>> ranked["r_w"].dims
    ('component', 'candidate')
    """
    patterns = patterns_of(result)
    kept = within(patterns, r_range)
    instrument = instrument_of(patterns, instrument)
    r = kept["r"].values.astype(np.float64)
    fits = {
        name: Candidate(crystal, r, instrument=instrument, strain=strain)
        for name, crystal in crystals_of(candidates).items()
    }
    rows = kept.transpose(..., "r")
    flat = rows.values.reshape(-1, r.size).astype(np.float64)
    sigma = deviations(errors, rows)
    lead = [str(d) for d in rows.dims[:-1]]
    shape = tuple(rows.sizes[d] for d in lead)
    jobs = [(i, name) for i in range(len(flat)) for name in fits]
    found: list[PatternFit | None] = []
    for i, name in track(jobs, "Fitting structures", progress=progress):
        wrong = not np.isfinite(flat[i]).all()
        found.append(None if wrong else fits[name].search(flat[i], _row(sigma, i)))
    candidate = xr.DataArray(
        list(fits), dims="candidate", attrs={"units": "1", "long_name": "Candidate"}
    )
    out = table(
        found, list(fits.values()), (*shape, len(fits)), [*lead, "candidate"], r=r
    )
    ranked = xr.Dataset(out).assign_coords(candidate=candidate)
    ranked = ranked.assign_coords(_coords(rows) | {"r": rows["r"]})
    ranked = ranked.assign(
        _named(flat, found, fits, lead, shape, r=r, instrument=instrument, sigma=sigma)
    )
    order = np.argsort(np.nan_to_num(ranked["r_w"].values, nan=np.inf), axis=-1)
    names = np.array(list(fits))[order[..., 0]]
    rank = np.argsort(order, axis=-1) + 1
    ranked["rank"] = label(
        ranked["r_w"].copy(data=rank), "rank", units="1", long_name="Rank by R_w"
    )
    ranked["best"] = label(
        xr.DataArray(names, dims=lead), "best", units="1", long_name="Best candidate"
    )
    return ranked


def _named(
    flat: np.ndarray,
    found: list[PatternFit | None],
    fits: dict[str, Candidate],
    lead: list[str],
    shape: tuple[int, ...],
    *,
    r: np.ndarray,
    instrument: PdfInstrument,
    sigma: np.ndarray | None,
) -> dict[str, xr.DataArray]:
    """Return the structures that explain each pattern together, and their ties."""
    names = list(fits)
    k = len(names)
    q_max = instrument.q_max or _USUAL_Q_MAX
    independent = min((r[-1] - r[0]) * q_max / np.pi, r.size)
    shapes = shapes_of(fits)
    shares, bound, ties = (np.zeros((len(flat), k)) for _ in range(3))
    r_w, words = np.full(len(flat), np.nan), [""] * len(flat)
    for i, y in enumerate(flat):
        single = {
            n: f for n, f in zip(names, found[i * k : i * k + k], strict=True) if f
        }
        if not single:
            continue
        ties[i] = tied(np.array([single[n].r_w for n in names]), independent)
        bound[i] = [at_bound(fits[n], single[n].values[:-1]) for n in names]
        mixture = mixture_of(
            y, fits, shapes, single, independent=independent, sigma=_row(sigma, i)
        )
        words[i], r_w[i] = " + ".join(mixture.names), mixture.r_w
        for name, share in zip(mixture.names, mixture.shares, strict=True):
            shares[i, names.index(name)] = share
    if nameless := [i for i, word in enumerate(words) if not word]:
        warn_quality(
            f"{len(nameless)} of {len(flat)} patterns are named by no candidate: "
            "noise, a structure that is missing, or another lattice than was tried."
        )
    both = [*lead, "candidate"]
    table = {
        "share": (both, shares.reshape(*shape, k), "Share of the signal"),
        "at_bound": (both, bound.reshape(*shape, k) > 0, "Fit ended at a bound"),
        "tied": (both, ties.reshape(*shape, k) > 0, "Not told from the best"),
        "named": (lead, np.array(words).reshape(shape), "Structures found"),
        "named_r_w": (lead, r_w.reshape(shape), "R_w of the structures found"),
    }
    return {
        name: label(xr.DataArray(values, dims=dims), name, units="1", long_name=text)
        for name, (dims, values, text) in table.items()
    }


@recorded
def refine_along(
    data: xr.DataArray,
    *,
    candidate: str | os.PathLike[str] | Crystal,
    occupancy: str | None = None,
    peaks: Sequence[OfPeaks] = (),
    r_range: RRange | None = None,
    instrument: PdfInstrument | None = None,
    strain: Strain = 0.03,
    errors: xr.DataArray | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit one structure to each pattern of a series, starting from the last fit.

    Reads once. Where that start fails, the lattice is searched anew. Use it on the
    result of `reconstruct`, for the size, lattice and composition of one phase along
    the experiment.

    Parameters
    ----------
    data
        (scan, r), NaN where the phase is absent.
    candidate
        A CIF or a crystal.
    occupancy
        Element whose occupancy is also free, for composition. Where it fills its sites
        together with one other element, the other is reduced to match.
    peaks
        What else of the peaks is free: ``"delta1"``, ``"delta2"``, ``"q_broad"`` (see
        `Crystal` and `PdfInstrument`), and ``"u_element"``, one of each element.
    r_range, instrument, strain, errors, progress
        As in `identify`.

    Returns
    -------
    xarray.Dataset
        Along the scans, their coordinates kept: ``lattice`` (the length of the first
        axis), ``cell_length``, ``cell_angle``, ``strain``, ``u_iso`` (or
        ``u_element``), ``diameter``, ``scale``, ``occupancy`` and what else is free,
        each with ``_error``; ``r_w``;
        ``at_bound`` where lattice or widths ended at the end of the search range, and
        ``flag`` (1: no pattern; 2: the structure leaves much of it: parameters may be
        off by more than their errors).

    Examples
    --------
    >>> from diffpy.structure import Atom, Lattice, Structure
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> patterns = oxide["scans"].to_dataset()["pdf"]
    >>> places = [Atom("Fe", [0.0, 0.0, 0.0]), Atom("Fe", [0.5, 0.5, 0.5])]
    >>> iron = Structure(places, Lattice(2.87, 2.87, 2.87, 90, 90, 90))
    >>> iron.write("iron.cif", "cif")
    >>> found = patterns[-5:].nmf.refine_along(
    ...     candidate="iron.cif", r_range=(1.5, 12.0)
    ... )
    >>> found["strain"].dims
    ('scan',)
    """
    patterns = patterns_of(data)
    if patterns.ndim != 2:
        raise DimensionError(
            f"refine_along needs one dimension besides 'r'; found {patterns.dims}. "
            "Select one component or particle."
        )
    kept = within(patterns, r_range).transpose(..., "r")
    r = kept["r"].values.astype(np.float64)
    instrument = instrument_of(data, instrument)
    crystal = candidate if isinstance(candidate, Crystal) else read_crystal(candidate)
    fit = Candidate(
        crystal,
        r,
        instrument=instrument,
        strain=strain,
        occupancy=occupancy,
        peaks=peaks,
    )
    rows = kept.values.astype(np.float64)
    sigma = deviations(errors, kept)
    found: list[PatternFit | None] = []
    last: PatternFit | None = None
    ends = np.zeros(len(rows), dtype=bool)
    for i in track(range(len(rows)), "Refining", total=len(rows), progress=progress):
        if not np.isfinite(rows[i]).all():
            found.append(None)
            continue
        one = _next(fit, rows[i], last, _row(sigma, i))
        found.append(one)
        ends[i] = at_bound(fit, one.values[:-1])
        if last is None or not ends[i]:
            last = one
    if sigma is not None:
        every = zip(rows, found, sigma, strict=True)
        tell_errors(np.array([(y - f.model) / s for y, f, s in every if f]))
    dim = str(kept.dims[0])
    out = table(found, [fit], (len(rows),), [dim], r=r)
    for end, text in (
        ("", "Lattice parameter"),
        ("_error", "Lattice parameter, error"),
    ):
        first = out[f"cell_length{end}"].sel(axis="a", drop=True)
        name = f"lattice{end}"
        out[name] = label(first, name, units="Angstrom", long_name=text)
    out["at_bound"] = label(
        xr.DataArray(ends, dims=dim),
        "at_bound",
        units="1",
        long_name="Fit ended at a bound",
    )
    if ends.any():
        warn_quality(
            f"{int(ends.sum())} of {len(rows)} fits ended at a bound of lattice or "
            "widths (see at_bound): another structure, no signal, or a lattice farther "
            "off than strain allows."
        )
    out["flag"] = _flags(out["r_w"])
    return xr.Dataset(out).assign_coords(_coords(kept) | {"r": kept["r"]})


def _flags(r_w: xr.DataArray) -> xr.DataArray:
    """Return the flag of each pattern, and tell of those poorly explained."""
    poor = r_w.values > _POOR
    if poor.any():
        warn_quality(
            f"{int(poor.sum())} of {poor.size} patterns fit with R_w above {_POOR} (up "
            f"to {float(r_w.max()):.2f}, flag 2): a cell that changes its "
            "shape, other phases or other sites also move lattice, size and "
            "composition, by more than their errors."
        )
    flag = np.where(np.isnan(r_w.values), 1, np.where(poor, 2, 0)).astype(np.int8)
    return label(
        xr.DataArray(flag, dims=r_w.dims),
        "flag",
        units="1",
        long_name="Quality flag",
        flag_values=[0, 1, 2],
        flag_meanings="good no_pattern poor_fit",
    )


def _next(
    fit: Candidate, y: np.ndarray, last: PatternFit | None, sigma: np.ndarray | None
) -> PatternFit:
    """Fit from where the last pattern ended, or search anew if that fails."""
    if last is None:
        return fit.search(y, sigma)
    found = fit.refine(y, last.values[:-1], sigma)
    good = found.r_w <= min(max(_WORSE * last.r_w, _FINE), _LOST)
    if good and not at_bound(fit, found.values[:-1]):
        return found
    other = fit.search(y, sigma)
    return other if other.r_w < found.r_w else found


def _row(sigma: np.ndarray | None, i: int) -> np.ndarray | None:
    return None if sigma is None else sigma[i]


def _coords(rows: xr.DataArray) -> dict[Any, xr.DataArray]:
    return {n: c for n, c in rows.coords.items() if "r" not in c.dims}
