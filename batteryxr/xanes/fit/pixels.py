"""The fit of every pixel: one problem, applied lazily to all spectra."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.xanes.fit.result import Fitted, label_fit
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from batteryxr.xanes.fit.terms import Terms
    from batteryxr.xanes.kernels.block import Accepted
    from batteryxr.xanes.kernels.problem import Problem


@dataclass(frozen=True)
class PixelFit:
    """One fit, whole: what the kernel is given with every block.

    Parameters
    ----------
    terms
        The model.
    problem, selection
        As of `fit_block`.
    pixels
        What differs from pixel to pixel, by the names of `fit_block`: `keep`, `own`
        and `weights`, each with its own dimensions.
    """

    terms: Terms
    problem: Problem
    selection: Accepted
    pixels: Mapping[str, tuple[xr.DataArray, list[str]]]

    def apply(self, array: xr.DataArray, *, caller: str) -> xr.Dataset:
        """Fit every spectrum, lazily where the spectra are lazy, and label the fits."""
        dim, units = self.terms.dim, str(array.attrs.get("units", "1"))
        wide = array.dtype.itemsize > 4 or array.dtype.kind != "f"
        dtype = np.float64 if wide else np.float32
        inputs, dims = zip((array, [dim]), *self.pixels.values(), strict=True)
        sizes = {"parameter": self.problem.model.low.size, "derived": 4, "statistic": 3}
        fitted = blocks.apply(
            _fit_block,
            *inputs,
            core_dims=dims,
            output_dims=[
                ["parameter"],
                ["parameter"],
                ["peak", "derived"],
                ["statistic"],
                [],
            ],
            output_sizes=sizes | {"peak": len(self.problem.model.peak_offsets)},
            dtypes=[dtype, dtype, dtype, dtype, np.uint8],
            caller=caller,
            names=tuple(self.pixels),
            problem=self.problem,
            selection=self.selection,
            threads=1 if array.chunks is not None else os.cpu_count() or 1,
            dtype=dtype,
        )
        axis, model, _, noise = self.problem
        result = label_fit(Fitted(*fitted), model, self.terms, units)
        known = {"noise_sd": float(noise.sd)} if noise.sd else {}
        described = self.terms.describe(axis.x, units)
        return inherit(result, array, model=described, **known)


def _fit_block(
    data: np.ndarray, *pixels: np.ndarray, names: Any, **options: Any
) -> Any:
    from batteryxr.xanes.kernels.block import fit_block

    return fit_block(data, **dict(zip(names, pixels, strict=True)), **options)
