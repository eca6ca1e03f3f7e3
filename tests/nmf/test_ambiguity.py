"""Ranges of what fits alike: exact where that is known, and covering the truth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import nmf, simulate
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.nmf.kernels.feasible import Scatter, Walk, explore
from batteryxr.simulate import structures

pytestmark = pytest.mark.filterwarnings("ignore:ratios may differ")


def two_phases() -> tuple[np.ndarray, np.ndarray]:
    """Weights that never come nearer than 0.2 to a pure phase; positive patterns."""
    t = np.linspace(0.2, 0.8, 30)
    r = np.linspace(0, 1, 50)
    return np.array([1 - t, t]), np.array([1.5 + np.sin(6 * r), 1.2 + np.cos(9 * r)])


def test_the_range_of_two_components_is_exact():
    """With two, each component moves along the line through both, until it is zero
    somewhere, and inwards until a pattern lies on it."""
    w, h = two_phases()
    found = explore(
        w,
        h,
        np.zeros(2, bool),
        np.random.default_rng(0),
        closure=True,
        noise=Scatter(0.0),
    )
    d = h[1] - h[0]
    # Positions along the line, 0 at the first component and 1 at the second.
    first = (max((-h[0] / d)[d > 0]), 0.2)
    second = (0.8, min((-h[0] / d)[d < 0]))
    corners = [(a, b) for a in first for b in second]
    t = w[1]
    share = np.array([(t - a) / (b - a) for a, b in corners])
    np.testing.assert_allclose(found.weights[0][1], share.min(axis=0), atol=0.01)
    np.testing.assert_allclose(found.weights[1][1], share.max(axis=0), atol=0.01)
    for row, ends in ((0, first), (1, second)):
        lines = np.array([h[0] + a * d for a in ends])
        np.testing.assert_allclose(found.components[0][row], lines.min(0), atol=0.02)
        np.testing.assert_allclose(found.components[1][row], lines.max(0), atol=0.02)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_points_between_others_bound_nothing(k, noise):
    rng = np.random.default_rng(4)
    w = rng.dirichlet(np.ones(k), 40).T
    h = rng.gamma(1.0, 1.0, (k, 200))
    both = [
        explore(
            w,
            h,
            np.zeros(k, bool),
            np.random.default_rng(0),
            closure=True,
            noise=Scatter(noise),
            walk=Walk(800, points=points),
        )
        for points in (True, False)
    ]
    np.testing.assert_allclose(both[1].weights, both[0].weights, atol=1e-9)
    np.testing.assert_allclose(both[1].rotations, both[0].rotations, atol=1e-9)
    assert (both[1].components.shape[2] < 200) == (k in (2, 3, 5))


@pytest.mark.parametrize("closure", [True, False])
def test_all_that_is_returned_fits_and_is_feasible(closure):
    rng = np.random.default_rng(1)
    w = rng.dirichlet(np.ones(4), 40).T + 0.02
    w /= w.sum(axis=0)
    h = rng.gamma(1.0, 1.0, (4, 60)) + 0.05
    fixed = np.array([False, True, False, False])
    found = explore(
        w, h, fixed, rng, closure=closure, noise=Scatter(0.0), walk=Walk(1500)
    )
    assert found.moved > 0.9
    spread = []
    for turn in found.rotations:
        other_h = turn @ h
        other_w = np.linalg.inv(turn).T @ w
        np.testing.assert_allclose(other_w.T @ other_h, w.T @ h, atol=1e-9)
        assert other_w.min() > -1e-9
        assert other_h.min() > -1e-9
        np.testing.assert_allclose(other_h[1], h[1], atol=1e-9)
        if closure:
            np.testing.assert_allclose(other_w.sum(axis=0), 1, atol=1e-9)
        else:
            np.testing.assert_allclose(other_h.sum(axis=1), h.sum(axis=1), rtol=1e-9)
        assert (other_w >= found.weights[0] - 1e-9).all()
        assert (other_w <= found.weights[1] + 1e-9).all()
        assert (other_h >= found.components[0] - 1e-9).all()
        assert (other_h <= found.components[1] + 1e-9).all()
        spread.append(other_w)
    assert np.ptp(spread, axis=0).max() > 0.01


def test_ranges_shrink_as_patterns_become_known_as_was_foretold():
    """A phase that somebody has measured pure elsewhere is a fact."""
    tree = simulate.oxide_series("Fe3O4", n_scans=40, step=0.04, r_range=(1.0, 25.0))
    pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
    measured = truth["components"].sel(component="bcc-FeO", drop=True)
    ends = {"oxide": 0, "iron": -1}
    shifted = nmf.Constraints(shift="minimum")
    with pytest.warns(DataQualityWarning, match=r"CP2 by 0\.\d+, iron by"):
        fits = [
            pdf.nmf.fit(4, fixed=fixed, constraints=shifted)
            for fixed in (ends, {}, ends | {"bcc-FeO": measured})
        ]
    fits = [fits[1], fits[0], fits[2]]
    widths = [float(fit.nmf.bands()["weights_width"].mean()) for fit in fits]
    assert widths[0] > 1.5 * widths[1]
    assert widths[1] > 1.5 * widths[2]
    advice = fits[1].nmf.advise()
    early, late = (
        str(c) for c in fits[1]["component"].values if str(c).startswith("CP")
    )
    foretold = advice["weights_width"]
    assert float(foretold.sel(component=late)) == pytest.approx(widths[2], rel=0.2)
    assert float(advice["range_width"]) == pytest.approx(widths[1], rel=0.1)
    # The lithiated spinel would tell more than that, which is so.
    assert str(foretold.idxmin().values) == early
    spinel = truth["components"].sel(component="LiFe3O4", drop=True)
    better = pdf.nmf.fit(4, fixed=ends | {"spinel": spinel}, constraints=shifted)
    width = float(better.nmf.bands()["weights_width"].mean())
    assert width < widths[2]
    ends = [
        float(advice[f"weights_width_{e}"].sel(component=early))
        for e in ("low", "high")
    ]
    assert 0.8 * ends[0] <= width <= 1.2 * ends[1], (ends, width)


def test_bands_hold_the_fit_and_can_be_kept(series, tmp_path):
    fit = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="minimum"))
    bands = fit.nmf.bands(steps=4000)
    assert (bands["weights_low"] <= fit["weights"] + 1e-9).all()
    assert (bands["weights_high"] >= fit["weights"] - 1e-9).all()
    assert (bands["components_low"] <= fit["components"] + 1e-9).all()
    assert (bands["components_high"] >= fit["components"] - 1e-9).all()
    assert bands["weights_low"].dims == fit["weights"].dims
    assert "voltage" in bands["weights_low"].coords
    xr.testing.assert_equal(bands, batteryxr.replay(bands, fit))
    batteryxr.save(bands, tmp_path / "bands.zarr")
    back = batteryxr.open_store(tmp_path / "bands.zarr").load()
    xr.testing.assert_equal(back, bands)
    everything = {
        str(c): fit["components"]
        .sel(component=c, drop=True)
        .assign_attrs(origin="pattern")  # as if measured elsewhere
        for c in fit["component"].values
    }
    held = series.data.nmf.fit(
        fixed=everything, constraints=nmf.Constraints(shift=fit["shift_curve"])
    )
    only_noise = held.nmf.bands(steps=4000)
    assert float(only_noise["weights_width"].max()) < 0.05


def test_a_tighter_shift_narrows_the_range(series):
    widths = [
        float(
            series.data.nmf.fit(3, constraints=nmf.Constraints(shift=shift))
            .nmf.bands(steps=8000, shift="fit")["weights_width"]
            .mean()
        )
        for shift in ("minimum", "envelope")
    ]
    assert widths[1] < widths[0]


def test_the_range_is_drawn_around_the_ratios(series):
    fit = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="minimum"))
    plot = fit.merge(fit.nmf.bands(steps=4000)).nmf.plot.weights()
    areas = plot.traverse(lambda a: a.data, ["Area"])
    assert len(areas) >= 3
    assert all((a.iloc[:, 2] >= a.iloc[:, 1]).all() for a in areas[:3])


def test_images_stay_lazy(stack, monkeypatch):
    from batteryxr.nmf import ground

    fit = nmf.fit(stack.data, 3, closure=False)
    whole = nmf.bands(fit, steps=4000)
    monkeypatch.setattr(ground, "_PATTERNS", 400)
    lazy = nmf.bands(fit.chunk({"y": 16}), steps=4000)
    assert lazy["weights_low"].chunks is not None
    assert lazy["weights_low"].dims == ("component", "y", "x")
    assert (lazy["weights_low"] <= fit["weights"] + 1e-6).all()
    assert (lazy["weights_high"] >= fit["weights"] - 1e-6).all()
    inside = lazy["weights_width"].mean() / whole["weights_width"].mean()
    assert 0.6 < float(inside) < 1.4


def test_what_is_wrong_is_named(series):
    fit = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="minimum"))
    with pytest.raises(ArgumentError, match="steps"):
        fit.nmf.bands(steps=10)
    with pytest.raises(ArgumentError, match="noise"):
        fit.nmf.bands(noise=-1.0)
    with pytest.raises(DataError, match="stretch"):
        nmf.bands(fit.assign(stretch=1.0))


def test_the_bound_is_the_same_in_any_unit():
    tree = simulate.oxide_series("MnO", n_scans=20, step=0.05, r_range=(1.0, 15.0))
    pdf = tree["scans"]["pdf"]
    shifted = nmf.Constraints(shift="minimum")
    other = (pdf * 100.0).assign_coords(r=0.1 * pdf["r"])
    other.attrs, other["r"].attrs = {"units": "1/nm2"}, {"units": "nm"}
    small = (pdf * 2.0**-80).assign_attrs(pdf.attrs)
    salt = structures.rock_salt("MnO", 4.445, {"Mn": 1.0})
    found = [
        data.nmf.fit(3, constraints=shifted, n_starts=1).nmf.bands(
            candidates=candidates, steps=400
        )["bound_curve"]
        for data in (pdf, other, small)
        for candidates in (None, {"MnO": salt} if data is not small else None)
    ]
    for i, factor in ((2, 100.0), (3, 100.0), (4, 2.0**-80)):
        np.testing.assert_allclose(found[i].values / factor, found[i % 2], rtol=2e-3)


def test_a_scale_that_candidates_cannot_have_is_told():
    tree = simulate.oxide_series("MnO", n_scans=20, step=0.05, r_range=(1.0, 15.0))
    pdf = tree["scans"]["pdf"]
    fit = (
        (3.0 * pdf)
        .assign_attrs(pdf.attrs)
        .nmf.fit(3, constraints=nmf.Constraints(shift="minimum"), n_starts=1)
    )
    salt = structures.rock_salt("MnO", 4.445, {"Mn": 1.0})
    with pytest.warns(DataQualityWarning, match="their scale is another"):
        bands = fit.nmf.bands(candidates={"MnO": salt}, steps=400)
    series = fit["weights"].dot(fit["components"])
    assert (series >= bands["bound_curve"] - 1e-9).all()


def test_noise_that_few_scans_took_is_given_back():
    """Of eight scans three components explain much of the noise too."""
    rng = np.random.default_rng(0)
    axis = np.linspace(0, 10, 300)
    pure = [np.exp(-0.5 * (axis - c) ** 2) + 0.2 for c in (3.0, 5.0, 7.0)]
    found = []
    for _ in range(10):
        share = rng.dirichlet(np.ones(3), 8)
        share[:3] = np.eye(3)
        data = xr.DataArray(
            share @ np.array(pure) + rng.normal(0, 0.01, (8, 300)),
            dims=("scan", "energy"),
            coords={"energy": axis},
            attrs={"units": "1"},
        )
        fit = data.nmf.fit(3, fixed={"a": 0, "b": 1, "c": 2})
        found.append(fit.nmf.bands(steps=400).attrs["noise"])
    assert np.mean(found) == pytest.approx(0.01, rel=0.03)


def test_images_are_read_once(stack, monkeypatch):
    from batteryxr.core.blocks import is_lazy
    from batteryxr.nmf import ground

    monkeypatch.setattr(ground, "_PATTERNS", 400)
    fit = nmf.fit(stack.data, 3, closure=False)
    seen = []

    def read(weights, residual):
        seen.append(weights.shape)
        return weights, residual

    lazy = fit.chunk({"y": 16})
    w, res = xr.apply_ufunc(
        read,
        lazy["weights"],
        lazy["residual"],
        input_core_dims=[["component"], []],
        output_core_dims=[["component"], []],
        dask="parallelized",
        output_dtypes=[np.float32, np.float32],
    )
    lazy = lazy.assign(
        weights=w.transpose("component", "y", "x").assign_attrs(fit["weights"].attrs),
        residual=res.assign_attrs(fit["residual"].attrs),
    )
    seen.clear()
    bands = nmf.bands(lazy, steps=400)
    assert len(seen) == 3
    assert is_lazy(bands["weights_low"])


def test_components_that_are_one_are_refused(series):
    fit = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="minimum"))
    rows = fit["components"].values.copy()
    rows[1] = rows[0]
    with pytest.raises(DataError, match="sums of one another"):
        nmf.bands(fit.assign(components=fit["components"].copy(data=rows)))


def test_spectra_beside_pair_distributions_narrow_their_ranges():
    """Each signal is bounded by the physics of its own kind."""
    tree = simulate.oxide_series("MnO", n_scans=24, step=0.08, r_range=(1.0, 12.0))
    pdf, ratios = tree["scans"]["pdf"], tree["truth"]["ratios"].values
    energy = np.linspace(6530.0, 6600.0, 60)
    edges = 6540.0 + 4.0 * np.arange(ratios.shape[1])
    pure = 0.5 + np.arctan((energy - edges[:, None]) / 2.0) / np.pi
    noise = np.random.default_rng(0).normal(0, 0.003, (24, 60))
    spectra = xr.DataArray(
        ratios @ pure + noise, dims=("scan", "energy"), coords={"energy": energy}
    )
    how = {"fixed": {"first": 0, "last": -1}, "n_starts": 1}
    how["constraints"] = nmf.Constraints(shift="envelope")
    alone = nmf.bands(nmf.fit(pdf, 3, **how), steps=10_000)
    joined = nmf.fit({"pdf": pdf, "spectra": spectra}, 3, **how)
    both = nmf.bands(joined, steps=10_000)
    curve = both["bound_curve"] * both["level"]
    here = (both["run"] == "pdf").values
    np.testing.assert_allclose(curve[~here], 0.0, atol=1e-12)
    np.testing.assert_allclose(curve[here], alone["bound_curve"], rtol=0.05, atol=0.05)
    assert both["weights_width"].mean() < alone["weights_width"].mean()
    for end, sign in (("low", 1), ("high", -1)):
        far = sign * (both[f"weights_{end}"].values - ratios)
        assert (far <= 1e-9).mean() > 0.95
