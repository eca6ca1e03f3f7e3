"""What `.cdi` offers follows from the dimensions and variables that are there."""

import numpy as np
import xarray as xr

import batteryxr  # noqa: F401 - registers the accessors

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")


def array(*dims):
    return xr.DataArray(np.zeros((2,) * len(dims)), dims=dims)


def test_a_rocking_curve_offers_retrieval_and_no_strain():
    offered = set(dir(array(*VOLUME).cdi))
    assert {"correct", "crop", "geometry", "retrieve"} <= offered
    assert not {"plot", "sum_repeats", "strain", "align_states", "fsc"} & offered
    assert "sum_repeats" in dir(array("repeat", *VOLUME).cdi)


def test_a_crystal_offers_what_its_axes_and_fields_allow():
    crystal = array(*OBJECT)
    offered = set(dir(crystal.cdi))
    assert {"unwrap", "to_laboratory", "misfit", "plot"} <= offered
    assert not {"retrieve", "align_states", "displacement", "strain"} & offered
    assert "to_laboratory" not in dir(array("z", "y", "x").cdi)
    assert "align_states" in dir(array("state", "z", "y", "x").cdi)
    fields = xr.Dataset({"phase": crystal})
    assert "displacement" in dir(fields.cdi)
    assert "strain" not in dir(fields.cdi)
    assert "strain" in dir(fields.assign(displacement=crystal).cdi)


def test_plots_are_offered_where_their_variables_are():
    crystal = array(*OBJECT)
    assert dir(crystal.cdi.plot) == ["field", "isosurface", "slices"]
    result = xr.Dataset(
        {"object": crystal, "prtf": array("frequency"), "residual": array("start")},
        coords={"rank": array("start")},
    )
    assert {"prtf", "starts", "slices"} <= set(dir(result.cdi.plot))
    assert "plot" not in dir(array("energy", "y", "x").cdi)


def test_a_group_of_plots_tells_what_it_is():
    assert repr(array(*OBJECT).cdi.plot).startswith("<.cdi.plot on along_rocking")
