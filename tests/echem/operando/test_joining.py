from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.replay import replay
from batteryxr.echem import Clock, Counting, join
from batteryxr.echem.kernels.record import Rule, of_rows
from batteryxr.echem.kernels.windows import ANY_GAP, WindowWalk

T0 = np.datetime64("2022-07-26T20:00", "ns")
S = 1_000_000_000


def at(seconds):
    return T0 + np.rint(np.asarray(seconds, float) * S).astype("m8[ns]")


def record(t, v, i, file=None, **attrs):
    t, v, i = (np.asarray(x, float) for x in (t, v, i))
    ds = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V", "long_name": "Voltage"}),
            "current": ("record", i, {"units": "mA", "long_name": "Current"}),
        },
        coords={
            "time": ("record", at(t)),
            "test_time": ("record", t, {"units": "s", "long_name": "Test time"}),
        },
        attrs={"timezone": "UTC", "title": "cell"} | attrs,
    )
    if file is not None:
        ds = ds.assign_coords(file=("record", np.asarray(file, np.int16)))
    return ds


def series(starts, exposure=10.0, **coords):
    n = len(starts)
    lasting = np.broadcast_to(np.asarray(exposure, float), (n,))
    return xr.DataArray(
        np.arange(3.0 * n).reshape(n, 3),
        dims=("scan", "r"),
        coords={
            "time": ("scan", at(starts)),
            "exposure": ("scan", lasting, {"units": "s", "long_name": "Exposure"}),
        }
        | coords,
        attrs={"history": "measured"},
    )


@pytest.fixture
def cell():
    """Charge for 1000 s, rest for 100 s, discharge for 900 s; V = 3 + q / 1000 s."""
    t = np.array([0, 400, 1000, 1000.001, 1100, 1100.001, 2000])
    i = np.array([2, 2, 2, 0, 0, -2, -2.0])
    v = np.array([3.0, 3.4, 4.0, 3.95, 3.95, 3.9, 3.0])
    return record(t, v, i)


def exact(t, v, a, b):
    """Integrate by brute force: all kinks as nodes, then the trapezoid rule."""
    nodes = np.union1d(t[(t > a) & (t < b)], [a, b])
    return np.trapezoid(np.interp(nodes, t, v), nodes) / (b - a)


def test_straight_line_gives_closed_forms(cell):
    joined = join(cell, series([100.0], 200.0))
    got = {n: joined[n].item() for n in joined.coords if joined[n].dims == ("scan",)}
    assert got["voltage"] == pytest.approx(3.2, abs=1e-12)
    assert got["voltage_min"] == pytest.approx(3.1, abs=1e-12)
    assert got["voltage_max"] == pytest.approx(3.3, abs=1e-12)
    assert got["voltage_sd"] == pytest.approx(0.2 / np.sqrt(12), abs=1e-12)
    assert got["current"] == 2.0
    assert got["current_sd"] == 0.0
    assert got["charge"] == pytest.approx(400 / 3600, rel=1e-12)
    assert got["capacity"] == pytest.approx(400 / 3600, rel=1e-12)
    assert got["capacity_total"] == pytest.approx(400 / 3600, rel=1e-12)
    assert (got["half_cycle"], got["cycle"]) == (1, 1)
    assert (got["direction"], got["branch"]) == ("charge", "charge")
    assert got["coverage"] == 1.0
    assert not got["crosses_reversal"]
    assert got["join_flag"] == 0


def test_rest_is_on_the_branch_before_it(cell):
    joined = join(cell, series([1020.0, 1500.0], 20.0))
    assert joined["direction"].values.tolist() == ["rest", "discharge"]
    assert joined["branch"].values.tolist() == ["charge", "discharge"]
    assert joined["half_cycle"].values.tolist() == [1, 2]
    # 2 mA for 1000 s, then 2 mA for 410 s the other way; ramps of 1 ms do not count.
    np.testing.assert_allclose(
        joined["capacity"], [2000 / 3600, 820 / 3600], rtol=0, atol=2e-6
    )
    np.testing.assert_allclose(
        joined["capacity_total"], [2000 / 3600, 1180 / 3600], rtol=0, atol=2e-6
    )


def test_reversal_is_flagged_and_a_rest_is_none():
    t = [0, 100, 100.001, 200, 200.001, 300, 300.001, 400]
    i = [1, 1, -1, -1, 0, 0, 1, 1]
    joined = join(record(t, [3.5] * 8, i), series([90.0, 190, 290], 20.0))
    assert joined["crosses_reversal"].values.tolist() == [True, False, False]
    assert (joined["join_flag"].values & 4 > 0).tolist() == [True, False, False]
    assert joined["current_min"].values[0] == -1
    assert joined["current_max"].values[0] == 1


@pytest.mark.filterwarnings("ignore::batteryxr.core.errors.DataQualityWarning")
def test_never_integrates_across_files():
    # 3 V in the first file, 4 V in the second, 50 s that nobody saw in between.
    cell = record([0, 100, 150, 250], [3, 3, 4, 4], [1, 1, 1, 1], file=[0, 0, 1, 1])
    joined = join(cell, series([90.0, 110.0, 130.0, 60.0], [70.0, 20.0, 40.0, 20.0]))
    np.testing.assert_allclose(joined["coverage"], [20 / 70, 0, 20 / 40, 1])
    np.testing.assert_allclose(joined["voltage"], [3.5, np.nan, 4.0, 3.0])
    np.testing.assert_allclose(joined["charge"] * 3600, [20, np.nan, 20, 20])
    assert joined["join_flag"].values.tolist() == [2, 1, 2, 0]
    # The half cycle runs on, and the gap adds no charge to it.
    late = join(cell, series([200.0], 0.0))
    assert late["capacity"].item() * 3600 == pytest.approx(150)
    assert late["half_cycle"].item() == 1


@pytest.mark.filterwarnings("ignore::batteryxr.core.errors.DataQualityWarning")
def test_long_gap_in_one_file_is_excluded():
    cell = record([0, 100, 5000, 5100], [3, 3, 4, 4], [1, 1, 1, 1])
    scans = series([2000.0, 50.0], 100.0)
    assert np.isnan(join(cell, scans)["voltage"].values[0])
    assert join(cell, scans)["coverage"].values[1] == pytest.approx(0.5)
    allowed = join(cell, scans, counting=Counting(max_gap=1e5))
    assert allowed["coverage"].values.tolist() == [1.0, 1.0]


def test_mean_currents_are_a_staircase():
    cell = record([0, 100, 200], [3, 3.1, 3.2], [0, 1, 2])
    cell["current"].attrs["cell_methods"] = "record: mean"
    joined = join(cell, series([50.0], 100.0))
    assert joined["current"].item() == pytest.approx(1.5)
    assert joined["charge"].item() * 3600 == pytest.approx(150)
    assert joined["capacity"].item() * 3600 == pytest.approx(100)


def test_missing_rows_are_not_covered():
    cell = record([0, 10, 20, 30], [3, np.nan, 3.2, 3.3], [1, 1, 1, 1])
    joined = join(cell, series([0.0], 30.0))
    assert joined["coverage"].item() == pytest.approx(1 / 3)
    assert joined["voltage"].item() == pytest.approx(3.25)


@pytest.mark.parametrize(
    ("reference", "mean"), [("start", 3.21), ("middle", 3.2), ("end", 3.19)]
)
def test_time_reference(cell, reference, mean):
    joined = join(cell, series([200.0], 20.0), time_reference=reference)
    assert joined["voltage"].item() == pytest.approx(mean, abs=1e-12)


def test_instants(cell):
    joined = join(cell, series([200.0, 0.0, 2000.0]), exposure=0)
    np.testing.assert_allclose(joined["voltage"], [3.2, 3.0, 3.0], atol=1e-12)
    assert joined["voltage_sd"].values.tolist() == [0, 0, 0]
    assert joined["coverage"].values.tolist() == [1, 1, 1]
    assert joined["charge"].values.tolist() == [0, 0, 0]


def test_clock_moves_scans_and_its_error_moves_the_voltage(cell):
    clock = Clock(offset_s=100.0, offset_error=3.0, method="fitted")
    joined = join(cell, series([100.0], 20.0), clock=clock)
    assert joined["voltage"].item() == pytest.approx(3.21, abs=1e-12)
    assert joined["voltage_error"].item() == pytest.approx(3e-3, rel=1e-9)
    assert Clock.from_attrs(joined.attrs) == clock
    assert json.loads(joined.attrs["clock"])["method"] == "fitted"
    declared = join(cell, series([100.0], 20.0))
    assert "voltage_error" not in declared.coords
    assert Clock.from_attrs(declared.attrs).method == "declared"


def test_scans_outside_get_nan_and_one_warning(cell):
    scans = series([-500.0, 100.0, 1990.0, 2500.0], 20.0)
    with pytest.warns(DataQualityWarning, match=r"2 of 4 scans .*: 0, 3\.") as caught:
        joined = join(cell, scans)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isnan(joined["voltage"].values).tolist() == [True, False, False, True]
    assert joined["coverage"].values.tolist() == [0, 1, 0.5, 0]
    assert joined["branch"].values.tolist() == ["", "charge", "discharge", ""]
    assert joined["join_flag"].values.tolist() == [1, 0, 2, 1]
    for name in ("half_cycle", "cycle", "capacity", "capacity_total", "charge"):
        assert np.isnan(joined[name].values[[0, 3]]).all(), name


def test_scan_without_time_is_flagged_quietly(cell):
    scans = series([100.0, 200.0])
    scans["time"][1] = np.datetime64("NaT", "ns")
    joined = join(cell, scans)
    assert joined["join_flag"].values.tolist() == [0, 8]
    assert np.isnan(joined["voltage"].values[1])


@pytest.mark.parametrize(
    ("hours", "said"), [(2, r"\+2 h"), (-1, r"-1 h"), (5.5, r"\+5.5 h")]
)
def test_time_zone_errors_are_named(cell, hours, said):
    scans = series(np.array([100.0, 1900.0]) + 3600 * hours)
    with pytest.warns(DataQualityWarning, match=f"time-zone error of {said}"):
        join(cell, scans)


def test_no_time_zone_is_blamed_for_scans_of_another_day(cell):
    with pytest.warns(DataQualityWarning) as caught:
        join(cell, series([90000.0, 100000.0]))
    assert "time-zone" not in str(caught[0].message)


def test_no_time_zone_is_blamed_for_scans_in_a_pause():
    t = np.concatenate([np.arange(0.0, 3600, 60), 10800 + np.arange(0.0, 36000, 60)])
    cell = record(t, 3 + t / 1e5, np.full(t.size, 2.0))
    with pytest.warns(DataQualityWarning, match="1 of them lie between") as caught:
        join(cell, series([1000.0, 7200.0]))
    assert "time-zone" not in str(caught[0].message)


def test_undeclared_time_zones_are_refused(cell):
    missing = cell.assign_coords(
        time=cell["time"].astype("M8[ns]") + np.timedelta64("NaT", "ns")
    )
    with pytest.raises(DataError, match=r"read_cycler\(..., timezone="):
        join(missing.assign_attrs(timezone=""), series([1.0]))
    scans = series([1.0, 2.0])
    scans = scans.assign_coords(time=scans["time"] + np.timedelta64("NaT", "ns"))
    with pytest.raises(DataError, match=r"read_series\(..., timezone="):
        join(cell, scans)


def test_time_that_steps_back_is_refused(cell):
    back = cell.assign_coords(
        time=("record", cell["time"].values[[0, 2, 1, 3, 4, 5, 6]])
    )
    with pytest.raises(
        DataError, match=r"earlier .* at 1 rows, first at row 2 of the record"
    ):
        join(back, series([1.0]))


def test_messages(cell):
    with pytest.raises(DimensionError, match="scan"):
        join(cell, series([1.0]).rename(scan="frame"))
    with pytest.raises(VariableError, match="assign_coords"):
        join(cell, series([1.0]).drop_vars("time"))
    with pytest.raises(ArgumentError, match=r"exposure=130\.0"):
        join(cell, series([1.0]).drop_vars("exposure"))
    with pytest.raises(ArgumentError, match="exposure=-1"):
        join(cell, series([1.0]), exposure=-1)
    with pytest.raises(ArgumentError, match="time_reference"):
        join(cell, series([1.0]), time_reference="centre")
    with pytest.raises(DataError, match=r"rename\(voltage="):
        join(cell, series([1.0]).to_dataset(name="voltage"))
    with pytest.raises(ArgumentError, match="first="):
        join(cell, series([1.0]), first="up")
    with pytest.raises(ArgumentError, match="mass="):
        join(cell, series([1.0]), mass=0)
    unlabelled = cell.copy()
    del unlabelled["voltage"].attrs["units"]
    with pytest.raises(UnitsError, match="voltage"):
        join(unlabelled, series([1.0]))


def test_cells_are_kept_apart(cell):
    scans = series([100.0, 200.0, 300.0], cell=("scan", ["a", "b", "a"]))
    with pytest.raises(ArgumentError, match=r"cell=None: expected one of \['a', 'b'\]"):
        join(cell, scans)
    with pytest.raises(ArgumentError, match="cell='c'"):
        join(cell, scans, cell="c")
    joined = join(cell, scans, cell="a")
    assert joined["join_flag"].values.tolist() == [0, 16, 0]
    assert np.isnan(joined["voltage"].values).tolist() == [False, True, False]


def test_specific_capacity_and_li_content(cell):
    joined = join(cell, series([100.0], 200.0), mass=5.0, formula="LiNiO2")
    q = 400 / 3600 / 5e-3
    assert joined["specific_capacity"].item() == pytest.approx(q)
    # One Li of LiNiO2 (97.63 g/mol) is 274.5 mA h/g.
    assert joined["li_content"].item() == pytest.approx(1 - q / 274.52, abs=2e-5)
    assert joined["li_content"].attrs["units"] == "1"
    with pytest.raises(ArgumentError, match="mass"):
        join(cell, series([1.0]), formula="LiNiO2")


def test_cycles_are_paired_as_told():
    t = np.repeat(np.arange(0, 601.0, 100), 2)[1:-1] + np.tile([0, 1e-3], 6)[:12] * 1.0
    i = np.repeat([-1, 1, -1, 1, -1, 1], 2).astype(float)
    t = np.sort(t)
    cell = record(t, np.full(12, 3.5), i)
    scans = series(np.arange(40.0, 600, 100), 10.0)
    assert join(cell, scans)["cycle"].values.tolist() == [1, 1, 2, 2, 3, 3]
    charge = join(cell, scans, first="charge")["cycle"].values
    np.testing.assert_array_equal(charge, [np.nan, 1, 1, 2, 2, 3])


def test_units_and_names_on_every_label(cell):
    joined = join(
        cell,
        series([100.0]),
        mass=1.0,
        formula="LiNiO2",
        clock=Clock(offset_error=1.0),
    )
    for name, coord in joined.coords.items():
        if name != "time":
            assert {"units", "long_name"} <= coord.attrs.keys(), name


def test_result_round_trips_and_replays(cell, tmp_path):
    scans = series([100.0, 1500.0]).to_dataset(name="g")
    joined = join(cell, scans, mass=5.0, clock=Clock(offset_s=2.0))
    joined.to_netcdf(tmp_path / "j.nc")
    joined.to_zarr(tmp_path / "j.zarr", consolidated=False)
    for back in (
        xr.load_dataset(tmp_path / "j.nc"),
        xr.open_zarr(tmp_path / "j.zarr", consolidated=False).load(),
    ):
        again = replay(back, cell, scans=scans)
        xr.testing.assert_equal(again.reset_coords(), joined.reset_coords())
    assert joined.attrs["clock"] == json.dumps(json.loads(joined.attrs["clock"]))


def test_joining_again_leaves_nothing_of_the_first_time(cell):
    scans = series([100.0, 300.0])
    first = join(cell, scans, mass=5.0, formula="LiNiO2", clock=Clock(offset_error=1.0))
    xr.testing.assert_equal(join(cell, first), join(cell, scans))


def test_history_of_the_scans_goes_on(cell):
    assert join(cell, series([1.0])).attrs["history"].startswith("measured\n")


def test_scans_stay_lazy_and_input_is_left_alone(cell, no_compute):
    scans = series([100.0, 200.0])
    before = scans.copy(deep=True)
    lazy = scans.copy(data=scans.chunk(scan=1).data)
    with no_compute():
        joined = join(cell, lazy)
    assert joined.chunks == ((1, 1), (3,))
    xr.testing.assert_identical(scans, before)


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.long), 7, 1000])
def test_chunks_do_not_matter(chunk):
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.uniform(0.5, 20, 300))
    i = np.where(np.arange(300) // 40 % 3 == 2, 0.0, np.where(t // 900 % 2, -1.0, 1.5))
    cell = record(t, rng.normal(3.7, 0.2, 300), i, file=np.arange(300) // 110)
    scans = series(rng.uniform(0, t[-1] - 80, 60), rng.uniform(0, 80, 60))
    whole = join(cell, scans)
    cut = join(cell.chunk(record=chunk), scans)
    for name in whole.coords:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(cut[name], whole[name], rtol=0, atol=1e-12)
        else:
            np.testing.assert_array_equal(cut[name], whole[name])


def test_capacity_agrees_with_the_summary():
    from batteryxr.echem.cycling.half_cycles import half_cycles

    rng = np.random.default_rng(0)
    t = np.cumsum(rng.uniform(1, 30, 2000))
    i = np.select([t % 4000 < 1800, t % 4000 < 2000], [0.7, 2e-5], -0.6)
    cell = record(t, 3.7 + 0.1 * np.sin(t / 500), i, file=np.arange(2000) // 700)
    summary = half_cycles(cell)
    ends = summary["test_time_end"].values[:-1]
    joined = join(cell, series(ends, 0.0))
    np.testing.assert_array_equal(joined["half_cycle"], summary["half_cycle"][:-1])
    np.testing.assert_allclose(joined["capacity"], summary["capacity"][:-1], rtol=1e-9)


floats = st.floats(-5, 5, allow_nan=False, width=32)


@st.composite
def walks(draw):
    n = draw(st.integers(2, 30))
    steps = draw(st.lists(st.integers(1, 50), min_size=n - 1, max_size=n - 1))
    t = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64) * S
    v = np.array(draw(st.lists(floats, min_size=n, max_size=n)), float)
    i = np.array(draw(st.lists(floats, min_size=n, max_size=n)), float)
    edges = sorted(draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
    return t, v, i, np.rint(np.array(edges) * t[-1]).astype(np.int64)


def walked(t, v, i, starts, ends, cuts=(), mean=False):
    walk = WindowWalk(starts, ends, ends, Rule(0.0, ANY_GAP, mean))
    for part in np.split(np.arange(t.size), cuts):
        walk.add(of_rows(v[part], i[part], clock=t[part]))
    return walk


@given(walks(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_adjacent_windows_add_up(case, mean):
    t, v, i, (a, b, c) = case
    starts, ends = np.array([a, b, a]), np.array([b, c, c])
    got = walked(t, v, i, starts, ends, mean=mean).sums()
    for values in (got.voltage, got.current):
        area = values * got.covered
        assert area[0] + area[1] == pytest.approx(area[2], abs=1e-9)
    assert got.charge[0] + got.charge[1] == pytest.approx(got.charge[2], abs=1e-9)
    assert got.voltage_min[2] == min(got.voltage_min[:2])
    assert got.voltage_max[2] == max(got.voltage_max[:2])


@given(walks())
@settings(max_examples=60, deadline=None)
def test_windows_agree_with_brute_force(case):
    t, v, i, (a, _, c) = case
    got = walked(t, v, i, np.array([a]), np.array([c])).sums()
    seconds = t / S
    if a == c:
        assert got.voltage[0] == pytest.approx(np.interp(a / S, seconds, v), abs=1e-9)
        return
    assert got.voltage[0] == pytest.approx(exact(seconds, v, a / S, c / S), abs=1e-9)
    fine = np.linspace(a / S, c / S, 20001)
    assert got.voltage_sd[0] == pytest.approx(
        np.interp(fine, seconds, v).std(), abs=2e-3
    )


@given(walks(), st.integers(0, 2**61), st.data())
@settings(max_examples=60, deadline=None)
def test_blocks_and_the_epoch_do_not_matter(case, shift, data):
    t, v, i, (a, b, c) = case
    cuts = sorted(data.draw(st.sets(st.integers(1, t.size - 1))))
    windows = np.array([b, a]), np.array([c, c])
    plain = walked(t, v, i, *windows)
    moved = walked(t + shift, v, i, *(w + shift for w in windows), cuts=cuts)
    for one, other in zip(plain.sums(), moved.sums(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(
        plain.net_charge(), moved.net_charge(), rtol=0, atol=1e-12
    )
