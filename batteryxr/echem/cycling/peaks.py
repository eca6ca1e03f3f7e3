"""Find the peaks of dQ/dV: position, height, width and charge."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.curve_shape import (
    Differential,
    candidates,
    each,
    kept,
    summit,
)

if TYPE_CHECKING:
    from batteryxr.core.checks import Positive


@recorded
def peaks(result: xr.Dataset, *, prominence: Positive | None = None) -> xr.Dataset:
    """Find the peaks of dQ/dV curves.

    Reads once; the result is small and in memory.

    A peak must stand out from its surroundings by `prominence`. It must not lie within
    one kernel width of either end, where a hold at constant voltage piles up charge.
    Place and height come from a parabola through the top, over half the width of the
    peak.

    Parameters
    ----------
    result
        Result of `dqdv`.
    prominence
        Least prominence, in the units of the curve. None: the larger of 2 % of the
        highest value and five standard deviations.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``peak``), peaks by rising voltage, NaN after the last:
        ``position`` (V), ``height``, ``width`` (V, at half prominence), ``area``
        (charge between the neighbouring minima), ``prominence``. Errors come from
        the noise of the voltage. ``n_peaks`` on ``half_cycle``.

    Raises
    ------
    ArgumentError
        If `prominence` is not positive.
    DimensionError, VariableError
        If `result` is not from `dqdv`.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> peaks = record.echem.dqdv(mass=7.0).echem.peaks()
    >>> peaks["position"].dims
    ('half_cycle', 'peak')
    """
    curves = list(each(result, "peaks"))
    if prominence is not None:
        heights = [float(c.y.max()) for c in curves if c.y.size]
        _tell_odd(prominence, heights, str(result["dqdv"].attrs["units"]))
    found = [_peaks(curve, prominence) for curve in curves]
    most = max((len(f) for f in found), default=0)
    table = np.full((len(found), most, len(_PEAK)), np.nan)
    for row, of in zip(table, found, strict=True):
        row[: len(of)] = np.reshape(of, (len(of), len(_PEAK)))
    units = {"curve": result["dqdv"].attrs["units"], "V": "V"}
    units["charge"] = result["total_capacity"].attrs["units"]
    variables: dict[str, Any] = {}
    for k, (name, kind, words) in enumerate(_PEAK):
        attrs = {"units": units[kind], "long_name": words}
        variables[name] = (("half_cycle", "peak"), table[..., k], attrs)
    counts = {"units": "1", "long_name": "Number of peaks"}
    variables["n_peaks"] = ("half_cycle", [len(f) for f in found], counts)
    number = {"units": "1", "long_name": "Peak, by rising voltage"}
    coords = {"peak": ("peak", np.arange(1, most + 1), number)}
    return xr.Dataset(variables, coords).assign_coords(kept(result))


#: Fraction of the highest curve below which a prominence causes a warning.
_SMALL = 3e-4
#: Units for which prominences are mistaken.
_SLIPS = {"per cent": 0.01, "a thousandth of the unit": 1e-3}
_PEAK = (
    ("position", "V", "Peak position"),
    ("position_error", "V", "Peak position, one sd"),
    ("height", "curve", "Peak height"),
    ("height_error", "curve", "Peak height, one sd"),
    ("width", "V", "Peak width at half prominence"),
    ("area", "charge", "Charge between the neighbouring minima"),
    ("area_error", "charge", "Charge between the neighbouring minima, one sd"),
    ("prominence", "curve", "Peak prominence"),
)


def _tell_odd(prominence: float, heights: list[float], units: str) -> None:
    """Warn of a prominence that no peak can reach, or that noise exceeds."""
    highest = float(max(heights, default=np.nan))
    if prominence < _SMALL * highest:
        warn_quality(
            f"prominence={prominence!r} is small beside curves that reach "
            f"{highest:.4g} {units}: noise may count as peaks. Was it a "
            f"part of the highest? Pass {prominence * highest:.4g}."
        )
    bounds.within_span(
        prominence, highest, argument="prominence", units=units, slips=_SLIPS
    )


def _peaks(curve: Differential, prominence: float | None) -> list[tuple[float, ...]]:
    from batteryxr.echem.kernels.smoothers import parabola

    tops, how = candidates(curve, prominence)
    valleys = [a + int(np.argmin(curve.y[a:b])) for a, b in itertools.pairwise(tops)]
    edges = [0, *valleys, curve.y.size]
    found: list[tuple[float, ...]] = []
    for k, top in enumerate(tops):
        place, height, half = summit(curve, top, how["widths"][k])
        fit = parabola(half)
        bend = 2.0 * abs(float(fit[2] @ curve.y[top - half : top + half + 1]))
        shift = curve.sd(fit[1], height) / bend * curve.width
        low, high = edges[k], edges[k + 1]
        ends = [
            curve.sd_charge(curve.y[e])
            for e in edges[k : k + 2]
            if 0 < e < curve.y.size
        ]
        found.append(
            (
                curve.v[0] + place * curve.width,
                shift,
                height,
                curve.sd(fit[0], height),
                how["widths"][k] * curve.width,
                float(curve.y[low:high].sum()) * curve.width,
                float(np.linalg.norm(ends)),
                how["prominences"][k],
            )
        )
    return found
