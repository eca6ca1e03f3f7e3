"""Fit a pulse and its rest, with switches that lie between rows.

Cyclers write a row when they switch a current, or the first row soon after it. Where
they do neither, the moment of the switch is found with the diffusion.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from batteryxr.echem.kernels import relaxation, relaxation_terms
from batteryxr.echem.kernels.pulses import fitted_rows
from batteryxr.echem.kernels.relaxation import search, squares_of
from batteryxr.echem.kernels.relaxation_terms import choose, refined

if TYPE_CHECKING:
    from batteryxr.echem.kernels.diffusion import Pulses
    from batteryxr.echem.kernels.pulses import Pulse, Rows, Timing, Window
    from batteryxr.echem.kernels.relaxation import Shape

#: Gain in squares of the noise needed to move a switch from the row before it.
_SHOWN = 12.0
_TURNS = 3  # for which both switches of a pulse are sought
#: Delay of a rest after the last row, relative to the time between rows of the pulse,
#: or of any row to the pulse, below which a row was written at the switch.
_AT_ONCE, _SHORT = 0.2, 2e-4


class Switch(NamedTuple):
    """Hold when a current went "on" or "off" (s), and the error of it."""

    name: Literal["on", "off"]
    at: float
    error: float


class Fitted(NamedTuple):
    """Hold the rows and result of a fit (`relaxation_terms.fit`), and its switches."""

    rows: Rows
    found: tuple[Any, ...] | None  # None if there are too few rows
    begin: Switch
    end: Switch


def fit_pulse(pulse: Pulse, shape: Shape, *, tmin: float) -> Fitted:
    """Fit a pulse and its rest.

    If no row was written at a switch, the moment of the switch is fitted too, and the
    errors include its uncertainty.
    """
    pulses, timing = pulse.remembered, pulse.timing
    begin = Switch("on", float(pulses.on[-1]), 0.0)
    end = Switch("off", float(pulses.off[-1]), 0.0)
    early, late = _reach(pulse.window, "on"), _reach(pulse.window, "off")
    latest = timing._replace(on=timing.on + early, off=timing.off + late)
    rows, rest = _rows(pulse, latest, tmin)
    if rows.t.size - rest < 3 or not relaxation.enough(rows, shape):
        return Fitted(rows, None, begin, end)
    if early == late == 0.0:
        return Fitted(rows, relaxation_terms.fit(rows, pulses, shape), begin, end)
    spans = {"on": early, "off": late}
    plain = _at_switches(
        _plain(begin, end, rows, pulses, shape, spans), rows, pulses, shape
    )
    if early > 0.0:
        begin = _find_switch(begin, rows, pulses, shape, early)
    if late > 0.0:
        end = _find_switch(end, rows, _switched(pulses, begin), shape, late)
    found = _at_switches((begin, end), rows, pulses, shape)
    # Diffusion alone may be switched so that it looks like more, and the reverse.
    best, other = sorted((plain, found), key=lambda fitted: fitted[0][3])
    unit = best[0][3] ** 2 / max(rows.t.size - relaxation.linear(shape) - 3, 1)
    errors = best[0][1]
    if (other[0][3] ** 2 - best[0][3] ** 2) < _SHOWN * unit:
        errors = np.hypot(errors, np.nan_to_num(other[0][0] - best[0][0]))
    return Fitted(rows, (best[0][0], errors, *best[0][2:]), *best[1])


def _at_switches(
    switches: tuple[Switch, Switch], rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[tuple[Any, ...], tuple[Switch, Switch]]:
    """Fit with the switches moved; their errors are part of the others."""
    for switch in switches:
        pulses = _switched(pulses, switch)
    found = relaxation_terms.fit(rows, pulses, shape)
    errors = found[1]
    for switch in switches:
        if switch.error > 0.0:
            moved = _switched(pulses, switch._replace(at=switch.at + switch.error))
            other = relaxation_terms.fit(rows, moved, shape)
            errors = np.hypot(errors, np.nan_to_num(other[0] - found[0]))
    return (found[0], errors, *found[2:]), switches


def _plain(
    begin: Switch,
    end: Switch,
    rows: Rows,
    pulses: Pulses,
    shape: Shape,
    spans: dict[str, float],
) -> tuple[Switch, Switch]:
    """Return the switches that suit diffusion alone, found by turns."""
    found = {"on": begin, "off": end}
    for turn in range(_TURNS):
        for first, name in ((begin, "on"), (end, "off")):
            if spans[name] == 0.0:
                continue
            at, wide = found[name].at - first.at, 0.5 * spans[name] * 0.4**turn
            near = (max(at - 2 * wide, 0.0), min(at + 2 * wide, spans[name]))
            found[name] = _valley(first, near, rows, pulses, shape)
            pulses = _switched(pulses, found[name])
    return found["on"], found["off"]


def _rows(pulse: Pulse, timing: Timing, tmin: float) -> tuple[Rows, int]:
    """Return the rows of a fit, without a rest on the other branch of a reversal."""
    rows, rest = fitted_rows(pulse.window, timing, tmin=tmin)
    flowed = pulse.remembered.current
    if pulse.window.first and flowed.size > 1 and flowed[-1] * flowed[-2] < 0:
        # The rest before a reversal lies on the other branch of the equilibrium.
        rows = type(rows)(*(column[1:].copy() for column in rows))
    return rows, rest


def _reach(window: Window, name: Literal["on", "off"]) -> float:
    """Return how long after the last row before it a switch may have been (s).

    Zero where the next row follows at once: the cycler wrote a row at the switch. A
    pulse begins at its first row where the row before is far away; see `timing`.
    """
    t, first, last = window.t, window.first, window.last
    inside = np.diff(t[first:last])
    if inside.size < 2 or (last >= t.size if name == "off" else first == 0):
        return 0.0
    if name == "on":
        gap, usual = t[first] - t[first - 1], float(np.median(inside[:5]))
        if gap > inside.max():
            return 0.0
    else:
        gap, usual = t[last] - t[last - 1], float(np.max(inside[-5:]))
    if gap < _AT_ONCE * usual * (name == "off") or gap < _SHORT * inside.sum():
        return 0.0
    return float(min(gap, 1.5 * usual)) if name == "off" else float(gap)


def _switched(pulses: Pulses, switch: Switch) -> Pulses:
    """Return the pulses with another beginning or end of the last one."""
    times = np.append(getattr(pulses, switch.name)[:-1], switch.at)
    return pulses._replace(**{switch.name: times})


def _find_switch(
    written: Switch, rows: Rows, pulses: Pulses, shape: Shape, span: float
) -> Switch:
    """Return the switch of least misfit within `span` (s) after the row before it.

    That row stays the switch unless another moment fits much better.

    Parameters
    ----------
    written
        Switch at the row before.
    rows
        Rows from `pulses.fitted_rows` for the latest switch.
    pulses
        Pulses that are switched at the rows before.
    shape
        Geometry of the particle and degree of the polynomial.
    span
        Longest time after the last row; see `_reach`.
    """
    least, _ = _chosen(written, rows, pulses, shape)
    switch, fitted = _valley(written, (0.0, span), rows, pulses, shape), shape
    for _ in range(2):
        _, fitted = _chosen(switch, rows, pulses, shape)
        at, wide = switch.at - written.at, 0.3 * span
        near = (max(at - wide, 0.0), min(at + wide, span))
        switch = _valley(written, near, rows, pulses, fitted)
    most, unit = _squares(switch, rows, pulses, fitted)
    if least - most > _SHOWN * unit:
        return switch
    return written._replace(error=min(switch.error, span))


def _squares(
    switch: Switch, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, float]:
    moved = _switched(pulses, switch)
    return squares_of(search(rows, moved, shape)[0], rows, moved, shape)


def _chosen(
    switch: Switch, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, Shape]:
    """Return the misfit with the terms that the rows show, and the model with them."""
    moved = _switched(pulses, switch)
    fitted = refined(rows, moved, choose(rows, moved, shape)[0])[0]
    return _squares(switch, rows, pulses, fitted)[0], fitted


def _valley(
    written: Switch,
    near: tuple[float, float],
    rows: Rows,
    pulses: Pulses,
    shape: Shape,
) -> Switch:
    """Return the minimum of a parabola through three misfits, within their span."""
    middle = 0.5 * (near[0] + near[1])
    low, mean, high = (
        _squares(written._replace(at=written.at + at), rows, pulses, shape)
        for at in (near[0], middle, near[1])
    )
    half = 0.5 * (near[1] - near[0])
    bend = (low[0] - 2.0 * mean[0] + high[0]) / half**2
    unit = min(low[1], mean[1], high[1])
    if bend <= 0.0:
        at, error = (near[0] if low[0] < high[0] else near[1]), 2.0 * half
    else:
        at = middle - 0.5 * (high[0] - low[0]) / (half * bend)
        error = math.sqrt(2.0 * unit / bend)
    at = min(max(at, near[0]), near[1])
    return written._replace(at=written.at + at, error=error)
