"""Analyse intermittent titration: equilibrium, overpotential and diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.echem.counting import largest_current
from batteryxr.echem.lithium.content import content_after
from batteryxr.echem.record import columns, current_taken
from batteryxr.echem.titration.method import FiniteLength, WeppnerHuggins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.core.bounds.kinds import (
        Mass,
        PulseWindow,
        Radius,
        RestCurrent,
        VoltageWidth,
    )
    from batteryxr.echem.kernels.pulses import Pulse
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.record import Columns

_FINITE_LENGTH = FiniteLength()
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
    "voltage_drift": ("V h-1", "Drift of the voltage, 0 where none is seen"),
    "chi2": ("1", "Mean square residual over the noise of the rows"),
    "residual": ("V", "Root mean square residual"),
    "flag": ("1", "Quality, bit by bit"),
}


@recorded
def gitt(
    record: xr.Dataset,
    *,
    method: FiniteLength | WeppnerHuggins = _FINITE_LENGTH,
    geometry: Literal["sphere", "planar"] = "sphere",
    radius: Radius | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    window: PulseWindow = (1.0, 60.0),
    i_zero: RestCurrent | None = None,
    settled: VoltageWidth = 1e-3,
    progress: bool | None = None,
) -> xr.Dataset:
    """Analyse a galvanostatic intermittent titration, pulse by pulse.

    Reads once; reads `current` once more if `i_zero` is not given. Memory is one
    block, and one pulse with its rest.

    Parameters
    ----------
    record
        Cycler rows on ``record``: `voltage`, `current` (positive charges the cell)
        and the coordinate `test_time`. Pulses of both directions may alternate.
    method
        ``FiniteLength()`` fits pulse and rest together with the exact solution of
        diffusion in a particle. It gives time constant, resistance, and the
        equilibrium that a rest of any length tends to. ``WeppnerHuggins()`` takes the
        ratio of the steady to the transient slope, valid for pulses much shorter than
        the time constant. Its equilibrium is the last voltage of the rest.
    geometry
        ``"sphere"`` (L is the radius) or ``"planar"`` (one side of a slab, L is its
        thickness).
    radius
        L in nm; adds `diffusion_coefficient`. Without it only 1/tau = D/L² is given.
    mass
        Active mass in mg; adds the coordinate `specific_capacity`.
    formula
        Active material as weighed; with `mass` it adds the coordinate `li_content`.
        ``Lithiation(formula, x0=0.95)`` sets the content at the start of the record.
    window
        Start and end, in s after the pulse begins, of the line along the square root
        of time. It gives `ir_drop_sqrt` and the Weppner-Huggins transient; an end of
        None is the end of the pulse. Rows closer to a switch than the start are not
        fitted: there the double layer and charge transfer still settle, and count as
        resistance.
    i_zero
        Magnitude of current (mA) below which a row is at rest. Default: 1/1000 of the
        largest.
    settled
        Distance (V) from equilibrium at the end of a rest above which it is flagged.
    progress
        Show a progress bar: True, False, or None for interactive sessions only.

    Returns
    -------
    xarray.Dataset
        On ``pulse``. `overpotential` = `end_voltage` - `equilibrium_voltage` =
        `overpotential_ir` + `overpotential_diffusion`, all negative on discharge.
        Errors are one standard deviation, widened where residuals are correlated and
        where a higher degree would shift the value. `flag` is 0 for a good pulse; its
        bits are named in ``flag_meanings``. ``attrs`` hold the settings, for
        `pulse_fit`.

    Raises
    ------
    ArgumentError
        If an argument is invalid.
    DataError
        If the record has no pulse or no rest, or its time steps back.

    Notes
    -----
    Finite length: the surface content follows from all pulses by superposition
    (Crank, The Mathematics of Diffusion, 1975); the voltage is a polynomial in it,
    plus I R. Weppner & Huggins, J. Electrochem. Soc. 124, 1569 (1977):
    1/tau = (4/pi) [(dE/dt) / (dE/d sqrt t)]², for a sphere 1/9 of it.

    The coordinates `capacity`, `specific_capacity` and `li_content` count the charge
    of the pulses since the record's start, after each pulse. Pulse and rest end where
    `file` changes. A cycler writes a row when it switches a current on or off. If that
    row is missing, the finite-length fit finds the switch, which also sets `start`,
    `duration` and `charge`.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> result = record.echem.gitt(mass=7.0, formula="LiNiO2")
    >>> result["inverse_tau"].dims
    ('pulse',)
    """
    tmin, tmax = window
    if tmax is not None and not tmax > tmin:
        raise ArgumentError("window", window, "an end after its start, or None")
    if formula is not None and mass is None:
        raise ArgumentError(
            "mass", mass, "the active mass in mg", "Li content needs it with `formula`."
        )
    rows = columns(record, caller="gitt")
    least = 1e-3 * largest_current(rows) if i_zero is None else float(i_zero)
    cut = cut_pulses(rows, i_zero=least, memory=getattr(method, "memory", 0))
    found = [
        _row(pulse, method, geometry, tmin=tmin, tmax=tmax)
        for pulse in track(cut, "Fitting pulses", progress=progress)
    ]
    if all(row["rest_duration"] == 0 for row in found):
        _refuse(found, rows, i_zero)
    table = {name: np.array([row[name] for row in found]) for name in found[0]}
    table |= _completed(table, method, geometry, settled=settled, radius=radius)
    if lost := int(np.isnan(table["tau"]).sum()):
        warn_quality(
            f"gitt: {lost} of {len(found)} pulses have no time constant; "
            "`flag` says why"
        )
    if radius is not None and radius < _TINY:
        _tell_slow(radius, float(np.nanmedian(table["tau"])))
    result = _label(table, mass, clock="time" in rows.arrays)
    if formula is not None:
        content = content_after(result["capacity"], formula, mass=mass, caller="gitt")
        result = result.assign_coords(li_content=content)
    settings = method.to_attrs() | {"geometry": geometry, "tmin": tmin, "i_zero": least}
    about = {k: v for k, v in record.attrs.items() if k != "header"}
    settings["current_units"] = current_taken(rows, caller="gitt")
    return bounds.told(result.assign_attrs(about | settings))


def _tell_slow(radius: float, tau: float) -> None:
    """Warn of particles of a few nm that lithium takes long to cross."""
    if tau > _CROSSED:
        warn_quality(
            f"gitt: lithium takes tau={tau:.3g} s to cross radius={radius:g} nm, as in "
            f"hardly any material. Was it um? Pass {1e3 * radius:g}."
        )


#: nm, and s in which lithium crosses particles as small.
_TINY, _CROSSED = 30.0, 300.0


def cut_pulses(rows: Columns, *, i_zero: float, memory: int) -> Iterator[Pulse]:
    """Yield each pulse with its rest, and up to `memory` earlier pulses."""
    from batteryxr.echem.kernels import pulses

    return pulses.pulses(rows.blocks(), i_zero=i_zero, memory=memory)


def _row(
    pulse: Pulse,
    method: FiniteLength | WeppnerHuggins,
    geometry: str,
    *,
    tmin: float,
    tmax: float | None,
) -> dict[str, Any]:
    """Return the results of one pulse."""
    from batteryxr.echem.kernels import relaxation, titration

    row = titration.measured(pulse, tmin=tmin, tmax=tmax)
    if isinstance(method, FiniteLength):
        shape = relaxation.shape(geometry, method.degree)
        row |= titration.finite_length(pulse, row, shape, tmin=tmin)
    return row


def _completed(
    table: dict[str, np.ndarray],
    method: FiniteLength | WeppnerHuggins,
    geometry: str,
    *,
    settled: float,
    radius: float | None,
) -> dict[str, np.ndarray]:
    """Return the results that need all pulses."""
    from batteryxr.echem.kernels import titration

    more: dict[str, np.ndarray] = {}
    if isinstance(method, WeppnerHuggins):
        more = titration.weppner_huggins(table, geometry, method.steady)
    return more | titration.completed(table | more, settled=settled, radius=radius)


def _refuse(found: list[dict[str, Any]], rows: Columns, i_zero: float | None) -> None:
    """Raise if there is no pulse, or no pulse has a rest."""
    largest = largest_current(rows)
    if found:
        currents = sorted({float(f"{row['current']:.3g}") for row in found})
        expected = "a current (mA) between rest and pulse"
        problem = (
            f"No rest follows any of {len(found)} pulses, whose mean currents are "
            f"{currents[:6]} mA (largest {largest:.4g})"
        )
        mend = (
            "Raise i_zero above what the cycler reads at rest, or check that this is a "
            "titration."
        )
    else:
        expected = "a current (mA) that pulses exceed, or None"
        size = rows.arrays["current"].size
        problem = f"No pulse in {size} rows: the largest current is {largest:.4g} mA"
        mend = (
            "Check that this is a titration and that the units of the current are "
            "right."
        )
    if i_zero is not None:
        raise ArgumentError("i_zero", i_zero, expected, f"{problem}. {mend}")
    raise DataError("current", problem, mend)


def _label(
    table: dict[str, np.ndarray], mass: float | None, *, clock: bool
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
    result["flag"] = result["flag"].astype(np.int16)
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
    if clock:
        coordinates["time"] = ("pulse", table["time"], {"long_name": "Start"})
    if mass is not None:
        specific = capacity / (mass * 1e-3)
        coordinates["specific_capacity"] = (
            "pulse",
            specific,
            attributes("specific_capacity"),
        )
    return result.assign_coords(coordinates)
