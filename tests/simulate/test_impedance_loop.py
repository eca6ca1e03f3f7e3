"""A simulated loop says what its truth says, and goes through files and back."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import ArgumentError, DataQualityWarning
from batteryxr.simulate import impedance_loop, write_impedance_loop


def by_hand(truth, f):
    s = 2j * np.pi * f
    value = {n: float(v) for n, v in truth.items()}
    arc = 1 / (1 / value["R1"] + value["CPE1_Q"] * s ** value["CPE1_n"])
    warburg = value["W1"] * (1 - 1j) / np.sqrt(2 * np.pi * f)
    return value["L0"] * s + value["R0"] + arc + warburg


def test_spectra_are_those_of_the_truth():
    loop = impedance_loop(n_scans=4, noise=0.0)
    spectra, truth = loop["impedance"].to_dataset(), loop["truth"].to_dataset()
    for k in range(4):
        one = spectra["impedance"].isel(spectrum=k).dropna("frequency")
        np.testing.assert_allclose(
            one, by_hand(truth.isel(spectrum=k), one["frequency"].values)
        )
    lists = np.isfinite(spectra["impedance"].values).sum(axis=1)
    assert lists.tolist() == [43, 39, 43, 39]
    assert impedance_loop(seed=1)["echem"].identical(impedance_loop(seed=1)["echem"])


def test_noise_drift_and_outliers():
    still = impedance_loop(n_scans=4, noise=0.0)["impedance"]["impedance"].values
    noisy = impedance_loop(n_scans=4, noise=0.01)["impedance"]["impedance"].values
    there = np.isfinite(still)
    off = (noisy[there] - still[there]) / np.abs(still[there])
    assert np.nanstd(off.real) == pytest.approx(0.01, rel=0.2)
    grown = impedance_loop(n_scans=4, noise=0.0, drift=0.1)["impedance"]["impedance"]
    # From high to low frequency: only at the end R1 has grown by a tenth.
    added = np.abs(grown.values - still)
    assert np.nanmax(added[:, -5:]) < 0.02
    assert np.nanmax(added[:, :5]) > 0.5
    out = impedance_loop(n_scans=4, noise=0.0, fraction=0.1)["impedance"]["impedance"]
    share = (np.abs(out.values - still) > 0.2 * np.abs(still)).sum() / np.isfinite(
        still
    ).sum()
    assert 0.02 < share < 0.25


def test_files_come_back_as_they_were(tmp_path):
    loop = impedance_loop(n_scans=6, seed=3)
    folder = write_impedance_loop(loop, tmp_path / "run")
    spectra = batteryxr.read_impedance(folder, timezone="Europe/Paris")
    expected = loop["impedance"].to_dataset()
    np.testing.assert_allclose(spectra["impedance"], expected["impedance"], rtol=1e-8)
    np.testing.assert_allclose(spectra["point_time"], expected["point_time"], atol=1e-4)
    apart = spectra["time"].values - expected["time"].values
    assert np.abs(apart).max() < np.timedelta64(2, "ms")
    with pytest.warns(DataQualityWarning, match="impedance"):
        record = batteryxr.read_cycler(folder, timezone="Europe/Paris")
    assert record.sizes["record"] == loop["echem"].sizes["record"]
    assert np.unique(record["file"]).size == 6  # each spectrum ends a piece
    with pytest.raises(ArgumentError, match="timezone"):
        write_impedance_loop(loop, tmp_path, timezone="Atlantis")


def test_a_tree_that_is_no_loop_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="impedance_loop"):
        write_impedance_loop(xr.DataTree(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
