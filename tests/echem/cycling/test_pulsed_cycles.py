"""Half cycles with pulses, impedance, titrations and profiles in them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataQualityWarning, VariableError
from batteryxr.echem import Counting, cycles, dqdv, dvdq, half_cycles, join

CELL = 2.0  # mA h


class Cell:
    """A cell that keeps its charge, on a cycler that logs the ends of each step."""

    def __init__(self, soc: float = 0.0, every: float = 20.0):
        self.q, self.t, self.every = soc * CELL, 0.0, every
        self.rows: list[tuple[float, float, float, int, int]] = []
        self.step, self.cycle = 0, 1

    def go(self, current: float, seconds: float) -> Cell:
        self.step += 1
        n = max(int(np.ceil(seconds / self.every)), 2)
        for s in np.linspace(0, seconds, n + 1):
            q = self.q + current * s / 3600
            volts = 3.0 + 1.2 * q / CELL + 0.02 * np.tanh(3 * current)
            self.rows.append((self.t + s, volts, current, self.step, self.cycle))
        self.q, self.t = self.q + current * seconds / 3600, self.t + seconds
        return self

    def to(self, soc: float, current: float = 1.0) -> Cell:
        move = soc * CELL - self.q
        return self.go(np.sign(move) * current, abs(move) / current * 3600)

    def rest(self, seconds: float = 60.0) -> Cell:
        return self.go(0.0, seconds)

    def pulse(self, *currents: float, seconds: float = 10.0) -> Cell:
        for current in currents:
            self.go(current, seconds).rest(40.0)
        return self

    def record(self) -> xr.Dataset:
        t, v, i, step, cycle = (np.array(x) for x in zip(*self.rows, strict=True))
        start = np.datetime64("2026-01-01", "ns")
        units = (("voltage", v, "V"), ("current", i, "mA"))
        return xr.Dataset(
            {name: ("record", x, {"units": u}) for name, x, u in units}
            | {"step": ("record", step), "cycle": ("record", cycle)},
            {
                "test_time": ("record", t, {"units": "s"}),
                "time": ("record", start + np.rint(t * 1e9).astype("m8[ns]")),
            },
        )


def one_pulse(cell: Cell) -> None:
    cell.to(0.5).rest().pulse(-2.0).to(0.9).rest().to(0.4).pulse(2.0).to(0.0).rest()


def hybrid_pulses(cell: Cell) -> None:
    cell.to(1.0).rest()
    for soc in np.arange(0.95, 0.01, -0.05):
        cell.to(soc, 2.0).rest().pulse(-8.0, 6.0)
    cell.to(0.0).rest()


def titration_with_pulses(cell: Cell) -> None:
    for soc in np.arange(0.04, 1.001, 0.04):
        cell.to(soc).rest(300.0).go(-0.8, 30).rest(300.0)
    cell.to(1.0)
    for soc in np.arange(0.96, -0.001, -0.04):
        cell.to(soc).rest(300.0).go(0.8, 30).rest(300.0)
    cell.to(0.0)


def impedance(cell: Cell) -> None:
    for soc in (0.3, 0.6, 1.0, 0.5, 0.0):
        cell.to(soc).rest()
        for k in range(60):
            cell.go(0.3 * (-1) ** k, 12)


def regeneration_at_ends(cell: Cell) -> None:
    cell.to(1.0).pulse(-4.0, 4.0).rest().pulse(-4.0, 4.0).to(0.5)
    cell.pulse(4.0, -4.0).to(0.0).pulse(4.0, -4.0).rest()


def first_and_last(cell: Cell) -> None:
    cell.rest().pulse(-3.0, 3.0, seconds=20).to(1.0).to(0.0).pulse(3.0, seconds=20)
    cell.pulse(-3.0, seconds=20)


RUNS = [
    one_pulse,
    hybrid_pulses,
    titration_with_pulses,
    impedance,
    regeneration_at_ends,
    first_and_last,
]


@pytest.mark.parametrize("run", RUNS)
def test_pulses_end_no_half_cycle_and_lose_no_charge(run):
    cell = Cell()
    run(cell)
    found = half_cycles(cell.record())
    assert found.direction.values.tolist() == ["charge", "discharge"]
    assert (found.pulses > 0).any()
    assert ((found.flag.values & 64 > 0) == (found.pulses.values > 0)).all()
    paired = cycles(cell.record(), electrode="cathode", first="charge")
    assert paired.coulombic_efficiency.values == pytest.approx([1.0], abs=1e-3)


@pytest.mark.parametrize("only_row", [False, True])
@pytest.mark.parametrize("pulses", [(-2.0,), (2.0,), (-3.0, 2.0), (2.0, -3.0)])
def test_a_pulse_is_of_the_half_cycle_before_the_rest(pulses, only_row):
    """A pulse the way of what follows counts before the rest, at the end as well."""
    cell = Cell().rest()
    for soc in (1.0, 0.0, 1.0, 0.0):
        cell.to(soc).rest().pulse(*pulses).rest()
    record = cell.record()
    if only_row:  # a counter tells what a pulse of one row passed
        current = record["current"].values
        step = np.diff(record["test_time"].values, prepend=0.0)
        counter = np.cumsum(current * step) / 3600
        record["capacity"] = ("record", counter, {"units": "mA h"})
        number, rows = record["step"].values, np.arange(current.size)
        first = np.append(True, np.diff(number) != 0)
        short = np.bincount(number)[number] <= 3
        record = record.isel(record=~(short & (current != 0)) | np.roll(first, 1))
        assert rows.size > record.sizes["record"]
    passed = half_cycles(record).capacity.values
    # The first charge had no pulse before it.
    assert passed[1:] == pytest.approx([passed[1]] * 3, rel=1e-4)
    assert passed[0] + passed[2] - passed[1] - passed[3] == pytest.approx(
        cell.q, abs=1e-4
    )
    if len(pulses) == 1 and pulses[0] < 0:
        assert passed[0] == pytest.approx(CELL + 10.0 * pulses[0] / 3600, rel=1e-4)


@pytest.mark.parametrize("run", RUNS)
def test_join_agrees_with_the_half_cycles(run):
    cell = Cell()
    run(cell)
    record = cell.record()
    halves = half_cycles(record)
    # Just before the last row under current of each.
    time = halves.time_end.values - np.timedelta64(1, "ms")
    scans = xr.Dataset(
        {"a": ("scan", np.zeros(time.size))},
        {"time": ("scan", time), "exposure": ("scan", 0 * np.ones(time.size))},
    )
    scans["exposure"].attrs["units"] = "s"
    found = join(record, scans)
    assert found.half_cycle.values.tolist() == [1, 2]
    assert found.cycle.values.tolist() == [1, 1]
    np.testing.assert_allclose(found.capacity, halves.capacity, rtol=1e-4)


@pytest.mark.parametrize("run", RUNS)
def test_areas_of_differential_curves_are_the_net_capacity(run):
    cell = Cell()
    run(cell)
    record = cell.record()
    halves = half_cycles(record)
    curve = dqdv(record)
    area = curve.dqdv.sum("voltage") * curve.attrs["bin"]
    np.testing.assert_allclose(area, halves.capacity, rtol=1e-9)
    assert np.isfinite(dvdq(record).dvdq).any("capacity").all()


@pytest.mark.parametrize("pulses", [(0.6,), (2.0, -1.5), (2.0, -1.5, 1.0)])
@pytest.mark.parametrize("by", ["current", "step", "cycle"])
def test_pulses_behind_the_last_half_cycle_are_no_cycle(by, pulses):
    cell = Cell()
    for cell.cycle in (1, 2, 3):
        cell.to(1.0).rest().to(0.0).rest()
    cell.pulse(*pulses)
    paired = cycles(
        cell.record(), electrode="cathode", first="charge", counting=Counting(by=by)
    )
    assert paired.coulombic_efficiency.values == pytest.approx([1, 1, 1], abs=4e-3)
    assert paired.complete.all()


def test_pulses_before_the_first_half_cycle_are_no_cycle():
    cell = Cell(soc=0.5).pulse(-1.0, 1.5).to(0.0).rest().to(1.0).to(0.0).rest()
    found = half_cycles(cell.record())
    assert found.direction.values.tolist() == ["discharge", "charge", "discharge"]


def test_small_cycles_at_the_end_stay_cycles():
    cell = Cell()
    for soc in (1.0, 1.0, 0.03, 0.03, 0.03):
        cell.to(soc).rest().to(0.0).rest()
    assert half_cycles(cell.record()).sizes["half_cycle"] == 10


def test_each_pulse_is_listed():
    cell = Cell().to(0.5).rest()
    begin = len(cell.rows)
    cell.pulse(-2.0).to(1.0).to(0.0)
    found = half_cycles(cell.record())
    assert found.pulses.values.tolist() == [1, 0]
    np.testing.assert_allclose(found.pulse_charge, [20 / 3600, 0])
    assert found.pulse_half_cycle.values.tolist() == [1]
    assert found.pulse_first_record.values.tolist() == [begin]
    assert cell.rows[int(found.pulse_last_record[0])][2] == -2.0
    np.testing.assert_allclose(found.pulse_capacity, [-20 / 3600])
    np.testing.assert_allclose(found.capacity, [CELL, CELL])


def test_min_charge_of_zero_keeps_every_reversal():
    cell = Cell()
    one_pulse(cell)
    found = half_cycles(cell.record(), counting=Counting(min_charge=0.0))
    assert found.sizes["half_cycle"] == 6
    assert found.pulses.sum() == 0


@pytest.mark.parametrize("small", [[0.05, 0.3], [0.03], [0.1, 0.1, 0.1]])
def test_a_small_formation_stays_cycles(small):
    cell = Cell()
    for soc in (*small, 1.0, 1.0):
        cell.to(soc).rest().to(0.0).rest()
    found = half_cycles(cell.record())
    assert found.sizes["half_cycle"] == 2 * (len(small) + 2)
    wanted = np.repeat([*small, 1.0, 1.0], 2) * CELL
    np.testing.assert_allclose(found.capacity, wanted)


def test_cycles_that_creep_stay_cycles():
    # The counter of the cell runs away by 1 % in each of 400 cycles.
    cell = Cell(every=900.0)
    for _ in range(400):
        cell.go(1.0, 3600).go(-0.99, 3600)
    found = half_cycles(cell.record())
    assert found.sizes["half_cycle"] == 800
    assert found.pulses.sum() == 0


def test_a_half_cycle_that_has_just_begun_is_one():
    record = Cell().to(1.0).rest().go(-1.0, 30.0).record()
    found = half_cycles(record)
    assert found.direction.values.tolist() == ["charge", "discharge"]


def test_pulses_before_a_half_cycle_that_has_just_begun_are_none():
    cell = Cell().to(1.0).rest().to(0.0).rest()
    cell.pulse(2.0, -1.5).go(2.0, 10.0)
    found = half_cycles(cell.record())
    assert found.direction.values.tolist() == ["charge", "discharge", "charge"]
    np.testing.assert_allclose(found.capacity[:1], CELL)
    assert found.pulses.values.tolist()[1] > 0
    assert found.flag[2] & 2  # ends part way
    cell.go(-1.5, 10.0)  # goes on as the discharge did
    found = half_cycles(cell.record())
    assert found.direction.values.tolist() == ["charge", "discharge"]


@pytest.mark.parametrize("seconds", [2.0, 10.0, 60.0])
def test_a_record_that_ends_in_a_pulse_has_no_whole_cycle_of_it(seconds):
    for cell in (Cell().to(0.5).rest(), Cell().to(1.0).to(0.0).to(0.5)):
        record = cell.go(-2.0, seconds).record()
        paired = cycles(record, electrode="cathode", first="charge")
        assert not paired.complete[-1]
        assert np.isnan(paired.coulombic_efficiency[-1])
        assert half_cycles(record).flag[-1] & 2  # ends part way


@pytest.mark.parametrize("small", [0.015, 0.01, 0.003])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_small_cycles_that_the_cycler_counts_are_told(small, place):
    cell = Cell()
    for soc in np.insert([1.0, 1.0], place, small):
        cell.to(soc).rest().to(0.0).rest()
        cell.cycle += 1
    with pytest.warns(DataQualityWarning, match="1 reversals may be small cycles"):
        merged = half_cycles(cell.record())
    assert merged.sizes["half_cycle"] == 4
    assert merged.flag.values.tolist().count(64) == 1
    few = Counting(min_charge=small / 2)
    for counting in (few, Counting(by="cycle")):
        assert half_cycles(cell.record(), counting=counting).sizes["half_cycle"] == 6


def test_small_cycles_through_the_window_are_told():
    """A cell that lost nearly all its capacity still moves through its voltages."""
    record = Cell().to(0.01).rest().to(0.0).rest().to(1.0).to(0.0).record()
    up = np.linspace(3.0, 4.2, 5)
    record["voltage"][:14] = np.concatenate([up, np.full(4, 4.2), up[::-1]])
    with pytest.warns(DataQualityWarning, match=r"min_charge=0.005\), or by='cycle'"):
        half_cycles(record)


def test_steps_of_the_cycler_are_followed():
    # A profile within one step reverses by half of what it passes.
    cell = Cell()
    cell.to(1.0).rest()
    step = cell.step + 1
    while cell.q > 0.1:
        cell.step = step - 1
        cell.go(-1.0, 600)
        cell.step = step - 1
        cell.go(0.5, 600)
    record = cell.rest().record()
    assert half_cycles(record).sizes["half_cycle"] > 2
    found = half_cycles(record, counting=Counting(by="step"))
    assert found.direction.values.tolist() == ["charge", "discharge"]
    np.testing.assert_allclose(found.capacity, [CELL, CELL - cell.q], rtol=1e-9)
    curve = dqdv(record, counting=Counting(by="step"))
    area = curve.dqdv.sum("voltage") * curve.attrs["bin"]
    np.testing.assert_allclose(area, found.capacity, rtol=1e-9)


def test_cycles_of_the_cycler_are_followed():
    cell = Cell()
    for cycle, soc in enumerate((0.05, 1.0, 1.0), 1):
        cell.cycle = cycle
        cell.rest().to(0.6 * soc).to(0.3 * soc).to(soc).rest().to(0.0)
    record = cell.record()
    found = half_cycles(record, counting=Counting(by="cycle"))
    assert found.direction.values.tolist() == ["charge", "discharge"] * 3
    np.testing.assert_allclose(found.capacity, np.repeat([0.05, 1, 1], 2) * CELL)
    paired = cycles(
        record, electrode="full", first="charge", counting=Counting(by="cycle")
    )
    assert paired.charge_half_cycle.values.tolist() == [1, 3, 5]
    chunked = half_cycles(record.chunk(record=31), counting=Counting(by="cycle"))
    np.testing.assert_array_equal(chunked.capacity, found.capacity)


def test_what_is_followed_must_be_there():
    record = Cell().to(1.0).record().drop_vars("step")
    with pytest.raises(VariableError, match="step"):
        half_cycles(record, counting=Counting(by="step"))
    with pytest.raises(ArgumentError, match=r"min_charge=0\.7"):
        half_cycles(record, counting=Counting(min_charge=0.7))
    with pytest.raises(ArgumentError, match="max_gap=0"):
        Counting(max_gap=0)
    with pytest.raises(ArgumentError, match="by='stage'"):
        Counting(by="stage")


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(k, marks=pytest.mark.long) for k in range(2, 12))]
)
def test_random_pulses_leave_two_half_cycles(seed):
    rng = np.random.default_rng(seed)
    cell = Cell(0.1)
    level = 0.1
    for sign in (1, -1):
        while 0.12 <= level + sign * 0.05 <= 0.9:
            level += sign * rng.uniform(0.01, 0.05)
            cell.to(level).rest()
            if rng.random() < 0.7:
                seconds = rng.uniform(1, 60)
                cell.go(-sign * rng.uniform(0.1, 1.5), seconds).rest()
    cell.to(0.1)
    record = cell.record()
    found = half_cycles(record)
    assert found.direction.values.tolist() == ["charge", "discharge"]
    moved = found.capacity.values
    assert moved[1] / moved[0] == pytest.approx(1.0, abs=1e-3)
    lazy = half_cycles(record.chunk(record=13))
    for name in found.variables:
        np.testing.assert_array_equal(found[name], lazy[name], err_msg=str(name))


def test_half_cycles_of_a_drive_profile_are_told(make_record):
    rng = np.random.default_rng(0)
    drive = -0.5 + np.repeat(rng.normal(0, 2, 300), 20)
    current = np.concatenate([np.full(3600, 1.0), drive, np.full(3600, -0.05)])
    charge = np.cumsum(current) / 3600
    record = make_record(np.arange(current.size), 3.2 + 0.9 * charge, current)
    with pytest.warns(DataQualityWarning, match="as a drive profile makes them"):
        found = half_cycles(record)
    short = (found.flag & 1024) > 0
    assert short.sum() > 20
    assert (found.capacity[short] < 0.1).all()
    assert not short[0]
    with pytest.warns(DataQualityWarning, match="as a drive profile makes them"):
        cycles(record, electrode="full", first="charge")
