"""Pictures of a reconstruction: object, probe and residual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.result import RESIDUAL
from batteryxr.core.checks import checked
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    import holoviews
    import xarray as xr


@checked
def plot_ptycho(result: xr.Dataset) -> holoviews.Layout:
    """Plot modulus and phase of the object, the probe, and the residual.

    Parameters
    ----------
    result
        Result of `ptycho`, or of ``ptycho_progress(store, energy=k)`` while it runs.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> scan, truth = batteryxr.simulate.ptychography(
    ...     energy=[5470.0], positions=5, size=32
    ... )
    >>> scan = scan.isel(energy=0)
    >>> result = scan.cdi.ptycho(iterations=10)
    >>> plot = result.cdi.plot.ptycho()
    """
    hv = load_hvplot()
    field = result["transmission"].values
    probe = np.abs(result["probe"].values[0])
    errors = result["residuals" if "residuals" in result else "amp_residual"].values

    def image(values: np.ndarray, title: str, colours: str) -> Any:
        rows, columns = values.shape
        # Each picture has its own dimension, so that they do not share a range of
        # colours.
        frame = hv.Image(
            values[::-1], ["column", "row"], title, bounds=(0, 0, columns, rows)
        )
        low, high = np.percentile(values, [0.5, 99.5])
        limits = {"clim": (float(low), float(high))} if low < high else {}
        return frame.opts(
            title=title,
            cmap=colours,
            frame_width=260,
            data_aspect=1,
            colorbar=True,
            clabel="",
            **limits,
        )

    curve = hv.Curve((np.arange(1, errors.size + 1), errors), "pass", RESIDUAL)
    # An axis wider than that of the picture above would push it out of its frame.
    narrow = {"title": f"Residual {RESIDUAL}", "ylabel": "", "yformatter": "%.0e"}
    layout = (
        image(np.abs(field), "|T|", "gray")
        + image(np.angle(field), "arg T (rad)", "coolwarm")
        + image(probe, "|probe|, first mode", "inferno")
        + curve.opts(**narrow, logy=True, frame_width=260)
    )
    return layout.cols(2).opts(shared_axes=False)
