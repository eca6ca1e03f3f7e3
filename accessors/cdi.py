"""The ``.cdi`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, method
from batteryxr.cdi import quality, retrieval, retrieval_plots


@xr.register_dataarray_accessor("cdi")
@xr.register_dataset_accessor("cdi")
class Cdi(Accessor):
    """Coherent diffraction, from counts on `rocking`, `detector_y`, `detector_x`.

    1. ``result = volumes.cdi.retrieve(n_starts=6, store="starts.zarr")``
    2. ``result.cdi.plot_prtf()``
    3. ``result.isel(state=0).cdi.plot_slices()``
    """

    understands = (
        "state",
        "rocking",
        "detector_y",
        "detector_x",
        "along_rocking",
        "along_y",
        "along_x",
        "z",
        "y",
        "x",
    )

    # phase retrieval
    retrieve = method(retrieval.retrieve)
    misfit = method(quality.misfit)
    prtf = method(quality.prtf)
    fsc = method(quality.fsc)
    overlay = method(quality.overlay)
    decompose = method(quality.decompose)

    # looking at it
    plot_slices = method(retrieval_plots.plot_slices)
    plot_prtf = method(retrieval_plots.plot_prtf)
    plot_fsc = method(retrieval_plots.plot_fsc)
    plot_starts = method(retrieval_plots.plot_starts)
