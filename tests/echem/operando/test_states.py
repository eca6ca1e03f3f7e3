from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    DimensionError,
    VariableError,
)
from batteryxr.core.replay import replay
from batteryxr.echem import join, states

SIX = [
    ("charge", 2.5),
    ("charge", 3.0),
    ("charge", 3.5),
    ("charge", 4.0),
    ("discharge", 3.5),
    ("discharge", 3.0),
]
T0 = np.datetime64("2023-05-01", "ns")


def scans(voltage, branch, **coords):
    n = len(voltage)
    return xr.DataArray(
        np.arange(2.0 * n).reshape(n, 2),
        dims=("scan", "x"),
        coords={
            "voltage": ("scan", np.asarray(voltage, float), {"units": "V"}),
            "branch": ("scan", np.asarray(branch)),
            "time": ("scan", T0 + np.arange(n) * np.timedelta64(60, "s")),
        }
        | {k: ("scan", np.asarray(v)) for k, v in coords.items()},
        name="intensity",
    )


@pytest.fixture
def triangle():
    """Voltage up from 2.4 to 4.1 V and down again in steps of 20 mV."""
    up = np.round(np.arange(2.4, 4.11, 0.02), 2)
    branch = ["charge"] * up.size + ["discharge"] * up.size
    return scans(np.concatenate([up, up[::-1] - 0.003]), branch)


def test_six_states_have_six_labels(triangle):
    chosen = states(triangle, SIX)
    assert dict(chosen.sizes) == {"state": 6, "x": 2}
    labels = list(zip(chosen.direction.values, chosen.voltage.values, strict=True))
    assert labels == SIX
    assert len(set(labels)) == 6
    np.testing.assert_allclose(chosen.measured_voltage, [v for _, v in SIX], atol=0.011)
    # 3.5 V on charge is another scan than 3.5 V on discharge.
    assert chosen.scan_index.values[2] != chosen.scan_index.values[4]
    np.testing.assert_array_equal(chosen[:, 0], 2.0 * chosen.scan_index)
    for name in ("direction", "voltage", "measured_voltage", "scan_index"):
        assert {"units", "long_name"} <= chosen[name].attrs.keys()


def test_nearest_n_mean_sum_and_all(triangle):
    three = states(triangle, SIX, n=3)
    assert three.sizes["repeat"] == 3
    assert (abs(three.measured_voltage - three.voltage) < 0.031).all()
    mean = states(triangle, SIX, n=3, combine="mean")
    total = states(triangle, SIX, n=3, combine="sum")
    np.testing.assert_allclose(mean, three.mean("repeat"))
    np.testing.assert_allclose(total, three.sum("repeat"))
    np.testing.assert_allclose(
        mean.measured_voltage, three.measured_voltage.mean("repeat")
    )
    every = states(triangle, SIX, n=None, combine="mean", tolerance=0.05)
    near = (abs(triangle.voltage - 3.5) <= 0.05) & (triangle.branch == "charge")
    assert every.scan_count.values[2] == near.sum()
    np.testing.assert_allclose(every[2], triangle[near.values].mean("scan"))
    with pytest.raises(ArgumentError, match="combine='mean'"):
        states(triangle, [("charge", 2.4), ("charge", 3.5)], n=None)


def test_out_of_tolerance_names_the_nearest(triangle):
    with pytest.raises(
        ArgumentError, match=r"nearest on charge .* 4\.1000 V, 400\.0 mV"
    ):
        states(triangle, [("charge", 4.5)])
    only = triangle.isel(scan=slice(0, 20))
    with pytest.raises(ArgumentError, match="No scan is on the discharge branch"):
        states(only, [("discharge", 2.5)])
    with pytest.raises(ArgumentError, match="9 scans within tolerance"):
        states(triangle, [("charge", 3.5)], n=9)


def test_states_of_one_cycle_stay_together():
    v = np.tile([3.0, 3.5, 4.0, 3.5, 3.0], 3) + np.repeat([0.02, 0.01, 0.0], 5)
    branch = np.tile(["charge"] * 3 + ["discharge"] * 2, 3)
    cycle = np.repeat([1.0, 2, 3], 5)
    series = scans(v, branch, cycle=cycle)
    choose = [("charge", 3.0), ("charge", 4.0), ("discharge", 3.5)]
    # The first cycle that has them all, not the nearest scan of any.
    assert states(series, choose).cycle.values.tolist() == [1, 1, 1]
    assert states(series, choose, tolerance=0.015).cycle.values.tolist() == [2, 2, 2]
    assert states(series, choose, cycle=3).cycle.values.tolist() == [3, 3, 3]
    with pytest.raises(ArgumentError, match=r"cycle=7: expected one of \[1, 2, 3\]"):
        states(series, choose, cycle=7)
    holes = series.isel(scan=[0, 8, 12])
    with pytest.warns(DataQualityWarning, match=r"cycles \[1, 2, 3\]") as caught:
        states(holes, choose)
    assert caught[0].filename == __file__


def test_reversals_and_unlabelled_scans_belong_to_no_state():
    series = scans(
        [3.5, 3.52, np.nan],
        ["charge"] * 3,
        crosses_reversal=[True, False, False],
    )
    assert states(series, [("charge", 3.5)]).scan_index.item() == 1


def test_by_number_where_applied_voltages_repeat():
    # Held at the applied voltage, then switched off: the cell relaxes while 3 scans
    # are taken, so that neither voltage nor time tells the state.
    applied = [v for _, v in SIX]
    measured = np.repeat([2.6, 3.02, 3.44, 3.9, 3.56, 3.07], 3)
    branch = np.repeat([d for d, _ in SIX], 3)
    series = scans(
        measured,
        branch,
        state_number=np.repeat(np.arange(1, 7), 3),
        direction=["rest"] * 18,
    )
    choose = [(k + 1, d, v) for k, (d, v) in enumerate(SIX)]
    chosen = states(series, choose, by="state_number", n=None, combine="sum")
    assert chosen.voltage.values.tolist() == applied
    assert chosen.direction.values.tolist() == [d for d, _ in SIX]
    np.testing.assert_allclose(chosen.measured_voltage, measured[::3])
    assert chosen.ocv_during_scan.values.all()
    assert chosen.scan_count.values.tolist() == [3] * 6
    np.testing.assert_allclose(chosen[1], series[3:6].sum("scan"))
    again = states(series, [(1, "charge", 3.0), (2, "charge", 3.0)], by="state_number")
    assert again.scan_index.values.tolist() == [0, 3]
    with pytest.raises(ArgumentError, match="Numbers in the series"):
        states(series, [(9, "charge", 3.0)], by="state_number")
    with pytest.raises(VariableError, match=r"by=.hold.. needs"):
        states(series, choose, by="hold")


def test_ocv_during_scan_follows_from_the_join():
    # Charged to 4 V, held, switched off; the scan sees open circuit at 3.95 V.
    t = np.array([0, 1000, 1300, 1300.001, 3000])
    cell = xr.Dataset(
        {
            "voltage": ("record", [3.0, 4.0, 4.0, 3.97, 3.95], {"units": "V"}),
            "current": ("record", [1.0, 1.0, 0.1, 0, 0], {"units": "mA"}),
        },
        coords={
            "time": ("record", T0 + (t * 1e9).astype("m8[ns]")),
            "test_time": ("record", t, {"units": "s"}),
        },
    )
    series = xr.DataArray(
        np.zeros((2, 3)),
        dims=("scan", "r"),
        coords={"time": ("scan", T0 + np.array([500, 1500]) * np.timedelta64(1, "s"))},
    )
    chosen = states(
        join(cell, series, exposure=100.0), [("charge", 4.0), ("charge", 3.55)]
    )
    assert chosen.ocv_during_scan.values.tolist() == [True, False]
    assert chosen.scan_index.values.tolist() == [1, 0]


@pytest.mark.parametrize("options", [{}, {"n": 2}, {"n": 2, "combine": "mean"}])
def test_stays_lazy(triangle, no_compute, options):
    lazy = triangle.copy(data=triangle.chunk(scan=7).data)
    with no_compute():
        chosen = states(lazy, SIX, **options)
    xr.testing.assert_allclose(chosen.compute(), states(triangle, SIX, **options))


def test_datasets_and_round_trip(triangle, tmp_path):
    ds = triangle.to_dataset().assign(other=triangle * 2)
    chosen = states(ds, SIX, n=2, combine="mean")
    np.testing.assert_allclose(chosen["other"], 2 * chosen["intensity"])
    chosen.to_netcdf(tmp_path / "s.nc")
    again = replay(xr.load_dataset(tmp_path / "s.nc"), ds)
    xr.testing.assert_allclose(again, chosen)


@pytest.mark.parametrize(
    ("choose", "options", "said"),
    [
        ([("up", 3.0)], {}, "'charge' or 'discharge'"),
        ([("charge", 3.5), ("charge", 3.5)], {}, "by='state_number'"),
        ([], {}, "at least one state"),
        (SIX, {"by": 1}, "by=1"),
        (SIX, {"n": 0}, "n=0"),
        (SIX, {"combine": "max"}, "combine='max'"),
        (SIX, {"tolerance": -1}, "tolerance=-1"),
        (SIX, {"by": "state_number"}, r"\(1, 'charge', 3\)"),
    ],
)
def test_messages(triangle, choose, options, said):
    with pytest.raises(ArgumentError, match=said):
        states(triangle, choose, **options)


def test_what_is_missing_is_named(triangle):
    with pytest.raises(DimensionError, match="scan"):
        states(triangle.rename(scan="frame"), SIX)
    with pytest.raises(VariableError, match=r"record\.echem\.join"):
        states(triangle.drop_vars("voltage"), SIX)
