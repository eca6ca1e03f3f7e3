"""Simulate the first discharge of oxide anodes: series of G(r) with known phases.

There are five oxides, each with its published phases (Hua et al., Cell Rep. Phys. Sci.
2, 100543, 2021): oxides that take up lithium as a solid solution, an oxide that breaks
up without a change of structure, and metal in particles of two nanometres. The ratios
along the discharge are invented, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.blocks import apply
from batteryxr.core.crystals import PdfInstrument, cell_of, lattice
from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.pair_distribution import PairDistribution
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.simulate import structures
from batteryxr.simulate.scans import mixed
from batteryxr.simulate.sizes import require_modest
from batteryxr.simulate.structures import Phase, Solution

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.core.bounds.kinds import CRate, RelativeNoise, RStep, SimulatedRange
    from batteryxr.core.crystals import Crystal

_FARADAY = 26.8015  # A h mol-1
_NEVER = 9.0  # beyond any discharge
#: Most distances of a pattern: 0.001 Angstrom apart over 100 Angstrom.
_MOST_DISTANCES = 100_000
Times = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class OxideAnode:
    """Define an oxide and its discharge.

    Parameters
    ----------
    full
        Li per metal when all metal is reduced.
    mass
        Molar mass per metal (g mol-1).
    phases
        Name, phase, and its presence: Li per metal at which it begins, is complete,
        starts to disappear and is gone, and its amount in between.
    voltage
        Voltage of the plateau (V).
    """

    full: float
    mass: float
    phases: tuple[tuple[str, Phase | Solution, Times], ...]
    voltage: float


def _iron(a: float = 2.866) -> Phase:
    return Phase(structures.body_centred("α-Fe", "Fe", a), 0.005, 22.0)


def _tetragonal() -> Phase:
    return Phase(structures.tetragonal_iron_oxide(), 0.005, 30.0)


def _salt(name: str, a: float, diameter: float, **cations: float) -> Phase:
    return Phase(structures.rock_salt(name, a, cations), 0.006, diameter)


def _manganese() -> Phase:
    return Phase(structures.alpha_manganese(), 0.006, 20.0)


def _manganese_oxide() -> Crystal:
    return structures.rock_salt("MnO", 4.445, {"Mn": 1.0})


def _end(start: float, end: float) -> Times:
    return (start, end, _NEVER, _NEVER, 1.0)


def _first(gone: float) -> Times:
    return (-2.0, -1.0, 0.05, gone, 1.0)


def _hematite() -> OxideAnode:
    twice = _salt("LiFeO2", 4.14, 40, Li=0.5, Fe=0.5)
    once = _salt("LiFe2O3", 4.145, 40, Li=1 / 3, Fe=2 / 3)
    phases = (
        ("α-Fe2O3", Phase(structures.hematite()), _first(0.9)),
        ("LiFeO2", twice, (0.1, 0.6, 0.6, 1.4, 1.0)),
        ("LiFe2O3", once, (0.5, 1.1, 1.3, 2.3, 1.0)),
        ("bcc-FeO", _tetragonal(), (1.1, 1.7, 1.7, 2.8, 0.3)),
        ("α-Fe", _iron(), _end(1.2, 2.9)),
    )
    return OxideAnode(3.0, 79.85, phases, 0.9)


def _magnetite() -> OxideAnode:
    spinel = structures.spinel("Fe3O4", 8.396, {"Fe": 1.0}, "Fe", 0.2549)
    lithiated = structures.lithiated_spinel("LiFe3O4", lattice(8.47), "Fe")
    phases = (
        ("Fe3O4", Phase(spinel), _first(0.8)),
        ("LiFe3O4", Phase(lithiated, 0.006, 60), (0.05, 0.6, 0.7, 1.9, 1.0)),
        ("bcc-FeO", _tetragonal(), (0.9, 1.4, 1.5, 2.4, 0.3)),
        ("α-Fe", _iron(), _end(1.0, 2.55)),
    )
    return OxideAnode(8 / 3, 77.18, phases, 0.85)


def _wustite() -> OxideAnode:
    lithiated = _salt("Li-Fe-O", 4.17, 40, Li=0.35, Fe=0.65)
    phases = (
        ("FeO", _salt("FeO", 4.30, np.inf, Fe=1.0), _first(0.9)),
        ("Li-Fe-O", lithiated, (0.1, 0.6, 0.7, 1.6, 1.0)),
        ("bcc-FeO", _tetragonal(), (0.75, 1.15, 1.2, 1.85, 0.3)),
        ("α-Fe", _iron(), _end(0.85, 1.9)),
    )
    return OxideAnode(2.0, 71.84, phases, 0.8)


def _manganosite() -> OxideAnode:
    bulk = _manganese_oxide()
    phases = (
        ("MnO", Phase(bulk), _first(1.0)),
        ("MnO, 2.5 nm", Phase(bulk, 0.005, 25.0), (0.1, 0.9, 0.9, 1.9, 1.0)),
        ("α-Mn", _manganese(), _end(0.5, 1.95)),
    )
    return OxideAnode(2.0, 70.94, phases, 0.35)


def _hausmannite() -> OxideAnode:
    longer = lattice(8.34, c=9.05)
    lithiated = structures.lithiated_spinel("LiMn3O4", longer, "Mn")
    small = Phase(_manganese_oxide(), 0.005, 25.0)
    phases = (
        ("Mn3O4", Phase(structures.hausmannite()), _first(0.6)),
        ("LiMn3O4", Phase(lithiated, 0.006, 80), (0.05, 0.45, 0.5, 1.2, 1.0)),
        ("MnO, 2.5 nm", small, (0.4, 1.1, 1.2, 2.5, 1.0)),
        ("α-Mn", _manganese(), _end(1.1, 2.6)),
    )
    return OxideAnode(8 / 3, 76.27, phases, 0.45)


def _dissolved_iron() -> OxideAnode:
    """Return Fe2O3 whose rock salt loses lithium, and whose bcc-FeO loses oxygen."""
    salt = Solution(_iron_salt, 1.0, 4 / 3, 0.5, 2.0)
    poor = Solution(_iron_poor, 0.35, 0.12, 1.3, 2.7, 0.005, 30.0)
    phases = (
        ("α-Fe2O3", Phase(structures.hematite()), _first(0.9)),
        ("Li2-xFexO2", salt, (0.1, 0.6, 1.3, 2.3, 1.0)),
        ("bcc-FeOx", poor, (1.1, 1.7, 1.7, 2.8, 0.3)),
        ("α-Fe", _iron(), _end(1.2, 2.9)),
    )
    return OxideAnode(3.0, 79.85, phases, 0.9)


def _iron_salt(iron: float) -> Crystal:
    shares = {"Li": 1 - iron / 2, "Fe": iron / 2}
    return structures.rock_salt("Li2-xFexO2", 3.98 + 0.16 * iron, shares)


def _iron_poor(oxygen: float) -> Crystal:
    return structures.tetragonal_iron_oxide("bcc-FeOx", oxygen)


def _dissolved_manganese() -> OxideAnode:
    """Return Mn3O4 whose lithiated spinel takes up manganese, nearing MnO."""
    spinel = Solution(_manganese_salt, 0.0, 0.3, 0.4, 1.3, 0.006, 80.0)
    small = Phase(_manganese_oxide(), 0.005, 25.0)
    phases = (
        ("Mn3O4", Phase(structures.hausmannite()), _first(0.6)),
        ("Li1-xMn3+xO4", spinel, (0.05, 0.45, 0.7, 1.5, 1.0)),
        ("MnO, 2.5 nm", small, (0.6, 1.4, 1.5, 2.5, 1.0)),
        ("α-Mn", _manganese(), _end(1.1, 2.6)),
    )
    return OxideAnode(8 / 3, 76.27, phases, 0.45)


def _manganese_salt(more: float) -> Crystal:
    cell = lattice(8.34 + 0.55 * more, c=9.05 - 0.16 * more)
    return structures.lithiated_spinel("Li1-xMn3+xO4", cell, "Mn", more=more)


#: Builders of the five oxides, and of two with solid solutions, called on request.
_OXIDES: dict[str, Callable[[], OxideAnode]] = {
    "Fe2O3": _hematite,
    "Fe3O4": _magnetite,
    "FeO": _wustite,
    "MnO": _manganosite,
    "Mn3O4": _hausmannite,
    "Fe2O3, solid solutions": _dissolved_iron,
    "Mn3O4, solid solution": _dissolved_manganese,
}


@recorded
def oxide_series(
    name: str = "Fe2O3",
    *,
    n_scans: int = 120,
    seed: int = 0,
    noise: RelativeNoise = 0.02,
    r_range: SimulatedRange = (1.0, 30.0),
    step: RStep = 0.01,
    instrument: PdfInstrument = PdfInstrument(q_max=24.0, q_damp=0.03),
    extra: float = 0.1,
    c_rate: CRate = 0.05,
    chunks: int | None = None,
) -> xr.DataTree:
    """Simulate the discharge of an oxide anode as a series of G(r).

    Lazy where `chunks` is given: patterns are computed when they are read. Each has its
    own stream of random numbers, so that they do not depend on the chunks.

    Parameters
    ----------
    name
        ``"Fe2O3"``: five phases, two of them ends of a solid solution. ``"Fe3O4"``,
        ``"FeO"``, ``"Mn3O4"``: four. ``"MnO"``: an oxide that breaks up into pieces of
        the same structure, and a metal. ``"Fe2O3, solid solutions"`` and
        ``"Mn3O4, solid solution"``: composition and lattice of Li2-xFexO2 and bcc-FeOx,
        or of Li1-xMn3+xO4, change from scan to scan. Li2O scatters little and is left
        out.
    n_scans
        Number of patterns, evenly spaced in Li content.
    seed
        Seed of the noise.
    noise
        Standard deviation of a point, relative to that of the whole noise-free series.
    r_range, step
        First and last distance, and the step in between (Angstrom).
    instrument
        Radiation, range and resolution of the measurement.
    extra
        Fraction by which the discharge exceeds full conversion.
    c_rate
        Full conversions per hour.
    chunks
        Scans per dask chunk; by default NumPy arrays.

    Returns
    -------
    xarray.DataTree
        ``/scans``: ``pdf`` (scan, r) with ``li_content`` (Li per metal), ``voltage``,
        ``specific_capacity``, ``time`` and ``direction``. ``/truth``: ``ratios``
        (scan, component), ``components`` (component, r), their mean where they change,
        ``diameter`` and ``u_iso``; ``composition``, the x of solid solutions, and
        ``cell_length`` (scan, component, axis).

    Raises
    ------
    ArgumentError
        If the oxide is unknown, or a number is out of range.

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> oxide["truth"]["component"].values.tolist()
    ['α-Fe2O3', 'LiFeO2', 'LiFe2O3', 'bcc-FeO', 'α-Fe']
    """
    if name not in _OXIDES:
        raise ArgumentError("name", name, f"one of {sorted(_OXIDES)}")
    model = _OXIDES[name]()
    if isinstance(n_scans, bool) or not isinstance(n_scans, int) or n_scans < 2:
        raise ArgumentError("n_scans", n_scans, "an integer >= 2")
    r_min, r_max = r_range
    if not 0 < r_max - r_min < np.inf:
        raise ArgumentError("r_range", r_range, "two distances, the larger one last")
    bounds.check("largest r", r_max, argument="r_range")
    for key, number in {"noise": noise, "extra": extra}.items():
        if not 0 <= number < np.inf:
            raise ArgumentError(key, number, "a number >= 0")
    generator(seed)
    n_r = round((r_max - r_min) / step) + 1
    require_modest("step", step, n_r, _MOST_DISTANCES)
    changes = any(isinstance(phase, Solution) for _, phase, _ in model.phases)
    whole = changes or chunks is None
    require_modest("n_scans", n_scans, n_scans * (n_r if whole else 1))
    r = r_min + step * np.arange(n_r)
    content = np.linspace(0.0, model.full * (1 + extra), n_scans)
    truth, moved = _truth(model, r, content, instrument)
    scans = _scans(
        model, truth, moved, seed, noise, chunks, c_rate, instrument=instrument
    )
    about = {
        "title": f"Simulated discharge of {name}",
        "full_conversion": model.full,
        "extra": float(extra),
    }
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=about),
            "/scans": scans.assign_attrs(about),
            "/truth": truth.assign_attrs(about),
        }
    )


def _truth(
    model: OxideAnode, r: np.ndarray, content: np.ndarray, instrument: PdfInstrument
) -> tuple[xr.Dataset, xr.DataArray | None]:
    """Return the true phases and ratios, and what solid solutions add to the mixture.

    It is the difference to their mean patterns, (scan, r), or None.
    """
    names = [name for name, _, _ in model.phases]
    shares = np.array([_window(content, *w) for _, _, w in model.phases])
    ratios = (shares / shares.sum(axis=0)).T
    size = [p.diameter for _, p, _ in model.phases]
    u_iso = [p.u_iso for _, p, _ in model.phases]
    patterns, moved = [], None
    both = (content.size, len(names))
    x, edges = np.full(both, np.nan), np.empty((*both, 3))
    for k, (_, phase, _) in enumerate(model.phases):
        if isinstance(phase, Solution):
            x[:, k] = phase.composition(content)
            crystals = [phase.crystal(value) for value in x[:, k]]
        else:
            crystals = [phase.crystal]
        edges[:, k] = [cell_of(crystal.cell)[:3] for crystal in crystals]
        every = np.array(
            [
                PairDistribution(crystal, r, instrument=instrument)(
                    u_iso=phase.u_iso, diameter=phase.diameter
                )
                for crystal in crystals
            ]
        )
        patterns.append(every[0])
        if len(every) > 1:
            patterns[k] = ratios[:, k] @ every / ratios[:, k].sum()
            change = ratios[:, [k]] * (every - patterns[k])
            moved = change if moved is None else moved + change
    per_phase = {"component": ("component", names, _names("Phase", "1"))}
    truth = xr.Dataset(
        {
            "ratios": (("scan", "component"), ratios, _names("Phase ratio", "1")),
            "components": (("component", "r"), np.array(patterns), attributes("pdf")),
            "diameter": ("component", size, _names("Particle diameter", "Angstrom")),
            "u_iso": (
                "component",
                u_iso,
                _names("Mean square displacement", "Angstrom2"),
            ),
            "composition": (("scan", "component"), x, _names("Composition x", "1")),
            "cell_length": (
                ("scan", "component", "axis"),
                edges,
                _names("Length of the cell", "Angstrom"),
            ),
        },
        coords=per_phase
        | {
            "axis": ("axis", ["a", "b", "c"], _names("Axis", "1")),
            "r": ("r", r, attributes("r")),
            "li_content": ("scan", content, _names("Li per metal", "1")),
        },
    )
    return truth, None if moved is None else xr.DataArray(moved, dims=("scan", "r"))


def _names(long_name: str, units: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}


def _window(
    x: np.ndarray,
    begins: float,
    complete: float,
    goes: float,
    gone: float,
    most: float,
) -> np.ndarray:
    rise = np.clip((x - begins) / (complete - begins), 0, 1)
    fall = np.clip((x - goes) / max(gone - goes, 1e-9), 0, 1)
    return np.asarray(most * rise * (1 - fall))


def _scans(
    model: OxideAnode,
    truth: xr.Dataset,
    moved: xr.DataArray | None,
    seed: int,
    noise: float,
    chunks: int | None,
    rate: float,
    *,
    instrument: PdfInstrument,
) -> xr.Dataset:
    """Mix the phases, add noise, and add the coordinates of the discharge."""
    content = truth["li_content"].values
    ratios = truth["ratios"].drop_vars(["component", "li_content"])
    number = xr.DataArray(np.arange(content.size), dims="scan")
    w, c = ratios.values, truth["components"].values
    square = np.vdot(w.T @ w, c @ c.T) / (w.shape[0] * c.shape[1])
    spread = np.sqrt(max(square - float((w @ c.mean(axis=1)).mean()) ** 2, 0.0))
    sigma = float(noise * spread)
    if chunks is not None:
        if isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1:
            raise ArgumentError("chunks", chunks, "an integer >= 1")
        ratios, number = ratios.chunk(scan=chunks), number.chunk(scan=chunks)
    pdf = apply(
        mixed,
        number,
        ratios,
        core_dims=[(), ("component",)],
        output_dims=[("r",)],
        output_sizes={"r": truth.sizes["r"]},
        dtypes=[np.float64],
        caller="oxide_series",
        components=c,
        counted=False,
        sigma=sigma,
        seed=seed,
    )
    if moved is not None:
        pdf = pdf + (moved if chunks is None else moved.chunk(scan=chunks))
    done = content / model.full
    hours = done / rate
    began = np.datetime64("2026-03-14T08:26:53", "ns")
    voltage = model.voltage + 1.6 * np.exp(-done / 0.04) - 0.35 * done
    exposure = np.full(content.size, 0.8 * 3600 * float(np.diff(hours).mean()))
    coords = {
        "time": (
            "scan",
            began + (hours * 3.6e12).astype("timedelta64[ns]"),
            {"long_name": "Start of exposure (UTC)"},
        ),
        "exposure": ("scan", exposure, attributes("exposure")),
        "li_content": truth["li_content"],
        "voltage": ("scan", np.maximum(voltage, 0.01), attributes("voltage")),
        "specific_capacity": (
            "scan",
            1000 * content * _FARADAY / model.mass,
            attributes("specific_capacity"),
        ),
        "direction": (
            "scan",
            np.full(content.size, "discharge"),
            {"units": "1", "long_name": "Direction"},
        ),
        "r": truth["r"],
    }
    measured = {"q_max": instrument.q_max, "q_damp": instrument.q_damp}
    measured = {name: value for name, value in measured.items() if value is not None}
    named = label(pdf, "pdf", **attributes("pdf"), noise=sigma, **measured)
    return xr.Dataset({"pdf": named}).assign_coords(coords)
