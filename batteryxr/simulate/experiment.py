"""A whole operando experiment of known truth: a cell, a clock and a scan series."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.simulate import cell
from batteryxr.simulate.scans import KINDS, measure
from batteryxr.simulate.truth import truth as phases

_VOLTAGE_NOISE = 1e-4  # V, of the cycler
_CURRENT_NOISE = 1e-5  # of the current
_MONITOR_NOISE = 2e-3  # V, of the beamline's voltmeter


@recorded
def operando(
    kind: Literal["xanes", "pdf"] = "xanes",
    *,
    seed: int = 0,
    n_cycles: int = 2,
    n_scans: int = 200,
    exposure: float | None = None,
    chunks: int | None = None,
    noise: float | None = None,
    mass: float = 7.0,
    c_rate: float = 0.2,
    rest: float = 1800.0,
    clock_offset: float = -37.4,
    clock_drift: float = 0.0,
    start: str | np.datetime64 = "2026-03-14T08:26:53",
) -> xr.DataTree:
    """Simulate an operando experiment: cycler record, scan series and truth.

    Lazy where `chunks` is given: spectra are made when they are read, each from its
    own stream of random numbers, so that they do not depend on the chunks.

    Parameters
    ----------
    kind
        ``"xanes"``: Ni K edge of LiNiO2, which is charged first. ``"pdf"``: pair
        distribution functions of FeO, which is converted by discharge first.
    seed
        Random seed.
    n_cycles
        Full cycles; each half cycle ends at a voltage limit and is followed by a
        rest.
    n_scans
        Exposures, evenly spaced over the record.
    exposure
        Length of each (s). Default: 80 % of their spacing, at most 60 s.
    chunks
        Scans per dask chunk; None for NumPy.
    noise
        Standard deviation of a point: of the absorption far below the edge (photon
        counts are Poisson), or of G(r) (Gaussian, 1/Angstrom2).
    mass
        Active material (mg).
    c_rate
        Current over that of a full charge in one hour (h-1).
    rest
        Length of rests (s).
    clock_offset, clock_drift
        What to add to a scan's time at the start to have the cycler's (s), and how
        much faster the cycler's clock runs (parts per million).
    start
        Start of the record (UTC).

    Returns
    -------
    xarray.DataTree
        ``/echem``: the cycler's record. ``/scans``: ``absorption`` on (``scan``,
        ``energy``) or ``pdf`` on (``scan``, ``r``) with `time` on the beamline's
        clock, and ``monitor_voltage``, the cell's voltage read there at the start of
        each exposure. ``/truth``: phase ``ratios`` and ``li_content`` averaged over
        each exposure, ``components``, and of each half cycle its ``capacity``
        (mA h), ``direction`` and ``cycle``.

    Raises
    ------
    ArgumentError
        If a number is out of range, or exposures would overlap.
    """
    model = KINDS.get(kind)
    if model is None:
        raise ArgumentError("kind", kind, f"one of {sorted(KINDS)}")
    counts = {"n_cycles": n_cycles, "n_scans": n_scans, "chunks": chunks or 1}
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(name, value, "an integer >= 1")
    for name, number in {"mass": mass, "c_rate": c_rate, "rest": rest}.items():
        if not 0 < number < np.inf:
            raise ArgumentError(name, number, "a number > 0")
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
    began = _date(start)
    record = _record(model.material, steps, began, mass, rng)
    begin, length = _exposures(steps[-1].end, n_scans, exposure)
    truth = phases(model, steps, begin, length)
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
    truth["clock_offset"] = _scalar(clock_offset, "s", "Cycler's clock ahead by")
    truth["clock_drift"] = _scalar(clock_drift, "1e-6", "Cycler's clock faster by")
    about = {"title": f"Simulated operando {kind} of {model.material.formula}"}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=about),
            "/echem": record,
            "/scans": scans.assign_attrs(about),
            "/truth": truth.assign_attrs(about),
        }
    )


def _date(start: str | np.datetime64) -> np.datetime64:
    try:
        return np.datetime64(str(start), "ns")
    except ValueError as error:
        raise ArgumentError(
            "start", start, "a date and time such as '2026-03-14T08:26:53'"
        ) from error


def _scalar(
    value: float, units: str, long_name: str
) -> tuple[tuple[()], float, dict[str, str]]:
    return (), float(value), {"units": units, "long_name": long_name}


def _record(
    material: cell.Material,
    steps: list[cell.Step],
    began: np.datetime64,
    mass: float,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Return what the cycler wrote."""
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
