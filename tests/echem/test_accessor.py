"""What `.echem` offers depends on what it is asked of."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import simulate
from batteryxr.echem.record import net_charge

RECORD = {"half_cycles", "cycles", "steps", "dqdv", "dvdq", "gitt", "pulse_fit"}


def offered(data):
    return set(dir(data.echem)), set(dir(data.echem.plot))


def test_a_record_offers_what_starts_from_rows(make_cycled):
    record = make_cycled(2)
    methods, plots = offered(record)
    assert methods >= RECORD
    assert not methods & {"peaks", "rate", "states", "panel", "join", "fit_clock"}
    assert plots == {"voltage_profile", "lithiation"}
    clock = np.datetime64("2024-03-01", "ns") + np.arange(record.sizes["record"])
    methods, plots = offered(record.assign_coords(time=("record", clock)))
    assert methods >= {"join", "fit_clock"}
    assert "operando" in plots


def test_results_have_contents_of_their_own(make_cycled):
    record = make_cycled(2)
    cycles = record.echem.cycles(electrode="cathode", first="charge")
    assert offered(cycles) == ({"rate", "plot"}, {"cycles"})
    assert offered(cycles.echem.rate())[1] == {"rate"}
    dqdv = record.echem.dqdv()
    wanted = {"peaks", "fit_peaks", "turning_point", "plot"}
    assert offered(dqdv) == (wanted, {"dqdv"})
    halves = record.echem.half_cycles()
    assert offered(halves)[0] == {"utilisation", "extra_capacity"}
    titration, _ = simulate.gitt(
        protocol=simulate.Titration(n_pulses=3, pulse=60.0, rest=600.0, rest_rows=20)
    )
    found = titration.echem.gitt(settled=1.0)
    methods, plots = offered(found)
    assert methods >= {"equilibrium_hysteresis", "plot"}
    assert not methods & (RECORD | {"peaks", "rate", "states"})
    assert plots == {"gitt", "time_constants"}


def test_scans_offer_states_once_they_are_joined():
    tree = simulate.cell_experiment(seed=2, n_scans=5)
    record, scans = tree["echem"].to_dataset(), tree["scans"].to_dataset()
    assert offered(scans) == (set(), set())
    joined = record.echem.join(scans)
    assert offered(joined)[0] >= {"states", "panel", "plot"}
    series = joined[next(iter(scans.data_vars))]
    assert offered(series) == ({"states", "panel", "plot"}, {"with_voltage"})


def test_what_is_not_offered_says_what_is_missing():
    with pytest.raises(ValueError, match="cycle"):
        xr.Dataset().echem.plot.cycles()


def locked(values):
    values = values.copy()
    values.flags.writeable = False
    return values


ARRAYS = {
    "locked": locked,
    "strided": lambda values: np.repeat(values, 2)[::2],
    "of another processor": lambda values: values.astype(values.dtype.newbyteorder()),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_as_libraries_give_them_are_no_new_kind_for_kernels(make_cycled, kind):
    from batteryxr.echem.kernels import segments
    from batteryxr.echem.kernels.record import _increments

    record = make_cycled(2)
    kernels = (segments.walk, segments._largest_bits, _increments)

    def kernels_seen():
        return [len(kernel.signatures) for kernel in kernels]

    cycles = record.echem.cycles(electrode="cathode", first="charge")
    charge = net_charge(record, caller="a test")
    seen = kernels_seen()
    names = ("voltage", "current", "test_time")
    other = record.assign(
        {
            name: record[name].copy(data=ARRAYS[kind](record[name].values))
            for name in names
        }
    )
    xr.testing.assert_allclose(
        other.echem.cycles(electrode="cathode", first="charge"), cycles
    )
    xr.testing.assert_allclose(net_charge(other, caller="a test"), charge)
    assert kernels_seen() == seen
    assert segments.largest(other["current"].values) == segments.largest(
        record["current"].values
    )
