"""What a cell can show and what it cannot, and spectra that drift."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataError, DataQualityWarning
from batteryxr.echem import correct_drift, drt, kramers_kronig
from batteryxr.simulate import impedance_loop

sys.path.insert(0, str(Path(__file__).parent))
from cells import F, labelled, noisy, s, warburg, zarc


def cell(r1=10.0):
    return 2 + zarc(r1, 1e-4, 0.9) + zarc(8.0, 1e-2, 0.85) + warburg(3.0)


@pytest.mark.parametrize("noise", [1e-6, 0.002, 0.005])
def test_a_sound_spectrum_passes_and_its_residuals_are_its_noise(noise):
    found = kramers_kronig(labelled(noisy(np.stack([cell()] * 40), noise, 0)))
    assert (found["kk_flag"] == 0).all()
    if noise > 1e-4:
        # Each part has the noise; the chain takes a tenth of it.
        share = found["misfit"].values / (noise * 2**0.5)
        assert 0.8 < share.mean() < 1.05
        assert (found["n_components"] < 30).all()
    assert found["residual"].dims == ("spectrum", "frequency")


def test_noise_is_called_noise():
    found = kramers_kronig(labelled(noisy(np.stack([cell()] * 20), 0.02, 1)))
    assert (found["kk_flag"] == 8).mean() > 0.9


def test_one_point_far_out_of_the_others_is_told():
    z = noisy(np.stack([cell()] * 20), 0.002, 5)
    z[:10, 30] *= 1.05
    found = kramers_kronig(labelled(z))
    assert found["misfit"].max() < 0.01  # that of all points does not tell
    assert found["kk_flag"].values.tolist() == [32] * 10 + [0] * 10


def test_a_resistance_that_grows_in_the_sweep_is_inconsistent():
    # From high to low frequency: a cell grows by four tenths.
    share = np.linspace(1, 0, F.size)
    z = cell() + share * (cell(14.0) - cell())
    found = kramers_kronig(labelled(noisy(np.stack([z] * 20), 0.001, 2)))
    assert (found["kk_flag"] & 1 > 0).all()


def test_a_part_of_the_wrong_sign_is_inconsistent():
    found = kramers_kronig(labelled(np.conj(cell())))
    assert int(found["kk_flag"][0]) & 1


def test_number_of_elements_and_lazy_data():
    z = labelled(noisy(np.stack([cell()] * 4), 0.002, 3))
    z[1, 5:40] = np.nan
    assert (kramers_kronig(z, n_components=9)["n_components"] == 9).all()
    eager, lazy = kramers_kronig(z), kramers_kronig(z.chunk(spectrum=1))
    assert lazy["misfit"].chunks is not None
    xr.testing.assert_allclose(eager, lazy.compute())


def test_lists_that_alternate_and_frequencies_in_any_order_change_no_verdict():
    share = np.linspace(1, 0, F.size)
    z = cell() + share * (cell(14.0) - cell())
    data = labelled(noisy(np.stack([z] * 20), 0.001, 2))
    order = np.random.default_rng(0).permutation(F.size)
    mixed = kramers_kronig(data.isel(frequency=order))
    assert (mixed["kk_flag"] & 1 > 0).all()
    np.testing.assert_allclose(
        mixed["correlation"], kramers_kronig(data)["correlation"], rtol=1e-6
    )
    for k in range(20):
        data[k, k % 2 :: 2] = np.nan
    assert (kramers_kronig(data)["kk_flag"] & 1 > 0).all()


def test_a_chain_longer_than_a_spectrum_is_no_test():
    data = labelled(np.stack([cell()] * 2))
    data[1, 12:] = np.nan
    found = kramers_kronig(data, n_components=11)
    assert found["kk_flag"].values[1] == 4
    assert found["n_components"].values.tolist() == [11, 0]


def test_a_point_of_exactly_nothing_was_not_measured():
    data = labelled(noisy(np.stack([cell()] * 2), 0.002, 3))
    lost, nothing = data.copy(), data.copy()
    lost[0, 7], nothing[0, 7] = np.nan, 0.0
    for method in (kramers_kronig, drt):
        xr.testing.assert_equal(method(lost), method(nothing))


def drifting(n=12, gap=600.0, step=30.0):
    """Return spectra of a cell whose R1 grows evenly with time."""
    begun = np.arange(n) * (gap + step * F.size)
    since = step * (F.size - 1 - np.arange(F.size))  # from high to low
    at = begun[:, None] + since
    z = np.array([[cell(10 + 2e-4 * t)[k] for k, t in enumerate(row)] for row in at])
    times = np.datetime64("2024-01-01", "ns") + (begun * 1e9).astype("m8[ns]")
    data = labelled(z).to_dataset()
    about = {"units": "s"}
    data["point_time"] = ("spectrum", "frequency"), np.tile(since, (n, 1)), about
    return data.assign_coords(time=("spectrum", times)), begun, since


def test_drift_is_told_and_corrected_by_neighbours():
    data, begun, since = drifting()
    told = kramers_kronig(data, threshold=0.005)
    turned = kramers_kronig(data.transpose("frequency", "spectrum"), threshold=0.005)
    np.testing.assert_array_equal(turned["change"], told["change"])
    assert ((told["kk_flag"] & 2) > 0).all()
    # R1 grows by 0.35 ohm in a spectrum; where it is most of the impedance by this.
    assert 0.005 < float(told["change"].max()) < 0.04
    with pytest.warns(DataQualityWarning, match="no neighbour"):
        moved = correct_drift(data, time_reference="middle")
    inner = moved["impedance"].isel(spectrum=slice(1, -1))
    middles = begun + since.max() / 2
    expected = np.array([cell(10 + 2e-4 * t) for t in middles])[1:-1]
    before = np.abs(data["impedance"].values[1:-1] - expected).max()
    assert np.abs(inner.values - expected).max() < 0.05 * before
    shift = (moved["time"].values - data["time"].values) / np.timedelta64(1, "s")
    np.testing.assert_allclose(shift, since.max() / 2)


def test_drift_of_several_cells_is_refused():
    data, _, _ = drifting(3)
    with pytest.raises(DataError, match="also lies along"):
        correct_drift(data.assign(impedance=data["impedance"].expand_dims(cell=2)))


def test_drift_needs_times_that_rise():
    data, _, _ = drifting(3)
    with pytest.raises(DataError, match="rise"):
        correct_drift(data.isel(spectrum=[1, 0, 2]))
    lost = data.assign_coords(time=("spectrum", np.full(3, np.datetime64("NaT", "ns"))))
    with pytest.raises(DataError, match="timezone"):
        correct_drift(lost)
    assert "change" not in kramers_kronig(lost)


def test_drift_is_told_of_what_has_no_further_dimension_and_moves_all_electrodes():
    loop = impedance_loop(n_scans=6, seed=1, drift=0.05)["impedance"].to_dataset()
    with pytest.warns(DataQualityWarning, match="cell"):
        kramers_kronig(loop.expand_dims(cell=["a"]).assign_coords(loop.coords))
    both = loop.assign(impedance_counter=2.0 * loop["impedance"])
    moved = quiet_drift(both)
    np.testing.assert_allclose(moved["impedance_counter"], 2.0 * moved["impedance"])
    assert not np.allclose(moved["impedance"], loop["impedance"], equal_nan=True)


def quiet_drift(spectra):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return correct_drift(spectra)


@pytest.mark.parametrize("noise", [0.001, 0.005])
def test_sharp_processes_and_inductive_tails_raise_no_alarm(noise):
    f = np.logspace(-2, 5, 60)
    x = np.sqrt(s(f) * 30.0)
    cells = [
        3 + 10 / (1 + s(f) * 1e-2),
        3 + 10 / (1 + s(f) * 1e-2) + 5 * (1 - 1j) / np.sqrt(2 * np.pi * f),
        1e-5 * s(f) + 3 + 1 / (0.1 + 1e-4 * s(f) ** 0.85),
        3 + 20 * np.tanh(x) / x,
        3 + 20 / np.sqrt(1 + s(f) * 0.1),
        3 + 10 / (1 + s(f) * 1e-3) + 1 / (0.5 * s(f)),
    ]
    z = np.concatenate([noisy(np.stack([c] * 5), noise, 3) for c in cells])
    test = kramers_kronig(labelled(z, f), threshold=2 * noise)
    assert (test["kk_flag"] == 0).all()


def test_a_drift_that_a_chain_nearly_fits_is_told():
    f = np.logspace(5, -1, 43)
    at = np.cumsum(np.maximum(2.5 / f, 0.25))
    r = 14.0 * (1 + 0.1 * at / at[-1])
    z = 3 + 1 / (1 / r + 2.5e-5 * s(f) ** 0.87) + 3 * (1 - 1j) / np.sqrt(2 * np.pi * f)
    test = kramers_kronig(labelled(noisy(np.stack([z] * 6), 0.001, 2), f))
    assert (test["misfit"] < 0.01).all()
    assert (test["kk_flag"] & 1 > 0).sum() >= 5


SWEEP = np.logspace(5, -1, 43)
TIMES = np.cumsum(np.maximum(2.5 / SWEEP, 0.25))


def swept(growth, noise, n, seed):
    share = TIMES / TIMES[-1]
    z = [3 + zarc(r * (1 + growth * share), 2.5e-5, 0.87, SWEEP) for r in
         np.linspace(8, 25, n)]  # fmt: skip
    z = np.array(z) + 3 * (1 - 1j) / np.sqrt(2 * np.pi * SWEEP) * (1 + growth * share)
    return noisy(z, noise, seed)


def test_a_drift_is_told_in_noise_and_only_where_there_is_one():
    moved = kramers_kronig(labelled(swept(0.1, 0.003, 30, 4), SWEEP))
    assert (moved["kk_flag"] & 2 > 0).mean() > 0.9
    off = abs(moved["drift"] - 0.1)
    assert np.median(off) < 0.03
    still = kramers_kronig(labelled(swept(0.0, 0.003, 100, 5), SWEEP))
    assert (still["kk_flag"] == 0).all()
    inside = abs(still["drift"]) < 1.96 * still["drift_error"]
    assert inside.mean() > 0.9


def test_known_times_tell_which_way_a_drift_goes_and_few_points_tell_none():
    data = labelled(swept(0.1, 0.001, 4, 6), SWEEP)
    for times, sign in ((TIMES, 1), (TIMES[-1] - TIMES, -1)):
        at = xr.DataArray(np.tile(times, (4, 1)), dims=data.dims, attrs={"units": "s"})
        one = xr.Dataset({"impedance": data, "point_time": at})
        found = kramers_kronig(one)
        assert (np.sign(found["drift"]) == sign).all()
        lazy = kramers_kronig(one.chunk(spectrum=2)).compute()
        np.testing.assert_allclose(lazy["drift"], found["drift"], rtol=1e-6)
    assert np.isnan(kramers_kronig(data[:, ::4])["drift"]).all()
    data[1, :32] = np.nan
    data[2] = np.nan
    found = kramers_kronig(data)
    assert np.isnan(found["drift"]).values.tolist() == [False, True, True, False]


@pytest.mark.parametrize(("points", "noise", "flag"), [(7, 0.0, 16), (30, 0.03, 8)])
def test_sparse_points_are_not_called_noisy(points, noise, flag):
    f = np.logspace(4, -1, points)
    z = 5 + 50 / (1 + (s(f) * 0.01) ** 0.85) + 3 / np.sqrt(s(f))
    found = kramers_kronig(labelled(noisy(np.stack([z] * 3), noise, 1), f))
    assert found["kk_flag"].values.tolist() == [flag] * 3
