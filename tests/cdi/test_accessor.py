"""The accessor binds every labelled function, in working order."""

from __future__ import annotations

import inspect

import numpy as np
import xarray as xr

import batteryxr  # noqa: F401
from batteryxr import cdi

STEPS = (
    "correct",
    "crop",
    "geometry",
    "retrieve",
    "unwrap",
    "displacement",
    "strain",
    "align_states",
    "fill_missing",
    "phase_differences",
    "order_parameter",
    "inverse_pca",
    "domains",
)


def test_methods_are_the_functions():
    array = xr.DataArray(np.zeros((4, 4, 4)), dims=("z", "y", "x"))
    accessor = array.cdi
    for name in STEPS:
        bound, function = getattr(accessor, name), getattr(cdi, name)
        assert bound.__doc__ == function.__doc__
        rest = list(inspect.signature(function).parameters.values())[1:]
        assert list(inspect.signature(bound).parameters.values()) == rest


def test_a_chain_reads_like_the_docstring():
    axes = {d: (d, np.arange(8.0) * 10, {"units": "nm"}) for d in ("z", "y", "x")}
    q = {"q_x": 0.0, "q_y": 0.0, "q_z": 3.0}
    phase = 0.3 * np.arange(8.0)[:, None, None] * np.ones((8, 8, 8))
    crystal = xr.DataArray(np.exp(1j * phase), dims=("z", "y", "x"), coords=axes | q)
    found = crystal.cdi.unwrap().cdi.displacement().cdi.strain()
    np.testing.assert_allclose(found["strain"], 0.3 / (3 * 100), rtol=1e-9)
