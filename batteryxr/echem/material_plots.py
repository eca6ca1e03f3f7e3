"""Plots of materials: percolation against lithium, and many materials compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import DimensionError
from batteryxr.core.model import require_variables
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    import xarray as xr

_CONTENT = "Li per two cations"
_SHARE = "Share of Li"


def plot_percolation(result: xr.Dataset) -> Any:
    """Plot the connected share of lithium against the lithium content.

    Parameters
    ----------
    result
        A sweep over numbers by `batteryxr.echem.percolation`.

    Returns
    -------
    holoviews.Overlay
        The largest cluster and the percolating share with standard errors, and the
        onset of percolation with its own.

    Raises
    ------
    DimensionError
        If the result is no sweep.
    """
    hv = load_hvplot()
    require_variables(
        result, ["largest_cluster", "percolating_share"], caller="plot_percolation"
    )
    if "li_content" not in result.dims:
        raise DimensionError(
            "plot_percolation needs the dimension 'li_content'; "
            f"found {tuple(result.dims)}. Compute a sweep: "
            "percolation(numpy.linspace(0.8, 1.4, 25))."
        )
    curves = []
    for name in ("largest_cluster", "percolating_share"):
        points = (
            result["li_content"].values,
            result[name].values,
            result[f"{name}_error"].values,
        )
        label = result[name].attrs["long_name"]
        curves.append(
            hv.Curve(points[:2], "Li per two cations", "Share of Li", label=label)
        )
        curves.append(
            hv.ErrorBars(points, "Li per two cations", ["Share of Li", "error"])
        )
    onset, error = float(result["onset"]), float(result["onset_error"])
    mark = hv.VLine(onset).opts(color="grey", line_dash="dashed", line_width=1)
    band = hv.VSpan(onset - error, onset + error).opts(color="grey", alpha=0.2)
    text = hv.Text(onset, 0.97, f"  onset {onset:.3f}", halign="left")
    overlay = hv.Overlay([band, mark, *curves, text])
    return overlay.opts(
        width=520, height=340, legend_position="bottom_right", show_grid=True
    )
