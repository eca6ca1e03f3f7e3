"""What a simulated experiment holds: phases along the run, averaged over exposures."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.model import attributes

if TYPE_CHECKING:
    from batteryxr.simulate.cell import Step
    from batteryxr.simulate.scans import Kind

_COMPONENTS = ["start", "intermediate", "end"]


def truth(
    model: Kind, steps: list[Step], begin: np.ndarray, length: np.ndarray
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
    capacity = [abs(s.current) * (s.end - s.start) / 3600 for s in halves]
    long_name = "Li per formula unit at the end"
    return xr.Dataset(
        {
            "ratios": (
                ("scan", "component"),
                np.stack(averages[:3], axis=1),
                {"units": "1", "long_name": "Phase ratio"},
            ),
            "components": (
                ("component", model.axis),
                model.components(axis),
                attributes(model.quantity),
            ),
            "li_content": ("scan", averages[3], attributes("li_content")),
            "capacity": ("half_cycle", capacity, attributes("capacity")),
            "li_content_end": (
                "half_cycle",
                [s.x[1] for s in halves],
                {"units": "1", "long_name": long_name},
            ),
        },
        coords={
            "component": (
                "component",
                _COMPONENTS,
                {"units": "1", "long_name": "Phase"},
            ),
            model.axis: (model.axis, axis, attributes(model.axis)),
            "half_cycle": (
                "half_cycle",
                np.arange(1, len(halves) + 1),
                attributes("half_cycle"),
            ),
            "cycle": (
                "half_cycle",
                np.arange(len(halves)) // 2 + 1,
                attributes("cycle"),
            ),
            "direction": (
                "half_cycle",
                ["charge" if s.current > 0 else "discharge" for s in halves],
                {"units": "1", "long_name": "Direction"},
            ),
        },
        attrs={"formula": material.formula},
    )


def _path(steps: list[Step], pure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Li content against time, linear between the points returned."""
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
