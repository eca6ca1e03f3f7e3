"""The edge model at every pixel: truth, SciPy, errors, flags, laziness."""

import json

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import xanes
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    UnitsError,
)
from batteryxr.xanes import Edge, Peak

NAMES = ("level", "edge_jump", "edge_energy", "edge_width")
PEAKS = ("peak_height", "peak_position", "peak_width")


def test_noise_free_parameters_are_exact(phantom, model):
    stack, truth = phantom(noise=0.0)
    fit = xanes.fit_edge(stack, noise=1e-3, **model)
    thick = truth["edge_jump"] > 0.05
    assert thick.sum() > 500
    for name in NAMES + PEAKS:
        np.testing.assert_allclose(
            fit[name].values[..., thick], truth[name][..., thick], rtol=1e-6
        )
    area = np.pi * truth["peak_height"] * truth["peak_width"]
    np.testing.assert_allclose(
        fit.peak_area.values[..., thick], area[..., thick], rtol=1e-6
    )
    ratio = (area / np.where(thick, truth["edge_jump"], np.nan))[..., thick]
    np.testing.assert_allclose(
        fit.normalised_peak_area.values[..., thick], ratio, rtol=1e-6
    )
    assert (fit.flag.values[thick] == 0).all()
    assert list(fit.peak.values) == ["pre-edge", "white line"]


def test_same_optimum_as_scipy(phantom, model, curve, energies):
    from scipy.optimize import curve_fit

    stack, truth = phantom()
    fit = xanes.fit_edge(stack, multistart="doubtful", **model)
    thick = np.argwhere((truth["edge_jump"] > 0.1) & (fit.flag.values == 0))[::12]
    assert len(thick) > 50

    def f(e, a, b1, b2, b3, *p):
        return curve(e, a, b1, b2, b3, p[:3], p[3:])

    start = [0.1, 0.3, 5478, 4, 0.1, 5466.5, 1.5, 0.1, 5489, 6]
    close = 0
    for y, x in thick:
        data = stack.values[:, y, x]
        best, covariance = curve_fit(f, energies, data, start, maxfev=20000)
        one = fit.isel(y=y, x=x)
        gap = abs(float(one.edge_energy) - best[2])
        close += gap <= 0.05 * float(one.edge_energy_error)
        assert float(one.chi2) <= np.sum((f(energies, *best) - data) ** 2) * 1.001
        assert float(one.edge_energy_error) == pytest.approx(
            np.sqrt(covariance[2, 2]), rel=0.05
        )
    assert close >= 0.97 * len(thick)


def test_errors_are_honest(phantom, model):
    stack, truth = phantom(n=110, seed=3)
    fit = xanes.fit_edge(stack, multistart="doubtful", **model)
    good = (truth["edge_jump"] > 0.1) & (fit.flag.values == 0)
    assert good.sum() > 5000
    for name in NAMES:
        pull = ((fit[name].values - truth[name]) / fit[f"{name}_error"].values)[good]
        assert 0.95 < pull.std() < 1.15, name
        assert abs(np.median(abs(pull)) - 0.674) < 0.035, name
    area = np.pi * (truth["peak_height"] * truth["peak_width"])[0][good]
    one = fit.isel(peak=0)
    gap = one.normalised_peak_area.values[good] - area / truth["edge_jump"][good]
    assert 0.95 < (gap / one.normalised_peak_area_error.values[good]).std() < 1.15


def test_sigma_makes_errors_absolute(phantom, model):
    stack, _ = phantom()
    row = stack.isel(y=24)
    plain = xanes.fit_edge(row, mask=None, multistart="never", **model)
    known = xanes.fit_edge(row, errors=0.012, mask=None, multistart="never", **model)
    thick = plain.edge_jump > 0.2
    np.testing.assert_allclose(
        known.edge_energy.where(thick, drop=True),
        plain.edge_energy.where(thick, drop=True),
        rtol=1e-8,
    )
    ratio = known.edge_energy_error / plain.edge_energy_error * plain.residual_sd
    np.testing.assert_allclose(ratio.where(thick, drop=True), 0.012, rtol=1e-3)
    per_energy = xr.where(row.energy > 5500, 0.1, 0.006)
    weighted = xanes.fit_edge(row, errors=per_energy, mask=None, **model)
    assert (
        float(abs(weighted.edge_energy - plain.edge_energy).where(thick).max()) > 1e-4
    )


@pytest.mark.parametrize("chunks", [{"y": 7, "x": 48}, {"y": 16, "x": 11}])
def test_chunks_change_nothing(phantom, model, chunks):
    stack, _ = phantom()
    eager = xanes.fit_edge(stack, multistart="doubtful", **model)
    lazy = xanes.fit_edge(stack.chunk(chunks), multistart="doubtful", **model)
    assert all(lazy[name].chunks for name in lazy.data_vars)
    xr.testing.assert_identical(
        eager.drop_attrs().compute(), lazy.drop_attrs().compute()
    )


def test_lazy_with_start_and_noise(phantom, model, no_compute):
    stack, _ = phantom()
    start = {"edge_energy": 5478, "edge_width": 4, "peak_position": [5466.5, 5489]}
    with no_compute():
        lazy = xanes.fit_edge(stack.chunk(y=12), start=start, noise=0.006, **model)
        curve = xanes.model_curve(lazy)
    eager = xanes.fit_edge(stack, start=start, noise=0.006, **model)
    np.testing.assert_array_equal(lazy.edge_energy, eager.edge_energy)
    assert curve.dims == ("energy", "y", "x")


def test_small_chunks_have_few_tasks(phantom, model):
    stack, _ = phantom()
    start = {"edge_energy": 5478}
    chunked = stack.chunk(y=12, x=6)
    fit = xanes.fit_edge(chunked, start=start, noise=0.006, **model)
    n = 4 * 8  # the data, their axes exchanged and the fit; eight are merged
    assert len(fit.__dask_graph__()) == 3 * n + n // 8 * (1 + len(fit.data_vars))
    assert len(fit.__dask_graph__()) <= 8 * n


def test_bad_starts_are_mended(phantom, model):
    stack, truth = phantom()
    best = xanes.fit_edge(stack, **model, multistart="always")
    rng = np.random.default_rng(1)
    start = best[["edge_energy", "edge_width", "peak_position", "peak_width"]].copy()
    shape = start.edge_energy.shape
    start["edge_energy"] = start.edge_energy + rng.uniform(-6, 6, shape)
    shift = np.array([2.0, 4.0])[:, None, None] * rng.uniform(-1, 1, (2, *shape))
    start["peak_position"] = start.peak_position + shift
    again = xanes.fit_edge(stack, **model, start=start, multistart="doubtful")
    thick = truth["edge_jump"] > 0.05
    joined = (again.chi2 <= best.chi2 * 1.1 + 1e-9).values[thick]
    assert joined.mean() >= 0.99


def test_earlier_results_are_starts(phantom, model):
    stack, truth = phantom()
    first = xanes.fit_edge(stack, **model)
    again = xanes.fit_edge(stack, start=first, multistart="never", **model)
    good = (truth["edge_jump"] > 0.1) & (first.flag.values == 0)
    gap = abs(again.edge_energy - first.edge_energy) / first.edge_energy_error
    assert float(gap.values[good].max()) < 0.01
    single = xanes.fit_edge(stack.mean(("y", "x")), mask=None, **model)
    fit = xanes.fit_edge(stack, start=single, multistart="doubtful", **model)
    joined = abs(fit.edge_energy - first.edge_energy) < 0.05 * first.edge_energy_error
    assert joined.values[good].mean() > 0.99


def test_masks(phantom, model):
    stack, truth = phantom(n=96)
    empty, thick = truth["edge_jump"] == 0, truth["edge_jump"] > 8 * 0.006
    pooled = xanes.fit_edge(stack, **model)
    assert pooled.attrs["noise_sd"] == pytest.approx(0.006, rel=0.2)
    assert pooled.edge_jump.isnull().values[empty].all()
    assert (pooled.flag.values[empty] == 1).all()
    assert pooled.edge_jump.notnull().values[thick].mean() >= 0.99
    start = {"edge_energy": 5478, "peak_position": [5466.5, 5489]}
    kwargs = {"start": start, "multistart": "never", **model}
    paper = xanes.fit_edge(stack, mask="paper", **kwargs)
    free = xanes.fit_edge(stack, mask=None, **kwargs)
    sigma = stack.sel(energy=slice(None, 5462)).std("energy", ddof=1)
    kept = (free.edge_jump >= sigma).values
    np.testing.assert_array_equal(paper.edge_jump.notnull(), kept)
    np.testing.assert_array_equal(paper.flag.values == 1, ~kept)
    own = xanes.fit_edge(stack, mask=xr.DataArray(thick, dims=("y", "x")), **model)
    np.testing.assert_array_equal(own.edge_energy.notnull(), thick)


def test_noise_mask_agrees_with_numpy(phantom):
    stack, _ = phantom(n=64)
    found = xanes.noise_mask(stack, pre=(5420, 5462), post=(5500, 5540), method="paper")
    before = stack.sel(energy=slice(5420, 5462)).values
    step = stack.sel(energy=slice(5500, 5540)).values.mean(0) - before.mean(0)
    np.testing.assert_array_equal(found.mask, step > before.std(0, ddof=1))
    pooled = xanes.noise_mask(stack.chunk(y=9), pre=(5420, 5462), post=(5500, 5540))
    assert pooled.attrs["noise_sd"] == pytest.approx(0.006, rel=0.2)
    np.testing.assert_array_equal(pooled.mask, step > 5 * pooled.attrs["noise_sd"])


def test_bad_pixels_give_nan_and_a_flag(phantom, model):
    stack, truth = phantom()
    stack = stack.copy()
    stack[:, 0, 0] = np.nan
    stack[:, 0, 1] = 0.0
    stack[:, 0, 2] = -1.0
    stack[:, 0, 3] = np.inf
    stack[7, 24, 24] = np.nan
    stack[20, 24, 25] = np.inf
    for mask in ("pooled", None):
        fit = xanes.fit_edge(stack, mask=mask, **model)
        assert fit.edge_energy[0, :2].isnull().all()
        assert (fit.flag[0, [0, 3]] == 2).all()
        assert (fit.flag[0, :4] != 0).all()
        for x in (24, 25):
            gap = abs(fit.edge_energy[24, x] - truth["edge_energy"][24, x])
            assert gap < 5 * fit.edge_energy_error[24, x]


def test_spectrum_and_series(phantom, model):
    stack, _ = phantom()
    whole = xanes.fit_edge(stack, multistart="always", **model)
    row = stack.isel(y=24, x=slice(20, 28)).rename(x="scan").transpose("scan", "energy")
    series = xanes.fit_edge(row, multistart="always", mask=None, **model)
    assert series.edge_energy.dims == ("scan",)
    assert series.peak_area.dims == ("peak", "scan")
    np.testing.assert_allclose(
        series.edge_energy, whole.edge_energy[24, 20:28], atol=1e-3
    )
    single = xanes.fit_edge(row.isel(scan=0), mask=None, **model)
    assert single.edge_energy.ndim == 0
    assert float(single.edge_energy) == pytest.approx(
        float(series.edge_energy[0]), abs=1e-3
    )


def test_ambiguous_branches_are_flagged(curve, energies, spectrum):
    e = np.linspace(5420, 5540, 121)
    y = curve(e, 0.0, 1.0, 5480.0, 6.0)
    clear = xanes.fit_edge(spectrum(e, y), edge=(5465, 5495), mask=None)
    assert int(clear.flag) == 0
    two = curve(e, 0.0, 0.5, 5472.0, 1.0) + curve(e, 0.0, 0.5, 5488.0, 1.0)
    steep = Edge((5465, 5495), width=(0.5, 1.5))
    torn = xanes.fit_edge(spectrum(e, two), edge=steep, mask=None)
    assert int(torn.flag) & 16
    assert min(abs(float(torn.edge_energy) - b) for b in (5472, 5488)) < 3


def test_rivals_that_noise_explains_are_flagged(curve, energies, spectrum, model):
    clean = curve(
        energies, 0.06, 0.06, 5478.0, 3.9, (0.015, 5466.6, 1.4), (0.02, 5489, 7)
    )
    noise = np.random.default_rng(0).normal(0, 0.006, (400, energies.size))
    thin = spectrum(energies, clean) + xr.DataArray(noise, dims=("scan", "energy"))
    thin.attrs["units"] = "1"
    options = {"mask": None, **model}
    plain = xanes.Multistart("always", ambiguity=0.0)
    best = xanes.fit_edge(thin, multistart=plain, **options)
    given = xanes.fit_edge(thin, multistart="always", **options)
    assert not (best.flag & 16).any()
    worse = given.chi2 > 1.001 * best.chi2
    assert 4 <= int(worse.sum()) < 100
    assert ((given.flag & 16) > 0).where(worse, True).all()
    # Nine variances of the residuals, of which there are 40 less 10.
    assert (given.chi2 <= (1 + 9 / 30) * best.chi2 * 1.001).all()
    # The branch of the mean spectrum strays less.
    gap = [float(abs(f.edge_energy - 5478).where(worse).mean()) for f in (given, best)]
    assert gap[0] < gap[1]


def test_bounds_and_fixed_parameters(phantom, model):
    stack, _ = phantom()
    pixel = stack.isel(y=24, x=24)
    edge = Edge((5470, 5474), width=(4.0, 4.0))
    fit = xanes.fit_edge(pixel, edge=edge, peaks=model["peaks"], mask=None)
    assert float(fit.edge_energy) == 5474.0
    assert np.isnan(fit.edge_energy_error)
    assert int(fit.flag) & 8
    assert float(fit.edge_width) == 4.0
    assert float(fit.edge_width_error) == 0.0


def test_absent_peak_has_no_position(curve, energies, spectrum):
    y = curve(energies, 0.1, 0.4, 5478.0, 4.0, (-0.05, 5466.5, 2.0))
    fit = xanes.fit_edge(
        spectrum(energies, y), edge=(5470, 5486), peaks=[(5465, 5468)], mask=None
    )
    assert float(fit.peak_height[0]) == 0.0
    assert fit.peak_position.isnull().all()
    assert int(fit.flag) & 8
    assert xanes.model_curve(fit, axis=energies).notnull().all()


def test_model_curve_is_the_fit(phantom, model, energies):
    stack, _ = phantom()
    fit = xanes.fit_edge(stack, **model)
    curve = xanes.model_curve(fit, axis=energies)
    left = ((stack.values - curve) ** 2).sum("energy", skipna=False)
    np.testing.assert_allclose(left, fit.chi2, rtol=1e-6)
    assert curve.attrs["units"] == "1"


@pytest.mark.parametrize("shape", ["erf", "arctan"])
def test_arctan_edge_and_sloping_baseline(spectrum, shape):
    from scipy.special import erf

    e = np.linspace(5400, 5560, 81)
    u = (e - 5479) / 3.0
    step = 0.5 * (1 + erf(u)) if shape == "erf" else 0.5 + np.arctan(u) / np.pi
    s = (e - 5480) / 80
    y = spectrum(e, 0.3 + 0.1 * s - 0.02 * s**2 + 0.7 * step)
    fit = xanes.fit_edge(y, edge=Edge((5470, 5490), shape=shape), baseline=2, mask=None)
    assert float(fit.edge_energy) == pytest.approx(5479, abs=1e-4)
    np.testing.assert_allclose(fit.baseline, [0.3, 0.1, -0.02], atol=1e-5)


def test_float32_stays_float32(phantom, model):
    stack, _ = phantom()
    fit = xanes.fit_edge(stack.astype(np.float32), **model)
    assert fit.edge_energy.dtype == np.float32
    wide = xanes.fit_edge(stack, **model)
    gap = abs(fit.edge_energy - wide.edge_energy)
    assert float((gap / wide.edge_energy_error).median()) < 0.01


def test_labels_and_round_trip(phantom, model, tmp_path):
    stack, _ = phantom()
    fit = stack.to_dataset().xanes.fit_edge(**model)
    for name, variable in fit.variables.items():
        assert {"units", "long_name"} <= variable.attrs.keys(), name
    assert fit.attrs["history"].startswith("made\n")
    batteryxr.save(fit, tmp_path / "s.zarr", group="fit")
    back = batteryxr.open_store(tmp_path / "s.zarr", "fit").compute()
    xr.testing.assert_identical(back, fit)
    call = json.loads(back.attrs["batteryxr_call"])
    assert call["method"] == "fit_edge"
    again = batteryxr.replay(back, stack)
    xr.testing.assert_equal(again, fit)


def test_vanadium_oxides(standard):
    expected = {
        "VO": (5475.16, 0.49),
        "V2O3": (5478.71, 0.51),
        "VO2": (5481.75, 1.58),
        "V2O5": (5481.91, 2.54),
    }
    found = {}
    for name in expected:
        normal = xanes.normalise(
            standard(f"V/{name}"), e0=5480.0, pre=(-140, -30), post=(60, 350), degree=1
        )
        part = normal.normalised.sel(energy=slice(5420, 5540))
        fit = xanes.fit_edge(
            part, edge=(5470, 5488), peaks=[(5463, 5474), (5482, 5505)], mask=None
        )
        found[name] = float(fit.edge_energy)
        assert found[name] == pytest.approx(expected[name][0], abs=0.3)
        area = float(fit.normalised_peak_area[0])
        assert area == pytest.approx(expected[name][1], rel=0.1)
    assert found["VO"] < found["V2O3"] < found["VO2"] <= found["V2O5"]


def test_messages(phantom, model, energies):
    stack, _ = phantom()
    with pytest.raises(DataError, match="pre and post, or pass mask=None"):
        xanes.fit_edge(stack.sel(energy=slice(5460, None)), **model)
    with pytest.raises(DataError, match="free parameters"):
        xanes.fit_edge(stack.isel(energy=slice(0, 9)), mask=None, **model)
    with pytest.raises(ArgumentError, match="multistart='often'"):
        xanes.fit_edge(stack, multistart="often", **model)
    with pytest.raises(ArgumentError, match="start='edge_enrgy'"):
        xanes.fit_edge(stack, start={"edge_enrgy": 1.0}, noise=0.1, **model)
    with pytest.raises(ArgumentError, match="2 values"):
        xanes.fit_edge(stack, start={"peak_position": [5466.0]}, **model)
    with pytest.raises(ArgumentError, match="mask='none'"):
        xanes.fit_edge(stack, mask="none", **model)
    with pytest.raises(ArgumentError, match="edge="):
        xanes.fit_edge(stack, edge=5478)
    with pytest.raises(ArgumentError, match="low first"):
        Edge((5480, 5470))
    with pytest.raises(ArgumentError, match=r"edge=\(5486, 5470\).*low first"):
        xanes.fit_edge(stack, edge=(5486, 5470))
    with pytest.raises(ArgumentError, match=r"width=.*above zero"):
        Peak((1, 2), width=(0, 1))
    for wrong in ({"noise": -1.0}, {"errors": 0.0}, {"baseline": -2}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            xanes.fit_edge(stack, edge=(5470, 5486), **wrong)
    with pytest.raises(ArgumentError, match="shape='voigt'"):
        Peak((1, 2), shape="voigt")
    bare = stack.assign_coords(energy=energies / 1000)
    with pytest.raises(UnitsError, match="keV"):
        xanes.fit_edge(bare, **model)


@pytest.mark.parametrize("alone", [(5463, 5470), Peak((5463, 5470))])
def test_one_peak_may_stand_alone(phantom, alone):
    stack, _ = phantom(8)
    options = {"edge": (5470, 5486), "mask": None}
    one = xanes.fit_edge(stack, peaks=alone, **options)
    listed = xanes.fit_edge(stack, peaks=[(5463, 5470)], **options)
    xr.testing.assert_identical(one.drop_attrs(), listed.drop_attrs())


def test_both_branches_are_given_and_covered(phantom, model):
    """Counts of 300: noise chooses between branches in many pixels, and says so."""
    stack, truth = phantom(40, noise=0.0)
    rng = np.random.default_rng(3)
    counts = rng.poisson(300 * np.exp(-2.2 * stack.values))
    noisy = stack.copy(data=-np.log(np.maximum(counts, 1) / 300))
    fit = xanes.fit_edge(noisy, multistart="always", **model)
    two = (fit.flag & 16) > 0
    assert int(two.sum()) > 20
    apart = abs(fit.edge_energy_other - fit.edge_energy)
    assert (np.isfinite(fit.edge_energy_other) == two).all()
    assert (fit.edge_energy_error >= apart - 1e-9).where(two, True).all()
    off = abs(fit.edge_energy - truth["edge_energy"])
    sound = fit.flag == 0
    assert int(sound.sum()) > 200
    assert float((off > 2).where(sound).mean()) <= 0.01
    assert float((off > 5 * fit.edge_energy_error).where(sound).mean()) <= 0.005


@pytest.mark.parametrize("lacking", ["second edge", "shoulder", "pre-edge"])
def test_a_missing_term_is_told_and_covered(phantom, model, lacking):
    """One spectrum hides it: chi2 is within a fifth of what noise alone gives."""
    stack, truth = phantom(32, noise=0.0)
    thick = truth["edge_jump"] > 0.1
    e, jump, edge = (
        stack.energy.values[:, None, None],
        *(truth[name] for name in ("edge_jump", "edge_energy")),
    )
    if lacking == "second edge":
        far = 1 / (1 + np.exp(-(e - edge - 6) / 1.5))
        near = 1 / (1 + np.exp(-(e - edge) / 1.5))
        stack = stack + 0.3 * jump * (far - near)
    elif lacking == "shoulder":
        stack = stack + 0.1 * jump / (1 + ((e - edge - 5) / 2) ** 2)
    else:
        model = model | {"peaks": model["peaks"][1:]}
    rng = np.random.default_rng(4)
    noise = 0.015 * np.where(thick, jump, np.nan)
    noisy = stack.copy(data=stack.values + noise * rng.standard_normal(stack.shape))
    with pytest.warns(DataQualityWarning, match="lacks a term"):
        fit = xanes.fit_edge(noisy, mask=None, **model)
    off = abs(fit.edge_energy - edge)
    assert float(((fit.flag & 64) > 0).where(thick).mean()) > 0.6
    silent = (fit.flag == 0) & (off > 3 * fit.edge_energy_error)
    assert int(silent.sum()) == 0
    assert float((off > 3 * fit.edge_energy_error).where(thick).mean()) < 0.02


@pytest.mark.parametrize("given", [False, True])
def test_a_term_that_a_fifth_of_spectra_have_is_told_there(phantom, model, given):
    """Also beside a start; the others keep their errors and have no flag."""
    stack, truth = phantom(32, noise=0.0)
    e, jump, edge = (
        stack.energy.values[:, None, None],
        *(truth[name] for name in ("edge_jump", "edge_energy")),
    )
    rng = np.random.default_rng(7)
    has = rng.random(jump.shape) < 0.2
    far = 1 / (1 + np.exp(-(e - edge - 6) / 1.5))
    near = 1 / (1 + np.exp(-(e - edge) / 1.5))
    noise = np.where(jump > 0.1, 0.007 * jump, np.nan)
    noise = noise * rng.standard_normal(stack.shape)
    noisy = stack.copy(data=stack + 0.4 * has * jump * (far - near) + noise)
    extra = {"start": {"edge_energy": 5475.0}} if given else {}
    with pytest.warns(DataQualityWarning, match="lacks a term"):
        fit = xanes.fit_edge(noisy, mask=None, **model, **extra)
    misfit, thick = (fit.flag & 64) > 0, (jump > 0.1) & (fit.flag & 2 == 0)
    assert float(misfit.where(thick & has).mean()) > 0.7
    assert float(misfit.where(thick & ~has).mean()) < 0.05
    off = abs(fit.edge_energy - edge) > 5 * fit.edge_energy_error
    assert float((off & (fit.flag == 0)).where(thick).mean()) < 0.005


@pytest.mark.parametrize("noise", [0.03, 0.08])
def test_correlated_noise_is_not_taken_for_a_term(phantom, model, noise):
    """The sample itself shows how far noise goes, also if neighbours share it."""
    stack, truth = phantom(32, noise=0.0)
    rng = np.random.default_rng(5)
    each = rng.standard_normal((stack.energy.size + 4, *stack.shape[1:]))
    five = sum(each[i : i + stack.energy.size] for i in range(5)) / np.sqrt(5)
    thick = truth["edge_jump"] > 0.1
    noisy = stack + noise * np.where(thick, truth["edge_jump"], np.nan) * five
    fit = xanes.fit_edge(noisy, mask=None, **model)
    assert float(((fit.flag & 64) > 0).where(thick).mean()) < 0.005


def test_an_edge_that_noise_widened_is_flagged(phantom, model):
    """Counts of 300 in sample and flat field, so that noise is a fifth of the step."""
    stack, truth = phantom(40, noise=0.0)
    rng = np.random.default_rng(8)
    counts = rng.poisson(300 * np.exp(-stack.values)), rng.poisson(300, stack.shape)
    noisy = stack.copy(data=-np.log(np.maximum(counts[0], 1) / counts[1]))
    fit = xanes.fit_edge(noisy, **model)
    fitted = (fit.flag & 3) == 0
    off = abs(fit.edge_energy - truth["edge_energy"])
    assert int(fitted.sum()) > 100
    assert int(((off > 2) & (fit.flag == 0)).sum()) <= 0.01 * int(fitted.sum())


def test_edge_energies_beyond_five_sigma(phantom, model):
    """At noise of 0.015 of the jump, a thousandth of all pixels at most."""
    stack, truth = phantom(48, noise=0.0)
    thick = truth["edge_jump"] > 0.05
    rng = np.random.default_rng(4)
    noise = 0.015 * np.where(thick, truth["edge_jump"], np.nan)
    noisy = stack.copy(data=stack.values + noise * rng.standard_normal(stack.shape))
    fit = xanes.fit_edge(noisy, mask=None, **model)
    pull = abs(fit.edge_energy - truth["edge_energy"]) / fit.edge_energy_error
    assert int((pull > 5).sum()) <= 1e-3 * thick.sum()
    assert float((fit.flag == 0).where(thick).sum()) > 0.99 * thick.sum()
