"""Plot cycling: voltage profiles, cycles, differential capacity, rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import (
    ABOVE,
    BRANCH_COLOURS,
    LOG_X,
    NEUTRAL,
    as_title,
    dimension,
    load_hvplot,
    overlay_samples,
)
from batteryxr.echem.counting import Counting, half_cycle_table
from batteryxr.echem.plot.axes import axis, per_cent, whole_ticks
from batteryxr.echem.record import columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    import holoviews
    import xarray as xr

    from batteryxr.core.bounds.kinds import Mass
    from batteryxr.echem.counting import HalfCycleTable
    from batteryxr.echem.record import Columns

    #: Branch and opacity, and the numbers of a line.
    Look: TypeAlias = tuple[str, float]
    Line: TypeAlias = tuple[np.ndarray, np.ndarray]

#: Columns of a record that a profile needs.
_NEEDED = ("test_time", "voltage", "current", "file")
#: Points per curve of a voltage profile: more than a screen shows; and points of many
#: curves together, and the fewest of each of them.
_POINTS, _TOGETHER, _FEWEST = 2000, 100_000, 50
_SIZE = {"width": 600, "height": 380}
#: Markers and dashes that distinguish overlapping branches without their colours.
_MARKERS = {"charge": "circle", "discharge": "square"}
#: A charge stays visible around the discharge of the same capacity.
_POINT = {"charge": {"size": 10, "fill_alpha": 0}, "discharge": {"size": 5}}
_DASHES = {"charge": "solid", "discharge": "dashed"}
#: Opacity of the last of many half cycles.
_FAINTEST = 0.3
#: Largest number of opacities that differ.
_LOOKS = 20


@checked
def plot_voltage_profile(
    record: xr.Dataset,
    *,
    mass: Mass | None = None,
    half_cycles: Sequence[int] | None = None,
    counting: Counting | None = None,
) -> holoviews.Overlay:
    """Plot voltage against capacity, each half cycle from zero.

    Reads twice, and the current three times unless an `i_zero` is given.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    mass
        Active mass in mg, for specific capacity.
    half_cycles
        Numbers of the half cycles. None: all.
    counting
        Rule for half cycles. Default: as in `half_cycles`.

    Returns
    -------
    holoviews.Overlay
        One curve for each half cycle, with one colour for charges and one for
        discharges; later curves are paler. Of more than 20, those of one look are
        joined.

    Raises
    ------
    ArgumentError
        If an option is out of range or a half cycle is missing.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> plot = record.echem.plot.voltage_profile(mass=7.0)
    """
    hv = load_hvplot()
    from batteryxr.echem.kernels import parts

    rule = counting or Counting()
    rows = columns(
        record, caller="plot_voltage_profile", clock=False, number=rule.number
    )
    table = half_cycle_table(rows, rule)
    there = len(table.floats)
    numbers = range(1, there + 1) if half_cycles is None else half_cycles
    x = axis("capacity" if mass is None else "specific_capacity")
    y = dimension(rows.arrays["voltage"])
    looks: dict[Look, list[Line]] = {}
    most = min(_POINTS, max(_FEWEST, _TOGETHER // max(1, len(numbers))))
    for place, number in enumerate(numbers):
        if not 1 <= number <= there:
            raise ArgumentError("half_cycles", number, f"numbers from 1 to {there}")
        of = table.integers[number - 1]
        some = slice(of[parts.FIRST], of[parts.LAST_ACTIVE] + 1)
        q, v = _profile(rows.isel(some), table, of[parts.FIRST], most)
        q = q * of[parts.DIRECTION]
        if mass is not None:
            q = q * 1000.0 / mass
        side = "charge" if of[parts.DIRECTION] > 0 else "discharge"
        look = side, strength(place, len(numbers))
        looks.setdefault(look, []).append((q, v))
    overlay = hv.Overlay(branches(looks, x, y) or [hv.Curve([])])
    title = as_title(str(record.attrs.get("title", "")))
    return overlay.opts(title=title, **ABOVE, **_SIZE)


def branches(looks: dict[Look, list[Line]], x: Any, y: Any) -> list[holoviews.Curve]:
    """Return a curve for each branch and opacity, with gaps between its lines."""
    hv = load_hvplot()
    gap = np.full((2, 1), np.nan)
    curves = []
    for (side, strength), lines in looks.items():
        joined = np.concatenate(
            [part for line in lines for part in (gap, np.stack(line))][1:], axis=1
        )
        curve = hv.Curve((joined[0], joined[1]), x, y, label=side)
        colour, dash = BRANCH_COLOURS[side], _DASHES[side]
        curves.append(curve.opts(alpha=strength, color=colour, line_dash=dash))
    return curves


def strength(number: int, of: int) -> float:
    """Return the opacity of one of several curves: the first stands out."""
    share = number / max(1, of - 1)
    if of > _LOOKS:
        share = round(share * _LOOKS) / _LOOKS
    return 1.0 - (1.0 - _FAINTEST) * share


def _profile(
    rows: Columns, table: HalfCycleTable, first: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return charge (mA h) and voltage from row `first` on, thinned to `most`."""
    rule, s = table.rule, table.switches
    blocks = [(b.t, b.v, b.i, b.file) for b in rows.blocks(_NEEDED)]
    t, v, i, file = (np.concatenate(column) for column in zip(*blocks, strict=True))
    flows = np.abs(i) >= rule.i_zero
    step = np.diff(t, prepend=t[:1])
    before = i if rule.mean else np.concatenate([i[:1], i[:-1]])
    counted = flows & (i * before > 0) & (step <= rule.max_gap)
    counted &= np.concatenate([[rule.mean], flows[:-1] | rule.mean])
    if file.size:
        counted &= np.diff(file, prepend=file[:1]) == 0
    passed = np.where(counted, 0.5 * (i + before) * step / 3600.0, 0.0)
    for row, charge in ((s.row, s.after), (s.row - 1, s.before)):
        mine = (row >= first) & (row < first + t.size)
        np.add.at(passed, row[mine] - first, charge[mine])
    q = np.cumsum(passed)
    every = max(1, int(flows.sum()) // most)
    return q[flows][::every], v[flows][::every]


@checked
def plot_cycles(result: xr.Dataset) -> holoviews.Layout:
    """Plot capacity and Coulombic efficiency against cycle number.

    Parameters
    ----------
    result
        Result of `cycles`; specific capacities are used if present.

    Returns
    -------
    holoviews.Layout
        Capacities above, Coulombic efficiency below, on one cycle axis.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> cycles = record.echem.cycles(electrode="cathode", first="charge", mass=7.0)
    >>> plot = cycles.echem.plot.cycles()
    """
    hv = load_hvplot()
    require_dims(result, ("cycle",), caller="plot_cycles")
    if "sample" in result.dims:
        return overlay_samples(plot_cycles, result)
    require_variables(result, ("coulombic_efficiency",), caller="plot_cycles")
    specific = "charge_specific_capacity" in result
    kind = "specific_capacity" if specific else "capacity"
    number, x, y = result["cycle"].values, dimension(result["cycle"]), axis(kind)
    points = [
        hv.Scatter((number, result[f"{side}_{kind}"].values), x, y, label=side).opts(
            color=BRANCH_COLOURS[side], marker=_MARKERS[side], **_POINT[side]
        )
        for side in ("charge", "discharge")
    ]
    efficiencies = 100 * result["coulombic_efficiency"].values
    percent = per_cent(efficiencies)
    efficiency = hv.Scatter((number, efficiencies), x, percent)
    above = hv.Overlay(points).opts(**ABOVE, **_SIZE)
    below = efficiency.opts(color=NEUTRAL, size=6, width=600, height=220)
    panels = [panel.opts(xticks=whole_ticks(number)) for panel in (above, below)]
    return hv.Layout(panels).cols(1)


@checked
def plot_dqdv(result: xr.Dataset, *, errors: bool = False) -> holoviews.Overlay:
    """Plot dQ/dV with discharges downward and later half cycles paler.

    Parameters
    ----------
    result
        Result of `dqdv`.
    errors
        Show one standard deviation as a band.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> plot = record.echem.dqdv(mass=7.0).echem.plot.dqdv(errors=True)
    """
    hv = load_hvplot()
    require_dims(result, ("half_cycle", "voltage"), caller="plot_dqdv")
    require_variables(result, ("dqdv", "dqdv_error"), caller="plot_dqdv")
    if "sample" in result.dims:
        return overlay_samples(plot_dqdv, result, errors=errors)
    voltage = result["voltage"].values
    x, y = dimension(result["voltage"]), dimension(result["dqdv"])
    slopes = result["dqdv"].transpose("half_cycle", "voltage").values
    spreads = result["dqdv_error"].transpose("half_cycle", "voltage").values
    bands: list[Any] = []
    looks: dict[Look, list[Line]] = {}
    for row, side in enumerate(map(str, result["direction"].values)):
        drawn = slopes[row] if side == "charge" else -slopes[row]
        if errors:
            band = hv.Spread((voltage, drawn, spreads[row]), x, [y, "sd"])
            bands.append(band.opts(color=BRANCH_COLOURS[side], alpha=0.3))
        look = side, strength(row, len(slopes))
        looks.setdefault(look, []).append((voltage, drawn))
    items = bands + (branches(looks, x, y) or [hv.Curve([])])
    return hv.Overlay(items).opts(**ABOVE, **_SIZE)


@checked
def plot_rate(
    result: xr.Dataset, *, kind: Literal["logarithmic", "linear"] = "logarithmic"
) -> holoviews.Layout:
    """Plot capacity and mean voltage against current.

    Parameters
    ----------
    result
        Result of `rate`; specific quantities are used if present. Samples along
        ``sample`` are overlaid.
    kind
        Scale of the current axis: "logarithmic" or "linear".

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> cycles = record.echem.cycles(electrode="cathode", first="charge", mass=7.0)
    >>> plot = cycles.echem.rate().echem.plot.rate()
    """
    hv = load_hvplot()
    require_dims(result, ("rate",), caller="plot_rate")
    if "sample" in result.dims:
        return overlay_samples(plot_rate, result, kind=kind)
    per = "specific_" if "specific_capacity" in result else ""
    current = result[f"{per}current"]
    x = dimension(current, words="Current")
    panels = []
    for name, words in (
        (f"{per}capacity", "Capacity"),
        ("mean_voltage", "Mean voltage"),
    ):
        y = dimension(result[name], words=words)
        points = (current.values, result[name].values)
        curve = hv.Curve(points, x, y) * hv.Scatter(points, x, y)
        panels.append(
            curve.opts(
                hv.opts.Curve(padding=0.1, **(LOG_X if kind == "logarithmic" else {})),
                hv.opts.Scatter(size=7),
            )
        )
    return hv.Layout(panels).cols(1)
