"""The simulated experiment keeps what it promises: truth, laziness, files."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import ArgumentError
from batteryxr.echem import Clock, fit_clock, join, li_content
from batteryxr.simulate import cell_experiment, write_cell_experiment

KINDS = {"xanes": "absorption", "pdf": "pdf"}


@pytest.fixture(scope="module", params=list(KINDS))
def experiment(request):
    return cell_experiment(kind=request.param, n_scans=120, seed=4)


def _pattern(experiment) -> xr.DataArray:
    name = next(n for n in KINDS.values() if n in experiment["scans"])
    return experiment["scans"][name]


def test_integrating_the_record_gives_the_capacities(experiment):
    record = experiment["echem"].to_dataset()
    truth = experiment["truth"]
    time, current = record.test_time.values, record.current.values
    passed = np.diff(time) * (current[1:] + current[:-1]) / 2 / 3600
    step = record.step.values[1:] + 4 * record.cycle.values[1:]
    found = [passed[step == s].sum() for s in (1, 3, 5, 7)]
    sign = np.where(truth.direction == "charge", 1, -1)
    np.testing.assert_allclose(found, sign * truth.capacity, rtol=1e-5)
    for n, s in enumerate((1, 3, 5, 7)):
        column = record.capacity.values[1:][step == s]
        assert column[-1] == pytest.approx(float(truth.capacity[n]), rel=1e-9)
        assert (np.diff(column) > 0).all()


def test_lithium_follows_from_the_current(experiment):
    record = experiment["echem"].to_dataset()
    x = li_content(record, formula=record.formula, mass=record.mass)
    truth = experiment["truth"]
    assert float(x[-1]) == pytest.approx(float(truth.li_content_end[-1]), abs=2e-4)
    # The content of a scan is the mean over its window.
    clock = experiment["scans"].time.values - np.timedelta64(37_400, "ms")
    begin = (clock - record.time.values[0]) / np.timedelta64(1, "s")
    for k in (0, 17, 60, 119):
        inside = np.linspace(begin[k], begin[k] + 60, 2001)
        mean = np.interp(inside, record.test_time, x).mean()
        assert mean == pytest.approx(float(truth.li_content[k]), abs=2e-4)


def test_a_cell_behaves_like_one(experiment):
    record, truth = experiment["echem"], experiment["truth"]
    capacity, direction = truth.capacity.values, truth.direction.values
    assert capacity[0] > capacity[1] > capacity[3]  # first loss, then fade
    mean = {}
    for kind, s in (("charge", 1), ("discharge", -1)):
        rows = np.sign(record.current.values) == s
        mean[kind] = record.voltage.values[rows].mean()
    assert mean["charge"] > mean["discharge"]  # hysteresis
    low, high = {"charge": (3.0, 4.3), "discharge": (0.01, 3.0)}[direction[0]]
    assert record.voltage.min() > low - 1e-3
    assert record.voltage.max() < high + 1e-3
    rest = record.voltage.where(record.current == 0, drop=True)
    assert float(abs(rest - record.voltage.mean()).max()) > 0  # rests are recorded
    # No row is more than 30 s or about 5 mV after the one before, under current.
    driven = (record.current.values[1:] != 0) & (record.current.values[:-1] != 0)
    gaps = np.diff(record.test_time.values)[driven]
    assert gaps.max() < 33


def test_ratios_are_shares_of_three_phases(experiment):
    ratios = experiment["truth"].ratios
    np.testing.assert_allclose(ratios.sum("component"), 1, atol=1e-12)
    assert ratios.min() >= -1e-12
    assert (ratios.max("scan") > 0.95).all()
    assert float(ratios[0, 0]) == pytest.approx(1, abs=1e-6)


def test_without_noise_scans_are_the_mixture():
    clean = cell_experiment(kind="pdf", n_scans=9, noise=0)
    truth = clean["truth"]
    mixture = truth.ratios @ truth.components
    np.testing.assert_allclose(clean["scans"].pdf, mixture.transpose("scan", "r"))


def test_noise_is_what_is_asked_for(experiment):
    truth, pattern = experiment["truth"], _pattern(experiment)
    residual = pattern - (truth.ratios @ truth.components).transpose(*pattern.dims)
    if pattern.name == "pdf":
        assert float(residual.std()) == pytest.approx(0.15, rel=0.02)
        assert abs(float(residual.mean())) < 0.002
    else:
        before = residual.sel(energy=slice(None, 8325))
        above = residual.sel(energy=slice(8380, None))
        assert float(before.std()) == pytest.approx(0.003, rel=0.05)
        # Fewer photons come through above the edge.
        expected = 0.003 * np.sqrt((1 + np.e) / 2)
        assert float(above.std()) == pytest.approx(expected, rel=0.05)


def test_edges_shift_with_valence():
    components = cell_experiment(n_scans=3)["truth"].components
    rising = components.sel(energy=slice(8338, 8350))
    half = abs(rising - 0.5).idxmin("energy").values
    assert (np.diff(half) > 0.8).all()
    far = components.sel(energy=slice(8310, 8320))
    assert float(abs(far).max()) < 0.02
    assert float(abs(components.sel(energy=8395) - 1).max()) < 0.15


def test_pair_distributions_have_the_distances_of_their_crystals():
    g = cell_experiment(kind="pdf", n_scans=3)["truth"].components
    # Nearest neighbours: a/2 in rock salt, a sqrt(3)/2 in bcc iron.
    for phase, low, high, expected in [
        ("start", 1.8, 2.5, 2.15),
        ("intermediate", 1.8, 2.5, 2.085),
        ("end", 2.2, 2.65, 2.482),
    ]:
        peak = g.sel(component=phase, r=slice(low, high)).idxmax("r")
        assert float(peak) == pytest.approx(expected, abs=0.03)
    # Below the first distance only the baseline -4 pi r rho is left.
    slope = g.sel(component="start", r=slice(1.0, 1.5)).polyfit("r", 1)
    rho = 8 / 4.30**3
    value = slope.polyfit_coefficients.sel(degree=0) / 1.25
    line = slope.polyfit_coefficients.sel(degree=1) + value
    assert float(line) == pytest.approx(-4 * np.pi * rho, rel=0.15)
    # Particles end at their diameter.
    beyond = g.sel(r=slice(24, None))
    assert float(abs(beyond.sel(component="end")).max()) < 0.05
    assert float(abs(beyond.sel(component="start")).max()) > 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [1, 7, 64, 1000])
def test_lazy_scans_do_not_depend_on_chunks(kind, chunks, no_compute):
    eager = cell_experiment(kind=kind, n_scans=30, seed=2)
    with no_compute():
        lazy = cell_experiment(kind=kind, n_scans=30, seed=2, chunks=chunks)
    assert lazy["scans"][KINDS[kind]].chunks is not None
    for group in ("echem", "scans", "truth"):
        xr.testing.assert_identical(
            lazy[group].to_dataset().compute().drop_attrs(),
            eager[group].to_dataset().drop_attrs(),
        )


def test_a_million_scans_are_described_before_they_are_made(no_compute):
    with no_compute():
        huge = cell_experiment(n_scans=1_000_000, chunks=500)
        some = huge["scans"].absorption.isel(scan=slice(500_000, 500_002))
    assert some.compute().notnull().all()


def test_seeds_repeat_and_differ():
    first, same = cell_experiment(n_scans=5, seed=1), cell_experiment(n_scans=5, seed=1)
    xr.testing.assert_identical(first["scans"].to_dataset(), same["scans"].to_dataset())
    other = cell_experiment(n_scans=5, seed=2)
    assert (first["scans"].absorption != other["scans"].absorption).mean() > 0.9
    xr.testing.assert_equal(first["truth"].ratios, other["truth"].ratios)


def test_clocks_differ_as_asked():
    plain = cell_experiment(n_scans=20, clock=(0, 0))
    shifted = cell_experiment(n_scans=20, clock=(-12.5, 100))
    began = plain["echem"].time.values[0]
    xr.testing.assert_equal(plain["truth"].ratios, shifted["truth"].ratios)
    truth = shifted["truth"]
    clock = Clock(float(truth.clock_offset), float(truth.clock_drift), str(began))
    cycler = clock.to_cycler(shifted["scans"].time.values)
    late = (cycler - plain["scans"].time.values) / np.timedelta64(1, "s")
    np.testing.assert_allclose(late, 0, atol=1e-6)
    assert shifted["scans"].time[0] > plain["scans"].time[0]


@pytest.mark.parametrize("kind", KINDS)
def test_truth_is_what_joining_finds(kind):
    experiment = cell_experiment(
        kind=kind, n_scans=400, clock=(-60.0, 0.0), exposure=120.0
    )
    record = experiment["echem"].to_dataset()
    scans, truth = experiment["scans"].to_dataset(), experiment["truth"]
    clock = fit_clock(record, scans.monitor_voltage)
    assert clock.offset_s == pytest.approx(-60, abs=5 * clock.offset_error)
    joined = join(
        record,
        scans,
        clock=Clock(-60.0),
        formula=record.formula,
        mass=record.mass,
    )
    # At the middle of the exposure, against the mean over it.
    apart = joined.li_content.values - truth.li_content.values
    steady = ~joined.crosses_reversal.values
    assert abs(apart[steady]).max() < 2e-3
    assert np.median(abs(apart)) < 1e-4


def test_monitor_reads_the_voltage_of_its_moment(experiment):
    record, scans = experiment["echem"], experiment["scans"]
    begin = scans.time.values - np.timedelta64(37_400, "ms") - record.time.values[0]
    voltage = np.interp(
        begin / np.timedelta64(1, "s"), record.test_time, record.voltage
    )
    residual = scans.monitor_voltage.values - voltage
    assert residual.std() == pytest.approx(2e-3, rel=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_files_come_back_through_the_readers(kind, tmp_path):
    experiment = cell_experiment(kind=kind, n_scans=12, chunks=5)
    folder = write_cell_experiment(
        experiment, tmp_path / "run", timezone="Europe/Paris"
    )
    record = batteryxr.read_cycler(folder / "cell.mpt", timezone="Europe/Paris")
    truth = experiment["echem"].to_dataset()
    for name in ("voltage", "current", "capacity", "cycle", "step"):
        np.testing.assert_allclose(record[name], truth[name], atol=1e-6)
    late = record.time.values - truth.time.values
    assert abs(late).max() < np.timedelta64(1, "us")
    scans = batteryxr.read_series(folder / "scans", timezone="Europe/Paris")
    pattern = experiment["scans"][KINDS[kind]]
    assert scans.dims == pattern.dims
    np.testing.assert_allclose(scans, pattern, atol=1e-6)
    late = scans.time.values - experiment["scans"].time.values
    assert abs(late).max() < np.timedelta64(1, "ms")
    np.testing.assert_allclose(scans.exposure, 60)


def test_battery_data_format_comes_back(tmp_path):
    pytest.importorskip("batteryxr.io.cycler.bdf")
    experiment = cell_experiment(n_scans=2)
    folder = write_cell_experiment(experiment, tmp_path, format="bdf")
    record = batteryxr.read_cycler(folder / "cell.bdf.csv")
    truth = experiment["echem"].to_dataset()
    np.testing.assert_allclose(record.voltage, truth.voltage, atol=1e-7)
    np.testing.assert_allclose(record.current, truth.current, atol=1e-7)
    late = record.time.values - truth.time.values
    assert abs(late).max() < np.timedelta64(1, "ms")


def test_everything_is_labelled_and_stored(experiment, tmp_path):
    for group in ("echem", "scans", "truth"):
        for name, variable in experiment[group].variables.items():
            assert "long_name" in variable.attrs, name
            if variable.dtype.kind != "M":
                assert "units" in variable.attrs, name
    batteryxr.save(experiment, tmp_path / "run.zarr")
    back = batteryxr.open_store(tmp_path / "run.zarr")
    np.testing.assert_array_equal(back["truth"].ratios, experiment["truth"].ratios)
    pytest.importorskip("netCDF4")
    record = experiment["echem"].to_dataset()
    record.to_netcdf(tmp_path / "run.nc")
    with xr.open_dataset(tmp_path / "run.nc") as read:
        xr.testing.assert_equal(read.load(), record)


def test_replay_makes_it_again():
    tree = cell_experiment(kind="pdf", n_scans=4, seed=9)
    again = batteryxr.replay(tree, "pdf")
    xr.testing.assert_identical(again["scans"].to_dataset(), tree["scans"].to_dataset())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "raman"}, "'xanes' or 'pdf'"),
        ({"n_cycles": 0}, "n_cycles=0"),
        ({"n_scans": 2.5}, "n_scans=2.5"),
        ({"mass": 0}, "mass=0"),
        ({"c_rate": -1}, "c_rate=-1"),
        ({"n_scans": 100, "exposure": 1e5}, "at most"),
        ({"c_rate": 20.0}, "passes its intermediate phase"),
        ({"noise": -1}, "noise=-1"),
        ({"noise": 1e-12}, "0, or a number"),
        ({"chunks": -5}, "chunks=-5"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"start": "yesterday"}, "a date and time"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        cell_experiment(**arguments)


def test_files_are_not_overwritten(tmp_path):
    experiment = cell_experiment(n_scans=2)
    write_cell_experiment(experiment, tmp_path)
    with pytest.raises(ArgumentError, match="without 'scans'"):
        write_cell_experiment(experiment, tmp_path)
    with pytest.raises(ArgumentError, match="'mpt' or 'bdf'"):
        write_cell_experiment(experiment, tmp_path / "a", format="xls")
    with pytest.raises(ArgumentError, match="a zone such as"):
        write_cell_experiment(experiment, tmp_path / "b", timezone="Mars")
