"""Plot many cells: capacity and efficiency over cycles, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import ABOVE, COLOURS, dimension, load_hvplot, plain
from batteryxr.echem.cycling.cells import capacity_of_groups
from batteryxr.echem.plot.axes import per_cent, whole_ticks

if TYPE_CHECKING:
    import holoviews
    import xarray as xr

_NEEDED = ("complete", "coulombic_efficiency", "life")


@checked
def plot_cells(result: xr.Dataset) -> holoviews.Layout:
    """Plot capacity and Coulombic efficiency of many cells against cycle number.

    Parameters
    ----------
    result
        Result of `batteryxr.operando.cells`.

    Returns
    -------
    holoviews.Layout
        Above, the capacity of complete cycles: thin lines for cells, thick ones for
        the mean of each group with a band of one standard deviation, and a diamond
        where a life ends. Below, the mean Coulombic efficiency of each group.

    Examples
    --------
    >>> from batteryxr.operando import cells
    >>> records = {
    ...     name: batteryxr.simulate.cell_experiment(seed=seed)["echem"].to_dataset()
    ...     for seed, name in enumerate(["A1", "A2"])
    ... }
    >>> table = [
    ...     {"cell": k, "path": record, "mass": 7.0} for k, record in records.items()
    ... ]
    >>> study = cells(table, electrode="cathode", first="charge")
    >>> plot = study.echem.plot.cells()
    """
    hv = load_hvplot()
    require_dims(result, ("cell", "cycle", "group"), caller="plot_cells")
    require_variables(result, _NEEDED, caller="plot_cells")
    name = capacity_of_groups(result)
    capacity = result[name].where(result["complete"]).values
    of, cycle = result["cell_group"].values, result["cycle"].values
    x, y = dimension(result["cycle"]), dimension(result[name])
    percent = 100 * result["coulombic_efficiency_mean"]
    efficiency = per_cent(percent.values)
    above: list[Any] = []
    below: list[Any] = []
    for k, group in enumerate(result["group"].values):
        colour = COLOURS[k % len(COLOURS)]
        rows = np.flatnonzero(of == group)
        above += [
            hv.Curve((cycle, capacity[row]), x, y).opts(
                color=colour, alpha=0.3, line_width=1
            )
            for row in rows
        ]
        one = result.sel(group=group)
        mean, sd = one[f"{name}_mean"].values, one[f"{name}_sd"].values
        band = hv.Spread((cycle, mean, np.nan_to_num(sd)), x, [y, "sd"])
        above.append(band.opts(color=colour, alpha=0.2, line_alpha=0))
        curve = hv.Curve((cycle, mean), x, y, label=plain(str(group)))
        above.append(curve.opts(color=colour, line_width=3))
        above.append(_ends(hv, result, capacity, rows, (x, y)).opts(color=colour))
        means = (cycle, percent.sel(group=group).values)
        below.append(hv.Curve(means, x, efficiency).opts(color=colour))
    shared = {"width": 600, "xticks": whole_ticks(cycle)}
    top = hv.Overlay(above).opts(height=380, **ABOVE, **shared)
    return (top + hv.Overlay(below).opts(height=220, **shared)).cols(1)


def _ends(
    hv: Any, result: xr.Dataset, capacity: np.ndarray, rows: np.ndarray, axes: Any
) -> Any:
    """Return the points where lives end."""
    life = result["life"].values[rows]
    ended = np.isfinite(life)
    number = life[ended].astype(int)
    points = (number, capacity[rows[ended], number - 1])
    return hv.Scatter(points, *axes).opts(marker="diamond", size=9)
