"""Simulate an operando experiment with known truth: cell, clock and scan series."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.simulate import cell
from batteryxr.simulate.scans import KINDS, Kind, measure
from batteryxr.simulate.sizes import require_modest

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import CRate, Mass, Rest
    from batteryxr.core.checks import Count

_VOLTAGE_NOISE = 1e-4  # V, of the cycler
_CURRENT_NOISE = 1e-5  # of the current
_MONITOR_NOISE = 2e-3  # V, of the beamline's voltmeter
_COMPONENTS = ["start", "intermediate", "end"]


@recorded
def cell_experiment(
    *,
    kind: Literal["xanes", "pdf"] = "xanes",
    seed: int = 0,
    n_cycles: int = 2,
    n_scans: int = 200,
    exposure: float | None = None,
    chunks: Count | None = None,
    noise: float | None = None,
    mass: Mass = 7.0,
    c_rate: CRate = 0.2,
    rest: Rest = 1800.0,
    clock: tuple[float, float] = (-37.4, 0.0),
    start: str | np.datetime64 = "2026-03-14T08:26:53",
) -> xr.DataTree:
    """Simulate an operando experiment: cycler record, scan series and truth.

    Lazy where `chunks` is given: spectra are computed when they are read. Each has its
    own stream of random numbers, so that they do not depend on the chunks.

    Parameters
    ----------
    kind
        ``"xanes"``: Ni K edge of LiNiO2, charged first. ``"pdf"``: pair distribution
        functions of FeO, converted by discharge first.
    seed
        Random seed.
    n_cycles
        Number of full cycles. Each half cycle ends at a voltage limit, and a rest
        follows.
    n_scans
        Number of exposures, evenly spaced over the record.
    exposure
        Length of each exposure (s). Default: 80 % of their spacing, at most 60 s.
    chunks
        Scans per dask chunk; by default NumPy arrays.
    noise
        Standard deviation of a point: for absorption, far below the edge (photon
        counts are Poisson); for G(r), Gaussian (1/Angstrom2).
    mass
        Mass of active material (mg).
    c_rate
        Current relative to a full charge in one hour (h-1).
    rest
        Length of rests (s).
    clock
        Offset and drift: the seconds to add to a scan's time to get the cycler's, at
        the start, and how much faster the cycler's clock runs (parts per million).
    start
        Start of the record (UTC).

    Returns
    -------
    xarray.DataTree
        ``/echem``: the cycler's record. ``/scans``: ``absorption`` on (``scan``,
        ``energy``) or ``pdf`` on (``scan``, ``r``) with `time` on the beamline's
        clock, and ``monitor_voltage``, the cell's voltage read there at the start of
        each exposure. ``/truth``: phase ``ratios`` and ``li_content`` averaged over
        each exposure; ``components``; and for each half cycle ``capacity`` (mA h),
        ``direction`` and ``cycle``.

    Raises
    ------
    ArgumentError
        If a number is out of range, or exposures would overlap.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> sorted(cell.children)
    ['echem', 'scans', 'truth']
    """
    model = KINDS[kind]
    counts = {"n_cycles": n_cycles, "n_scans": n_scans, "chunks": chunks or 1}
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(name, value, "an integer >= 1")
        require_modest(name, value, value, 1_000_000)
    rng = generator(seed)
    steps = cell.cycle(
        model.material, mass=mass, c_rate=c_rate, n_cycles=n_cycles, rest=rest
    )
    x_start, x_end = steps[1].x
    if not min(x_start, x_end) < model.intermediate < max(x_start, x_end):
        raise ArgumentError(
            "c_rate",
            c_rate,
            f"a rate at which {model.material.formula} passes its intermediate phase",
            f"The first half cycle ends at {x_end:.3g} Li per formula unit.",
        )
    began = date_of(start)
    record = _record(model.material, steps, began, mass, rng)
    begin, length = _exposures(steps[-1].end, n_scans, exposure)
    truth = _phases(model, steps, begin, length)
    clock_offset, clock_drift = clock
    elsewhere = (begin - clock_offset) / (1 + clock_drift * 1e-6)
    scans = xr.Dataset(
        {
            model.quantity: measure(model, truth, seed, noise, chunks),
            "monitor_voltage": _monitor(record, steps, begin, rng),
        },
        coords={
            "time": (
                "scan",
                began + (elsewhere * 1e9).astype("timedelta64[ns]"),
                {"long_name": "Start of exposure, beamline's clock"},
            ),
            "exposure": ("scan", length, attributes("exposure")),
        },
    )
    ahead = _named("s", "Cycler's clock ahead by")
    truth["clock_offset"] = (), float(clock_offset), ahead
    faster = _named("1e-6", "Cycler's clock faster by")
    truth["clock_drift"] = (), float(clock_drift), faster
    about = {"title": f"Simulated operando {kind} of {model.material.formula}"}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=about),
            "/echem": record,
            "/scans": scans.assign_attrs(about),
            "/truth": truth.assign_attrs(about),
        }
    )


def date_of(start: str | np.datetime64) -> np.datetime64:
    """Return the start of a simulated measurement, in ns.

    Raises
    ------
    ArgumentError
        If it is no date, or one that a count of nanoseconds does not reach.
    """
    wanted = "a date and time such as '2026-03-14T08:26:53'"
    try:
        told = np.datetime64(str(start))
    except ValueError as error:
        raise ArgumentError("start", start, wanted) from error
    date = told.astype("datetime64[ns]")
    if np.isnat(told) or date.astype(told.dtype) != told:
        raise ArgumentError("start", start, wanted)
    return date


def _record(
    material: cell.Material,
    steps: list[cell.Step],
    began: np.datetime64,
    mass: float,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Return the record that the cycler wrote."""
    rows = np.array([step.time.size for step in steps])
    which = np.repeat(np.arange(len(steps)), rows)
    time = np.concatenate([step.time for step in steps])
    voltage = np.concatenate([step.voltage for step in steps])
    current = np.array([step.current for step in steps])[which]
    # The cycler counts from each reversal and keeps its count during rests.
    half = (which + 1) // 2
    bounds = np.array([(s.start, s.end, s.current) for s in steps])
    reversal, end, driven = bounds[np.maximum(2 * half - 1, 0)].T
    capacity = abs(driven) * (np.minimum(time, end) - reversal) / 3600
    capacity[which == 0] = 0.0
    values = {
        "voltage": voltage + rng.normal(0, _VOLTAGE_NOISE, time.size),
        "current": current * (1 + rng.normal(0, _CURRENT_NOISE, time.size)),
        "capacity": capacity,
        "cycle": np.maximum(half - 1, 0) // 2,
        "step": np.where(which == 0, 0, (which - 1) % 4 + 1),
    }
    return xr.Dataset(
        {name: ("record", value, attributes(name)) for name, value in values.items()},
        coords={
            "test_time": ("record", time, attributes("test_time")),
            "time": (
                "record",
                began + (time * 1e9).astype("timedelta64[ns]"),
                {"long_name": "Time (UTC)"},
            ),
            "file": (
                "record",
                np.zeros(time.size, "int16"),
                {"units": "1", "long_name": "Source file"},
            ),
        },
        attrs={
            "title": f"Simulated {material.formula} half cell",
            "instrument": "simulated",
            "source_files": ["simulated"],
            "start_local": [str(began)],
            "timezone": "UTC",
            "header": json.dumps({"formula": material.formula, "mass_mg": mass}),
            "formula": material.formula,
            "mass": mass,
        },
    )


def _exposures(
    end: float, n_scans: int, exposure: float | None
) -> tuple[np.ndarray, np.ndarray]:
    spacing = end / n_scans
    length = min(0.8 * spacing, 60.0) if exposure is None else float(exposure)
    if not 0 < length <= spacing:
        raise ArgumentError(
            "exposure",
            exposure,
            f"a time in s, > 0 and at most {spacing:.4g}",
            f"{n_scans} scans share {end:.6g} s of cycling.",
        )
    begin = (np.arange(n_scans) + 0.5) * spacing - length / 2
    return begin, np.full(n_scans, length)


def _monitor(
    record: xr.Dataset,
    steps: list[cell.Step],
    begin: np.ndarray,
    rng: np.random.Generator,
) -> tuple[str, np.ndarray, dict[str, str]]:
    clean = np.concatenate([step.voltage for step in steps])
    voltage = np.interp(begin, record["test_time"].values, clean)
    voltage += rng.normal(0, _MONITOR_NOISE, begin.size)
    long_name = "Voltage at the beamline"
    return "scan", voltage, {"units": "V", "long_name": long_name}


def _phases(
    model: Kind, steps: list[cell.Step], begin: np.ndarray, length: np.ndarray
) -> xr.Dataset:
    """Return ratios and contents averaged over exposures, and the half cycles."""
    material = model.material
    halves = steps[1::2]
    # The third phase is pure where the first half cycle ends.
    pure = np.array([material.x_start, model.intermediate, halves[0].x[1]])
    time, content = _path(steps, pure)
    ascending = np.argsort(pure)
    shares = [
        np.interp(content, pure[ascending], np.eye(3)[ascending, phase])
        for phase in range(3)
    ]
    averages = [
        _window_mean(time, line, begin, begin + length) for line in (*shares, content)
    ]
    axis = model.values()
    return xr.Dataset(
        {
            "ratios": (
                ("scan", "component"),
                np.stack(averages[:3], axis=1),
                _named("1", "Phase ratio"),
            ),
            "components": (
                ("component", model.axis),
                model.components(axis),
                attributes(model.quantity),
            ),
            "li_content": ("scan", averages[3], attributes("li_content")),
        },
        coords={
            "component": ("component", _COMPONENTS, _named("1", "Phase")),
            model.axis: (model.axis, axis, attributes(model.axis)),
        },
        attrs={"formula": material.formula},
    ).merge(_half_cycles(halves), combine_attrs="override")


def _half_cycles(halves: list[cell.Step]) -> xr.Dataset:
    """Return capacity, final Li content and direction of each half cycle."""
    capacity = [abs(s.current) * (s.end - s.start) / 3600 for s in halves]
    ends = [s.x[1] for s in halves]
    directions = ["charge" if s.current > 0 else "discharge" for s in halves]
    number = np.arange(1, len(halves) + 1)
    dim = "half_cycle"
    at_end = _named("1", "Li per formula unit at the end")
    return xr.Dataset(
        {
            "capacity": (dim, capacity, attributes("capacity")),
            "li_content_end": (dim, ends, at_end),
        },
        coords={
            dim: (dim, number, attributes(dim)),
            "cycle": (dim, (number - 1) // 2 + 1, attributes("cycle")),
            "direction": (dim, directions, _named("1", "Direction")),
        },
    )


def _named(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}


def _path(steps: list[cell.Step], pure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return time and Li content, linear between the returned points."""
    time = np.array([t for step in steps for t in (step.start, step.end)])
    content = np.array([x for step in steps for x in step.x])
    crossings = []
    for (t0, t1), (x0, x1) in zip(
        itertools.pairwise(time), itertools.pairwise(content), strict=True
    ):
        low, high = min(x0, x1), max(x0, x1)
        inside = pure[(pure > low) & (pure < high)]
        crossings += [t0 + (x - x0) / (x1 - x0) * (t1 - t0) for x in inside]
    knots = np.unique(np.concatenate([time, crossings]))
    return knots, np.interp(knots, time, content)


def _window_mean(
    time: np.ndarray, value: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Return exact means of a piecewise linear function over windows."""
    pieces = np.diff(time) * (value[1:] + value[:-1]) / 2
    whole = np.concatenate([[0.0], np.cumsum(pieces)])

    def integral(t: np.ndarray) -> np.ndarray:
        before = np.clip(np.searchsorted(time, t, side="right") - 1, 0, time.size - 1)
        here = np.interp(t, time, value)
        return whole[before] + (t - time[before]) * (value[before] + here) / 2

    return np.asarray((integral(end) - integral(begin)) / (end - begin))
