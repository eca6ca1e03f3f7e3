"""Monte Carlo: moves obey their distributions, chains find what is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import batteryxr
from batteryxr import nmf
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.core.progress import watched
from batteryxr.nmf.kernels import metropolis, sampling

pytestmark = pytest.mark.filterwarnings(
    "ignore:the chains disagree", "ignore:ratios may differ"
)
QUICK = {
    "sampling": nmf.Sampling(sweeps=1500, draws=60, thin=1, rotations=4000),
}


def compare(draws: np.ndarray, distribution) -> float:
    """Distance of Kolmogorov and Smirnov."""
    from scipy.stats import kstest

    return float(kstest(draws, distribution.cdf).statistic)


@pytest.mark.parametrize(
    "bounds",
    [
        *((-1.0, 2.0), (-0.3, 0.4), (0.5, 0.9), (1.0, np.inf), (4.0, np.inf)),
        *((6.0, 6.1), (-np.inf, 1.0), (-np.inf, -3.0), (-2.0, -1.5)),
        *((-40.0, -38.0), (-0.5, np.inf)),
    ],
)
def test_truncated_normals(bounds):
    from scipy.stats import truncnorm

    rng = np.random.default_rng(0)
    draws = np.array([metropolis.truncated(rng, *bounds) for _ in range(4000)])
    assert compare(draws, truncnorm(*bounds)) < 0.03


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-50, 50),
    st.floats(0, 20),
    st.integers(0, 2**32 - 1),
)
def test_truncated_normals_stay_inside(low, width, seed):
    z = metropolis.truncated(np.random.default_rng(seed), low, low + width)
    assert low <= z <= low + width


@pytest.mark.parametrize("exact", [False, True])
def test_entries_follow_their_posterior(exact):
    """Two correlated entries: a histogram of the chain against the density."""
    gram = np.array([[[2.0, 1.2], [1.2, 1.5]]])
    rhs = np.array([[0.8], [1.1]])
    x = np.ones((2, 1))
    free = np.array([True, True])
    rng = np.random.default_rng(2)
    temperature = 0.6
    kept = []
    for i in range(60_000):
        if exact:
            metropolis.draw_entries(rng, (gram, rhs), x, free, temperature)
        else:
            metropolis.propose_entries(rng, (gram, rhs), x, free, temperature, 1.5)
        if i > 200:
            kept.append(x[:, 0].copy())
    a = np.linspace(0, 6, 601)
    one, two = np.meshgrid(a, a, indexing="ij")
    energy = 0.5 * (2.0 * one**2 + 2.4 * one * two + 1.5 * two**2) - 0.8 * one
    density = np.exp(-(energy - 1.1 * two) / temperature)
    density /= density.sum()
    mean = [(density * one).sum(), (density * two).sum()]
    spread = [
        np.sqrt((density * (v - m) ** 2).sum())
        for v, m in zip((one, two), mean, strict=True)
    ]
    found = np.array(kept)
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(found.std(axis=0), spread, atol=0.02)


@pytest.mark.parametrize("exact", [False, True])
def test_transfers_keep_sums_and_follow_their_posterior(exact):
    gram = np.array([[[3.0, 0.4], [0.4, 2.0]]])
    rhs = np.array([[1.5], [0.9]])
    x = np.full((2, 1), 0.5)
    rng = np.random.default_rng(3)
    kept = []
    for _ in range(20_000):
        if exact:
            metropolis.draw_transfers(rng, (gram, rhs), x, 0.5)
        else:
            metropolis.propose_transfers(rng, (gram, rhs), x, 0.5, 1.5)
        kept.append(x[0, 0])
    assert abs(x.sum() - 1) < 1e-12
    w = np.linspace(0, 1, 2001)
    energy = 0.5 * (3 * w**2 + 0.8 * w * (1 - w) + 2 * (1 - w) ** 2)
    density = np.exp(-(energy - 1.5 * w - 0.9 * (1 - w)) / 0.5)
    density /= density.sum()
    assert np.mean(kept) == pytest.approx((density * w).sum(), abs=0.01)
    assert np.std(kept) == pytest.approx(
        np.sqrt((density * w**2).sum() - (density * w).sum() ** 2), abs=0.01
    )


def test_convergence_is_told_from_its_lack():
    rng = np.random.default_rng(0)
    alike = rng.normal(size=(4, 500))
    apart = alike + np.array([[0.0], [0.0], [0.0], [3.0]])
    assert sampling.potential_scale(alike) == pytest.approx(1.0, abs=0.02)
    assert sampling.potential_scale(apart) > 1.5
    assert sampling.effective_size(alike) == pytest.approx(2000, rel=0.2)
    assert sampling.effective_size(apart) < 20
    slow = np.zeros((4, 2000))
    for i in range(1, 2000):
        slow[:, i] = 0.9 * slow[:, i - 1] + rng.normal(size=4)
    # An autoregression of 0.9 has 1.9 / 0.1 times fewer.
    assert sampling.effective_size(slow) == pytest.approx(8000 / 19, rel=0.35)
    assert np.isnan(sampling.potential_scale(np.ones((2, 50))))
    assert np.isnan(sampling.effective_size(np.ones((2, 50))))


@pytest.fixture(scope="module")
def sampled(series) -> xr.Dataset:
    return series.data.nmf.metropolis(
        3, constraints=nmf.Constraints(shift="envelope"), **QUICK
    )


def test_chains_find_what_the_exact_solver_finds(series, sampled):
    fit = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    assert float(sampled["relative_error"]) == pytest.approx(
        float(fit["relative_error"]), rel=1e-3
    )
    assert (sampled["chain_similarity"] > 0.98).all()
    found = sampled["weights"].transpose("component", ...).values
    assert np.abs(found - series.weights).max() < 0.06
    assert float(sampled["noise"]) == pytest.approx(series.noise, rel=0.05)
    accepted = sampled["chain_acceptance"]
    assert ((accepted > 0.25) & (accepted < 0.45)).all()


def test_draws_are_as_far_from_the_optimum_as_noise_is(series):
    """At T = 1 each free parameter adds one unit of noise to the misfit."""
    found = series.data.nmf.metropolis(
        3,
        constraints=nmf.Constraints(shift="envelope"),
        sampling=nmf.Sampling(n_chains=2, sweeps=8000, draws=100, rotations=400),
    )
    m, n, k = 60, 400, 3
    excess = (found["chain_excess"] - 1) * (m * n) / (k * (m + n))
    assert ((excess > 0.5) & (excess < 1.5)).all()


def test_truth_lies_within_the_range(series, sampled):
    true = series.weights.T
    inside = (true >= sampled["weights_low"]) & (true <= sampled["weights_high"])
    assert float(inside.mean()) >= 0.9
    assert (sampled["weights_low"] <= sampled["weights"] + 1e-9).all()
    assert (sampled["weights_high"] >= sampled["weights"] - 1e-9).all()
    assert (sampled["weights_error"] >= 0).all()
    quantiles = sampled["weights_quantiles"]
    assert (quantiles.diff("quantile") >= 0).all()
    assert quantiles.dims == ("quantile", "scan", "component")


def test_the_same_seed_gives_the_same(series, sampled, tmp_path):
    again = batteryxr.replay(sampled, series.data)
    xr.testing.assert_equal(again, sampled)
    other = series.data.nmf.metropolis(
        3, seed=7, constraints=nmf.Constraints(shift="envelope"), **QUICK
    )
    assert not np.array_equal(other["weights_error"], sampled["weights_error"])
    assert sampled["li_content"].attrs == series.data["li_content"].attrs
    assert sampled["noise"].attrs["units"] == "1/Angstrom2"
    assert sampled["chain_error"].attrs["long_name"] == "Relative error of a chain"
    for name, variable in sampled.variables.items():
        assert {"units", "long_name"} <= set(variable.attrs), name
    batteryxr.save(sampled, tmp_path / "chains.zarr")
    back = batteryxr.open_store(tmp_path / "chains.zarr").load()
    xr.testing.assert_equal(back, sampled)


def test_fixed_components_stay_and_narrow_the_range(series):
    options = {"constraints": nmf.Constraints(shift="minimum"), **QUICK}
    free = series.data.nmf.metropolis(3, **options)
    held = series.data.nmf.metropolis(3, fixed={"start": 0, "end": -1}, **options)
    given = series.data.isel(scan=0).values
    assert held["components"].sel(component="start").values.tobytes() == given.tobytes()
    assert (held["components_error"].sel(component="end") == 0).all()
    assert np.abs(held["weights"].sum("component") - 1).max() <= 1e-12
    width = [float((r["weights_high"] - r["weights_low"]).mean()) for r in (free, held)]
    assert width[1] < width[0]


def test_without_closure_components_have_unit_area(series):
    data = (series.data - series.data.min()).assign_attrs(series.data.attrs)
    found = data.nmf.metropolis(3, closure=False, **QUICK)
    area = found["components"].integrate("r")
    np.testing.assert_allclose(area, 1.0, rtol=1e-9)
    assert (found["weights_low"] <= found["weights"] + 1e-9).all()
    assert (found["weights"] <= found["weights_high"] + 1e-9).all()
    model = found["weights"].dot(found["components"])
    assert float(((data - model) ** 2).mean() ** 0.5) < 1.1 * series.noise


def test_gaps_and_errors(series):
    data = series.data.copy(deep=True)
    data[4] = np.nan
    data[10:14, 50:60] = np.nan
    found = data.nmf.metropolis(
        3,
        errors=series.noise,
        constraints=nmf.Constraints(shift="envelope"),
        sampling=replace(QUICK["sampling"], n_chains=2),
    )
    assert np.isnan(found["weights"][4]).all()
    assert np.isnan(found["weights_error"][4]).all()
    assert int(found["flag"][4]) == 1
    kept = np.delete(np.arange(60), 4)
    apart = found["weights"].values[kept] - series.weights.T[kept]
    assert np.abs(apart).max() < 0.06
    assert float(found["noise"]) == 1.0


def test_lazy_data_give_lazy_weights_and_the_same_answer(series):
    options = {
        "constraints": nmf.Constraints(shift="envelope"),
        "sampling": nmf.Sampling(sweeps=200, draws=20, rotations=1000),
    }
    eager = series.data.nmf.metropolis(3, **options)
    for chunks in ({"scan": 7}, {"scan": 60, "r": 100}):
        found = series.data.chunk(chunks).nmf.metropolis(3, **options)
        assert found["weights"].chunks is not None
        xr.testing.assert_allclose(found.compute(), eager, rtol=1e-9, atol=1e-9)


def test_an_interruption_keeps_what_was_found(series):
    def impatient(what: str, done: int, total: int | None) -> None:
        if what == "Sampling" and done > 40:
            raise KeyboardInterrupt

    with watched(impatient), pytest.warns(DataQualityWarning, match="interrupted"):
        found = series.data.nmf.metropolis(
            3,
            constraints=nmf.Constraints(shift="envelope"),
            sampling=nmf.Sampling(sweeps=50_000),
        )
    assert found.attrs["interrupted"] == 1
    assert "weights_error" not in found
    assert float(found["relative_error"]) < 1.05 * float(found["svd_error"])
    assert found.sizes["chain"] == 4


@pytest.mark.parametrize(
    "fields", [{"n_chains": 0}, {"sweeps": 0}, {"draws": 3}, {"hottest": 0.5}]
)
def test_chains_that_cannot_be_are_refused(fields):
    (name,) = fields
    with pytest.raises(ArgumentError, match=f"^{name}="):
        nmf.Sampling(**fields)


def test_another_error_stops_the_chains(series):
    def broken(what: str, done: int, total: int | None) -> None:
        if done > 40:
            raise RuntimeError("screen is gone")

    with watched(broken), pytest.raises(RuntimeError, match="screen is gone"):
        series.data.nmf.metropolis(
            3,
            constraints=nmf.Constraints(shift="envelope"),
            sampling=nmf.Sampling(sweeps=50_000),
        )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"seed": -1}, ArgumentError, "seed"),
        ({"constraints": None}, DataError, "signed values"),
    ],
)
def test_what_is_wrong_is_named(series, options, error, words):
    minimum = {"constraints": nmf.Constraints(shift="minimum")}
    with pytest.raises(error, match=words):
        series.data.nmf.metropolis(3, **(minimum | options))


def test_a_stack_is_refused(stack, in_passes):
    with pytest.raises(DataError, match="fits in memory"):
        nmf.metropolis(stack.data, 3, closure=False)


def two_ends(noise: np.ndarray | float, seed: int = 0) -> tuple[xr.DataArray, float]:
    """A series from one phase to another, and how far these are apart."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(0, 10, 150)
    one, two = (np.exp(-0.5 * (axis - c) ** 2) + 0.3 for c in (4.5, 5.5))
    share = np.linspace(0, 1, 21)[:, None]
    clean = (1 - share) * one + share * two
    data = xr.DataArray(
        clean + noise * rng.normal(size=clean.shape),
        dims=("scan", "energy"),
        coords={"energy": axis},
        attrs={"units": "1"},
    )
    return data, float(np.linalg.norm(two - one))


def test_noise_of_fixed_scans_is_in_the_errors():
    """Of a ratio w: that of its scan, and w and 1 - w times that of the ends."""
    data, apart = two_ends(0.02)
    found = data.nmf.metropolis(
        2,
        fixed={"a": 0, "b": -1},
        sampling=nmf.Sampling(n_chains=2, sweeps=300, draws=400, thin=1, rotations=400),
    )
    share = np.linspace(0, 1, 21)
    expected = 0.02 / apart * np.sqrt(1 + share**2 + (1 - share) ** 2)
    error = found["weights_error"].sel(component="b").values
    np.testing.assert_allclose(error[3:-3] / expected[3:-3], 1.0, atol=0.15)
    assert float(found["noise"]) == pytest.approx(0.02, rel=0.05)


def test_errors_of_scans_that_differ_leave_the_range_as_narrow():
    level = 0.002 * (1 + np.arange(21) % 3)[:, None]
    data, _ = two_ends(level)
    errors = xr.DataArray(level[:, 0], dims="scan")
    how = {"sampling": nmf.Sampling(n_chains=2, sweeps=400, draws=40, rotations=4000)}
    width = [
        float((f["weights_high"] - f["weights_low"]).mean())
        for f in (
            data.nmf.metropolis(2, fixed={"a": 0}, **how),
            data.nmf.metropolis(2, fixed={"a": 0}, errors=errors, **how),
        )
    ]
    assert width[1] < 1.3 * width[0]


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_errors_are_one_deviation_where_one_answer_fits(memory):
    """With known patterns and noise that neighbours share or do not, over ratios."""
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng(3)
    axis = np.linspace(0, 10, 80)
    patterns = np.exp(-0.5 * (axis - np.array([[3.0], [5.0], [6.5]])) ** 2) + 0.2
    ratios = rng.dirichlet([4.0, 4.0, 4.0], 150)
    noise = rng.normal(size=(150, 80))
    if memory:
        noise = gaussian_filter1d(noise, memory, axis=1)
    data = xr.DataArray(
        ratios @ patterns + 0.01 * noise / noise.std(),
        dims=("scan", "energy"),
        coords={"energy": axis},
        attrs={"units": "1"},
    )
    fixed = {f"p{i}": xr.DataArray(p, dims="energy") for i, p in enumerate(patterns)}
    how = nmf.Sampling(n_chains=1, sweeps=60, draws=60, thin=1, rotations=400)
    found = data.nmf.metropolis(3, fixed=fixed, sampling=how)
    names = list(fixed)
    far = np.abs(found["weights"].sel(component=names).values - ratios)
    errors = found["weights_error"].sel(component=names).values
    assert 0.6 < (far < errors).mean() < 0.76
    ends = found["weights_quantiles"].sel(component=names).transpose("quantile", ...)
    low, high = ends.values[[0, 4]]
    assert 0.9 < ((ratios >= low) & (ratios <= high)).mean() < 0.99


def test_intervals_hold_all_answers_at_the_least_favourable_truth():
    """By brute force: measured ends of a range err, the truth is at either end."""
    from batteryxr.nmf.posterior import QUANTILES, intervals

    rng = np.random.default_rng(0)
    for width in (0.0, 0.5, 1.0, 3.0, 30.0):
        low = rng.normal(size=40_000)
        ends = intervals(low, low + width, np.ones(low.size))
        for first, last in ((0, 4), (1, 3)):
            held = ((ends[first] <= 0) & (ends[last] >= 0)).mean()
            assert held == pytest.approx(QUANTILES[last] - QUANTILES[first], abs=0.01)
