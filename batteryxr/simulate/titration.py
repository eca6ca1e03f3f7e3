"""Simulate a titration: exact diffusion in a particle, with known truth."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import check_fields, checked
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.seeds import generators

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from batteryxr.core.bounds.kinds import (
        Charge,
        Current,
        DiffusionTime,
        LiContent,
        Resistance,
        Rest,
        RowInterval,
        TitrationPulse,
    )
    from batteryxr.core.checks import Count, NonNegative, Seed

    Curve = Callable[[np.ndarray], ArrayLike]


def sloping(x: np.ndarray) -> np.ndarray:
    """Return the voltage (V) of a sloping, disordered cathode with one redox step."""
    return 4.45 - 1.35 * x - 0.22 * np.tanh((x - 0.45) / 0.1)


@dataclass(frozen=True)
class Electrode:
    """Define an electrode of equal particles, to be titrated.

    Parameters
    ----------
    tau
        Time constant L²/D in s.
    geometry
        ``"sphere"`` of radius L, or ``"planar"``, one side of a slab of thickness L.
    resistance
        Ohmic resistance in ohm.
    x0
        Li content at the start.
    capacity_per_li
        Charge in mA h that removes one Li per formula unit.
    equilibrium
        Voltage (V) as a function of Li content; takes and returns arrays.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """

    tau: DiffusionTime = 4e4
    geometry: Literal["sphere", "planar"] = "sphere"
    resistance: Resistance = 400.0
    x0: LiContent = 0.95
    capacity_per_li: Charge = 5 / 9
    equilibrium: Curve = sloping

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Titration:
    """Set the actions of the cycler, and the rows that it records.

    Parameters
    ----------
    n_pulses
        Number of pulses.
    current
        Current of the pulses in mA; positive charges, and removes Li.
    pulse, rest
        Lengths in s.
    open_circuit
        Rest before the first pulse in s, with a row each 10 s.
    interval
        Time between rows under current in s.
    rest_rows
        Number of rows of a rest, spaced evenly in the logarithm of time.
    leakage
        Largest current in mA, of either sign, that the cycler reads at rest.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """

    n_pulses: Count = 40
    current: Current = 0.05
    pulse: TitrationPulse = 600.0
    rest: Rest = 28_800.0
    open_circuit: NonNegative = 60.0
    interval: RowInterval = 1.0
    rest_rows: Count = 280
    leakage: NonNegative = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.leakage and self.leakage >= abs(self.current):
            raise ArgumentError(
                "leakage",
                self.leakage,
                f"less than the current of the pulses, {self.current:g} mA",
                f"Was it uA? Pass {self.leakage * 1e-3:g}.",
            )
        if self.open_circuit > 2 * self.rest:
            warn_quality(
                f"open_circuit={self.open_circuit:g} s is longer than two rests of "
                f"{self.rest:g} s. Was it ms? Pass {1e-3 * self.open_circuit:g}."
            )
        elif 0 < self.open_circuit < _ONE_ROW:
            warn_quality(
                f"open_circuit={self.open_circuit:g} s is a time, too short for a "
                "second row. Was it a voltage (V)? It is given by equilibrium. Was it "
                f"min? Pass {60 * self.open_circuit:g}."
            )
        if self.rest < self.pulse:
            warn_quality(
                f"rest={self.rest:g} s is shorter than the pulse, {self.pulse:g} s. "
                f"Was it min? Pass {60 * self.rest:g}."
            )

    @property
    def period(self) -> float:
        """Return the time (s) from one pulse to the next."""
        return self.pulse + self.rest

    def grids(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of rows after a pulse's start, and after its end."""
        early = np.array([1e-3, 0.1, 0.2, 0.5])
        under = np.arange(self.interval, self.pulse, self.interval)
        shortest = min(self.interval, self.pulse)
        under = np.unique(np.concatenate([early[early < shortest], under]))
        # The last row under current is written as the current goes off.
        under = np.append(under[under < self.pulse - 1e-9], self.pulse)
        after = np.geomspace(min(0.1, self.rest / 10), self.rest, self.rest_rows)
        return under, after


def _tell_slips(protocol: Titration, electrode: Electrode, moved: float) -> None:
    """Warn of pulses that titrate nothing: too long, too weak, or with no drop."""
    tau, drop = electrode.tau, abs(protocol.current) * electrode.resistance * 1e-3
    if tau < _PULSES * protocol.pulse:
        warn_quality(
            f"tau={tau:g} s is shorter than {_PULSES:g} pulses of {protocol.pulse:g} s:"
            " diffusion ends within each, which hardly tells it. "
            f"Was it min? Pass {60 * tau:g}. Or h? Pass {3600 * tau:g}."
        )
    if 0 < moved < _LEAST_MOVED:
        warn_quality(
            f"current={protocol.current:g} mA moves {moved:.1g} Li in a pulse, as no "
            f"titration does. Was it A? Pass {1e3 * protocol.current:g}."
        )
    elif 0 < drop < _DROP[0] or drop > _DROP[1]:
        likely, factor = ("kOhm", 1e3) if drop < _DROP[0] else ("mOhm", 1e-3)
        warn_quality(
            f"resistance={electrode.resistance:g} ohm drops {drop:.1g} V under "
            f"{protocol.current:g} mA, as hardly any cell does. Was it {likely}? Pass "
            f"{factor * electrode.resistance:g}."
        )


_ONE_ROW = 10.0  # s between rows at open circuit
_PULSES = 2.0  # in which diffusion has long ended
_DROP = 1e-4, 2.0  # V over the resistance of a cell
_LEAST_MOVED = 1e-4  # Li per formula unit; pulses of a titration move more
_ELECTRODE = Electrode()
_PROTOCOL = Titration()


@checked
def gitt(
    *,
    protocol: Titration = _PROTOCOL,
    electrode: Electrode = _ELECTRODE,
    noise: NonNegative = 3e-5,
    chunks: Count | None = None,
    seed: Seed = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Simulate a galvanostatic intermittent titration.

    Lazy with `chunks`: builds a graph and computes nothing.

    Parameters
    ----------
    protocol
        Actions of the cycler, ``Titration(n_pulses=20, rest=1800.0)``.
    electrode
        The electrode to titrate.
    noise
        Standard deviation of the voltage in V.
    chunks
        Pulses per dask chunk. By default all is computed at once, into NumPy arrays.
    seed
        Seed of the noise; the noise of a pulse does not depend on `chunks`.

    Returns
    -------
    record : xarray.Dataset
        A record like those of the readers.
    truth : xarray.Dataset
        On ``pulse``: `tau`, `resistance`, `equilibrium_voltage` after the pulse and
        `equilibrium_voltage_before` it, `li_content` after it.

    Raises
    ------
    ArgumentError
        If an option is out of range, or the Li content would fall below zero.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> truth.sizes["pulse"]
    5
    """
    tau, geometry, x0 = electrode.tau, electrode.geometry, electrode.x0
    n_pulses, current, pulse = protocol.n_pulses, protocol.current, protocol.pulse
    rate = current / 3600.0 / electrode.capacity_per_li  # Li per second, taken out
    content = x0 - rate * pulse * np.arange(n_pulses + 1)
    if content.min() < 0:
        slip = f"Was current={current:g} in uA? Pass {current * 1e-3:g}."
        raise ArgumentError(
            "n_pulses",
            n_pulses,
            "pulses that leave Li in the material",
            f"Li content would end at {content[-1]:.3g}: take fewer or shorter ones."
            + (f" {slip}" if abs(rate * pulse) > 1 else ""),
        )
    _tell_slips(protocol, electrode, abs(rate * pulse))
    under, after = protocol.grids()
    random = generators(seed, n_pulses)
    period, open_circuit = protocol.period, protocol.open_circuit
    before = np.arange(0.0, open_circuit, _ONE_ROW) - open_circuit

    def one(number: int) -> np.ndarray:
        start = number * period
        t = start + np.concatenate([under, pulse + after])
        loaded = np.zeros(t.size, bool)
        loaded[: under.size] = True
        if number == 0:
            t = np.concatenate([before, t])
            loaded = np.concatenate([np.zeros(before.size, bool), loaded])
        on = np.arange(number + 1) * period
        on = on[start - on - pulse < 4.0 * tau]  # earlier pulses have faded
        passed = rate * (np.clip(t - start, 0.0, pulse) + number * pulse)
        excess = np.zeros(t.size)
        for begin in on:
            excess += surface_excess((t - begin) / tau, geometry)
            excess -= surface_excess((t - begin - pulse) / tau, geometry)
        x = x0 - passed - rate * tau * excess
        i = np.where(loaded, current, 0.0)
        v = np.asarray(electrode.equilibrium(x)) + i * electrode.resistance * 1e-3
        draw = copy.deepcopy(random[number])  # a chunk may be computed again
        v = v + draw.normal(0.0, 1.0, t.size) * noise
        read = draw.uniform(-1.0, 1.0, t.size) * protocol.leakage
        i = i + np.where(i == 0, read, 0.0)
        return np.stack([t + open_circuit, v, i])

    sizes = np.full(n_pulses, under.size + after.size)
    sizes[0] += before.size
    t, v, i = _table(one, sizes, chunks)
    record = xr.Dataset(
        {
            "voltage": ("record", v, attributes("voltage")),
            "current": ("record", i, attributes("current")),
        },
        coords={"test_time": ("record", t, attributes("test_time"))},
        attrs={"title": f"Simulated titration, {n_pulses} pulses", "seed": int(seed)},
    )
    return record, _truth(electrode, content, noise)


def _truth(electrode: Electrode, content: np.ndarray, noise: float) -> xr.Dataset:
    """Return the truth of each pulse, from the Li content before and after it."""
    n_pulses = content.size - 1
    voltage = np.asarray(electrode.equilibrium(content), dtype=float)
    columns = {
        "tau": (np.full(n_pulses, electrode.tau), "s", "Diffusion time constant L²/D"),
        "resistance": (np.full(n_pulses, electrode.resistance), "ohm", "Resistance"),
        "equilibrium_voltage": (voltage[1:], "V", "Equilibrium voltage after"),
        "equilibrium_voltage_before": (voltage[:-1], "V", "Equilibrium voltage before"),
    }
    return xr.Dataset(
        {
            key: ("pulse", value, attributes(key, units=units, long_name=long_name))
            for key, (value, units, long_name) in columns.items()
        },
        coords={
            "pulse": ("pulse", np.arange(1, n_pulses + 1), attributes("pulse")),
            "li_content": ("pulse", content[1:], attributes("li_content")),
        },
        attrs={"geometry": electrode.geometry, "noise": float(noise)},
    )


def _table(
    one: Callable[[int], np.ndarray], sizes: np.ndarray, chunks: int | None
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    if chunks is None:
        table = np.concatenate([one(k) for k in range(sizes.size)], axis=1)
        return table[0], table[1], table[2]

    def several(first: int, last: int) -> np.ndarray:
        return np.concatenate([one(k) for k in range(first, last)], axis=1)

    lazy = blocks.delayed(several)
    pieces = []
    for first in range(0, sizes.size, chunks):
        last = min(first + chunks, sizes.size)
        shape = (3, int(sizes[first:last].sum()))
        pieces.append(blocks.from_delayed(lazy(first, last), shape, float))
    table = blocks.concatenate(pieces, axis=1)
    return table[0], table[1], table[2]


def surface_excess(theta: np.ndarray, geometry: str = "sphere") -> np.ndarray:
    """Return surface minus mean content, over rate and tau, at constant flux.

    Parameters
    ----------
    theta
        Time over tau; the flux has not begun where it is negative.
    geometry
        ``"sphere"`` or ``"planar"``.

    Returns
    -------
    numpy.ndarray
        The series of Crank, The Mathematics of Diffusion (1975), in 64 terms;
        before theta = 1e-3 its expansion for short times.
    """
    theta = np.asarray(theta, dtype=float)
    out = np.zeros(theta.shape)
    late = theta >= 1e-3
    early = (theta > 0) & ~late
    n = np.arange(1, 65)
    roots = np.pi * n if geometry == "planar" else _sphere_roots(n)
    last, weight = (1 / 3, 2.0) if geometry == "planar" else (1 / 15, 2 / 3)
    decay = np.exp(-np.multiply.outer(np.minimum(theta[late], 40.0), roots**2))
    out[late] = last - weight * (decay @ (1 / roots**2))
    root = np.sqrt(theta[early])
    if geometry == "planar":
        out[early] = 2 * root / math.sqrt(math.pi) - root**2
    else:
        rising = 2 * root * (1 + 2 / 3 * root**2) / math.sqrt(math.pi)
        out[early] = (rising - 2 * root**2 + root**4 / 2) / 3
    return out


def _sphere_roots(n: np.ndarray) -> np.ndarray:
    # Newton's method on sin x - x cos x, from the asymptote (n + 1/2) pi.
    x = (n + 0.5) * np.pi
    for _ in range(20):
        x = x - (np.sin(x) - x * np.cos(x)) / (x * np.sin(x))
    return x
