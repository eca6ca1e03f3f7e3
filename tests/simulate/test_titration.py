"""The simulated titration: its physics, its laziness, its errors."""

from __future__ import annotations

import warnings
from dataclasses import replace

import dask
import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, DataQualityWarning
from batteryxr.simulate import Electrode, Titration, titration

SHORT = {
    "protocol": Titration(n_pulses=5, pulse=60.0, rest=600.0, rest_rows=30),
    "electrode": Electrode(tau=2e3),
}


def test_long_rest_ends_at_the_true_equilibrium():
    record, truth = titration.gitt(
        protocol=Titration(n_pulses=3, pulse=100.0, rest=3600.0, open_circuit=0.0),
        electrode=Electrode(tau=500.0),
        noise=0.0,
    )
    at_rest = np.flatnonzero(record["current"].values == 0)
    ends = at_rest[np.append(np.diff(at_rest) > 1, True)]
    np.testing.assert_allclose(
        record["voltage"].values[ends], truth["equilibrium_voltage"], atol=1e-9
    )
    passed = np.trapezoid(record["current"], record["test_time"]) / 3600
    assert passed == pytest.approx(3 * 0.05 * 100 / 3600, rel=1e-3)


@pytest.mark.parametrize("geometry, limit", [("sphere", 1 / 15), ("planar", 1 / 3)])
def test_excess_tends_to_its_limit_and_is_continuous(geometry, limit):
    theta = np.array([-1.0, 1e-3 - 1e-9, 1e-3, 50.0])
    value = titration.surface_excess(theta, geometry)
    assert value[0] == 0
    assert value[1] == pytest.approx(value[2], rel=1e-5)
    assert value[3] == pytest.approx(limit)


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_lazy_equals_eager(no_compute, chunks):
    short = SHORT | {"protocol": replace(SHORT["protocol"], leakage=1e-6)}
    eager, truth = titration.gitt(**short, seed=3)
    with no_compute():
        lazy, same = titration.gitt(**short, seed=3, chunks=chunks)
    assert same.identical(truth)
    assert lazy.compute().identical(eager)
    assert lazy.compute().identical(eager)  # computing twice draws the same noise
    assert lazy.sizes == eager.sizes


def test_a_long_titration_costs_nothing_until_asked():
    with dask.config.set(scheduler="synchronous"):
        record, _ = titration.gitt(
            protocol=Titration(n_pulses=400, pulse=100.0, rest=1e3),
            electrode=Electrode(x0=0.9, capacity_per_li=1.0),
            chunks=10,
        )
        assert record.sizes["record"] == 6 + 400 * (104 + 280)
        part = record.isel(record=slice(0, 50)).compute()
    assert np.isfinite(part["voltage"]).all()


def test_noise_and_leakage_are_what_was_asked_for():
    quiet, _ = titration.gitt(**SHORT, noise=0.0)
    leaking = SHORT | {"protocol": replace(SHORT["protocol"], leakage=1e-6)}
    noisy, _ = titration.gitt(**leaking, noise=1e-4, seed=1)
    difference = (noisy["voltage"] - quiet["voltage"]).values
    assert difference.std() == pytest.approx(1e-4, rel=0.1)
    assert 0 < np.abs(noisy["current"] - quiet["current"]).max() <= 1e-6


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"protocol": "GITT"}, "protocol"),
        ({"protocol": Titration(n_pulses=400)}, "n_pulses"),
        ({"seed": -1}, "seed"),
    ],
)
def test_errors_name_the_argument(arguments, name):
    with pytest.raises(ArgumentError, match=f"^{name}="):
        titration.gitt(**arguments)


@pytest.mark.parametrize(
    "fields, name", [({"pulse": 0.0}, "pulse"), ({"n_pulses": 0}, "n_pulses")]
)
def test_protocols_that_cannot_be_are_refused(fields, name):
    with pytest.raises(ArgumentError, match=f"^{name}="):
        Titration(**fields)


@pytest.mark.parametrize(
    "fields, name", [({"tau": -1.0}, "tau"), ({"geometry": "rod"}, "geometry")]
)
def test_electrodes_that_cannot_be_are_refused(fields, name):
    with pytest.raises(ArgumentError, match=f"^{name}="):
        Electrode(**fields)


@pytest.mark.parametrize(
    ("protocol", "electrode", "told"),
    [
        ({}, {"tau": 667.0}, "min.*40020"),
        ({}, {"resistance": 0.4}, "kOhm.*400"),
        ({}, {"resistance": 9e4}, "mOhm.*90"),
        ({}, {"resistance": 0.0}, None),
    ],
)
def test_slips_that_only_the_protocol_shows_are_told(protocol, electrode, told):
    def run():
        chosen = Titration(n_pulses=1, rest_rows=5, interval=60.0, **protocol)
        return titration.gitt(
            protocol=chosen, electrode=Electrode(**electrode), chunks=1
        )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if told is None:
            run()
        else:
            with pytest.raises(DataQualityWarning, match=told):
                run()


def test_a_current_in_microamperes_is_named():
    with pytest.raises(ArgumentError, match="current=50 in uA"):
        titration.gitt(protocol=Titration(current=50.0))
