"""Distributions of relaxation times against those that are known in closed form."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataQualityWarning
from batteryxr.echem import drt, drt_peaks

sys.path.insert(0, str(Path(__file__).parent))
from cells import labelled, noisy, s, warburg

F = np.logspace(-2, 5, 71)


def zarc(r, tau, n):
    return r / (1 + (s(F) * tau) ** n)


def zarc_gamma(tau, r, tau0, n):
    across = np.cosh(n * np.log(tau / tau0)) - np.cos((1 - n) * np.pi)
    return r / (2 * np.pi) * np.sin((1 - n) * np.pi) / across


def main(peaks):
    """Return place, centre and area of the largest peak of each spectrum."""
    k = peaks["area"].fillna(0).argmax("peak")
    return (peaks[name].isel(peak=k).values for name in ("position", "centre", "area"))


def test_a_zarc_within_two_and_three_per_cent():
    z = noisy(np.stack([2 + zarc(10.0, 1e-2, 0.85)] * 8), 0.001, 0)
    found = drt(labelled(z, F))
    position, centre, area = main(drt_peaks(found))
    assert np.sqrt(np.mean((position / 1e-2 - 1) ** 2)) < 0.02
    assert np.sqrt(np.mean((centre / 1e-2 - 1) ** 2)) < 0.02
    assert np.abs(area / 10 - 1).max() < 0.03
    np.testing.assert_allclose(found["resistance"], 2.0, rtol=0.03)
    true = zarc_gamma(found["tau"].values, 10.0, 1e-2, 0.85)
    inside = (found["gamma_low"] <= true) & (true <= found["gamma_high"])
    assert inside.mean() > 0.95


def skewed(r, tau, n, b):
    return r / (1 + (s(F) * tau) ** n) ** b


def skewed_gamma(tau, r, tau0, n, b):
    """Return the distribution of R/(1 + (jωτ)ⁿ)ᵇ: Im Z beside its cut, over pi."""
    return r / np.pi * ((1 + (-1 / tau - 1e-9j) ** n * tau0**n + 0j) ** -b).imag


@pytest.mark.parametrize("tau", [1e-3, 0.1])
@pytest.mark.parametrize("noise", [0.0005, 0.005])
def test_a_gerischer_within_two_and_three_per_cent(noise, tau):
    z = noisy(np.stack([2 + skewed(10.0, tau, 1, 0.5)] * 8), noise, 1)
    found = drt(labelled(z, F))
    step = np.diff(np.log(found["tau"].values))[0]
    gamma = found["gamma"]
    assert np.abs(gamma.sum("tau").values * step / 10 - 1).max() < 0.03
    peaks = drt_peaks(found)
    assert (peaks["n_peaks"] == 1).all()
    # The distribution is infinite at tau; its mean of ln(tau) is that of tau/4.
    position, centre, area = main(peaks)
    assert np.sqrt(np.mean((position / tau - 1) ** 2)) < 0.02
    assert np.sqrt(np.mean((centre / (tau / 4) - 1) ** 2)) < 0.02
    assert np.abs(area / 10 - 1).max() < 0.03


def test_the_top_of_a_skewed_arc_is_that_of_its_distribution():
    parts = [(10.0, 0.05, 0.9, 0.6), (6.0, 1e-4, 0.9, 1.0)]
    z = noisy(np.stack([2 + sum(skewed(*part) for part in parts)] * 10), 0.001, 5)
    peaks = drt_peaks(drt(labelled(z, F)))
    assert (peaks["n_peaks"] == 2).all()
    fine = np.geomspace(1e-6, 1e2, 200_001)
    inside = []
    for part, k in zip(parts, (1, 0), strict=True):
        top = fine[np.argmax(skewed_gamma(fine, *part))]
        mine = peaks.isel(peak=k)
        assert np.sqrt(np.mean((mine["position"] / top - 1) ** 2)) < 0.02
        assert np.sqrt(np.mean((mine["area"] / part[0] - 1) ** 2)) < 0.03
        for name, true in (("position", top), ("area", part[0])):
            inside += (
                abs(mine[name] - true) < 1.96 * mine[f"{name}_error"]
            ).values.tolist()
    assert np.mean(inside) > 0.85


@pytest.mark.parametrize(
    "method", ["l_curve", "discrepancy", "cross_validation", "evidence"]
)
def test_two_processes_by_each_method(method):
    z = 2 + zarc(10.0, 1e-3, 0.9) + zarc(5.0, 0.3, 0.9) + 1e-6 * s(F)
    found = drt(labelled(noisy(np.stack([z] * 4), 0.002, 2), F), method=method)
    peaks = drt_peaks(found, prominence=0.15)
    np.testing.assert_allclose(peaks["position"][:, 0], 1e-3, rtol=0.15)
    np.testing.assert_allclose(found["polarisation"], 15.0, rtol=0.03)
    np.testing.assert_allclose(found["inductance"], 1e-6, rtol=0.1)
    assert found.attrs["method"] == method
    again = drt(
        labelled(noisy(np.stack([z] * 4), 0.002, 2), F)[:1],
        smoothing=float(found["smoothing"][0]),
    )
    np.testing.assert_allclose(again["gamma"], found["gamma"][:1], atol=1e-6)


def test_peaks_are_followed_while_they_move_and_vanish():
    taus, sizes = np.geomspace(1e-3, 1e-2, 15), np.linspace(4, 12, 15)
    rows = [
        1 + zarc(r, tau, 0.92) + (zarc(6.0, 1.0, 0.92) if k < 9 else 0)
        for k, (tau, r) in enumerate(zip(taus, sizes, strict=True))
    ]
    peaks = drt_peaks(drt(labelled(noisy(np.array(rows), 5e-4, 3), F)))
    np.testing.assert_allclose(peaks["position"][:, 0], taus, rtol=0.1)
    np.testing.assert_allclose(peaks["area"][:, 0], sizes, rtol=0.05)
    assert np.isfinite(peaks["position"][:9, 1]).all()
    assert np.isnan(peaks["position"][9:, 1]).all()


def test_blocking_and_missing_points_and_lazy_data():
    z = 2 + zarc(10.0, 1e-2, 0.9) + 1 / (0.5 * s(F))
    data = labelled(noisy(np.stack([z] * 3), 1e-3, 4), F)
    data[1, ::9] = np.nan
    data[2] = np.nan
    found = drt(data, kind="blocking")
    np.testing.assert_allclose(found["capacitance"][:2], 0.5, rtol=0.03)
    assert np.isnan(found["gamma"][2]).all()
    assert (found["gamma"][:2] >= 0).all()
    lazy = drt(data.chunk(spectrum=1), kind="blocking")
    assert lazy["gamma"].chunks is not None
    xr.testing.assert_allclose(found, lazy.compute())
    assert warburg(1.0).shape


def test_no_spectrum_has_no_distribution():
    data = labelled(np.stack([2 + zarc(10.0, 1e-2, 0.9)] * 2), F)
    found = drt(data[:0])
    assert found["gamma"].sizes == {"spectrum": 0, "tau": drt(data).sizes["tau"]}


def peak_at(peaks, tau):
    """Return position and area of the peak of each spectrum that is nearest."""
    away = abs(np.log(peaks["position"] / tau)).fillna(9.0)
    k = away.argmin("peak")
    return (peaks[name].isel(peak=k).values for name in ("position", "area"))


def test_overlapping_processes_at_half_a_per_cent_of_noise():
    parts = [(10.0, 1e-3, 0.9), (8.0, 0.03, 0.9)]
    z = 2 + sum(zarc(*part) for part in parts)
    found = drt(labelled(noisy(np.stack([z] * 12), 0.005, 6), F))
    peaks = drt_peaks(found)
    assert (peaks["n_peaks"] == 2).all()
    for r, tau, _ in parts:
        position, area = peak_at(peaks, tau)
        assert np.sqrt(np.mean((position / tau - 1) ** 2)) < 0.025
        assert np.sqrt(np.mean((area / r - 1) ** 2)) < 0.03
    np.testing.assert_allclose(
        peaks["area"].sum("peak"), found["polarisation"], rtol=0.02
    )
    true = sum(zarc_gamma(found["tau"].values, r, t, n) for r, t, n in parts)
    inside = (found["gamma_low"] <= true) & (true <= found["gamma_high"])
    assert inside.mean() > 0.93


def test_three_arcs_their_errors_and_the_band_at_their_tops():
    parts = [(4.0, 1e-4, 0.85), (10.0, 1e-2, 0.9), (6.0, 1.0, 0.8)]
    z = 2 + sum(zarc(*part) for part in parts)
    found = drt(labelled(noisy(np.stack([z] * 10), 0.005, 7), F))
    peaks = drt_peaks(found)
    inside = []
    for r, tau, _ in parts:
        k = abs(np.log(peaks["position"] / tau)).fillna(9.0).argmin("peak")
        mine = peaks.isel(peak=k)
        assert np.sqrt(np.mean((mine["area"] / r - 1) ** 2)) < 0.03
        assert np.sqrt(np.mean((mine["position"] / tau - 1) ** 2)) < 0.03
        for name, true in (("area", r), ("position", tau)):
            off = abs(mine[name] - true)
            inside += (off < 1.96 * mine[f"{name}_error"]).values.tolist()
    assert np.mean(inside) > 0.85
    true = sum(zarc_gamma(found["tau"].values, r, t, n) for r, t, n in parts)
    inside = (found["gamma_low"] <= true) & (true <= found["gamma_high"])
    assert inside[:, true > 0.5 * true.max()].mean() > 0.85


@pytest.mark.parametrize(
    ("end", "tau", "area", "noise"),
    [
        (lambda x: 6 * np.tanh(x) / x, 4 / np.pi**2, 6.0, 0.01),
        (lambda x: 6 / np.tanh(x) / x, 1 / np.pi**2, 2.0, 0.001),
    ],
    ids=["short", "open"],
)
def test_an_arc_and_a_warburg_of_finite_length_without_arguments(end, tau, area, noise):
    z = 2 + zarc(10.0, 1e-3, 0.9) + end(np.sqrt(s(F)))
    found = drt(labelled(noisy(np.stack([z] * 3), noise, 1), F))
    assert found["drt_flag"].values.tolist() == [0] * 3
    peaks = drt_peaks(found)
    assert peaks["n_peaks"].values.tolist() == [2] * 3
    assert not (peaks["peak_flag"].values & 3).any()  # errors may be above 10 %
    for k, (place, size, limit) in enumerate([(1e-3, 10.0, 0.02), (tau, area, 0.04)]):
        for name, true in (("position", place), ("area", size)):
            off = peaks[name][:, k] - true
            assert abs(off / true).mean() < limit
            assert (abs(off) < 3.5 * peaks[f"{name}_error"][:, k]).all()
    shape = peaks["peak_shape"].attrs["flag_meanings"].split()
    words = [shape[k] for k in peaks["peak_shape"][0].values]
    assert words == ["arc", f"warburg_{'short' if area == 6 else 'open'}"]


def test_what_is_below_the_range_is_named_or_told():
    z = 2 + zarc(10.0, 1e-3, 0.9) + 3 / np.sqrt(s(F))
    data = labelled(noisy(np.stack([z] * 3), 1e-3, 1), F)
    with pytest.warns(DataQualityWarning, match="do not tell how"):
        found = drt(data)
    assert found["drt_flag"].values.tolist() == [8] * 3
    named = drt(data, kind="diffusing")
    assert named["drt_flag"].values.tolist() == [0] * 3
    np.testing.assert_allclose(named["slow_Q"], 1 / 3, rtol=0.03)
    assert named["slow_n"].values.tolist() == [0.5] * 3
    np.testing.assert_allclose(named["polarisation"], 10.0, rtol=0.05)
    for one in (found, named):
        peaks = drt_peaks(one)
        assert peaks["n_peaks"].values.tolist() == [1] * 3
        np.testing.assert_allclose(peaks["position"], 1e-3, rtol=0.01)
        np.testing.assert_allclose(peaks["area"], 10.0, rtol=0.01)


def test_two_arcs_under_one_top_have_errors_that_tell():
    z = 2 + zarc(10.0, 1e-3, 0.9) + zarc(6.0, 1e-2, 0.85)
    peaks = drt_peaks(drt(labelled(noisy(np.stack([z] * 5), 0.01, 5), F)))
    assert peaks["n_peaks"].values.tolist() == [2] * 5
    for k, (tau, r) in enumerate([(1e-3, 10.0), (1e-2, 6.0)]):
        for name, true in (("position", tau), ("area", r)):
            off = (peaks[name][:, k] - true) / peaks[f"{name}_error"][:, k]
            assert np.sqrt((off**2).mean()) < 2.5  # one top of 10 % at this noise


def test_places_of_a_smoothed_distribution_are_told():
    bent = np.sqrt(s(F) + 10 / s(F) ** 0.4)
    both = np.stack([2 + 10 * np.tanh(bent) / bent, 2 + zarc(10.0, 1e-3, 0.9)])
    found = drt(labelled(noisy(both, 1e-4, 1), F))
    with pytest.warns(DataQualityWarning, match="no arcs fit 1 of 2 spectra"):
        peaks = drt_peaks(found)
    assert peaks["peak_flag"].values.tolist() == [1, 0]


def test_a_spectrum_that_goes_on_below_its_lowest_frequency_is_told():
    z = 2 + zarc(10.0, 1e-3, 0.9)
    both = np.stack([z, z + 2 / np.sqrt(s(F))])
    with pytest.warns(DataQualityWarning, match="1 of 2 spectra go on below"):
        found = drt(labelled(noisy(both, 1e-3, 4), F))
    assert found["drt_flag"].values.tolist() == [0, 8]


def test_what_no_distribution_is_like_is_told():
    z = 2 + zarc(10.0, 1e-2, 0.9) + 1 / (0.05 * s(F))
    with pytest.warns(DataQualityWarning, match="twice the noise"):
        found = drt(labelled(noisy(np.stack([z] * 2), 1e-3, 4), F), kind="conducting")
    assert found["drt_flag"].values.tolist() == [4, 4]
    sound = drt(labelled(noisy(np.stack([z] * 2), 1e-3, 4), F), kind="blocking")
    assert sound["drt_flag"].values.tolist() == [0, 0]
    area = drt_peaks(sound)["area"]
    np.testing.assert_allclose(area.max("peak"), 10.0, rtol=0.03)


def test_one_spectrum_that_is_not_found_leaves_the_others(monkeypatch):
    import scipy.optimize

    whole, calls = scipy.optimize.nnls, []

    def sometimes(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("Maximum number of iterations reached.")
        return whole(*args, **kwargs)

    monkeypatch.setattr(scipy.optimize, "nnls", sometimes)
    data = labelled(noisy(np.stack([2 + zarc(10.0, 1e-2, 0.9)] * 3), 1e-3, 4), F)
    data = data.copy(deep=True)
    found = drt(data)
    assert found["drt_flag"].values.tolist() == [0, 1, 0]
    assert np.isnan(found["gamma"][1]).all()
    assert np.isnan(found["polarisation"][1])  # nothing known is not nothing there
    assert np.isfinite(found["gamma"][2]).all()
    assert drt_peaks(found)["n_peaks"].values.tolist() == [1, 0, 1]
    assert drt(data[:, :4])["drt_flag"].values.tolist() == [2, 2, 2]


def test_an_imaginary_part_of_the_wrong_sign_is_told():
    z = np.conj(noisy(2 + zarc(10.0, 1e-2, 0.9), 1e-3, 4))
    with pytest.warns(DataQualityWarning, match="no distribution is like"):
        found = drt(labelled(z, F))
    assert found["drt_flag"].values.tolist() == [4]


def test_a_noisy_dummy_cell_is_no_misfit():
    """Resistors and capacitors have the sharpest peaks; no smoothing may flag them."""
    z = 5 + 20 / (1 + s(F) * 1e-4) + 10 / (1 + s(F) * 1.0)
    found = drt(labelled(noisy(np.stack([z] * 6), 0.01, 5), F))
    assert not found["drt_flag"].values.any()
    np.testing.assert_allclose(found["polarisation"], 30, rtol=0.05)


def test_a_gerischer_behind_an_arc_is_no_depressed_arc():
    """At 1 % of noise a depressed arc nearly fits it, with too small errors."""
    parts = [(10.0, 1e-3, 0.85, 1.0), (8.0, 0.1, 1.0, 0.5)]
    z = 2 + sum(skewed(*part) for part in parts)
    peaks = drt_peaks(drt(labelled(noisy(np.stack([z] * 6), 0.01, 8), F)))
    inside = []
    for r, tau, _, _ in parts:
        k = abs(np.log(peaks["position"] / tau)).fillna(9.0).argmin("peak")
        mine = peaks.isel(peak=k)
        for name, true in (("area", r), ("position", tau)):
            off = abs(mine[name] - true)
            inside += (off < 1.96 * mine[f"{name}_error"]).values.tolist()
    assert np.mean(inside) > 0.75


def test_two_processes_that_look_like_one_are_told():
    near = skewed(10.0, 1e-3, 0.85, 1.0) + skewed(15.0, 5e-3, 1.0, 0.5)
    apart = skewed(10.0, 1e-3, 0.85, 1.0) + skewed(15.0, 0.2, 0.9, 1.0)
    both = labelled(noisy(2 + np.stack([near, near, apart]), 0.01, 9), F)
    with pytest.warns(DataQualityWarning, match="may be two|no arcs fit"):
        peaks = drt_peaks(drt(both))
    assert (peaks["peak_flag"][:2] > 0).all()
    assert peaks["n_peaks"][2] == 2
    assert peaks["peak_flag"][2] == 0


def test_an_arc_and_a_gerischer_element_in_one_top():
    # A factor of ten apart, 1 % of noise: a smoothed distribution has one top.
    f = np.logspace(-2, 5, 71)
    clean = 1 + 10 / (1 + (s(f) * 1e-3) ** 0.8) + 8 / np.sqrt(1 + s(f) * 1e-2)
    peaks = drt_peaks(drt(labelled([noisy(clean, 0.01, k) for k in range(4)], f)))
    assert (peaks["n_peaks"] == 2).all()
    off = np.abs(peaks["area"] - [10.0, 8.0])
    assert (off < 3 * peaks["area_error"]).all()
    one = 1 + 10 / (1 + (s(f) * 1e-3) ** 0.75)
    peaks = drt_peaks(drt(labelled([noisy(one, 0.01, k) for k in range(4)], f)))
    assert (peaks["n_peaks"] == 1).all()
    assert (peaks["peak_flag"] == 0).all()


def test_peaks_that_the_noise_leaves_open_are_told_with_their_errors():
    taus = np.array([1e-3, 0.01, 0.1])
    near = zarc(10.0, taus[0], 0.9) + zarc(6.0, taus[1], 0.85) + zarc(8.0, taus[2], 0.9)
    apart = zarc(10.0, 1e-4, 0.9) + zarc(8.0, 0.1, 0.9)
    data = labelled(noisy(2 + np.stack([near] * 3 + [apart]), 0.01, 10), F)
    with pytest.warns(DataQualityWarning, match=r"places up to \d+%, of areas") as said:
        peaks = drt_peaks(drt(data))
    away = abs(np.log(peaks["position"].values[:3, :, None] / taus))
    off = np.nanmin(away, axis=1).max(axis=1)
    assert off.max() > 0.15  # such places are wrong by more than the bar
    assert (peaks["peak_flag"].values[:3][off > 0.15] > 0).all()
    assert peaks["peak_flag"].values[3] == 0
    poor = peaks["peak_flag"].values & 4 > 0
    place = (peaks["position_error"] / peaks["position"]).max("peak").values
    area = (peaks["area_error"] / peaks["area"]).max("peak").values
    assert (poor == ((place > 0.1) | (area > 0.1))).all()
    assert poor[:3].sum() > 1
    figure = f"places up to {place.max():.0%}, of areas up to {area.max():.0%}"
    assert any(figure in str(one.message) for one in said)


def test_skewed_arcs_in_place_of_depressed_ones_are_told():
    """By chance two skewed arcs fit better: a place is off by a factor of 2.9."""
    parts = [(4.0, 1e-4, 0.85), (10.0, 1e-2, 0.9), (6.0, 1.0, 0.8)]
    scatter = np.random.default_rng(11).standard_normal((2, 40, F.size))[:, 4]
    z = 2 + sum(zarc(*part) for part in parts)
    z = z * (1 + 0.01 * (scatter[0] + 1j * scatter[1]))
    peaks = drt_peaks(drt(labelled(z[None], F)))
    assert peaks["peak_shape"].values.tolist() == [[1, 3, 3]]
    assert abs(np.log(peaks["position"][0, 2])) > 5 * 0.1
    assert peaks["peak_flag"].values.tolist() == [2]
    true = skewed(8.0, 0.1, 1.0, 0.5) + zarc(6.0, 1e-4, 0.9)
    peaks = drt_peaks(drt(labelled(noisy(2 + true[None], 0.005, 1), F)))
    assert peaks["peak_shape"].values.tolist() == [[1, 3]]
    assert peaks["peak_flag"].values.tolist() == [0]
