"""Spectra as sums of standards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import DataError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.composition.standards import NAMES, on_grid
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra
from batteryxr.xanes.spectra import window as in_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.xanes.spectra import Range


@recorded
def lcf(
    spectra: xr.DataArray | xr.Dataset,
    *,
    standards: Annotated[xr.DataArray | Mapping[str, xr.DataArray], OwnLabels()],
    window: Range | None = None,
    non_negative: bool = True,
    closure: bool = False,
    baseline: Literal[0, 1] | None = None,
) -> xr.Dataset:
    """Fit every spectrum by a linear combination of standards, exactly.

    *Lazy*.

    Parameters
    ----------
    spectra
        Spectra along `energy`, in any other dimensions, prepared as the standards
        were (normalised or flattened).
    standards
        Spectra by name, or along the dimension `standard`; interpolated (cubic) to
        the energies of `spectra` where theirs differ.
    window
        Energies to fit, in eV; by default all.
    non_negative
        Weights are not below zero.
    closure
        Weights sum to one. A poor standard then distorts the others: compare the two
        R factors.
    baseline
        Degree of a polynomial, 0 or 1, that is added with free sign and outside the
        sum; None adds none.

    Returns
    -------
    xarray.Dataset
        `weight` and `weight_error` along `standard` (the error as if no weight were
        held at zero), `weight_sum`, `chi2` (reduced), `r_factor_free` and
        `r_factor_sum_to_one`: sum (y - fit)² / sum y² without and with that
        constraint; `background` along `order` where asked for.

    Raises
    ------
    ArgumentError
        If the window holds too few energies.
    DataError
        If the standards do not cover the energies, or are not independent.
    """
    array = as_spectra(spectra, caller="lcf", names=NAMES)
    if window is not None:
        inside = in_window(array.energy.values, window, name="window", least=2)
        array = array.isel(energy=inside)
    names, matrix = on_grid(standards, array.energy.values)
    x = array.energy.values
    scaled = (x - x.mean()) / (0.5 * np.ptp(x))
    powers = scaled[None] ** np.arange(0 if baseline is None else baseline + 1)[:, None]
    rank = int(np.linalg.matrix_rank(np.concatenate([matrix, powers])))
    if rank < len(matrix) + len(powers) or rank >= x.size:
        raise DataError(
            "standards",
            f"{names} are not independent, or no fewer than the {x.size} energies",
            "Drop one that the others already contain, or widen the window.",
        )
    weight, error, back, quality = blocks.apply(
        _combine,
        array,
        core_dims=[["energy"]],
        output_dims=[["standard"], ["standard"], ["order"], ["statistic"]],
        output_sizes={"standard": len(names), "order": len(powers), "statistic": 3},
        dtypes=[float] * 4,
        caller="lcf",
        standards=matrix,
        background=powers,
        non_negative=non_negative,
        sum_to_one=closure,
    )
    weight, error = (a.transpose("standard", ...) for a in (weight, error))
    squares = "R factor, weights sum to one", "R factor, free sum"
    parts: list[tuple[str, xr.DataArray, str]] = [
        ("weight", weight, "Weight"),
        ("weight_error", error, "Weight, standard error"),
        ("weight_sum", weight.sum("standard", skipna=False), "Sum of weights"),
        ("chi2", quality[..., 0], "Reduced chi-squared"),
        ("r_factor_free", quality[..., 1], squares[1]),
        ("r_factor_sum_to_one", quality[..., 2], squares[0]),
    ]
    if len(powers):
        parts.append(("background", back.transpose("order", ...), "Background"))
    result = xr.Dataset(
        {n: label(a, n, units="1", long_name=long_name) for n, a, long_name in parts}
    )
    result = result.assign_coords(
        standard=("standard", names, {"units": "1", "long_name": "Standard"})
    )
    if len(powers):
        attrs = {"units": "1", "long_name": "Power of the scaled energy"}
        result = result.assign_coords(order=("order", np.arange(len(powers)), attrs))
    return inherit(result, array, window=[float(x[0]), float(x[-1])])


def _combine(data: np.ndarray, **options: Any) -> Any:
    from batteryxr.xanes.kernels.lcf import combine

    return combine(data, **options)
