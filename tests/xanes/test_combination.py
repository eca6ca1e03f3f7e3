"""Combinations of standards: SciPy's answers, measured mixtures, components."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DataError


def labelled(values, *dims):
    e = 5000 + np.arange(values.shape[-1]) * 1.0
    return xr.DataArray(
        values,
        dims=(*dims, "energy"),
        coords={"energy": ("energy", e, {"units": "eV", "long_name": "E"})},
        attrs={"units": "1", "long_name": "Spectra"},
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_non_negative_weights_equal_scipy(seed, n):
    rng = np.random.default_rng(seed)
    a = rng.random((n, 30))
    y = rng.normal(size=(20, n)) @ a + 0.1 * rng.standard_normal((20, 30))
    fit = xanes.lcf(labelled(y, "scan"), standards=labelled(a, "standard"))
    expected = [nnls(a.T, row)[0] for row in y]
    np.testing.assert_allclose(fit.weight.T, expected, atol=1e-10)
    residual = np.sum((y - np.array(expected) @ a) ** 2, axis=1)
    np.testing.assert_allclose(fit.r_factor_free, residual / np.sum(y**2, axis=1))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_sum_to_one_is_the_constrained_optimum(seed, n):
    rng = np.random.default_rng(seed)
    a = rng.random((n, 30))
    y = rng.dirichlet(np.ones(n) * 0.4) @ a + 0.1 * rng.standard_normal(30)
    fit = xanes.lcf(labelled(y), standards=labelled(a, "standard"), closure=True)
    w = fit.weight.values
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1, abs=1e-12)
    # Karush-Kuhn-Tucker: no allowed direction lowers the residual.
    gradient = a @ (y - w @ a)
    level = gradient[w > 0].mean()
    np.testing.assert_allclose(gradient[w > 0], level, atol=1e-9)
    assert (gradient[w == 0] <= level + 1e-9).all()
    assert float(fit.r_factor_free) <= float(fit.r_factor_sum_to_one) * (1 + 1e-12)


def test_free_sign_with_sum_equals_scipy():
    rng = np.random.default_rng(5)
    a = rng.random((3, 40))
    y = np.array([1.2, -0.4, 0.2]) @ a + 0.02 * rng.standard_normal(40)
    fit = xanes.lcf(
        labelled(y),
        standards=labelled(a, "standard"),
        non_negative=False,
        closure=True,
    )
    best = minimize(
        lambda w: np.sum((y - w @ a) ** 2),
        np.ones(3) / 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(fit.weight, best.x, atol=1e-5)


def manganese(standard):
    files = {"IV": "Mn/MnO2_rt_03", "III": "Mn/Mn2O3_rt_03", "II": "Mn/MnO_rt_03"}
    return {
        name: xanes.normalise(standard(path)).flattened for name, path in files.items()
    }


def test_manganese_mixture(standard):
    standards = manganese(standard)
    x = standards["IV"].energy.sel(energy=slice(6480, 6740))
    rows = xr.concat(
        [s.interp(energy=x, method="cubic") for s in standards.values()], "standard"
    ).assign_coords(standard=list(standards))
    share = xr.DataArray([0.69, 0.23, 0.08], dims="standard")
    mixture = (rows * share).sum("standard")
    mixture.attrs["units"] = "1"
    exact = xanes.lcf(mixture, standards=rows)
    np.testing.assert_allclose(exact.weight, share, atol=1e-8)
    assert list(exact.standard.values) == ["IV", "III", "II"]
    rng = np.random.default_rng(0)
    noisy = mixture + xr.DataArray(
        0.02 * rng.standard_normal((2000, x.size)), dims=("scan", "energy")
    )
    fit = xanes.lcf(noisy, standards=rows, non_negative=False)
    spread = fit.weight.std("scan", ddof=1)
    assert float(spread.max()) <= 0.015
    np.testing.assert_allclose(fit.weight_error.mean("scan"), spread, rtol=0.05)
    # No unbiased estimate scatters less (Gauss and Markov).
    least = 0.02 * np.sqrt(np.diag(np.linalg.inv(rows.values @ rows.values.T)))
    np.testing.assert_allclose(spread, least, rtol=0.05)


def test_noise_of_vanadium_mixtures(standard):
    names = ("V_foil", "VO", "V2O3", "V2O5")
    spectra = [xanes.normalise(standard(f"V/{n}")).normalised for n in names]
    x = spectra[1].energy.sel(energy=slice(5386, 6085))
    rows = xr.concat([s.interp(energy=x, method="cubic") for s in spectra], "standard")
    rows = rows.assign_coords(standard=list(names)).assign_attrs(units="1")
    rng = np.random.default_rng(0)
    share = xr.DataArray(rng.dirichlet(np.ones(4), 1000), dims=("scan", "standard"))
    noise = 0.01 * rng.standard_normal((1000, x.size))
    mixed = (share * rows).sum("standard") + xr.DataArray(
        noise, dims=("scan", "energy")
    )
    fit = xanes.lcf(mixed.assign_attrs(units="1"), standards=rows)
    assert float(((fit.weight - share) ** 2).mean() ** 0.5) <= 0.006


def test_standards_on_their_own_energies(standard):
    standards = manganese(standard)
    y = standards["III"].sel(energy=slice(6480, 6740))
    fit = y.xanes.lcf(standards=standards)
    assert float(fit.weight.sel(standard="III")) == pytest.approx(1, abs=2e-3)


def test_background_is_free_and_outside_the_sum():
    rng = np.random.default_rng(2)
    a = rng.random((2, 50))
    line = np.linspace(-1, 1, 50)
    y = 0.7 * a[0] + 0.3 * a[1] - 0.5 + 0.2 * line
    fit = xanes.lcf(
        labelled(y),
        standards=labelled(a, "standard"),
        baseline=1,
        closure=True,
    )
    np.testing.assert_allclose(fit.weight, [0.7, 0.3], atol=1e-10)
    slope = 0.2 * 0.5 * 49 / (0.5 * 49)
    np.testing.assert_allclose(fit.background, [-0.5, slope], atol=1e-10)


def test_gaps_and_blanks():
    rng = np.random.default_rng(3)
    a = rng.random((3, 40))
    y = np.tile(np.array([0.5, 0.2, 0.3]) @ a, (4, 1))
    y[0, 5:9] = np.nan
    y[1] = np.nan
    y[2] = 0
    fit = xanes.lcf(labelled(y, "scan"), standards=labelled(a, "standard"))
    np.testing.assert_allclose(fit.weight[:, 0], [0.5, 0.2, 0.3], atol=1e-10)
    assert fit.weight[:, 1].isnull().all()
    assert fit.r_factor_free[2].isnull()
    np.testing.assert_allclose(fit.weight_sum[[0, 3]], 1)


def test_lazy_equals_eager(phantom, no_compute):
    stack, _ = phantom(n=20)
    ends = stack.isel(y=10, x=[6, 10, 14]).rename(x="standard").drop_vars(["y"])
    ends = ends.drop_vars("standard").transpose("standard", "energy")
    eager = xanes.lcf(stack, standards=ends)
    with no_compute():
        lazy = xanes.lcf(stack.chunk(y=7, x=3), standards=ends)
    xr.testing.assert_allclose(eager.drop_attrs(), lazy.drop_attrs().compute())
    assert eager.weight.dims == ("standard", "y", "x")
    for variable in eager.variables.values():
        assert {"units", "long_name"} <= variable.attrs.keys()


def test_iron_stack(measured):
    """STXM: optical density as sums of the depositors' region spectra."""
    path = measured("stxm-fe-l/als_71214078.npz")
    with np.load(path) as z:
        e = z["energy_eV"]
        spectra = np.stack([z["oxidized_t"][:, 1], z["reduced_t"][:, 1]])
        i0 = z["i0"][:, 1]
        od = -np.log(z["aligned"] / i0[:, None, None])
    assert float(od.min()) == pytest.approx(0.756, abs=0.001)
    assert float(od.max()) == pytest.approx(3.601, abs=0.001)
    coords = {"energy": ("energy", e, {"units": "eV"})}
    attrs = {"units": "1"}
    stack = xr.DataArray(od, dims=("energy", "y", "x"), coords=coords, attrs=attrs)
    pair = xr.DataArray(
        spectra, dims=("standard", "energy"), coords=coords, attrs=attrs
    ).assign_coords(standard=["oxidised", "reduced"])
    peak = stack.sel(energy=slice(709, 711)).mean("energy")
    jump = peak - stack.sel(energy=slice(700, 704)).mean("energy")
    fit = xanes.lcf(stack, standards=pair, baseline=1)
    share = fit.weight.sel(standard="oxidised") / fit.weight_sum
    thick = jump > np.sort(jump.values.ravel())[-4667]
    assert int(thick.sum()) == 4666
    assert float(share.where(thick).mean()) == pytest.approx(0.72, abs=0.02)
    r_factor = float(fit.r_factor_free.where(thick).median())
    assert r_factor == pytest.approx(3.8e-4, rel=0.05)


def test_messages():
    rng = np.random.default_rng(0)
    y, a = labelled(rng.random(20)), labelled(rng.random((2, 20)), "standard")
    with pytest.raises(DataError, match="independent"):
        xanes.lcf(y, standards=xr.concat([a, a[:1]], "standard"))
    with pytest.raises(DataError, match="covers"):
        xanes.lcf(y, standards=a.isel(energy=slice(3, None)))
    with pytest.raises(ArgumentError, match="baseline=2"):
        xanes.lcf(y, standards=a, baseline=2)
    with pytest.raises(ArgumentError, match="at least one"):
        xanes.lcf(y, standards={})
    with pytest.raises(DataError, match="two or more"):
        xanes.pca(y)
    with pytest.raises(ArgumentError, match="n_components=9"):
        xanes.pca(a, n_components=9)


def test_components_equal_sklearn(phantom):
    from sklearn.decomposition import PCA

    stack, _ = phantom(n=24)
    found = xanes.pca(stack, n_components=3)
    rows = stack.values.reshape(40, -1).T
    expected = PCA(3).fit(rows)
    for name in ("explained_variance", "explained_variance_ratio"):
        np.testing.assert_allclose(found[name], getattr(expected, name + "_"))
    np.testing.assert_allclose(found["mean"], expected.mean_)
    np.testing.assert_allclose(
        abs(found.components), abs(expected.components_), atol=1e-8
    )
    np.testing.assert_allclose(
        abs(found.scores.values.reshape(3, -1)),
        abs(expected.transform(rows).T),
        atol=1e-8,
    )
    lazy = xanes.pca(stack.chunk(y=5, x=7), n_components=3)
    assert lazy.scores.chunks
    xr.testing.assert_allclose(lazy.drop_attrs().compute(), found.drop_attrs())


def test_indicator_and_target_transform():
    rng = np.random.default_rng(1)
    e = np.linspace(0, 1, 60)
    pure = np.stack([np.exp(-(((e - c) / 0.2) ** 2)) for c in (0.2, 0.5, 0.8)])
    mixed = rng.random((40, 3)) @ pure + 1e-3 * rng.standard_normal((40, 60))
    found = xanes.pca(labelled(mixed, "scan"), centre=False)
    assert found.sizes["component"] == 3
    targets = {"there": labelled(pure[1]), "absent": labelled(np.sin(20 * e) + 1)}
    test = found.xanes.target_transform(standards=targets)
    assert float(test.r_factor.sel(standard="there")) < 1e-5
    assert float(test.r_factor.sel(standard="absent")) > 0.05


def test_a_target_is_not_continued_to_a_stray_energy():
    e = np.linspace(0, 1, 60)
    rows = np.stack([np.exp(-(((e - c) / 0.2) ** 2)) for c in (0.2, 0.5, 0.8)])
    found = xanes.pca(labelled(rows, "scan"), n_components=2)
    target = labelled(rows[1])
    stray = found.energy.values.copy()
    stray[30] += 2 * np.ptp(stray)
    with pytest.raises(DataError, match="covers less than"):
        xanes.target_transform(
            found.assign_coords(energy=("energy", stray)), standards=target
        )


def test_scores_of_gaps_are_missing(phantom):
    stack, _ = phantom(n=16)
    stack[4, 3, 3] = np.nan
    found = xanes.pca(stack, n_components=2)
    assert found.attrs["n_spectra"] == 255
    assert int(found.scores.isnull().sum()) == 2


@pytest.mark.parametrize("choice", [{}, {"closure": True}, {"baseline": 1}])
def test_spectra_with_gaps_of_their_own_are_least_squares_on_the_rest(choice):
    """Each has other gaps: they are the same as alone, cut to what they have."""
    rng = np.random.default_rng(4)
    energies = np.linspace(8330, 8390, 50)
    edges = np.tanh((energies - 8345 - 4 * np.arange(3)[:, None]) / 3)
    own = labelled(0.5 + 0.5 * edges, "standard").assign_coords(energy=energies)
    y = rng.dirichlet([1.0, 1.0, 1.0], 6) @ own.values + rng.normal(0, 0.01, (6, 50))
    y[rng.random(y.shape) < 0.1] = np.nan
    y[5, 8:22] = np.nan  # the edge itself
    spectra = labelled(y, "scan").assign_coords(energy=energies)
    together = xanes.lcf(spectra, standards=own, errors=0.0, **choice)
    close = 0
    for k in range(6):
        there = np.isfinite(y[k])
        alone = xanes.lcf(
            spectra[k, there], standards=own[:, there], errors=0.0, **choice
        )
        for name in ("weight", "chi2", "residual_sd", "r_factor_sum_to_one"):
            both = together[name].isel(scan=k), alone[name]
            np.testing.assert_allclose(*both, rtol=1e-9, atol=1e-12)
        both = together.weight_error.isel(scan=k), alone.weight_error
        close += np.allclose(*both, rtol=0.15)
    assert close >= 3  # where noise that is white is taken for white


def test_errors_of_spectra_with_gaps_cover_the_truth():
    rng = np.random.default_rng(5)
    own = labelled(np.cumsum(rng.random((2, 80)) - 0.3, axis=1), "standard")
    noise = rng.normal(size=(1500, 83))
    noise = sum(noise[:, k : k + 80] for k in range(4)) * 0.05  # correlated
    y = np.array([0.6, 0.4]) @ own.values + noise
    y[rng.random(y.shape) < 0.15] = np.nan
    fit = xanes.lcf(labelled(y, "scan"), standards=own, errors=0.0)
    pull = (fit.weight - np.array([[0.6], [0.4]])) / fit.weight_error
    assert 0.65 < float((np.abs(pull) < 1).mean()) < 0.72
    assert 0.93 < float((np.abs(pull) < 2).mean()) < 0.97
