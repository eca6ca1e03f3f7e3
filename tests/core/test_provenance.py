"""Results carry their call and can be made again from it."""

from __future__ import annotations

import dataclasses
import json
import sys
import types

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import batteryxr
from batteryxr.core.errors import ArgumentError, BatteryxrWarning
from batteryxr.core.provenance import encode, recorded, replayable
from batteryxr.core.replay import decode


@replayable
@dataclasses.dataclass(frozen=True)
class Ruler:
    """A dataclass argument."""

    length: float
    start: np.datetime64


@pytest.fixture
def scale(monkeypatch):
    """Return a recorded function that lives in a technique package."""

    def scale(ds, factor=2.0, *, other=None, ruler=None, progress=None, **extra):
        result = ds * factor
        if other is not None:
            result = result + other
        if ruler is not None:
            result = result * ruler.length
        return result + sum(extra.values())

    scale.__module__ = "batteryxr.testing.scaling"
    module = types.ModuleType("batteryxr.testing")
    module.scale = recorded(scale)
    monkeypatch.setitem(sys.modules, "batteryxr.testing", module)
    return module.scale


@pytest.fixture
def ds():
    return xr.Dataset({"a": ("x", [1.0, 2.0])}, attrs={"history": "measured"})


def test_call_version_and_history_are_stored(scale, ds):
    result = scale(ds, 3.0, progress=True)
    call = json.loads(result.attrs["batteryxr_call"])
    assert call["accessor"] == "testing"
    assert call["method"] == "scale"
    assert call["arguments"]["factor"] == 3.0
    assert "progress" not in call["arguments"]
    assert result.attrs["batteryxr_version"] == batteryxr.__version__
    first, second = result.attrs["history"].split("\n")
    assert first == "measured"
    assert "testing.scale(factor=3.0" in second


def test_replay_after_a_round_trip_through_zarr(scale, ds, tmp_path):
    ruler = Ruler(0.5, np.datetime64("2022-07-26T22:38:30.190"))
    result = scale(ds, 3.0, ruler=ruler, offset=7)
    path = batteryxr.save(result, tmp_path / "a.zarr", group="r")
    back = batteryxr.open_store(path, "r")
    xr.testing.assert_equal(batteryxr.replay(back, ds), result)


def test_functions_of_others_are_recorded_too(scale, ds, monkeypatch):
    def shift(ds, by):
        return ds + by

    shift.__module__ = "my_beamline"
    module = types.ModuleType("my_beamline")
    module.shift = recorded(shift)
    monkeypatch.setitem(sys.modules, "my_beamline", module)
    result = module.shift(ds, 2.0)
    assert json.loads(result.attrs["batteryxr_call"])["module"] == "my_beamline"
    xr.testing.assert_equal(batteryxr.replay(result, ds), ds + 2.0)


def test_labelled_arguments_are_asked_for_by_name(scale, ds):
    result = scale(ds, other=ds)
    with pytest.raises(ArgumentError, match=r"replay\(result, data, other=\.\.\.\)"):
        batteryxr.replay(result, ds)
    xr.testing.assert_equal(batteryxr.replay(result, ds, other=ds), result)


def test_replay_of_something_else_is_refused(ds):
    with pytest.raises(ArgumentError, match="Only results of batteryxr"):
        batteryxr.replay(ds, ds)


def test_replay_by_another_version_warns(scale, ds):
    result = scale(ds)
    result.attrs["batteryxr_version"] = "0.0.1"
    with pytest.warns(BatteryxrWarning, match=r"made by batteryxr 0\.0\.1"):
        batteryxr.replay(result, ds)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text()
        | st.builds(slice, st.integers(), st.integers()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
        max_leaves=10,
    )
)
def test_arguments_survive_json(value):
    text = json.dumps(encode(value))
    assert decode(json.loads(text), "a", {}) == value


def test_small_arrays_are_kept_large_ones_asked_for():
    small = np.array([[1.5, 2.5]], dtype=np.float32)
    back = decode(json.loads(json.dumps(encode(small))), "a", {})
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, small)
    assert "$data" in encode(np.zeros(5000))


def test_a_simulation_needs_no_data():
    result = batteryxr.simulate.oxide_series("FeO", n_scans=4, seed=3)
    again = batteryxr.replay(result)
    for path, node in result.subtree_with_keys:
        xr.testing.assert_equal(again[path].to_dataset(), node.to_dataset())


def test_replay_without_its_data_is_refused(scale, ds):
    with pytest.raises(ArgumentError, match=r"data.*made from"):
        batteryxr.replay(scale(ds, factor=2.0))


@pytest.mark.parametrize("value", [1 - 4.6e-5 + 4e-6j, np.complex64(2j)])
def test_a_complex_number_is_noted(value):
    """A refractive index was lost from the record."""
    assert decode(json.loads(json.dumps(encode(value))), "n", {}) == value
