"""Elements of a fluorescence detector with dead time, counted photon by photon."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import read_series
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning

E = np.arange(6500.0, 6700.0, 2.0)
TAU, SECONDS = 2e-6, 1.0


def true_counts(strength):
    x = E - 6539
    return strength * (
        0.05 + 1 / (1 + np.exp(-x / 2)) + 0.5 * np.exp(-((x - 6) ** 2) / 30)
    )


def written(path, strengths=(2e4, 3e4, 1.5e4, 2.5e4), seed=1, monitor=1e5, broken=None):
    """Write a file as a beamline does; pulses too near one another are lost."""
    rng = np.random.default_rng(seed)
    i0 = monitor * (1 + 0.3 * np.sin(E / 20))
    table, names = [E, i0], ["energy", "i0"]
    for k, strength in enumerate(strengths):
        wanted = true_counts(strength) * i0 / monitor
        whole = 6 * wanted + 2e4  # scattering and other lines
        kept = np.exp(-TAU * whole / SECONDS)
        counts = rng.poisson(wanted * kept)
        if k == broken:
            counts[:] = 17
        table += [counts, whole / SECONDS, whole * kept / SECONDS]
        names += [f"mca{k}", f"icr{k}", f"ocr{k}"]
    header = "# energy (eV)\n#" + "  ".join(names)
    np.savetxt(path, np.column_stack(table), header=header, comments="", fmt="%.6f")
    return path


def scans(path, **options):
    return read_series(
        written(path, **options), axis="energy", columns="all", timezone="UTC"
    )


RATES = {f"mca{k}": (f"icr{k}", f"ocr{k}") for k in range(4)}


def test_lost_counts_come_back_with_their_error(tmp_path):
    pulls = []
    for seed in range(20):
        dataset = scans(tmp_path / "a.dat", seed=seed)
        found = dataset.xanes.sum_elements(columns=RATES, i0="i0")
        truth = sum(true_counts(s) for s in (2e4, 3e4, 1.5e4, 2.5e4)) / 1e5
        pulls.append((found.absorption[0] - truth) / found.absorption_error[0])
        bare = dataset.xanes.sum_elements(columns=dict.fromkeys(RATES), i0="i0")
    spread = np.std(pulls)
    assert 0.95 < spread < 1.05
    assert abs(np.mean(pulls)) < 0.1
    # Without the rates the white line is flattened by a fifth and more.
    assert float((bare.absorption[0] / truth).min()) < 0.8
    assert float(found.dead_time_factor.max()) > 1.25


def test_a_broken_element_and_large_losses_are_told(tmp_path):
    dataset = scans(tmp_path / "a.dat", broken=2)
    with (
        pytest.warns(DataQualityWarning, match="mca2 are unlike"),
        pytest.warns(DataQualityWarning, match="mca2 is stuck"),
    ):
        dataset.xanes.sum_elements(columns=RATES, i0="i0")
    dataset["i0"][0, 3] = 0.0
    with pytest.warns(DataQualityWarning, match="i0 sees no beam"):
        dataset.xanes.sum_elements(columns=RATES, i0="i0")
    dataset = scans(tmp_path / "a.dat", strengths=(5e4, 5e4, 5e4, 5e4))
    with pytest.warns(DataQualityWarning, match="more than half"):
        dataset.xanes.sum_elements(columns=RATES, i0="i0")


def test_what_cannot_be_is_refused(tmp_path):
    dataset = scans(tmp_path / "a.dat")
    turned = {name: (out, into) for name, (into, out) in RATES.items()}
    with pytest.raises(DataError, match="Exchange input and output"):
        dataset.xanes.sum_elements(columns=turned)
    with pytest.raises(ArgumentError, match="mca9"):
        dataset.xanes.sum_elements(columns={"mca9": None})
    with pytest.raises(ArgumentError, match="i0="):
        dataset.xanes.sum_elements(columns=RATES, i0="monitor")
    with pytest.raises(ArgumentError, match="columns="):
        dataset.xanes.sum_elements(columns={})


def test_lazy_stays_lazy_and_dead_rates_are_missing(tmp_path):
    dataset = scans(tmp_path / "a.dat")
    whole = dataset.xanes.sum_elements(columns=RATES)
    lazy = dataset.chunk(energy=25).xanes.sum_elements(columns=RATES)
    assert lazy.intensity.chunks
    np.testing.assert_array_equal(lazy.intensity, whole.intensity)
    dataset["ocr1"][0, 40] = 0
    gap = dataset.xanes.sum_elements(columns=RATES)
    assert np.isnan(gap.intensity[0, 40])
    assert np.isnan(gap.intensity).sum() == 1
    assert isinstance(gap, xr.Dataset)
