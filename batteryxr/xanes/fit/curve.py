"""From fitted parameters back to spectra."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import VariableError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.result import with_half_widths
from batteryxr.xanes.fit.terms import Edge, Peak, Terms, columns, compile_model
from batteryxr.xanes.kernels.problem import Axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from batteryxr.xanes.kernels.problem import Model


@recorded
def model_curve(
    result: xr.Dataset,
    *,
    axis: Annotated[
        Sequence[float] | np.ndarray | xr.DataArray | None, OwnLabels()
    ] = None,
) -> xr.DataArray:
    """Return the fitted model, as spectra.

    *Lazy*.

    Parameters
    ----------
    result
        A result of `fit_edge` or `fit_peaks`, or some of its pixels.
    axis
        Energies (or shifts) at which to evaluate; by default 400 over the fitted
        range.

    Returns
    -------
    xarray.DataArray
        `model_curve` along the axis of the spectra; NaN where nothing was fitted.

    Raises
    ------
    VariableError
        If `result` is not a result of a fit.
    """
    if "model" not in result.attrs:
        raise VariableError(
            "model_curve needs a result of fit_edge or fit_peaks, "
            "whose attrs['model'] says what was fitted."
        )
    model = json.loads(result.attrs["model"])
    dim = model["axis"]
    low, high = model["range"]
    points = np.linspace(low, high, 400) if axis is None else np.asarray(axis, float)
    edge = None if model["edge"] is None else Edge((0.0, 1.0), shape=model["edge"])
    peaks = [Peak((0.0, 1.0), shape=shape) for shape in model["peaks"]]
    terms = Terms(edge, tuple(peaks), model["baseline"], dim)
    _, compiled = compile_model(np.array([low, high]), terms)
    values = with_half_widths(result)
    parameters: dict[int, xr.DataArray] = {}
    for name, at in columns(compiled).items():
        along = next((d for d in ("peak", "order") if d in values[name].dims), None)
        for i, k in enumerate(at):
            if k >= 0:
                picked = (
                    values[name].isel({along: i}, drop=True) if along else values[name]
                )
                parameters[k] = picked
    scaled = (points - model["baseline_centre"]) / model["baseline_scale"]
    curve = blocks.apply(
        _evaluate,
        *(parameters[k] for k in range(len(parameters))),
        core_dims=[[]] * len(parameters),
        output_dims=[[dim]],
        output_sizes={dim: points.size},
        dtypes=[float],
        caller="model_curve",
        axis=Axis(points, scaled),
        model=compiled,
    )
    curve = curve.transpose(dim, ...).assign_coords(
        {dim: (dim, points, attributes(dim))}
    )
    return label(curve, "model_curve", units=model["units"], long_name="Fitted model")


def _evaluate(*parameters: np.ndarray, axis: Axis, model: Model) -> np.ndarray:
    from batteryxr.xanes.kernels.shapes import broadcast_curves

    return broadcast_curves(*parameters, axis=axis, model=model)
