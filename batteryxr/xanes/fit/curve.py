"""Compute spectra from fitted parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.result import with_half_widths
from batteryxr.xanes.fit.terms import Edge, Peak, Terms, columns, compile_model
from batteryxr.xanes.kernels.problem import Axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    """Return the fitted model as spectra.

    *Lazy*.

    Parameters
    ----------
    result
        Result of `fit_edge` or `fit_peaks`, or some of its pixels.
    axis
        Energies (or shifts) at which to evaluate the model. Default: 400 over the
        fitted range.

    Returns
    -------
    xarray.DataArray
        `model_curve` along the axis of the spectra; NaN where nothing was fitted.

    Raises
    ------
    VariableError
        If `result` is not a result of a fit.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.xanes.fit_edge(edge=(8335, 8355), baseline=1)
    >>> curves = batteryxr.xanes.model_curve(fit)
    >>> curves.dims
    ('energy', 'scan')
    """
    compiled, model = fitted_model(result, caller="model_curve")
    dim = model["axis"]
    low, high = model["range"]
    points = np.linspace(low, high, 400) if axis is None else np.array(axis, float)
    if not np.isfinite(points).all():
        raise ArgumentError("axis", axis, "finite energies or shifts")
    parameters = by_parameter(with_half_widths(result), compiled)
    scaled = (points - model["baseline_centre"]) / model["baseline_scale"]
    curve = blocks.apply(
        _evaluate,
        *parameters,
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


def fitted_model(result: xr.Dataset, *, caller: str) -> tuple[Model, dict[str, Any]]:
    """Return the model of a fit result, and its description in the attributes.

    Raises
    ------
    VariableError
        If `result` is not a result of a fit.
    """
    if "model" not in result.attrs:
        raise VariableError(
            f"{caller} needs a result of fit_edge or fit_peaks, "
            "whose attrs['model'] says what was fitted."
        )
    told = json.loads(result.attrs["model"])
    edge = None if told["edge"] is None else Edge((0.0, 1.0), shape=told["edge"])
    peaks = [Peak((0.0, 1.0), shape=shape) for shape in told["peaks"]]
    terms = Terms(edge, tuple(peaks), told["baseline"], told["axis"])
    return compile_model(np.array(told["range"]), terms)[1], told


def by_parameter(
    values: Mapping[str, Any] | xr.Dataset, model: Model, suffix: str = ""
) -> list[Any]:
    """Return the values of each parameter of a model, in its order."""
    found: dict[int, xr.DataArray] = {}
    for name, at in columns(model).items():
        array = values[name + suffix]
        along = next((d for d in ("peak", "order") if d in array.dims), None)
        for i, k in enumerate(at):
            if k >= 0:
                found[k] = array.isel({along: i}, drop=True) if along else array
    return [found[k] for k in range(len(found))]


def _evaluate(*parameters: np.ndarray, axis: Axis, model: Model) -> np.ndarray:
    from batteryxr.xanes.kernels.shapes import broadcast_curves

    return broadcast_curves(*parameters, axis=axis, model=model)
