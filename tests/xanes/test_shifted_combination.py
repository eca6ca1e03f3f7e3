"""Combinations that shift, correlated noise, noisy standards, subsets of standards."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.special import erf
from scipy.stats import f as f_distribution

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DataQualityWarning

ENERGY = np.arange(6500, 6640, 0.5)
LINES = {"II": (6546, 0.55, 0.02), "III": (6549, 0.35, 0.06), "IV": (6552, 0.45, 0.10)}
SHARES = np.array([0.28, 0.33, 0.39])


def mn(name, shift=0.0, energy=ENERGY):
    """An edge under a white line with a pre-edge, on shifted energies."""
    e0, white, pre = LINES[name]
    x = energy - shift
    line = white / (1 + ((x - e0 - 4) / 2.5) ** 2) + pre / (1 + ((x - 6540) / 1.2) ** 2)
    return 0.5 * (1 + erf((x - e0) / 2.5)) + line


def labelled(values, energy=ENERGY):
    values = np.asarray(values)
    return xr.DataArray(
        values,
        dims=("scan", "energy")[-values.ndim :],
        coords={"energy": ("energy", energy, {"units": "eV"})},
        name="normalised",
        attrs={"units": "1"},
    )


def library():
    return {name: labelled(mn(name)) for name in LINES}


def mixture(shifts=(0.0, 0.0, 0.0)):
    return SHARES @ [mn(name, d) for name, d in zip(LINES, shifts, strict=True)]


def test_what_residuals_hold_of_noise_that_is_correlated():
    from batteryxr.xanes.kernels.combining.spread import _seen

    rng = np.random.default_rng(0)
    m, n, lags = 60, 3, 8
    design = np.cumsum(rng.standard_normal((m, n)), axis=0)
    inverse = np.linalg.pinv(design)
    left = np.eye(m) - design @ inverse
    expected = np.empty((lags, lags))
    for j in range(lags):
        noise = np.eye(m, k=j) + (np.eye(m, k=-j) if j else 0)
        kept = left @ noise @ left
        expected[:, j] = [np.trace(kept, offset=k) for k in range(lags)]
    np.testing.assert_allclose(_seen(inverse, m - n, lags), expected, atol=1e-9)


@pytest.mark.parametrize(("n", "span", "order"), [(60, 30, 0), (40, 40, 1)])
def test_errors_of_few_energies_with_correlated_noise(n, span, order):
    """Pulls were 1.2 to 1.55: at times the correlation was not found at all."""
    energy = np.linspace(6535, 6535 + span, n)
    edges = {
        name: labelled(mn(name, energy=energy), energy=energy) for name in ("II", "IV")
    }
    clean = 0.4 * edges["II"] + 0.6 * edges["IV"]
    rng = np.random.default_rng(1)
    white = rng.standard_normal((300, n + 4)) / np.sqrt(5)
    noise = np.lib.stride_tricks.sliding_window_view(white, 5, axis=1).sum(axis=2)
    fit = xanes.lcf(
        labelled(clean.values + 0.01 * noise, energy=energy),
        standards=edges,
        baseline=order,
        non_negative=False,
        errors=0.0,
    )
    pull = (fit.weight.T - [0.4, 0.6]) / fit.weight_error.T
    assert (np.abs(np.sqrt((pull**2).mean("scan")) - 1.05) < 0.15).all()


@pytest.mark.parametrize("shared", [True, False])
def test_shift_of_half_an_electronvolt(shared):
    y = labelled(mixture((0.5, 0.5, 0.5)))
    with pytest.warns(DataQualityWarning, match="max_shift"):
        plain = xanes.lcf(y, standards=library())
    assert int(plain.flag) == 4
    assert (abs(plain.weight - SHARES) < 3 * plain.weight_error).all()
    fit = y.xanes.lcf(standards=library(), max_shift=1.0, shared=shared)
    np.testing.assert_allclose(fit.weight, SHARES, atol=0.002)
    np.testing.assert_allclose(fit.energy_shift, 0.5, atol=0.003)
    assert int(fit.flag) == 0


@pytest.mark.parametrize(("shift", "least", "most"), [(0.5, 0.9, 1), (0, 0, 0.01)])
def test_a_shift_is_told_where_few_energies_show_it(shift, least, most):
    """Of 30 energies, what a shift leaves was itself taken for slow noise."""
    energy = np.linspace(6538, 6558, 30)
    two = {"II": 0.5, "III": 0.5}
    clean = sum(w * mn(name, shift, energy) for name, w in two.items())
    noise = 0.003 * np.random.default_rng(0).standard_normal((200, 30))
    noise[0, 7:9] = np.nan
    known = {name: labelled(mn(name, energy=energy), energy) for name in two}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = xanes.lcf(labelled(clean + noise, energy), standards=known, errors=0.0)
    assert least <= float(((fit.flag & 4) > 0).mean()) <= most
    off = abs(fit.weight - 0.5).where(fit.flag & 4, 0)
    assert (off <= 3 * fit.weight_error).all()
    assert bool(fit.flag[0] & 4) == bool(shift)  # also of a spectrum with gaps


def test_shift_of_each_standard_and_its_errors():
    rng = np.random.default_rng(0)
    shifts = np.array([0.5, -0.3, 0.2])
    y = mixture(shifts) + 0.005 * rng.standard_normal((60, ENERGY.size))
    fit = xanes.lcf(labelled(y), standards=library(), max_shift=1.0)
    for found, error, truth in (
        (fit.weight, fit.weight_error, SHARES),
        (fit.energy_shift, fit.energy_shift_error, shifts),
    ):
        pull = ((found.T - truth) / error.T).values
        assert np.abs(pull.mean(axis=0)).max() < 0.5
        assert 0.8 < np.sqrt(np.mean(pull**2)) < 1.2


def test_at_its_limit_a_shift_has_no_error():
    y = labelled(mixture((0.5, 0.5, 0.5)))
    with pytest.warns(DataQualityWarning, match="ended at max_shift"):
        fit = xanes.lcf(y, standards=library(), max_shift=0.3, shared=True)
    assert int(fit.flag) & 8
    np.testing.assert_allclose(fit.energy_shift, 0.3)
    assert np.isnan(fit.energy_shift_error).all()
    with pytest.raises(ArgumentError, match="max_shift"):
        xanes.lcf(y, standards=library(), max_shift=80.0)


def test_weights_beside_a_shift_at_its_limit_are_uncertain():
    """Noise drives shifts of little weight to their limit: pulls were 4.9 there."""
    rng = np.random.default_rng(6)
    shares = np.array([0.2, 0.3, 0.5])
    clean = shares @ [mn(name) for name in LINES]
    y = clean + 0.01 * rng.standard_normal((40, ENERGY.size))
    fit = xanes.lcf(labelled(y), standards=library(), max_shift=0.5, errors=0.0)
    pull = (fit.weight - shares[:, None]) / fit.weight_error
    assert int(((fit.flag & 8) > 0).sum()) > 1
    assert (pull.std("scan") < 1.3).all()


def test_what_gaps_leave_must_tell_standards_apart():
    flat = ENERGY < 6530
    edges = {n: labelled(0.5 * (1 + erf((ENERGY - LINES[n][0]) / 2.5))) for n in LINES}
    y = np.tile(SHARES @ [e.values for e in edges.values()], (2, 1))
    y[1, ~flat] = np.nan
    for options in ({}, {"max_shift": 1.0}):
        fit = xanes.lcf(labelled(y), standards=edges, **options)
        np.testing.assert_allclose(fit.weight[:, 0], SHARES, atol=1e-4)
        assert fit.weight[:, 1].isnull().all()
        assert int(fit.flag[1]) == 1


def test_alternating_noise_makes_no_weight_surer():
    rng = np.random.default_rng(5)
    raw = rng.standard_normal((300, ENERGY.size + 1))
    noise = 0.01 * (raw[:, 1:] - 0.8 * raw[:, :-1]) / np.sqrt(1.64)
    y = mixture() + noise
    fit = xanes.lcf(labelled(y), standards=library(), errors=0.0)
    pull = (fit.weight - SHARES[:, None]) / fit.weight_error
    assert (pull.std("scan") < 1.0).all()
    spread = fit.weight_error.max("scan") / fit.weight_error.min("scan")
    assert (spread < 1.5).all()


@pytest.mark.parametrize("width", [1, 5])
def test_errors_know_correlated_noise(width):
    """Pulls of 0.9 to 1.2; with independent residuals they were 2.2 over 5 points."""
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((2000, ENERGY.size + width - 1))
    means = [raw[:, k : k + ENERGY.size] for k in range(width)]
    noise = 0.01 * np.sqrt(width) * np.mean(means, axis=0)
    fit = xanes.lcf(
        labelled(mixture() + noise), standards=library(), non_negative=False
    )
    pull = ((fit.weight.T - SHARES) / fit.weight_error.T).values
    assert pull.std(axis=0).min() > 0.9
    assert pull.std(axis=0).max() < 1.2
    assert float(fit.n_independent.median()) == pytest.approx(280 / width, rel=0.15)


def test_errors_hold_where_noise_leaves_few_independent_values():
    """Of 70 energies 14 are independent: a variance from them is itself uncertain."""
    rng = np.random.default_rng(9)
    raw = rng.standard_normal((600, 74))
    noise = 0.01 * sum(raw[:, k : k + 70] for k in range(5)) / np.sqrt(5)
    some = slice(30, 240, 3)
    standards = {name: labelled(mn(name))[some] for name in ("II", "IV")}
    clean = 0.6 * mn("II") + 0.4 * mn("IV")
    for degree in (None, 1):
        y = labelled(clean + np.zeros((600, 1)))[:, some] + noise
        fit = xanes.lcf(
            y, standards=standards, baseline=degree, non_negative=False, errors=0.0
        )
        pull = (fit.weight - xr.DataArray([0.6, 0.4], dims="standard")) / (
            fit.weight_error
        )
        assert float(pull.std("scan").min()) > 0.9
        assert float(pull.std("scan").max()) < 1.2


def test_errors_know_the_noise_of_standards():
    rng, sd = np.random.default_rng(2), 0.02
    pulls = []
    for _ in range(40):
        standards = {
            name: labelled(mn(name) + sd * rng.standard_normal(ENERGY.size))
            for name in LINES
        }
        y = labelled(mixture() + 0.003 * rng.standard_normal(ENERGY.size))
        fit = xanes.lcf(y, standards=standards)
        pulls.append((fit.weight.values - SHARES) / fit.weight_error.values)
    assert 0.75 < np.sqrt(np.mean(np.square(pulls))) < 1.2
    given = xanes.lcf(y, standards=standards, errors=dict.fromkeys(LINES, 10 * sd))
    exact = xanes.lcf(y, standards=standards, errors=0.0)
    assert (given.weight_error > exact.weight_error).all()
    assert float((given.weight_error / exact.weight_error).max()) > 2


def test_sums_that_are_not_one_are_told():
    with pytest.warns(DataQualityWarning, match="sum to less than 0.9"):
        fit = xanes.lcf(labelled(0.8 * mixture()), standards=library())
    assert int(fit.flag) == 2
    tied = xanes.lcf(labelled(0.8 * mixture()), standards=library(), closure=True)
    assert not int(tied.flag) & 2
    thin = xanes.lcf(
        labelled(0.8 * mixture()).rename("absorption"), standards=library()
    )
    assert not int(thin.flag) & 2


def test_chi2_is_the_sum_of_squares():
    rng = np.random.default_rng(3)
    y = mixture() + 0.01 * rng.standard_normal(ENERGY.size)
    a = np.stack([mn(name) for name in LINES], axis=1)
    left = np.linalg.lstsq(a, y, rcond=None)[1][0]
    fit = xanes.lcf(labelled(y), standards=library(), non_negative=False)
    assert float(fit.chi2) == pytest.approx(left)
    assert float(fit.residual_sd) == pytest.approx((left / 277) ** 0.5)


def test_subsets_find_the_standards_that_are_there():
    rng = np.random.default_rng(4)
    standards = library() | {"dull": labelled(0.5 * (1 + erf((ENERGY - 6560) / 9)))}
    clean = 0.4 * mn("II") + 0.6 * mn("IV")
    y = labelled(clean + 0.01 * rng.standard_normal((3, ENERGY.size)))
    found = y.xanes.lcf_subsets(standards=standards)
    assert found.attrs["smallest"] == "II + IV"
    assert found.sizes["subset"] == 15
    assert (np.diff(found.chi2) >= 0).all()
    assert float(found.confidence.sel(subset="III")) > 0.999
    one = found.sel(subset="II + IV")
    assert np.isnan(one.weight.sel(standard=["III", "dull"])).all()
    np.testing.assert_allclose(one.weight.sel(standard="II"), 0.4, atol=0.02)


def test_confidence_is_the_f_test_of_one_parameter_more():
    """Hamilton's test is that of Fisher in other words."""
    rng = np.random.default_rng(5)
    y = labelled(mixture() + 0.05 * rng.standard_normal(ENERGY.size))
    found = xanes.lcf_subsets(y, standards=library(), non_negative=False)
    best, other = found.isel(subset=0), found.isel(subset=1)
    assert [int(best.n_standards), int(other.n_standards)] == [3, 2]
    free = found.attrs["n_independent"] - 3
    f = (float(other.chi2) / float(best.chi2) - 1) * free
    assert float(other.confidence) == pytest.approx(f_distribution.cdf(f, 1, free))
    many = {f"s{k}": labelled(mn("II") + k * 0.01) for k in range(40)}
    with pytest.raises(ArgumentError, match="fewer than 5000"):
        xanes.lcf_subsets(y, standards=many)


def test_subsets_are_compared_over_the_same_energies():
    """A short standard takes part of the edge away from its own subsets alone."""
    rng = np.random.default_rng(6)
    y = labelled(mixture() + 0.02 * rng.standard_normal(ENERGY.size))
    standards = library()
    standards["IV"] = standards["IV"].sel(energy=slice(6500, 6600))
    found = xanes.lcf_subsets(y, standards=standards, max_shift=1.0, shared=True)
    assert (np.diff(found.n_standards) < 0).any()  # larger subsets lead
    by_name = found.chi2.to_series()
    assert by_name["II + III + IV"] <= by_name["II + III"]
    assert by_name["II + IV"] <= by_name["II"]


def test_the_smallest_subset_is_among_those_returned():
    rng = np.random.default_rng(7)
    y = labelled(mn("II") + 0.05 * rng.standard_normal(ENERGY.size))
    found = xanes.lcf_subsets(y, standards=library(), n_best=1, non_negative=False)
    assert found.attrs["smallest"] in found.subset.values
    assert found.sizes["subset"] <= 2


def test_a_pixel_that_lacks_the_edge_stops_no_other():
    y = labelled(np.tile(mixture(), (3, 1)))
    before = labelled(np.where(y.energy < 6500 + 10, y, np.nan))
    flat = {name: s.where(s.energy > 6510, 0.0) for name, s in library().items()}
    before[1] = y[1]
    found = xanes.lcf(before, standards=flat)
    assert found.flag.values.tolist()[0] == 1
    assert np.isfinite(found.weight[:, 1]).all()
    assert np.isnan(found.weight[:, 0]).all()


@pytest.mark.parametrize(("step", "told"), [(1.0, False), (2.5, True)])
def test_standards_too_coarse_to_be_moved_are_told(step, told):
    energy = np.arange(6500.0, 6600.0, step)

    def line(at):
        white = np.exp(-(((energy - at - 4) / 2.2) ** 2))
        return 0.5 + np.arctan((energy - at) / 2) / np.pi + 0.5 * white

    def labelled(values):
        return xr.DataArray(values, {"energy": energy}, name="normalised")

    pure = {"a": labelled(line(6540.0)), "b": labelled(line(6546.0))}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        xanes.lcf(
            labelled(0.5 * (line(6540.5) + line(6546.5))), standards=pure, max_shift=1
        )
    assert any("smaller steps" in str(w.message) for w in said) is told


@pytest.mark.parametrize(("n", "most"), [(100, 0.1), (40, 0.35)])
def test_a_shift_that_the_weights_follow_is_told(n, most):
    energy = np.linspace(6520.0, 6620.0, n)
    shares = np.random.default_rng(3).dirichlet([1, 1, 1], 200)
    noise = 0.005 * np.random.default_rng(4).standard_normal((200, n))

    def series(shift):
        rows = shares @ np.stack([mn(name, shift, energy) for name in LINES])
        return xr.DataArray(rows + noise, {"scan": range(200), "energy": energy})

    own = {
        k: xr.DataArray(mn(k, 0.0, energy), {"energy": energy}, name="normalised")
        for k in LINES
    }
    with pytest.warns(DataQualityWarning, match="max_shift"):
        fit = xanes.lcf(series(0.5).rename("normalised"), standards=own)
    beyond = abs(fit.weight.transpose("scan", ...) - shares) > 3 * fit.weight_error
    untold = beyond.any("standard") & (fit.flag == 0)
    assert float(untold.mean()) < most
    right = xanes.lcf(series(0.0).rename("normalised"), standards=own)
    assert int((right.flag != 0).sum()) == 0
