"""Find the switches of a pulse where no row was written at them.

Cyclers write a row when they switch a current, or the first row soon after it: where
they do neither, the moment of the switch is fitted with all else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from batteryxr.echem.kernels.pulses import fitted_rows
from batteryxr.echem.kernels.relaxation import Shape, enough, linear, problem
from batteryxr.echem.kernels.relaxation_terms import (
    SHOWN,
    choose,
    fit,
    search,
    unit_of,
)

if TYPE_CHECKING:
    from batteryxr.echem.kernels.diffusion import Pulses
    from batteryxr.echem.kernels.pulses import Pulse, Rows, Timing, Window

_TURNS = 3  # for which both switches of a pulse are sought
#: Delay of a rest after the last row, relative to the time between rows of the pulse,
#: or of any row to the pulse, below which a row was written at the switch.
_AT_ONCE, _SHORT = 0.2, 2e-4


class Switch(NamedTuple):
    """Hold when a current went "on" or "off" (s), and the error of it.

    The error has the sign of the side on which the switch may also lie.
    """

    name: Literal["on", "off"]
    at: float
    error: float


class Fitted(NamedTuple):
    """Hold the rows and result of a fit (`fit`), and its switches."""

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
    latest = timing._replace(on=timing.on + max(early, 0.0), off=timing.off + late)
    rows, rest = _rows(pulse, latest, tmin)
    if rows.t.size - rest < 3 or not enough(rows, shape):
        return Fitted(rows, None, begin, end)
    spans = {"on": max(early, 0.0), "off": late}
    best = _sought(begin, end, rows, pulses, shape, spans)
    if early < 0.0:
        # The first row stays the switch unless another moment fits much better, or as
        # well with less.
        other = _sought(begin, end, rows, pulses, shape, spans | {"on": early})
        terms = [(one[0][6].rc > 0) + one[0][6].drifts for one in (best, other)]
        unit = _unit(other, rows, shape)
        less = best[0][3] ** 2 - other[0][3] ** 2
        if less > (SHOWN if terms[0] <= terms[1] else -SHOWN) * unit:
            best, other = other, best
        if abs(less) < SHOWN * unit:
            best = _widened(best, other)
    return Fitted(rows, best[0], *best[1])


def _sought(
    begin: Switch,
    end: Switch,
    rows: Rows,
    pulses: Pulses,
    shape: Shape,
    spans: dict[str, float],
) -> tuple[tuple[Any, ...], tuple[Switch, Switch]]:
    """Fit with the switches that fit best within `spans`; see `_reach`."""
    if not any(spans.values()):
        return fit(rows, pulses, shape), (begin, end)
    plain = _at_switches(
        _plain((begin, end), rows, pulses, shape, spans), rows, pulses, shape
    )
    if spans["on"] != 0.0:
        begin = _find_switch(begin, rows, pulses, shape, spans["on"])
    if spans["off"] > 0.0:
        moved = _switched(pulses, begin)
        end = _find_switch(end, rows, moved, shape, spans["off"])
    found = _at_switches((begin, end), rows, pulses, shape)
    # Diffusion alone may be switched so that it looks like more, and the reverse.
    best, other = sorted((plain, found), key=lambda fitted: fitted[0][3])
    unit = _unit(best, rows, shape)
    near = (other[0][3] ** 2 - best[0][3] ** 2) < SHOWN * unit
    return _widened(best, other) if near else best


def _unit(
    fitted: tuple[tuple[Any, ...], tuple[Switch, Switch]], rows: Rows, shape: Shape
) -> float:
    """Return the variance of a row as the residuals of a fit show it."""
    variance: float = fitted[0][3] ** 2 / max(rows.t.size - linear(shape) - 3, 1)
    return variance


def _widened(
    best: tuple[tuple[Any, ...], tuple[Switch, Switch]],
    other: tuple[tuple[Any, ...], tuple[Switch, Switch]],
) -> tuple[tuple[Any, ...], tuple[Switch, Switch]]:
    """Return a fit with its distance to another one among its errors."""
    (values, errors, *more), switches = best
    errors = np.hypot(errors, np.nan_to_num(other[0][0] - values))
    return (values, errors, *more), switches


def _at_switches(
    switches: tuple[Switch, Switch], rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[tuple[Any, ...], tuple[Switch, Switch]]:
    """Fit with the switches moved; their errors are part of the others."""
    for switch in switches:
        pulses = _switched(pulses, switch)
    found = fit(rows, pulses, shape)
    errors = found[1]
    for switch in switches:
        if switch.error != 0.0:
            moved = _switched(pulses, switch._replace(at=switch.at + switch.error))
            other = fit(rows, moved, shape)
            errors = np.hypot(errors, np.nan_to_num(other[0] - found[0]))
    return (found[0], errors, *found[2:]), switches


def _plain(
    switches: tuple[Switch, Switch],
    rows: Rows,
    pulses: Pulses,
    shape: Shape,
    spans: dict[str, float],
) -> tuple[Switch, Switch]:
    """Return the switches that suit diffusion alone, found by turns."""
    begin, end = switches
    found = {"on": begin, "off": end}
    for turn in range(_TURNS):
        for first, name in ((begin, "on"), (end, "off")):
            if spans[name] == 0.0:
                continue
            at, wide = found[name].at - first.at, 0.5 * spans[name] * 0.4**turn
            near = _within(at, 2 * abs(wide), spans[name])
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

    Zero where the next row follows at once: the cycler wrote a row at the switch. Where
    the row before a pulse is far away, the pulse begins at its first row (see `timing`)
    or, if that is not the row of the switch, up to one interval before it: the time is
    then negative.
    """
    t, first, last = window.t, window.first, window.last
    inside = np.diff(t[first:last])
    if inside.size < 2 or (last >= t.size if name == "off" else first == 0):
        return 0.0
    if name == "on":
        gap, usual = t[first] - t[first - 1], float(np.median(inside[:5]))
        if gap > inside.max():
            return -min(gap, usual)
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
        Longest time after that row, or before it if negative; see `_reach`.
    """
    least, _ = _chosen(written, rows, pulses, shape)
    whole = _within(0.0, abs(span), span)
    switch, fitted = _valley(written, whole, rows, pulses, shape), shape
    for _ in range(2):
        _, fitted = _chosen(switch, rows, pulses, shape)
        at, wide = switch.at - written.at, 0.3 * span
        switch = _valley(written, _within(at, abs(wide), span), rows, pulses, fitted)
    most, unit = _squares(switch, rows, pulses, fitted)
    if least - most > SHOWN * unit:
        return switch
    error = math.copysign(min(switch.error, abs(span)), span)
    return written._replace(error=error)


def _within(at: float, wide: float, span: float) -> tuple[float, float]:
    """Return the part of `at` +- `wide` that lies between 0 and `span`."""
    low, high = min(0.0, span), max(0.0, span)
    return max(at - wide, low), min(at + wide, high)


def _squares(
    switch: Switch, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, float]:
    moved = problem(rows, _switched(pulses, switch), shape)
    found = search(moved, shape)
    return found.squares, unit_of(found, moved)


def _chosen(
    switch: Switch, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, Shape]:
    """Return the misfit with the terms that the rows show, and the model with them."""
    found = choose(problem(rows, _switched(pulses, switch), shape), shape)[0]
    return found.squares, found.shape


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
