"""Mark the reflections of a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.plotting import NEUTRAL, axis_label
from batteryxr.xanes.diffraction.instrument import (
    PATTERN_AXES,
    Diffractometer,
    from_q,
    to_q,
    wavelength_of,
)
from batteryxr.xanes.diffraction.phases import reflections

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.xanes.diffraction.lattices import Phase


def ticks(
    hv: Any,
    phase: Phase,
    axis: xr.DataArray,
    instrument: Diffractometer | None,
    span: tuple[float, float],
) -> Any:
    """Return short lines at the lower end of a span, one for each reflection.

    Raises
    ------
    ArgumentError
        If the axis is not one of diffraction, or the wavelength is unknown.
    """
    name = str(axis.name)
    if name not in PATTERN_AXES:
        raise ArgumentError("candidates", phase, f"None along {name!r}")
    device = instrument or Diffractometer()
    known = wavelength_of(axis, device)
    if name == "two_theta" and known is None:
        raise ArgumentError(
            "instrument", instrument, "a Diffractometer that tells the wavelength"
        )
    values = axis.values.astype(float)
    ends = np.sort(to_q(values[[0, -1]], name, known))
    if device.wavelength is None and known is not None:
        device = Diffractometer(radiation=device.radiation, wavelength=known)
    lines = reflections(phase, (max(float(ends[0]), 1e-3), float(ends[1])), device)
    at = from_q(2 * np.pi * np.sqrt(lines.form @ lines.metric), name, known)
    low = span[0]
    top = low + 0.05 * (span[1] - low)
    marks = [[(float(a), low), (float(a), top)] for a in at]
    return hv.Path(marks, [axis_label(axis), "y"]).opts(color=NEUTRAL, line_width=1)
