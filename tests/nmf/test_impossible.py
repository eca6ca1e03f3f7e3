"""Data, errors and patterns that cannot be: refused, flagged, or of no matter."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import nmf
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.nmf.phases.measured import instrument_of, of_scans

AXIS = np.linspace(0.0, 10.0, 120)
SHARE = np.linspace(0.0, 1.0, 25)
RATIOS = np.stack([1 - SHARE, SHARE], axis=1)


def bell(centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((AXIS - centre) / width) ** 2)


def spectra(noise: float = 0.002) -> xr.DataArray:
    pure = np.stack([bell(3, 0.6) + 0.1, bell(6, 0.8) + 0.1])
    clean = RATIOS @ pure
    values = clean + np.random.default_rng(0).normal(0, noise, clean.shape)
    return xr.DataArray(
        values,
        dims=("scan", "energy"),
        coords={"scan": np.arange(25), "energy": AXIS},
        attrs={"units": "1"},
        name="absorption",
    )


def off(fit: xr.Dataset) -> float:
    ratios = fit["weights"].transpose("scan", "component").values
    return float(np.nanmean(np.abs(ratios - RATIOS)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("power", [-36, -24, 20])
@pytest.mark.parametrize("closure", [True, False])
def test_any_unit_gives_the_same_answer(dtype, power, closure):
    usual = spectra().astype(dtype)
    known = nmf.fit(usual, 2, closure=closure, n_starts=1)
    unit = 2.0 ** round(power * np.log2(10))
    found = nmf.fit(
        (usual.astype("f8") * unit).astype(dtype), 2, closure=closure, n_starts=1
    )
    if closure:
        assert off(found) < 0.002
    names = ("components", "weights", "residual")
    scaled = {"residual", "components" if closure else "weights"}
    for name in names:
        values = found[name].values.astype("f8") / (unit if name in scaled else 1.0)
        np.testing.assert_allclose(values, known[name].values, rtol=1e-4, atol=1e-7)
    assert np.isfinite(float(found.nmf.bands(steps=400)["weights_width"].mean()))


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_units_beyond_squares(unit):
    assert off(nmf.fit(spectra() * unit, 2, n_starts=1)) < 0.002
    found = nmf.pca(spectra() * unit, 2)
    known = nmf.pca(spectra(), 2)
    np.testing.assert_allclose(found["scores"] / unit, known["scores"], rtol=1e-9)


def test_units_of_errors_shifts_and_lazy_data():
    data = (spectra() - 0.5) * 1e-24
    shifted = nmf.Constraints(shift=-0.5e-24)
    found = nmf.fit(data.astype("f4"), 2, constraints=shifted, errors=2e-27, n_starts=1)
    assert off(found) < 0.002
    assert 0.8 < float(found["chi2"].mean()) < 1.2
    np.testing.assert_allclose(found["shift_curve"], -0.5e-24, rtol=1e-12)
    lazy = nmf.fit(data.astype("f4").chunk(scan=5), 2, constraints=shifted, n_starts=1)
    assert lazy["weights"].chunks is not None
    assert off(lazy.compute()) < 0.002


def test_a_scan_without_beam_gets_no_ratios():
    data = spectra()
    rng = np.random.default_rng(1)
    data[5], data[9] = 0.0, rng.normal(0, 0.002, 120)
    with pytest.warns(DataQualityWarning, match="flag 2: 5, 9"):
        found = nmf.fit(data, 2, n_starts=1)
    assert list(np.flatnonzero(found["flag"])) == [5, 9]
    assert found["flag"].values[5] == 2
    assert np.isnan(found["weights"].values[[5, 9]]).all()
    assert off(found) < 0.002
    assert np.isfinite(float(found["range_width"]))


def test_scans_without_beam_are_told_where_they_are_most():
    data = spectra()
    dark = np.arange(25) % 3 > 0
    data[dark] = np.random.default_rng(1).normal(0, 0.002, (dark.sum(), 120))
    with pytest.warns(DataQualityWarning, match="flag 2: 1, 2, 4, 5"):
        found = nmf.fit(data, 2, n_starts=1)
    np.testing.assert_array_equal(found["flag"], np.where(dark, 2, 0))
    np.testing.assert_array_equal(np.isnan(found["weights"]).all("component"), dark)
    assert off(found) < 0.005


def test_intensities_that_differ_are_told_and_estimated():
    data = spectra()
    level = 1 + 0.03 * np.random.default_rng(2).normal(size=25)
    level[5] = 0.1
    with pytest.warns(DataQualityWarning, match="intensity is not the same"):
        found = nmf.fit(data * level[:, None], 2, n_starts=1)
    assert found["flag"].values[5] == 3
    level = np.ones(25)
    level[[3, 5, 14]] = 0.9, 0.1, 1.2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "ratios may differ")
        found = nmf.fit(
            data * level[:, None],
            2,
            constraints=nmf.Constraints(pattern_scale="estimate"),
            n_starts=1,
        )
    np.testing.assert_allclose(found["pattern_scale"], level, atol=0.01)
    assert off(found) < 0.003


def test_what_fits_is_not_called_a_drift():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "ratios may differ")
        nmf.fit(spectra(), 2, n_starts=1)


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_a_drift_that_free_components_absorb_is_told(drift):
    """Three phases with both ends fixed, which is when nothing need stand out."""
    rng = np.random.default_rng(5)
    phases = np.exp(-0.5 * (AXIS - np.array([[2.0], [5.0], [7.5]])) ** 2)
    t = np.linspace(0, 2, 25)[:, None]
    ratios = np.clip(1 - np.abs(t - np.arange(3)), 0, None)
    data = spectra().copy(data=ratios @ phases + rng.normal(0, 0.002, (25, 120)))
    data = data * (1 + drift * np.sin(3.0 * t))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # Two components are too few for three phases: that is no drift.
        for n in (2, 3):
            nmf.fit(data, n, fixed={"first": 0, "last": -1}, n_starts=1)
    told = ["intensity is not the same" in str(one.message) for one in said]
    assert sum(told) == (2 if drift else 0)


@pytest.mark.parametrize("wrong", [0.0, np.nan, -1.0, np.inf])
@pytest.mark.parametrize("lazy", [False, True])
def test_errors_that_cannot_be(wrong, lazy):
    data = spectra()
    errors = xr.full_like(data, 0.002)
    errors[3] = wrong
    if lazy:
        errors = errors.chunk(scan=5)
    with pytest.raises(DataError, match="errors: 120 of 3000"):
        nmf.fit(data, 2, errors=errors)
    gap = data.copy()
    gap[3] = np.nan  # errors where nothing was measured are no matter
    assert off(nmf.fit(gap, 2, errors=errors, n_starts=1)) < 0.002


@pytest.mark.parametrize("factor", [1e-4, 0.1, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("n", [1, 2])
def test_errors_of_another_unit_are_told(factor, n):
    """However many components are fitted: what they leave over is not the noise."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DataQualityWarning)
        nmf.fit(spectra(), n, errors=0.002 * factor, n_starts=1)
    words = [str(w.message) for w in told if "errors that were given" in str(w.message)]
    assert len(words) == (factor != 1.0)


@pytest.mark.parametrize("uneven", ["", "scans", "points"])
def test_noise_that_is_uneven_is_told_unless_errors_are_given(uneven):
    rng = np.random.default_rng(2)
    sigma = np.full((25, 120), 0.01)
    if uneven == "scans":
        sigma = sigma * np.exp(rng.normal(0, 0.6, (25, 1)))
    if uneven == "points":
        sigma = sigma * np.sqrt(bell(5, 2.0) + 0.05)
    data = spectra(0.0)
    data = data + rng.normal(size=sigma.shape) * sigma
    few = nmf.Sampling(n_chains=2, sweeps=30, draws=5)
    for errors in (None, xr.zeros_like(data) + sigma):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", DataQualityWarning)
            nmf.metropolis(data + 0.1, 2, sampling=few, errors=errors)
        words = [str(w.message) for w in told if "leave over" in str(w.message)]
        expected = [uneven] if uneven and errors is None else []
        assert [w.split()[1] for w in words] == expected


def test_patterns_that_cannot_be_fixed():
    data = spectra()
    with pytest.raises(DataError, match="one pattern under two names, 'a' and 'b'"):
        nmf.fit(data, 2, fixed={"a": 0, "b": 0})
    with pytest.raises(DataError, match="zero everywhere"):
        nmf.fit(data, 2, fixed={"a": 0 * data[0]})
    with pytest.raises(DataError, match="negative values"):
        nmf.fit(data, 2, fixed={"a": -data[0]})
    pair = data[[0, -1]].drop_vars("scan", errors="ignore").rename(scan="component")
    with pytest.raises(DataError, match=r"names that are alike: \['a', 'a'\]"):
        nmf.fit(data, 3, fixed=pair.assign_coords(component=["a", "a"]))


def test_nothing_but_zeros_is_named():
    with pytest.raises(DataError, match="zero everywhere"):
        nmf.fit(0 * spectra(), 2)


def test_intensities_beside_a_dark_scan_a_gap_and_a_mask():
    data = spectra()
    rng = np.random.default_rng(2)
    level = np.ones(25)
    level[[3, 8, 14]] = 0.9, 0.5, 1.2
    data = data * level[:, None]
    data[5] = rng.normal(0, 0.002, 120)
    data[8, 40:50] = np.nan
    data[:, 70] = rng.normal(0, 50.0, 25)
    dead = xr.DataArray(np.arange(120) == 70, dims="energy", coords={"energy": AXIS})
    with pytest.warns(DataQualityWarning, match="flag 2: 5"):
        found = nmf.fit(
            data,
            2,
            constraints=nmf.Constraints(pattern_scale="estimate", mask=dead),
            n_starts=1,
        )
    np.testing.assert_allclose(found["pattern_scale"], level, atol=0.01)
    assert list(np.flatnonzero(found["flag"])) == [5]
    assert off(found) < 0.003


def test_without_closure_no_intensity_is_estimated():
    estimate = nmf.Constraints(pattern_scale="estimate")
    with pytest.raises(ArgumentError, match="pattern_scale"):
        nmf.fit(spectra(), 2, closure=False, constraints=estimate)


def test_a_place_that_is_the_label_of_another_scan_is_told():
    data = spectra().isel(scan=slice(5, 20))
    with pytest.warns(DataQualityWarning, match="the one labelled 11"):
        nmf.fit(data, 2, fixed={"a": 6}, n_starts=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*labelled")
        nmf.fit(data, 2, fixed={"a": 0, "b": -1}, n_starts=1)
        nmf.fit(spectra(), 2, fixed={"a": 0, "b": 24}, n_starts=1)


@pytest.mark.filterwarnings("ignore:.*no ratios that sum to one")
def test_a_scan_is_a_scan_by_label_too():
    data = spectra().assign_coords(scan=np.arange(100, 125))
    by_place = nmf.fit(data, 2, fixed={"first": 0}, n_starts=1)
    by_label = nmf.fit(data, 2, fixed={"first": data.sel(scan=100)}, n_starts=1)
    assert by_label["origin"].values.tolist() == by_place["origin"].values.tolist()
    other = data.sel(scan=100) * 1.1  # of another cell: a pattern
    assert nmf.fit(data, 2, fixed={"first": other}, n_starts=1)["origin"][0] == 2


def test_a_dark_scan_is_no_component():
    data = spectra()
    data[7] = np.abs(np.random.default_rng(1).normal(0, 1e-4, 120))
    with pytest.raises(DataError, match=r"fixed\['a'\].*scan 7.*no beam"):
        nmf.fit(data, 2, fixed={"a": 7})


@pytest.mark.filterwarnings("ignore:1 scans have less")
@pytest.mark.parametrize("blank", [np.nan, 0.0])
def test_the_unit_is_found_where_the_first_pattern_is_blank(blank):
    data = (spectra() * 1e-24).astype("f4")
    data[0] = blank
    lazy = nmf.fit(data.chunk(scan=5), 2, n_starts=1)
    known = nmf.fit(data, 2, n_starts=1)
    np.testing.assert_allclose(lazy["weights"], known["weights"], atol=1e-5)


def test_ranges_know_which_scans_are_poor():
    """Ten times the noise in half of the scans: there ranges are wider."""
    rng = np.random.default_rng(3)
    sigma = np.where(np.arange(25) % 2, 0.02, 0.002)
    data = spectra(0.0) + rng.normal(size=(25, 120)) * sigma[:, None]
    errors = xr.DataArray(sigma, dims="scan")
    known = {
        "a": spectra(0.0)[0].drop_vars("scan"),
        "b": spectra(0.0)[-1].drop_vars("scan"),
    }
    fit = nmf.fit(data, fixed=known, errors=errors)
    width = fit.nmf.bands(steps=400)["weights_width"].isel(component=0).values
    assert np.median(width[1::2]) > 5 * np.median(width[2:-1:2])
    blind = nmf.fit(data, fixed=known).nmf.bands(steps=400)
    assert np.ptp(blind["weights_width"].isel(component=0).values[2:-2]) < 0.01


def test_sets_of_other_instruments_are_told():
    r = xr.DataArray(np.linspace(1, 10, 120), dims="energy")
    one, two = (
        spectra().rename(energy="r").assign_coords(r=r.values).assign_attrs(q_max=q)
        for q in (24.0, 18.0)
    )
    with pytest.warns(DataQualityWarning, match="q_max is not the same.*18"):
        nmf.join({"a": one, "b": two})


def test_scans_of_other_instruments_are_told(tmp_path):
    """As `read_series` has them: what headers do not share are coordinates."""
    r = np.linspace(1, 10, 91)
    for i, row in enumerate(spectra().interp(energy=np.linspace(0, 10, 91)).values[:8]):
        head = f"qmax = {24.0 if i < 6 else 18.0}\nqdamp = 0.03\n"
        head += f"mode = {'xray' if i < 6 else 'neutron'}\n# r G(r)\n"
        lines = "\n".join(f"{a:.3f} {b:.6f}" for a, b in zip(r, row, strict=True))
        (tmp_path / f"{i}.gr").write_text(head + lines + "\n")
    read = batteryxr.read_series(tmp_path)
    with pytest.warns(DataQualityWarning, match="radiation is not.*neutron, xray"):
        of_scans(read)
    with pytest.warns(DataQualityWarning, match="q_max is not the same.*18.0, 24.0"):
        nmf.fit(read, 2, constraints=nmf.Constraints(shift="minimum"), n_starts=1)
    with pytest.warns(DataQualityWarning, match="q_max is not the same.*18.0, 24.0"):
        found = instrument_of(read.drop_vars("mode"), None)
    assert (found.q_max, found.q_damp) == (24.0, 0.03)


def test_numbers_that_are_not_real_are_refused():
    """numpy would drop the imaginary part with a warning of its own, or fail."""
    data = spectra()
    odd = data[0] + 0j
    profile = data[:, 0] * 0 + 0j
    for how, name in (
        ({"errors": data * 0 + (0.01 + 0j)}, "errors"),
        ({"fixed": {"a": odd}}, r"fixed\['a'\]"),
        ({"constraints": nmf.Constraints(shift=odd)}, "shift"),
        ({"constraints": nmf.Constraints(weights={"a": profile})}, r"weights\['a'\]"),
    ):
        with pytest.raises(DataError, match=f"{name}: complex128 values"):
            nmf.fit(data, 2, **how)


def test_a_known_ratio_in_per_cent_is_a_ratio():
    data = spectra()
    share = xr.DataArray(SHARE, dims="scan")
    both = [
        nmf.fit(data, 2, constraints=nmf.Constraints(weights={"a": one}))
        for one in (share, (100 * share).assign_attrs(units="%"))
    ]
    np.testing.assert_allclose(both[1]["weights"], both[0]["weights"], atol=1e-9)


@pytest.mark.parametrize("factor", [1e6, 1e-4])
def test_a_fixed_pattern_on_another_scale_is_told(factor):
    data = spectra()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.warns(DataQualityWarning, match="times as high as the data"):
            nmf.fit(data, 2, fixed={"a": factor * data[0]})


def test_errors_that_let_one_scan_decide_are_refused():
    errors = spectra() * 0 + 0.002
    errors[12] = 1e-9
    with pytest.raises(DataError, match=r"errors: as low as 1e-09, where 0.002"):
        nmf.fit(spectra(), 2, errors=errors)


@pytest.mark.parametrize("noise", [1e-6, 0.002, 0.02])
@pytest.mark.parametrize("third", [0.0, 0.3])
def test_a_fixed_pattern_that_is_a_mixture_of_others_is_told(noise, third):
    """As a user fixes the first, the last and a scan in between."""
    data = spectra(noise)
    data = data + third * np.sin(np.pi * SHARE)[:, None] * bell(9, 0.3)
    for between in (12, data[12].drop_vars("scan") * 1.0):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            nmf.fit(data, fixed={"a": 0, "b": -1, "c": between})
        told = [str(one.message) for one in said if "c'] is 0.5" in str(one.message)]
        assert len(told) == (third == 0.0)


@pytest.mark.parametrize("height", [0.5, 10.0, 500.0])
def test_spikes_of_any_height_are_left_out(height):
    """A component would follow those that are higher than the patterns."""
    rng = np.random.default_rng(6)
    phases = np.stack([bell(2, 0.5) + bell(7, 0.4), bell(4.2, 0.6), bell(5.6, 0.5)])
    ratios = np.clip(1 - np.abs(2 * SHARE[:, None] - np.arange(3)), 0, None)
    clean = ratios @ (phases + 0.02)
    data = spectra().copy(data=clean + rng.normal(0, 0.004, clean.shape))
    data.values[rng.integers(0, 25, 24), np.arange(2, 120, 5)] += height
    robust = nmf.Constraints(robust=True)
    found = nmf.fit(data, 3, constraints=robust, n_starts=1)["weights"].values
    assert np.abs(found - ratios).mean() < 0.004


def test_a_phase_of_two_scans_is_no_spike():
    data = spectra()
    data.values[18:20] += sum(bell(c, 0.05) for c in (1, 2, 4.5, 8, 9))
    robust = nmf.Constraints(robust=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = nmf.fit(data, 3, constraints=robust, n_starts=1)
    assert np.isfinite(found["components"]).all()
    assert float(found["relative_residual"].max()) < 0.05


@pytest.mark.parametrize("gap", [slice(0, 60), slice(45, 120), slice(60, 100)])
def test_a_gap_is_no_pattern_to_start_from(gap):
    """Half of a scan is missing: all are as near to the purest scans as before."""
    data = spectra()
    data[7, gap] = np.nan
    assert off(nmf.fit(data, 2, n_starts=1)) < 0.003


def flat(row: np.ndarray) -> np.ndarray:
    return np.full_like(row, 0.4)


def backwards(row: np.ndarray) -> np.ndarray:
    return row[::-1]


def half(row: np.ndarray) -> np.ndarray:
    return np.where(np.arange(row.size) < 60, row, 0.0)


@pytest.mark.parametrize("spoil", [flat, backwards, half])
def test_a_scan_that_is_no_mixture_of_the_others_is_told(spoil):
    data = spectra()
    data.values[7] = spoil(data.values[7].copy())
    with pytest.warns(DataQualityWarning, match=r"no other scan holds.*: 7\."):
        found = nmf.fit(data, 2, n_starts=1)
    assert found["flag"].values.tolist() == [0] * 7 + [5] + [0] * 17


@pytest.mark.parametrize("factor", [1.0, 1.5, 0.02])
def test_the_intensity_of_a_known_pattern_is_that_of_the_scans(factor):
    data = spectra(noise=0.0005)
    known = {"first": data[0] * factor}  # no scan, for its noise is another
    known["first"] = known["first"] + 0.001 * np.sin(data["energy"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        nmf.fit(data, 2, fixed=known, n_starts=1)
    told = [str(one.message) for one in said if "the intensity of" in str(one.message)]
    assert len(told) == (factor != 1.0)
    found = [float(one.split(" has ")[1].split(" times")[0]) for one in told]
    np.testing.assert_allclose(found, factor, rtol=0.02)
