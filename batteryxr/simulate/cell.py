"""Simulate a half cell under constant current: plateaus, polarisation, rests, fade.

The equilibrium curve is a sum of plateaus, x(U) = x_low + sum_k a_k / (1 + exp((U -
U_k) / w_k)), so that its derivative, a sum of peaks, is known too. Under current an
ohmic drop and a hysteresis are added; the hysteresis builds up after each reversal.
Each half cycle ends where the voltage meets its limit. From the second half cycle on,
the curve shrinks towards the end that the first one reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Charge of one mole of electrons (mA h).
FARADAY = 96485.33212 / 3.6
#: Time between a cycler's last row at one current and its first at the next (s).
SWITCH = 1e-3
_FINE = 20_001  # points of a half cycle before sampling
_RELAXATION = 600.0  # s
_LEFT = 0.4  # fraction of the hysteresis that remains after a rest
_REVERSAL = 0.01  # Li per formula unit over which hysteresis builds up again


@dataclass(frozen=True)
class Material:
    """Define an active material by its equilibrium curve and its limits.

    Parameters
    ----------
    formula
        Composition as weighed.
    x_start
        Li per formula unit as weighed.
    electrons
        Electrons per formula unit that count as one full charge.
    ocv
        Voltage as assembled (V).
    plateaus
        Li per formula unit, voltage (V) and width (V) of each.
    window
        Voltage limits (V).
    charge_first
        Whether the first half cycle is a charge.
    hysteresis
        Half the voltage gap between charge and discharge at rest (V).
    drop
        Ohmic drop at 1 C (V).
    loss
        Fraction of the curve lost after the first half cycle.
    fade
        Fraction of the curve lost with each later cycle.
    """

    formula: str
    x_start: float
    electrons: float
    ocv: float
    plateaus: tuple[tuple[float, float, float], ...]
    window: tuple[float, float]
    charge_first: bool
    hysteresis: float
    drop: float
    loss: float
    fade: float

    @property
    def molar_mass(self) -> float:
        """Return the mass of one mole of formula units (g mol-1)."""
        import periodictable

        return float(periodictable.formula(self.formula).mass)

    def lithiation(self, voltage: np.ndarray) -> np.ndarray:
        """Return the Li content of the plateaus at equilibrium voltages."""
        return np.sum(
            [
                a / (1 + np.exp((np.asarray(voltage) - u) / w))
                for a, u, w in self.plateaus
            ],
            axis=0,
        )


LAYERED = Material(
    formula="LiNiO2",
    x_start=1.0,
    electrons=1.0,
    ocv=3.3,
    plateaus=(
        (0.22, 3.66, 0.030),
        (0.16, 3.78, 0.035),
        (0.24, 4.01, 0.020),
        (0.15, 4.18, 0.008),
        (0.20, 3.95, 0.110),
    ),
    window=(3.0, 4.3),
    charge_first=True,
    hysteresis=0.015,
    drop=0.15,
    loss=0.10,
    fade=0.012,
)
CONVERSION = Material(
    formula="FeO",
    x_start=0.0,
    electrons=2.0,
    ocv=2.9,
    plateaus=((0.55, 1.45, 0.090), (1.15, 1.15, 0.025), (0.40, 0.70, 0.110)),
    window=(0.01, 3.0),
    charge_first=False,
    hysteresis=0.33,
    drop=0.20,
    loss=0.22,
    fade=0.02,
)


@dataclass(frozen=True)
class Step:
    """Hold the rows of one half cycle or rest, free of noise.

    `start` and `end` are its limits in time (s), `x` in Li per formula unit; `current`
    (mA) is constant in between.
    """

    start: float
    end: float
    x: tuple[float, float]
    current: float
    time: np.ndarray
    voltage: np.ndarray


def cycle(
    material: Material, *, mass: float, c_rate: float, n_cycles: int, rest: float
) -> list[Step]:
    """Cycle a cell: a rest, then `n_cycles` of charge and discharge, each with a rest.

    Parameters
    ----------
    material
        The active material.
    mass
        Mass of the active material (mg).
    c_rate
        Current relative to the current that passes `electrons` in one hour (h-1).
    n_cycles
        Number of full cycles.
    rest
        Length of each rest (s).

    Returns
    -------
    list of Step
        Steps, beginning with a rest; half cycles and rests alternate.
    """
    per_lithium = mass * 1e-3 * FARADAY / material.molar_mass  # mA h
    current = c_rate * material.electrons * per_lithium
    x = material.x_start
    steps = [_rest(0.0, rest, x, material.ocv, material.ocv)]
    for number in range(2 * n_cycles):
        charging = (number % 2 == 0) == material.charge_first
        curve = _Equilibrium.of(material, number)
        half, end = _half_cycle(
            material,
            curve,
            start=steps[-1].end + SWITCH,
            x=x,
            current=current if charging else -current,
            rate=current / per_lithium / 3600,
            drop=material.drop * c_rate,
            left=_LEFT if number > 0 else 0.0,
        )
        x = half.x[1]
        sign = 1.0 if charging else -1.0
        settled = float(curve.voltage(x)) + _LEFT * sign * material.hysteresis
        steps += [half, _rest(half.end + SWITCH, rest, x, end, settled)]
    return steps


@dataclass(frozen=True)
class _Equilibrium:
    """Tabulate equilibrium voltage against Li content for one half cycle."""

    x: np.ndarray
    u: np.ndarray

    @classmethod
    def of(cls, material: Material, number: int) -> _Equilibrium:
        low, high = material.window
        u = np.linspace(high + 1.5, low - 1.5, 8001)
        g = material.lithiation(u)
        full = sum(a for a, _, _ in material.plateaus)
        pristine = material.x_start - float(material.lithiation(np.array(material.ocv)))
        # The curve shrinks towards the end reached by the first half cycle.
        anchor = 0.0 if material.charge_first else full
        scale = 1.0
        if number > 0:
            scale = (1 - material.loss) * (1 - material.fade) ** ((number - 1) // 2)
        return cls(pristine + anchor + scale * (g - anchor), u)

    def voltage(self, x: np.ndarray | float) -> np.ndarray:
        return np.interp(x, self.x, self.u)


def _half_cycle(
    material: Material,
    curve: _Equilibrium,
    *,
    start: float,
    x: float,
    current: float,
    rate: float,
    drop: float,
    left: float,
) -> tuple[Step, float]:
    """Return the half cycle and its last voltage without the ohmic drop."""
    sign = np.sign(current)
    goal = curve.x[0] if sign > 0 else curve.x[-1]
    time = np.linspace(0.0, abs(goal - x) / rate, _FINE)
    content = x - sign * rate * time
    equilibrium = curve.voltage(content)
    built_up = 1 - (1 + left) * np.exp(-time * rate / _REVERSAL)
    inner = equilibrium + sign * material.hysteresis * built_up
    voltage = inner + sign * drop
    limit = material.window[1] if sign > 0 else material.window[0]
    beyond = np.flatnonzero(sign * (voltage - limit) >= 0)
    last = max(int(beyond[0]), 1) if beyond.size else time.size - 1
    before, after = voltage[last - 1], voltage[last]
    share = np.clip((limit - before) / (after - before), 0, 1) if beyond.size else 1.0
    end = time[last - 1] + share * (time[last] - time[last - 1])
    time = np.append(time[:last], end)
    voltage = np.append(voltage[:last], before + share * (after - before))
    rows = _sampled(time, voltage, every=30.0, change=5e-3)
    step = Step(
        start,
        start + end,
        (x, x - float(sign) * rate * end),
        current,
        start + time[rows],
        voltage[rows],
    )
    return step, float(voltage[-1] - sign * drop)


def _rest(start: float, length: float, x: float, begin: float, settled: float) -> Step:
    time = np.linspace(0.0, length, 2001)
    voltage = settled + (begin - settled) * np.exp(-time / _RELAXATION)
    rows = _sampled(time, voltage, every=120.0, change=5e-3)
    return Step(start, start + length, (x, x), 0.0, start + time[rows], voltage[rows])


def _sampled(
    time: np.ndarray, voltage: np.ndarray, *, every: float, change: float
) -> np.ndarray:
    """Return the rows a cycler writes: after a time or a change, whichever is first."""
    due = np.maximum(np.diff(time) / every, np.abs(np.diff(voltage)) / change)
    passed = np.concatenate([[0.0], np.cumsum(due)])
    rows = np.searchsorted(passed, np.arange(np.floor(passed[-1]) + 1))
    return np.unique(np.append(rows, time.size - 1))
