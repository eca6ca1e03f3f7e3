"""Clusters of known truth: found, counted, numbered, shared out, measured."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    LabelsError,
    VariableError,
)
from batteryxr.core.replay import replay
from batteryxr.core.store import open_store, save
from batteryxr.xanes import (
    cluster,
    cluster_density,
    cluster_orders,
    cluster_shares,
    cluster_spectra,
    rim_distance,
)

CENTRES = np.array(
    [
        [5476.9, 0.5, 42.0],
        [5477.4, 1.9, 37.5],
        [5480.6, 3.0, 45.6],
        [5479.0, 1.2, 35.5],
        [5477.6, 0.9, 87.0],
        [5480.1, 2.4, 76.0],
    ]
)
NAMES = ("edge_energy", "peak_area", "electron_ratio")


def make_maps(shape=(3, 50, 60), seed=0):
    """Return maps of six states, the states, and atoms per pixel."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 6, shape)
    values = CENTRES[state] + rng.normal(0, [0.12, 0.12, 1.2], (*shape, 3))
    values[:, :4] = np.nan
    dims = ("particle", "y", "x")
    units = {"edge_energy": "eV", "peak_area": "eV", "electron_ratio": "1"}
    maps = xr.Dataset(
        {
            name: (dims, values[..., i], {"units": units[name], "long_name": name})
            for i, name in enumerate(NAMES)
        },
        coords={
            "particle": ("particle", ["P", "Q", "R"], {"units": "1", "long_name": "P"}),
            "y": ("y", 15.0 * np.arange(50), {"units": "nm", "long_name": "y"}),
            "x": ("x", 15.0 * np.arange(60), {"units": "nm", "long_name": "x"}),
        },
        attrs={"history": "made"},
    )
    atoms = xr.DataArray(rng.uniform(1, 5, shape), dims=dims, coords=maps.coords)
    return maps, state + 1, atoms


@pytest.fixture(scope="module")
def made():
    return make_maps()


@pytest.mark.parametrize(
    "method", ["kmeans", "gaussian_mixture", "bisecting", "mini_batch"]
)
def test_six_states_are_found(made, method):
    from sklearn.metrics import adjusted_rand_score

    maps, state, _ = made
    found = cluster(maps, n_clusters=6, method=method)
    labels = found.label.values
    assert (labels[:, :4] == 0).all()
    assert np.isnan(found.certainty[:, :4]).all()
    good = labels > 0
    assert good[:, 4:].all()
    assert adjusted_rand_score(state[good], labels[good]) > 0.95
    # Numbered by rising edge energy.
    order = np.argsort(CENTRES[:, 0])
    np.testing.assert_allclose(found.edge_energy_mean, CENTRES[order, 0], atol=0.05)
    np.testing.assert_allclose(found.electron_ratio_mean, CENTRES[order, 2], atol=0.5)
    np.testing.assert_allclose(found.peak_area_sd, 0.12, atol=0.04)
    assert float(found.share.sum()) == pytest.approx(1)
    assert found.edge_energy_mean.attrs["units"] == "eV"
    certainty = found.certainty.values[good]
    assert (certainty >= 0).all()
    assert (certainty <= 1 + 1e-6).all()


def test_inertia_is_that_of_scikit_learn(made):
    from sklearn.cluster import KMeans

    maps, *_ = made
    found = cluster(maps, n_clusters=6)
    points = np.stack([maps[n].values.ravel() for n in NAMES], axis=1)
    points = points[np.isfinite(points).all(axis=1)]
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    best = KMeans(6, n_init=10, random_state=1).fit(scaled)
    assert found.attrs["inertia"] <= 1.001 * best.inertia_
    assert found.attrs["n_pixels"] == len(points)


def test_without_scaling_the_largest_numbers_decide(made):
    from sklearn.metrics import adjusted_rand_score

    maps, state, _ = made
    wide = maps.assign(electron_ratio=1000 * maps.electron_ratio)
    good = np.isfinite(maps.peak_area.values)
    scaled = cluster(wide, n_clusters=6).label.values[good]
    plain = cluster(wide, n_clusters=6, standardise=False).label.values[good]
    assert adjusted_rand_score(state[good], scaled) > 0.95
    assert adjusted_rand_score(state[good], plain) < 0.9


@pytest.mark.parametrize("most", [2000, 200_000])
def test_chunks_change_nothing(made, no_compute, most):
    maps, _, atoms = made
    mask = atoms > 1.5
    eager = cluster(maps, n_clusters=6, mask=mask, weights=atoms, max_pixels=most)
    for chunks in ({"y": 7, "x": 13}, {"particle": 1}, {"particle": 2, "y": 30}):
        lazy = cluster(
            maps.chunk(chunks),
            n_clusters=6,
            mask=mask.chunk(x=20),
            weights=atoms.chunk(y=11),
            max_pixels=most,
        )
        assert lazy.label.chunks is not None
        xr.testing.assert_equal(lazy.compute(), eager)
    assert int((eager.label > 0).sum()) == eager.attrs["n_pixels"]
    assert eager.attrs["n_fitted"] == min(most, eager.attrs["n_pixels"])
    assert not bool((eager.label > 0).where(~mask, False).any())


def test_numbers_of_clusters_are_stable_and_chosen_by_a_feature(made):
    maps, *_ = made
    first = cluster(maps, n_clusters=6, seed=0)
    second = cluster(maps, n_clusters=6, seed=123)
    assert float((first.label == second.label).mean()) > 0.995
    by_ratio = cluster(maps, n_clusters=6, order_by="electron_ratio")
    assert bool((by_ratio.electron_ratio_mean.diff("cluster") > 0).all())


def test_elbow_silhouette_and_gap_find_six(made):
    maps, *_ = made
    orders = cluster_orders(maps, n_clusters=9, n_references=4, max_pixels=3000)
    assert orders.attrs["elbow"] == 6
    assert orders.attrs["best_silhouette"] == 6
    assert orders.attrs["first_gap"] == 6
    assert bool((orders.inertia.diff("n_clusters") < 0.01).all())
    assert float(orders.inertia[0]) == pytest.approx(3, rel=1e-6)
    assert np.isnan(orders.silhouette[0])
    lazy = cluster_orders(
        maps.chunk(y=9), n_clusters=3, n_references=0, max_pixels=3000
    )
    np.testing.assert_allclose(lazy.inertia, orders.inertia[:3], rtol=1e-9)


def test_noise_without_clusters_has_one(made):
    rng = np.random.default_rng(1)
    plain = xr.Dataset({n: (("y", "x"), rng.uniform(size=(40, 40))) for n in "ab"})
    assert cluster_orders(plain, n_clusters=5).attrs["first_gap"] == 1


def test_shares_weighted_by_atoms_equal_a_loop(made, no_compute):
    maps, _, atoms = made
    found = cluster(maps, n_clusters=6)
    atoms = atoms.copy()
    atoms[1, 10, 10] = np.nan
    shares = cluster_shares(found, weights=atoms)
    np.testing.assert_allclose(shares.sum("cluster"), 1, atol=1e-12)
    assert shares.dims == ("cluster", "particle")
    for p in range(3):
        heavy = np.nan_to_num(atoms.values[p]) * (found.label.values[p] > 0)
        for c in range(1, 7):
            part = heavy[found.label.values[p] == c].sum() / heavy.sum()
            np.testing.assert_allclose(shares[c - 1, p], part, rtol=1e-12)
    whole = cluster_shares(found, by=None)
    assert whole.dims == ("cluster",)
    with no_compute():
        lazy = cluster_shares(found.chunk(y=9), weights=atoms.chunk(x=7))
    np.testing.assert_allclose(lazy, shares, rtol=1e-12)


def test_weights_of_more_particles_are_matched_by_name(made):
    maps, _, atoms = made
    part = cluster(maps.isel(particle=[2, 0]), n_clusters=6)
    shares = cluster_shares(part, weights=atoms)
    chosen = cluster_shares(part, weights=atoms.isel(particle=[2, 0]))
    xr.testing.assert_equal(shares, chosen)
    with pytest.raises(LabelsError, match=r"weights=.*'particle'.*: R are not there"):
        cluster_shares(part, weights=atoms.isel(particle=[0, 1]))


def test_mean_spectra_equal_a_loop(made, no_compute):
    maps, _, atoms = made
    found = cluster(maps, n_clusters=6)
    rng = np.random.default_rng(0)
    energy = ("energy", np.linspace(5420, 5540, 5), {"units": "eV", "long_name": "E"})
    stack = xr.DataArray(
        rng.normal(size=(3, 5, 50, 60)),
        dims=("particle", "energy", "y", "x"),
        coords=maps.coords | {"energy": energy},
        name="absorption",
        attrs={"units": "1", "long_name": "Absorption"},
    )
    stack[0, 2, 7, 7] = np.nan
    mean = cluster_spectra(stack, labels=found, weights=atoms)
    plain = cluster_spectra(stack, labels=found)
    one = cluster_spectra(stack, labels=found, by="particle")
    values = np.moveaxis(stack.values, 1, 0)
    for c in range(1, 7):
        inside = found.label.values == c
        for e in range(5):
            y, w = values[e][inside], atoms.values[inside]
            good = np.isfinite(y)
            expected = np.average(y[good], weights=w[good])
            np.testing.assert_allclose(mean.absorption[c - 1, e], expected, rtol=1e-9)
            error = y[good].std() / np.sqrt(good.sum())
            np.testing.assert_allclose(plain.absorption_error[c - 1, e], error)
            assert int(plain["count"][c - 1, e]) == good.sum()
    inside = found.label.values[1] == 3
    np.testing.assert_allclose(
        one.absorption.sel(particle="Q", cluster=3),
        stack.values[1][:, inside].mean(axis=1),
    )
    with no_compute():
        lazy = cluster_spectra(stack.chunk(y=11, energy=2), labels=found.chunk(x=20))
    np.testing.assert_allclose(lazy.absorption, plain.absorption)
    with pytest.raises(VariableError, match="the labels have"):
        cluster_spectra(stack.isel(particle=0), labels=found)


def test_densities_integrate_to_one_and_equal_numpy(made):
    maps, _, atoms = made
    found = cluster(maps, n_clusters=6)
    density = cluster_density(maps, clusters=found, weights=atoms, bins=60)
    for name in NAMES:
        array = density[f"{name}_density"]
        step = float(array[name][1] - array[name][0])
        np.testing.assert_allclose(array.sum(name) * step, 1, atol=0.01)
    edges = np.append(
        density.peak_area - 0.5 * np.diff(density.peak_area)[0],
        density.peak_area[-1] + 0.5 * np.diff(density.peak_area)[0],
    )
    inside = found.label.values == 2
    counted, _ = np.histogram(
        maps.peak_area.values[inside], edges, weights=atoms.values[inside]
    )
    counted = counted / atoms.values[inside].sum() / np.diff(edges)
    np.testing.assert_allclose(density.peak_area_density[1], counted, atol=1e-6)
    assert density.peak_area_density.attrs["units"] == "(eV)-1"
    lazy = cluster_density(
        maps.chunk(y=9), clusters=found.chunk(y=9), weights=atoms, bins=60
    )
    xr.testing.assert_allclose(lazy, density)


def test_rim_distance_of_a_disc(no_compute):
    v, u = np.mgrid[:81, :81] - 40.0
    radius = np.hypot(v, u)
    mask = xr.DataArray(
        radius < 30,
        dims=("y", "x"),
        coords={
            d: (d, 10.0 * np.arange(81), {"units": "nm", "long_name": d}) for d in "yx"
        },
    )
    mask[40, 45] = False  # one bad fit inside is no rim
    depth = rim_distance(mask)
    assert depth.attrs["units"] == "nm"
    assert np.isnan(depth[40, 45])
    good = mask.values
    np.testing.assert_allclose(
        depth.values[good], 300 - 10 * radius[good], atol=10, rtol=0
    )
    both = xr.concat([mask, mask & (mask.x < 400)], "particle")
    with no_compute():
        lazy = rim_distance(both.chunk(particle=1))
    np.testing.assert_array_equal(lazy[0], depth)
    whole = xr.ones_like(mask)
    assert np.isinf(rim_distance(whole)).all()
    with pytest.raises(DataError, match="booleans"):
        rim_distance(mask.astype(float))


def test_results_are_stored_and_made_again(made, tmp_path):
    maps, _, atoms = made
    mask = atoms > 2
    found = cluster(maps, n_clusters=4, mask=mask)
    save(found, tmp_path / "c.zarr")
    back = open_store(tmp_path / "c.zarr").compute()
    xr.testing.assert_equal(back, found)
    xr.testing.assert_equal(replay(back, maps, mask=mask), found)
    for variable in found.variables.values():
        assert {"units", "long_name"} <= variable.attrs.keys()


def test_what_cannot_be_clustered_is_refused(made):
    maps, _, atoms = made
    for k in (0, True, 2.5):
        with pytest.raises(ArgumentError, match="n_clusters="):
            cluster(maps, n_clusters=k)
    few = (maps.y == 105) & (maps.x == 75) & (maps.particle != "")
    with pytest.raises(ArgumentError, match="at most the 3 pixels"):
        cluster(maps, n_clusters=6, mask=few)
    with pytest.raises(ArgumentError, match="n_clusters=6: expected at most the 3"):
        cluster_orders(maps, n_clusters=6, mask=few)
    with pytest.raises(ArgumentError, match="max_pixels=10: expected at least 11"):
        cluster(maps, n_clusters=11, max_pixels=10)
    with pytest.raises(DataError, match="Name one"):
        cluster(maps, n_clusters=2, features=[])
    with pytest.raises(DataError, match="no pixel"):
        cluster(maps, n_clusters=6, mask=maps.y < 0)
    with pytest.raises(ArgumentError, match="method"):
        cluster(maps, n_clusters=2, method="magic")
    with pytest.raises(ArgumentError, match="order_by"):
        cluster(maps, n_clusters=2, order_by="depth")
    with pytest.raises(ArgumentError, match="Gaussian mixture"):
        cluster(maps, n_clusters=2, method="gaussian_mixture", weights=atoms)
    with pytest.raises(VariableError, match="'valence'"):
        cluster(maps, n_clusters=2, features=["valence"])
    many = maps.assign(peaks=maps.peak_area.expand_dims(peak=2))
    with pytest.raises(VariableError, match=r"isel\(peak=0\)"):
        cluster(many, n_clusters=2)
    with pytest.raises(ArgumentError, match="a Dataset"):
        cluster(maps.peak_area, n_clusters=2)


def test_lone_pixels_are_no_domain_and_a_small_domain_is_one():
    """A fit that fails in some pixels leaves values far off, each somewhere else."""
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2, 0], [300, 280, 300, 20])
    edge = np.array([5475.0, 5476.5, 5478.0])[truth] + rng.normal(0, 0.3, 900)
    area = np.array([0.5, 0.9, 1.3])[truth] + rng.normal(0, 0.1, 900)
    area[-8:] = [6.0, 9.0, 13.0, 21.0, -8.0, 30.0, 44.0, -15.0]
    maps = xr.Dataset({"edge": (("y", "x"), edge.reshape(30, 30), {"units": "eV"})})
    maps["area"] = ("y", "x"), area.reshape(30, 30), {"units": "1"}
    keep = maps.edge.copy(data=np.arange(900).reshape(30, 30) >= 5)
    with pytest.warns(DataQualityWarning, match="8 of 895 pixels.* alone"):
        found = cluster(maps, n_clusters=3, mask=keep)
    labels = found.label.values.ravel()
    assert (labels[5:-8] == truth[5:-8] + 1).mean() > 0.95
    assert [found.attrs[k] for k in ("n_pixels", "n_unassigned")] == [895, 5]
    area[-20:] = 9.0 + 0.1 * rng.standard_normal(20)  # together: a domain of their own
    maps["area"] = ("y", "x"), area.reshape(30, 30), {"units": "1"}
    few = cluster(maps, n_clusters=4, mask=keep, order_by="area")
    assert float(few.share[-1]) == pytest.approx(20 / 895)


def test_one_wild_pixel_changes_no_domain():
    maps, *_ = make_maps()
    spoilt = maps.copy(deep=True)
    spoilt["peak_area"][0, 10, 10] = 1e6
    clean = cluster(maps, n_clusters=6)
    with pytest.warns(DataQualityWarning, match="1 of .* pixels lie .* peak_area"):
        found = cluster(spoilt, n_clusters=6)
    same = (found.label == clean.label).values
    assert same.sum() >= same.size - 3
    with pytest.warns(DataQualityWarning, match="cluster_orders"):
        orders = cluster_orders(spoilt, n_clusters=8, n_references=0)
    assert orders.attrs["best_silhouette"] == 6
