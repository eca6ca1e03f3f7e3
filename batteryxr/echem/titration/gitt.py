"""Intermittent titration: equilibrium, overpotentials and diffusion, pulse by pulse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.blocks import stream
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.echem.lithium.content import li_content
from batteryxr.echem.record import arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.echem.kernels.pulses import Timing, Window
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.record import Arrays

_OHM, _PER_S = "ohm", "s-1"
_LABELS: dict[str, tuple[str, str]] = {
    "start": ("s", "Test time when the current went on"),
    "duration": ("s", "Length of the pulse"),
    "rest_duration": ("s", "Length of the rest after the pulse"),
    "current": ("mA", "Mean current of the pulse"),
    "charge": ("mA h", "Charge passed by the pulse"),
    "end_voltage": ("V", "Voltage at the end of the pulse"),
    "last_voltage": ("V", "Last voltage measured in the rest"),
    "equilibrium_voltage": ("V", "Equilibrium voltage after the pulse"),
    "equilibrium_voltage_before": ("V", "Equilibrium voltage before the pulse"),
    "equilibrium_slope": ("V mA-1 h-1", "Slope of the equilibrium voltage"),
    "overpotential": ("V", "Overpotential, IR drop included"),
    "overpotential_ir": ("V", "IR drop"),
    "overpotential_diffusion": ("V", "Overpotential without the IR drop"),
    "ir_drop_first": ("V", "Voltage step to the first row under full current"),
    "ir_drop_first_delay": ("s", "Time of that row after the current went on"),
    "ir_drop_sqrt": ("V", "Voltage step extrapolated along the square root of time"),
    "resistance": (_OHM, "Resistance"),
    "tau": ("s", "Diffusion time constant L²/D"),
    "inverse_tau": (_PER_S, "Inverse time constant D/L²"),
    "diffusion_coefficient": ("m2 s-1", "Diffusion coefficient"),
    "chi2": ("1", "Mean square residual over the noise of the rows"),
    "residual": ("V", "Root mean square residual"),
    "flag": ("1", "Quality, bit by bit"),
}


@recorded
def gitt(
    record: xr.Dataset,
    *,
    method: Literal["finite-length", "weppner-huggins"] = "finite-length",
    geometry: Literal["sphere", "planar"] = "sphere",
    radius: float | None = None,
    mass: float | None = None,
    formula: str | Composition | None = None,
    x0: float | None = None,
    tmin: float = 1.0,
    tmax: float | None = 60.0,
    steady: Literal["rest", "gradient"] = "rest",
    degree: int = 3,
    history: int = 12,
    i_zero: float | None = None,
    settled: float = 1e-3,
    progress: bool | None = None,
) -> xr.Dataset:
    """Analyse a galvanostatic intermittent titration, pulse by pulse.

    Reads once; reads `current` once more where `i_zero` is not given. Memory is a
    block, and a pulse with its rest.

    Parameters
    ----------
    record
        Cycler rows on ``record``: `voltage`, `current` (positive charges the cell)
        and the coordinate `test_time`. Pulses of both directions may alternate.
    method
        ``"finite-length"`` fits pulse and rest together with the exact solution of
        diffusion in a particle: time constant, resistance, and the equilibrium that
        a rest of any length tends to. ``"weppner-huggins"`` takes the ratio of the
        steady to the transient slope, which holds for pulses much shorter than the
        time constant; its equilibrium is the last voltage of the rest.
    geometry
        ``"sphere"`` (L is the radius) or ``"planar"`` (one side of a slab, L is its
        thickness).
    radius
        L in nm; adds `diffusion_coefficient`. Without it 1/tau = D/L² stands alone.
    mass
        Active mass in mg; adds the coordinate `specific_capacity`.
    formula, x0
        The active material, and its Li content where the record starts (default: that
        of `formula`); with `mass` they add the coordinate `li_content`.
    tmin
        Rows within so many seconds of a switch are not fitted: there the double layer
        and charge transfer still settle, and count as resistance.
    tmax
        End (s) of the line along the square root of time from which `ir_drop_sqrt`
        and the Weppner-Huggins transient are taken; None for the whole pulse.
    steady
        Steady slope of Weppner-Huggins: ``"rest"``, from the last voltages of the
        rests before and after, or ``"gradient"``, from central differences of the
        first voltages of successive pulses over pulse time.
    degree
        Degree of the equilibrium curve within one pulse.
    history
        Number of earlier pulses whose relaxation still goes on under this one.
    i_zero
        Magnitude of current (mA) below which a row is at rest. Default: 1/1000 of the
        largest.
    settled
        A rest that ends further than this (V) from its equilibrium is flagged.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        On ``pulse``. `overpotential` = `end_voltage` - `equilibrium_voltage` =
        `overpotential_ir` + `overpotential_diffusion`, all negative on discharge.
        Errors are one standard deviation, widened where the residuals follow one
        another and where a higher `degree` would shift the value. `flag` is 0 where
        all is well; its bits are named in ``flag_meanings``.

    Raises
    ------
    ArgumentError
        If there is no pulse or no rest in the record, or an argument is unusable.

    Notes
    -----
    Finite length: the content at the surface follows from all pulses by superposition
    (Crank, The Mathematics of Diffusion, 1975); the voltage is a polynomial in it,
    plus I R. Weppner & Huggins, J. Electrochem. Soc. 124, 1569 (1977):
    1/tau = (4/pi) [(dE/dt) / (dE/d sqrt t)]², for a sphere 1/9 of it.

    The capacity that `capacity`, `specific_capacity` and `li_content` count is that
    passed by pulses since the record's start, after each pulse. Pulse and rest end
    where `file` changes.
    """
    _check(method, geometry, steady, radius, mass, tmin, tmax, degree, history)
    if i_zero is not None and not i_zero > 0:
        raise ArgumentError("i_zero", i_zero, "a current > 0 in mA, or None")
    source = arrays(record, caller="gitt")
    if formula is not None and mass is None:
        raise ArgumentError(
            "mass", mass, "the active mass in mg", "Li content needs it with `formula`."
        )
    from batteryxr.echem.kernels import titration

    found: list[dict[str, Any]] = []
    cut = pulse_windows(source, i_zero, history)
    for window, timing, earlier in track(cut, "Fitting pulses", progress=progress):
        row = titration.measured(window, timing, tmin=tmin, tmax=tmax)
        if method == "finite-length":
            row |= titration.finite_length(
                window, row, earlier, geometry=geometry, tmin=tmin, degree=degree
            )
        found.append(row)
    if all(row["rest_duration"] == 0 for row in found):
        _refuse(found, source, i_zero)
    table = {name: np.array([row[name] for row in found]) for name in found[0]}
    if method == "weppner-huggins":
        table |= titration.weppner_huggins(table, geometry, steady)
    table |= titration.completed(table, settled=settled, radius=radius)
    if lost := int(np.isnan(table["tau"]).sum()):
        warn_quality(
            f"gitt: {lost} of {len(found)} pulses have no time constant; "
            "`flag` says why"
        )
    result = _label(table, record, mass)
    if formula is not None:
        content = li_content(result["capacity"], formula=formula, mass=mass, x0=x0)
        for name in ("batteryxr_call", "batteryxr_version", "history"):
            content.attrs.pop(name, None)
        result = result.assign_coords(li_content=content)
    return result


def _check(
    method: str,
    geometry: str,
    steady: str,
    radius: float | None,
    mass: float | None,
    tmin: float,
    tmax: float | None,
    degree: int,
    history: int,
) -> None:
    choices = {
        "method": (method, ("finite-length", "weppner-huggins")),
        "geometry": (geometry, ("sphere", "planar")),
        "steady": (steady, ("rest", "gradient")),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise ArgumentError(name, value, " or ".join(map(repr, known)))
    for name, size in (("radius", radius), ("mass", mass)):
        if size is not None and not size > 0:
            raise ArgumentError(name, size, "a positive number, or None")
    if tmin < 0:
        raise ArgumentError("tmin", tmin, "a time in s, 0 or later")
    if tmax is not None and not tmax > tmin:
        raise ArgumentError("tmax", tmax, f"a time in s after tmin={tmin}, or None")
    if not 1 <= degree <= 6:
        raise ArgumentError("degree", degree, "an integer from 1 to 6")
    if history < 0:
        raise ArgumentError("history", history, "a number of pulses, 0 or more")


def pulse_windows(
    source: Arrays, i_zero: float | None, history: int
) -> Iterator[tuple[Window, Timing, list[tuple[float, float, float]]]]:
    """Yield each pulse with its rest, its timing, and what the fit remembers.

    The last is (on, off, current) of up to `history` earlier pulses and of this one.
    """
    from batteryxr.echem.kernels import pulses

    threshold = 1e-3 * _largest(source) if i_zero is None else i_zero
    earlier: list[tuple[float, float, float]] = []
    for window in pulses.windows(_blocks(source), i_zero=threshold):
        _require_order(window.t)
        timing = pulses.timing(window)
        if timing.off <= timing.on:  # a single row has no duration
            continue
        before = earlier[-history:] if history else []
        earlier = [*before, (timing.on, timing.off, timing.current)]
        yield window, timing, earlier


def _largest(source: Arrays) -> float:
    largest = 0.0
    for (current,) in stream(source.current, dim="record"):
        size = np.abs(current)
        if np.isfinite(size).any():
            largest = max(largest, float(np.nanmax(size)))
    return largest


def _blocks(source: Arrays) -> Iterator[tuple[np.ndarray, ...]]:
    for t, v, i, file, time, _ in source.blocks():
        one = np.broadcast_to(np.int16(0), t.shape)
        never = np.broadcast_to(np.datetime64("NaT", "ns"), t.shape)
        clock = time.view("M8[ns]") if time.size else never
        yield t, v, i, file if file.size else one, clock


def _require_order(t: np.ndarray) -> None:
    step = np.diff(t)
    if step.size and step.min() < 0:
        at = float(t[int(np.argmin(step))])
        raise ArgumentError(
            "record",
            f"test_time goes back by {-step.min():.4g} s after {at:.6g} s",
            "time that runs on",
            "Repair it when reading: read_cycler(..., repair=...).",
        )


def _refuse(found: list[dict[str, Any]], source: Arrays, i_zero: float | None) -> None:
    largest = _largest(source)
    if not found:
        raise ArgumentError(
            "i_zero",
            i_zero,
            "a current (mA) that pulses exceed, or None",
            f"No pulse in {source.current.size} rows: the largest current is "
            f"{largest:.4g} mA. Check that this is a titration and that the units of "
            "the current are right.",
        )
    currents = sorted({float(f"{row['current']:.3g}") for row in found})
    raise ArgumentError(
        "i_zero",
        i_zero,
        "a current (mA) between rest and pulse",
        f"No rest follows any of {len(found)} pulses, whose mean currents are "
        f"{currents[:6]} mA (largest {largest:.4g}). Raise i_zero above what the "
        "cycler reads at rest, or check that this is a titration.",
    )


def _label(
    table: dict[str, np.ndarray], record: xr.Dataset, mass: float | None
) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for name, (units, long_name) in _LABELS.items():
        if name not in table:
            continue
        variables[name] = (
            "pulse",
            table[name],
            attributes(name, units=units, long_name=long_name),
        )
        error = f"{name}_error"
        if error in table:
            text = f"{long_name}, standard deviation"
            variables[error] = (
                "pulse",
                table[error],
                attributes(error, units=units, long_name=text),
            )
    from batteryxr.echem.kernels.titration import FLAGS

    result = xr.Dataset(variables)
    result["flag"] = result["flag"].astype(np.int8)
    result["flag"].attrs |= {
        "flag_masks": [1 << k for k in range(len(FLAGS))],
        "flag_meanings": " ".join(FLAGS),
    }
    capacity = np.cumsum(table["charge"])
    direction = np.where(table["current"] > 0, "charge", "discharge")
    coordinates: dict[str, Any] = {
        "pulse": ("pulse", np.arange(1, capacity.size + 1), attributes("pulse")),
        "start": result["start"],
        "capacity": (
            "pulse",
            capacity,
            attributes("capacity", long_name="Capacity after the pulse"),
        ),
        "direction": (
            "pulse",
            direction,
            attributes("direction", units="1", long_name="Direction"),
        ),
    }
    if "time" in record.variables:
        coordinates["time"] = ("pulse", table["time"], {"long_name": "Start"})
    if mass is not None:
        specific = capacity / (mass * 1e-3)
        coordinates["specific_capacity"] = (
            "pulse",
            specific,
            attributes("specific_capacity"),
        )
    result = result.assign_coords(coordinates)
    result.attrs = {k: v for k, v in record.attrs.items() if k != "header"}
    return result
