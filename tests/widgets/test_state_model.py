"""Voltage states: what hands do, without hands."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr  # noqa: F401
from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.widgets.models.states import StateModel, names, picture


def test_a_click_chooses_the_scan_itself_and_another_gives_it_up(scans):
    model = StateModel(scans)
    for scan in (3, 15, 30):  # of both branches, then of the second cycle
        model.states = []
        model.toggle(scan)
        assert model.result["scan_index"].values.tolist() == [scan]
    model.toggle(30)
    assert model.states == []
    with pytest.raises(ArgumentError, match="choose at least one state"):
        _ = model.result


def test_the_code_gives_the_result(scans):
    model = StateModel(scans, name="scans")
    model.choose(states=[("charge", 3.3), ("discharge", 3.7)], cycle=2, tolerance=0.02)
    assert model.code == (
        'scans.echem.states([("charge", 3.3), ("discharge", 3.7)], '
        "tolerance=0.02, cycle=2)"
    )
    assert eval(model.code, {"scans": scans}).equals(model.result)
    again = eval(model.reopen, {"scans": scans})
    assert again.choice == model.choice
    assert again.result.equals(model.result)


def test_dragging_moves_a_state_and_adds_a_range(scans):
    model = StateModel(scans)
    model.toggle(2)
    model.move(0, 7)
    assert model.result["scan_index"].values.tolist() == [7]
    model.states = []
    model.per_drag = 3
    model.add_range((0.0, 3.6), (2.9, 4.1))  # all of the first cycle
    chosen = model.result
    assert chosen["direction"].values.tolist() == ["charge"] * 3 + ["discharge"] * 3
    np.testing.assert_allclose(chosen["voltage"], [3, 3.5, 4, 4, 3.5, 3])
    with pytest.raises(ArgumentError, match="an area without scans"):
        model.add_range((0.0, 0.01), (8, 9))


def test_what_cannot_be_is_told_and_mended(scans):
    model = StateModel(scans)
    model.states = [("charge", 9.0)]
    with pytest.raises(ArgumentError, match="the nearest on charge is scan"):
        _ = model.result
    assert model.status == "failed"
    assert "the nearest on charge is scan" in model.message
    model.states = [("charge", 3.5)]
    assert model.result.sizes["state"] == 1
    assert (model.status, model.message) == ("ready", "")
    with pytest.raises(ArgumentError, match="not one of"):
        model.choose(states=[("up", 3.5)])
    with pytest.raises(ArgumentError, match="one of the choices"):
        model.choose(colour="red")


def test_scans_that_are_not_joined(scans):
    with pytest.raises(VariableError, match=r"record\.echem\.join\(scans\)"):
        StateModel(scans.drop_vars("branch"))


def test_lazy_scans_stay_lazy(scans, no_compute):
    lazy = scans.copy(data=scans.chunk(scan=1).data)
    model = StateModel(lazy)
    model.states = [("charge", 3.5)]
    result = model.result
    assert result.chunks
    with no_compute():
        StateModel(lazy)
    xr.testing.assert_equal(result.compute(), scans.echem.states([("charge", 3.5)]))


def test_pictures_of_volumes_are_slices_of_the_phase():
    values = np.ones((2, 4, 5, 600), complex) * np.exp(0.5j)
    values[:, :, 0] = 0.01  # outside the crystal
    volumes = xr.DataArray(values, dims=("state", "z", "y", "x"))
    seen = picture(volumes, 1)
    assert seen.dims == ("state", "y", "x")
    assert seen.sizes["x"] <= 256
    assert seen.attrs["units"] == "rad"
    assert np.isnan(seen.values[:, 0]).all()
    np.testing.assert_allclose(seen.values[:, 1:], 0.5)


def test_the_order_parameter_of_a_crystal_follows(scans):
    pytest.importorskip("skimage", reason="scikit-image unwraps phases")
    z, y, x = np.mgrid[-1:1:8j, -1:1:12j, -1:1:12j]
    inside = x**2 + y**2 + z**2 < 0.8
    twist = scans["voltage"].values[:, None, None, None] - 3.0  # rad, times x
    values = (inside * np.exp(1j * twist * x)).astype("complex64")
    on_scan = {n: c for n, c in scans.coords.items() if n != "r"}
    crystal = xr.DataArray(values, dims=("scan", "z", "y", "x"), coords=on_scan)
    model = StateModel(crystal)
    seen = []
    model.observe(lambda change: seen.append(change["new"]), "status")
    model.states = [("charge", 3.0), ("charge", 3.4), ("charge", 3.8)]
    assert model.result.sizes["state"] == 3
    order = model.answer.beside["order_parameter"]
    np.testing.assert_allclose(order[2] / order[1], 2, rtol=0.05)
    np.testing.assert_allclose(order[0], 0, atol=1e-6)
    assert seen[-2:] == ["preview", "ready"]


def test_names():
    assert names([("charge", 3.5), ("discharge", 3.0402)]) == [
        "charge 3.5 V",
        "discharge 3.0402 V",
    ]
