"""Spectra with rays, on backgrounds, at different scales: of known truth."""

import inspect
import re

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DataError, DimensionError

SHIFT = np.arange(350.0, 760.0)
BANDS = [(455, 480), (595, 620)]


def spectra(values):
    axis = ("shift", SHIFT, {"units": "1/cm"})
    return xr.DataArray(
        values, dims=("scan", "shift"), coords={"shift": axis}, name="intensity"
    )


def raman(n, *, seed=0, widths=(6.0, 9.0), step_at=None):
    """Counts of two bands that move, with and without rays in every spectrum."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 1, n) if step_at is None else np.arange(n) > step_at
    where = np.stack([467 - 5 * turn, 607 - 2.5 * turn], axis=1)
    level = 300 + 0.3 * (SHIFT - 550) + np.zeros((n, 1))
    for j, height in enumerate((800, 2000)):
        level = level + height / (1 + ((SHIFT - where[:, [j]]) / widths[j]) ** 2)
    clean = rng.poisson(level).astype(float)
    dirty = clean.copy()
    for row in dirty:
        for _ in range(rng.integers(1, 4)):
            shape = ([1], [1, 0.6], [0.3, 1, 0.4])[rng.integers(3)]
            first = rng.integers(2, SHIFT.size - 4)
            row[first : first + len(shape)] += rng.lognormal(6.4, 1) * np.array(shape)
    return spectra(clean), spectra(dirty), where


@pytest.mark.parametrize(
    "case", [{}, {"step_at": 20}, {"widths": (2.5, 4.0)}, {"seed": 5}]
)
def test_no_ray_is_left_and_wrong_without_a_flag(case):
    clean, dirty, where = raman(40, **case)
    result = xanes.despike(dirty)
    right = xanes.fit_peaks(clean, peaks=BANDS)
    fit = xanes.fit_peaks(result, peaks=BANDS)
    off = np.abs(fit.peak_position.values.T - where)
    wrong = (off > 5 * right.peak_position_error.values.T).any(axis=1)
    away = np.abs(fit.peak_height - right.peak_height) > 5 * right.peak_height_error
    wrong |= away.any("peak").values
    assert not (wrong & (result.spike_flag.values == 0)).any()
    assert wrong.mean() < 0.1
    # The bars mean something: without it most are wrong.
    raw = xanes.fit_peaks(dirty, peaks=BANDS)
    assert (np.abs(raw.peak_position.values.T - where) > 0.3).any()
    assert (result.spike_count > 0).mean() > 0.9
    np.testing.assert_array_equal(result.spike_count, result.spike.sum("shift"))
    untouched = ~result.spike
    xr.testing.assert_equal(result.intensity.where(untouched), dirty.where(untouched))


@pytest.mark.parametrize("widths", [(6.0, 9.0), (2.5, 4.0)])
def test_clean_bands_stay(widths):
    clean, _, _ = raman(40, widths=widths)
    before = xanes.fit_peaks(clean, peaks=BANDS).peak_position
    after = xanes.fit_peaks(xanes.despike(clean), peaks=BANDS).peak_position
    assert float(np.abs(after - before).max()) < 0.1
    alone = xanes.despike(clean[:3])
    after = xanes.fit_peaks(alone, peaks=BANDS).peak_position
    assert float(np.abs(after - before[:, :3]).max()) < 0.1


def test_whitaker_and_hayes_find_single_points():
    flat = 100 + np.random.default_rng(0).standard_normal((3, SHIFT.size))
    flat[1, 200] += 500
    result = xanes.despike(spectra(flat), method="whitaker_hayes")
    assert result.spike_count.values.tolist() == [0, 1, 0]
    assert bool(result.spike[1, 200])
    assert result.spike_flag.values.tolist() == [0, 1, 0]
    assert float(abs(result.intensity[1, 200] - 100)) < 3


def test_robust_fits_are_not_pulled_and_know_their_errors():
    _, dirty, where = raman(60, seed=3)
    fit = xanes.fit_peaks(dirty, peaks=BANDS, method="robust")
    pull = (fit.peak_position.values.T - where) / fit.peak_position_error.values.T
    assert 0.8 < np.sqrt((pull**2).mean()) < 1.3
    assert float(fit.outlier_count.min()) >= 1
    plain = xanes.fit_peaks(dirty, peaks=BANDS)
    rms = [
        np.sqrt(((f.peak_position.values.T - where) ** 2).mean()) for f in (fit, plain)
    ]
    assert rms[0] < 0.6 * rms[1]


@pytest.mark.parametrize("curvature", [0.0, 30.0])
def test_errors_hold_the_choice_of_the_degree(curvature):
    rng = np.random.default_rng(1)
    u = (SHIFT - 550) / 200
    level = 100 + 50 * u + curvature * u**2 + 200 / (1 + ((SHIFT - 600) / 25) ** 2)
    data = spectra(level + 7 * rng.standard_normal((80, SHIFT.size)))
    fit = xanes.fit_peaks(data, peaks=[(580, 620)], baseline=(0, 1, 2, 3))
    pull = (fit.peak_area.values[0] - np.pi * 5000) / fit.peak_area_error.values[0]
    assert 0.7 < np.sqrt((pull**2).mean()) < 1.3
    np.testing.assert_allclose(fit.baseline_weight.sum("degree"), 1.0)
    wanted = 2 if curvature else 1
    assert float((fit.baseline_degree == wanted).mean()) > 0.8
    # What a wrong degree alone would say lies far off.
    wrong = xanes.fit_peaks(data, peaks=[(580, 620)], baseline=wanted - 1)
    off = (wrong.peak_area.values[0] - np.pi * 5000) / wrong.peak_area_error.values[0]
    assert np.sqrt((off**2).mean()) > 2
    np.testing.assert_allclose(
        (data - xanes.model_curve(fit, axis=data["shift"])).std("shift"), 7.0, atol=1.0
    )


def test_lazy_fits_of_several_degrees_are_the_same():
    _, dirty, _ = raman(12)
    asked = {"peaks": BANDS, "baseline": (1, 2), "method": "robust"}
    eager = xanes.fit_peaks(dirty, **asked)
    lazy = xanes.fit_peaks(dirty.chunk(scan=5), **asked)
    assert lazy.peak_position.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), eager)


def test_reflections_are_fitted_over_two_theta_too():
    angle = np.arange(30.0, 40.0, 0.02)
    y = 10 + 500 * np.exp(-np.log(2) * ((angle - 35.1) / 0.08) ** 2)
    axis = ("two_theta", angle, {"units": "deg"})
    pattern = xr.DataArray(y[None], dims=("scan", "two_theta"), name="intensity")
    pattern = pattern.assign_coords(two_theta=axis)
    peak = xanes.Peak((34.5, 35.5), shape="gaussian")
    fit = xanes.fit_peaks(pattern, peaks=peak, dim="two_theta")
    assert float(fit.peak_position[0, 0]) == pytest.approx(35.1, abs=1e-6)
    assert fit.peak_position.attrs["units"] == "deg"
    with pytest.raises(DimensionError, match="two_theta"):
        xanes.fit_peaks(pattern.rename(two_theta="angle"), peaks=peak, dim="two_theta")


def test_asymmetric_least_squares_is_that_of_dense_matrices():
    _, dirty, _ = raman(2)
    y, lam = dirty.values[0][:120], 1e4
    second = np.diff(np.eye(120), 2, axis=0)
    weight = np.ones(120)
    for _ in range(30):
        line = np.linalg.solve(np.diag(weight) + lam * second.T @ second, weight * y)
        weight = np.where(y > line, 0.01, 0.99)
    flat = xanes.subtract_baseline(dirty[:1, :120], stiffness=lam)
    np.testing.assert_allclose(flat.baseline.values[0], line, rtol=1e-7)
    np.testing.assert_allclose(flat.intensity.values[0], y - line, atol=1e-5)


def test_baselines_by_name():
    library = pytest.importorskip("pybaselines")
    clean, _, _ = raman(2)
    flat = xanes.subtract_baseline(clean, method="arpls", stiffness=1e6)
    truth = library.Baseline(SHIFT).arpls(clean.values[1], lam=1e6)[0]
    np.testing.assert_allclose(flat.baseline.values[1], truth, rtol=1e-6)
    xanes.subtract_baseline(clean, method="modpoly", degree=2)
    with pytest.raises(ArgumentError, match=r"method='nope'.*arpls"):
        xanes.subtract_baseline(clean, method="nope")
    with pytest.raises(ArgumentError, match="degree=2"):
        xanes.subtract_baseline(clean, method="arpls", degree=2)


def test_the_table_of_baselines_is_that_of_the_library():
    library = pytest.importorskip("pybaselines")
    clean, _, _ = raman(2)
    with pytest.raises(ArgumentError) as caught:
        xanes.subtract_baseline(clean, method="nope")
    listed = set(re.findall(r"'(\w+)'", str(caught.value).partition("one of")[2]))
    known = {
        name
        for name, method in inspect.getmembers(library.Baseline, inspect.isfunction)
        if "data" in inspect.signature(method).parameters
        and not name.startswith("_")
        and not inspect.unwrap(method).__module__.endswith("optimizers")
    }
    assert known <= listed  # an older library lacks some


def test_smoothing_and_scales():
    clean, _, _ = raman(3)
    line = spectra(np.tile(3.0 + 0.5 * SHIFT, (2, 1)))
    for method in ("savitzky_golay", "whittaker"):
        same = xanes.smooth(line, width=3.0, method=method)
        np.testing.assert_allclose(same, line, rtol=1e-9)
    assert same.attrs["smoothed"] == "whittaker, 3 1/cm"
    for method in ("savitzky_golay", "median", "gaussian", "whittaker"):
        smooth = xanes.smooth(clean, width=3.0, method=method)
        rough = [float(np.abs(a.diff("shift")).mean()) for a in (smooth, clean)]
        assert rough[0] < 0.7 * rough[1]
    near = {"limits": (560, 640)}
    area = xanes.rescale(clean, method="area", **near).intensity
    inside = area.sel(shift=slice(560, 640))
    np.testing.assert_allclose(np.trapezoid(inside, inside["shift"], axis=1), 1.0)
    assert float(xanes.rescale(clean).intensity.max()) == 1.0
    snv = xanes.rescale(clean, method="snv")
    np.testing.assert_allclose(snv.intensity.std("shift"), 1.0)
    assert snv.intensity.attrs["units"] == "1"
    assert xanes.rescale(-clean, method="area").intensity.isnull().all()
    with pytest.raises(ArgumentError, match=r"width=0\.9.*range with 4 points"):
        xanes.smooth(clean, width=0.9, method="savitzky_golay")
    with pytest.raises(ArgumentError, match="width=500"):
        xanes.smooth(clean, width=500.0)
    with pytest.raises(ArgumentError, match="values that are all there"):
        xanes.despike(clean.where(clean > 200, np.nan).where(clean["shift"] > 400))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("despike", {}),
        ("subtract_baseline", {}),
        ("smooth", {"width": 3.0}),
        ("rescale", {}),
    ],
)
def test_axes_that_do_not_rise_are_refused_by_name(method, options):
    clean, _, _ = raman(2)
    order = np.random.default_rng(0).permutation(SHIFT.size)
    twice, missing = SHIFT.copy(), SHIFT.copy()
    twice[100], missing[100] = twice[99], np.nan
    for axis in (SHIFT[order], twice, missing):
        wrong = clean.assign_coords(shift=("shift", axis, {"units": "1/cm"}))
        with pytest.raises(DimensionError, match="'shift' to rise"):
            getattr(xanes, method)(wrong, **options)


def curve(x):
    return 100 + 0.2 * (x - 550) + 80 * np.exp(-0.5 * ((x - 560) / 20) ** 2)


def uneven():
    """Two axes of one curve: even, and with a third that is ten times as fine."""
    fine = np.concatenate(
        [np.arange(400, 540, 1.0), np.arange(540, 580, 0.1), np.arange(580, 700, 1.0)]
    )
    return [
        xr.DataArray(
            curve(x), {"shift": ("shift", x, {"units": "1/cm"})}, name="intensity"
        )
        for x in (np.arange(400, 700, 0.5), fine)
    ]


@pytest.mark.parametrize("method", ["gaussian", "savitzky_golay", "whittaker"])
def test_smoothing_means_the_same_on_uneven_axes(method):
    even, fine = (xanes.smooth(a, width=6.0, method=method) for a in uneven())
    at = np.arange(450.0, 650.0)
    np.testing.assert_allclose(
        even.interp(shift=at), fine.interp(shift=at), atol=0.1, rtol=0
    )
    assert float(np.abs(even - uneven()[0]).max()) > 1e-3  # it does something


def test_gaussian_means_are_those_of_a_dense_sum_beyond_a_block():
    x = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 700)) + 300
    y = np.random.default_rng(1).standard_normal(700)
    array = xr.DataArray(y, {"shift": ("shift", x, {"units": "1/cm"})}, name="counts")
    for method, height in (
        ("gaussian", lambda u: np.exp(-0.5 * u**2)),
        ("lorentzian", lambda u: 1 / (1 + u**2)),
    ):
        weights = height((x[:, None] - x) / 4.0) * np.gradient(x)
        found = xanes.smooth(array, width=4.0, method=method)
        np.testing.assert_allclose(found, weights @ y / weights.sum(1), atol=1e-12)


def test_gaps_do_not_bend_a_parabola_beside_them():
    x = np.arange(400.0, 500.0)
    y = (x - 440) ** 2
    y[[30, 31, 60]] = np.nan
    array = xr.DataArray(y, {"shift": ("shift", x, {"units": "1/cm"})}, name="counts")
    found = xanes.smooth(array, width=5.0, method="savitzky_golay")
    np.testing.assert_allclose(found, y, atol=1e-8)


@pytest.mark.parametrize("method", ["area", "vector", "snv", "range"])
def test_scales_are_the_same_on_uneven_axes(method):
    even, fine = (xanes.rescale(a, method=method).scale for a in uneven())
    np.testing.assert_allclose(even / fine * SIZES.get(method, 1.0), 1.0, rtol=0.01)


#: The norm of a vector grows with its points.
SIZES = {"vector": np.sqrt(660 / 600)}


def test_baselines_are_the_same_on_uneven_axes():
    even, fine = uneven()
    # Stiffness is that of points as far apart as they are on average.
    stiff = [1e5, 1e5 * (660 / 600) ** 4]
    lines = [
        xanes.subtract_baseline(a, stiffness=s).baseline
        for a, s in zip((even, fine), stiff, strict=True)
    ]
    at = np.arange(420.0, 680.0)
    np.testing.assert_allclose(
        lines[0].interp(shift=at), lines[1].interp(shift=at), atol=2.0, rtol=0
    )


def test_what_goes_by_points_refuses_axes_of_unlike_steps():
    even, fine = uneven()
    with pytest.raises(DataError, match=r"shift: has steps from 0\.1 to 1.*despike"):
        xanes.despike(fine)
    xanes.despike(even)
    pytest.importorskip("pybaselines")
    with pytest.raises(DataError, match="'arpls' goes by points"):
        xanes.subtract_baseline(fine, method="arpls")
    line = fine.copy(data=3.0 + 0.5 * fine["shift"].values)
    flat = xanes.subtract_baseline(line, method="modpoly", degree=1)
    np.testing.assert_allclose(flat.baseline, line, rtol=1e-3)


@pytest.mark.parametrize("method", ["despike", "subtract_baseline"])
def test_missing_values_of_lazy_spectra_are_told_by_name(method):
    clean, _, _ = raman(6)
    lazy = clean.where(clean["shift"] != 400.0).chunk(scan=-1)
    with pytest.raises(DataError, match="chunk lacks 6 values"):
        getattr(xanes, method)(lazy).compute()


@pytest.mark.parametrize("dims", [("scan", "shift"), ("y", "x", "shift")])
@pytest.mark.parametrize("lazy", [False, True])
def test_masked_pixels_stay_masked_and_the_others_are_as_without_them(dims, lazy):
    rng = np.random.default_rng(2)
    shift = 300 + np.cumsum(np.linspace(1.0, 1.6, 200))
    band = 300 * np.exp(-(((shift - 420) / 9) ** 2)) + 50
    shape = (8,) if len(dims) == 2 else (3, 4)
    values = rng.poisson(band, (*shape, 200)).astype(float)
    flat = values.reshape(-1, 200)
    flat[np.arange(len(flat)), 120 + 5 * np.arange(len(flat))] += 900.0
    scans = xr.DataArray(values, dims=dims, name="intensity")
    scans = scans.assign_coords(shift=("shift", shift, {"units": "1/cm"}))
    mask = np.ones(shape, bool)
    mask.flat[3] = False
    masked = scans.where(xr.DataArray(mask, dims=dims[:-1]))
    masked = masked.chunk() if lazy else masked
    clean = xanes.despike(masked).compute()
    assert clean.intensity.isnull().all("shift").values.tolist() == (~mask).tolist()
    assert (clean.spike_count.values == np.where(mask, 1, 0)).mean() > 0.9
    if len(dims) == 2:
        alone = xanes.despike(scans.isel(scan=np.flatnonzero(mask)))
        np.testing.assert_array_equal(
            clean.intensity.values[mask], alone.intensity.values
        )
    flat = xanes.subtract_baseline(masked, stiffness=1e4).compute()
    whole = xanes.subtract_baseline(scans, stiffness=1e4)
    np.testing.assert_allclose(flat.baseline.values[mask], whole.baseline.values[mask])
    assert np.isnan(flat.baseline.values[~mask]).all()


def test_a_spectrum_that_lacks_some_values_is_refused():
    scans = xr.DataArray(np.ones((6, 50)), dims=("scan", "shift"), name="intensity")
    scans = scans.assign_coords(shift=np.arange(50.0))
    scans[2, 7] = np.nan
    for prepare in (xanes.despike, xanes.subtract_baseline):
        with pytest.raises(ArgumentError, match="1 missing"):
            prepare(scans)
        with pytest.raises(ArgumentError, match="300 missing"):
            prepare(scans * np.nan)


def test_absorbance_and_transmittance_are_made_of_one_another_by_name():
    shift = np.linspace(400.0, 4000.0, 50)
    bands = 0.05 + np.exp(-(((shift - 1430) / 200) ** 2))
    percent = xr.DataArray(
        [100 * 10**-bands],
        dims=("scan", "shift"),
        coords={"shift": ("shift", shift, {"units": "1/cm"})},
        name="transmittance",
        attrs={"units": "%"},
    )
    found = xanes.rescale(percent, method="absorbance")
    np.testing.assert_allclose(found.absorbance[0], bands)
    assert found.absorbance.attrs["units"] == "1"
    back = xanes.rescale(found, method="transmittance")
    np.testing.assert_allclose(back.transmittance, percent / 100)
    assert "absorbance" not in back
    with pytest.raises(DataError, match="Give it its units"):
        xanes.rescale(percent.assign_attrs(units="1"), method="absorbance")
    with pytest.raises(DataError, match="is no absorbance"):
        xanes.rescale(percent, method="transmittance")
    dark = percent.where(percent["shift"] > 500, -0.1)
    with pytest.warns(match="values of the transmittance are not above zero"):
        found = xanes.rescale(dark, method="absorbance")
    assert found.absorbance.isnull().sum() == (shift <= 500).sum()


def test_absorbance_keeps_what_was_said_and_bears_noise_where_no_light_was():
    shift = np.linspace(400.0, 4000.0, 50)
    percent = xr.DataArray(
        np.full(50, 50.0),
        dims="shift",
        coords={"shift": ("shift", shift, {"units": "1/cm"})},
        name="transmittance",
        attrs={"units": "percent", "timezone": "Europe/Paris"},
    )
    percent[0] = 480.0  # next to nothing over next to nothing
    found = xanes.rescale(percent, method="absorbance").absorbance
    np.testing.assert_allclose(found[1:], np.log10(2.0))
    assert float(found[0]) == pytest.approx(-np.log10(4.8))
    assert found.attrs["timezone"] == "Europe/Paris"
    assert found.attrs["units"] == "1"


@pytest.mark.parametrize("height", [0.0, 4000.0])
def test_a_band_that_moves_along_the_series_is_no_ray(height):
    """Three points wide, it left a rise beside a fall in the last scan."""
    x = np.linspace(100.0, 1800.0, 1000)
    rng = np.random.default_rng(111)
    rows = [
        3500.0 + 7500.0 * np.exp(-np.log(2) * ((x - 590 - 0.12 * k) / 2.6) ** 2)
        for k in range(8)
    ]
    counts = rng.poisson(np.stack(rows)).astype(float)
    counts[7, 700] += height
    spectra = xr.DataArray(
        counts, dims=("scan", "shift"), coords={"shift": x}, name="intensity"
    )
    found = xanes.despike(spectra)
    assert np.argwhere(found.spike.values).tolist() == ([[7, 700]] if height else [])
