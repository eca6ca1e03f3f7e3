"""Percolation against its expectations, and against an independent count."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import batteryxr
from batteryxr.core.errors import ArgumentError, DataQualityWarning, DimensionError
from batteryxr.echem import percolation, plot_percolation
from batteryxr.echem.kernels import lattice


def test_counts_per_cell_at_the_composition_of_the_paper():
    result = percolation(1.2, tetrahedral=0.09)
    p = 0.6
    assert float(result.li_li_pairs) == pytest.approx(24 * p**2, rel=0.01)
    assert float(result.zero_tm_paths) == pytest.approx(48 * p**4, rel=0.01)
    assert float(result.tetrahedral_contacts) == pytest.approx(0.432, rel=0.03)
    assert float(result.largest_cluster) == pytest.approx(0.71, abs=0.02)
    twice = percolation(1.2, tetrahedral=0.18)
    assert float(twice.tetrahedral_contacts) == pytest.approx(0.864, rel=0.03)
    assert float(twice.joined_cluster) > float(result.joined_cluster)
    assert float(result.joined_cluster) > float(result.largest_cluster)


def test_percolation_sets_in_at_1_09():
    result = percolation(np.array([0.9, 1.0, 1.05, 1.12, 1.2, 1.3]))
    expected = {1.0: (0, 0.10), 1.2: (0.69, 0.73), 1.3: (0.81, 0.86)}
    for content, (low, high) in expected.items():
        share = float(result.largest_cluster.sel(li_content=content))
        assert low < share < high
    assert result.percolates.sel(li_content=1.0) == 0
    assert result.percolates.sel(li_content=1.2) == 1
    error = float(result.onset_error)
    assert error < 0.01
    assert float(result.onset) == pytest.approx(1.09, abs=3 * error)


def _by_networks(order, n, count):
    """Count the same with a sparse graph of all channels, built from coordinates."""
    li = np.zeros((n, n, n), bool)
    li.ravel()[order[:count]] = True
    edges, channels = [], 0
    neighbours = [
        d for d in itertools.product((-1, 0, 1), repeat=3) if np.abs(d).sum() == 2
    ]
    pairs = sum((li & np.roll(li, d, (0, 1, 2))).sum() for d in neighbours) // 2
    index = np.arange(n**3).reshape(n, n, n)
    for corner in itertools.product(range(n), repeat=3):
        four = [
            tuple((c + s) % n for c, s in zip(corner, shift, strict=True))
            for shift in itertools.product((0, 1), repeat=3)
            if (sum(corner) + sum(shift)) % 2 == 0
        ]
        if all(li[s] for s in four):
            channels += 1
            edges += [(index[a], index[b]) for a, b in itertools.combinations(four, 2)]
    ends = np.array(edges or np.empty((0, 2), int)).T
    graph = coo_array((np.ones(len(edges)), tuple(ends)), shape=(n**3, n**3))
    _, labels = connected_components(graph, directed=False)
    largest = np.bincount(labels[li.ravel()]).max()
    return pairs, 6 * channels, largest / count


@pytest.mark.parametrize("seed", range(3))
def test_filling_equals_a_sparse_graph_at_every_step(seed):
    n = 10
    sites = lattice.octahedral_sites(n)
    order = np.random.default_rng(seed).permutation(sites)
    counts = np.array([1, 150, 270, 300, 400, sites.size])
    none = np.zeros(counts.size, int)
    report, onset = lattice.fill(order, np.arange(n**3), counts, none, n)
    for row, count in zip(report, counts, strict=True):
        pairs, channels, largest = _by_networks(order, n, count)
        cells = (n // 2) ** 3
        assert row[0] * cells == pytest.approx(pairs)
        assert row[1] * cells == pytest.approx(channels)
        assert row[3] == pytest.approx(largest)
    assert 0 < onset <= sites.size
    assert report[-1].tolist() == [24, 48, 0, 1, 1, 1, 1]


def test_a_row_of_lithium_round_the_cell_spans_and_a_gap_does_not():
    n = 12
    sites = lattice.octahedral_sites(n)
    i, j, k = np.unravel_index(sites, (n, n, n))
    # Two layers of sites along x, two wide: tetrahedra stacked in a line.
    bar = (j < 3) & (k < 3)
    for ring, spans in ((bar, 1.0), (bar & (i < n - 2), 0.0)):
        order = np.concatenate([sites[ring], sites[~ring]])
        count = np.array([ring.sum()])
        report, _ = lattice.fill(order, np.arange(n**3), count, np.zeros(1, int), n)
        assert report[0, 5] == spans
        assert report[0, 4] == spans * report[0, 3]


def test_result_depends_on_seed_alone():
    alone = percolation(1.12, size=8, repeats=4, seed=5)
    sweep = percolation([1.3, 1.12, 0.8], size=8, repeats=4, seed=5)
    for name in alone.data_vars:
        inside = sweep[name] if name.startswith("onset") else sweep[name][1]
        assert float(alone[name]) == float(inside)
    other = percolation(1.12, size=8, repeats=4, seed=6)
    assert float(other.li_li_pairs) != float(alone.li_li_pairs)


def test_formulas_bring_their_own_tetrahedral_lithium():
    materials = ["Li1.2Ti0.2Mn0.6O1.8F0.2", "Li1.33Ti0.19Mn0.57O1.81F0.19"]
    result = percolation(materials, size=10, repeats=4)
    assert result.material.values.tolist() == materials
    np.testing.assert_allclose(result.li_content, [1.2, 1.24])
    np.testing.assert_allclose(result.tetrahedral, [0.0, 0.09], atol=1e-12)
    single = percolation(materials[0], size=10, repeats=4)
    assert single.sizes == {}
    assert float(single.zero_tm_paths) == float(result.zero_tm_paths[0])
    with pytest.warns(DataQualityWarning, match="Vacancies") as caught:
        percolation("Li0.8Mn0.8O2", size=4, repeats=2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("moved", [0.05, 0.09, 0.3])
def test_lithium_of_a_formula_moves_to_tetrahedra_and_leaves_vacancies(moved):
    result = percolation("Li1.2Ti0.2Mn0.6O1.8F0.2", tetrahedral=moved)
    assert float(result.li_content + result.tetrahedral) == pytest.approx(1.2)
    p, y = (1.2 - moved) / 2, moved / 4
    assert float(result.li_li_pairs) == pytest.approx(24 * p**2, rel=0.01)
    assert float(result.zero_tm_paths) == pytest.approx(48 * p**4, rel=0.03)
    assert float(result.tetrahedral_contacts) == pytest.approx(32 * y * p, rel=0.05)


def test_an_excess_has_no_octahedron_to_go_to():
    formula = "Li1.33Ti0.19Mn0.57O1.81F0.19"
    more = percolation(formula, size=6, repeats=2, tetrahedral=0.2)
    assert float(more.li_content) == pytest.approx(1.13)
    with pytest.raises(ArgumentError, match=r"tetrahedral=0\.05: expected 0\.09 to"):
        percolation(formula, size=6, repeats=2, tetrahedral=0.05)


def test_limits():
    full = percolation([0.0, 2.0], size=4, repeats=2)
    np.testing.assert_array_equal(full.li_li_pairs, [0, 24])
    np.testing.assert_array_equal(full.largest_cluster, [0, 1])
    np.testing.assert_array_equal(full.percolating_share, [0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formula": 2.5}, "0 to 2 Li"),
        ({"formula": 1.2, "size": 1}, "size=1"),
        ({"formula": 1.2, "repeats": 1}, "repeats=1: expected a whole number >= 2"),
        ({"formula": 1.2, "tetrahedral": -1}, "tetrahedral=-1"),
        ({"formula": 1.2, "seed": -1}, "seed=-1"),
        ({"formula": "LiXx"}, "character 3"),
        ({"formula": [[1.2]]}, "a sequence of text"),
        ({"formula": float("nan")}, "expected text"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        percolation(**arguments)


def test_result_is_labelled_stored_and_replayed(tmp_path):
    result = percolation([1.0, 1.2], size=6, repeats=3)
    for variable in result.variables.values():
        assert {"units", "long_name"} <= variable.attrs.keys()
    for name in result.data_vars:
        if not name.endswith("_error"):
            assert f"{name}_error" in result
    batteryxr.save(result, tmp_path / "p.zarr")
    back = batteryxr.open_store(tmp_path / "p.zarr").load()
    xr.testing.assert_equal(back, result)
    again = batteryxr.replay(back, [1.0, 1.2])
    xr.testing.assert_equal(again, result)


def test_plot_shows_the_sweep_and_its_onset():
    result = percolation(np.linspace(0.9, 1.3, 5), size=6, repeats=3)
    plot = plot_percolation(result)
    curves = [e for e in plot if type(e).__name__ == "Curve"]
    np.testing.assert_array_equal(curves[0].dimension_values(1), result.largest_cluster)
    line = next(e for e in plot if type(e).__name__ == "VLine")
    assert line.data == float(result.onset)
    with pytest.raises(DimensionError, match="Compute a sweep"):
        plot_percolation(percolation(1.2, size=4, repeats=2))


@pytest.mark.parametrize(
    ("formula", "lithium"),
    [("LiMn0.8O2", 1.0), ("Li1.2Mn0.8O2", 1.2), ("Li3MnO4", 1.5)],
)
@pytest.mark.parametrize("moved", [0.0, 0.1, 0.4])
def test_the_lithium_of_a_formula_is_kept_where_cations_are_missing(
    formula, lithium, moved
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # vacancies are part of this model
        found = percolation(formula, tetrahedral=moved, size=6, repeats=2)
    assert float(found.li_content + found.tetrahedral) == pytest.approx(lithium)
    # Channels of four lithium among all sites, vacant ones included.
    share = (lithium - moved) / 2
    assert float(found.zero_tm_paths) == pytest.approx(48 * share**4, rel=0.25, abs=0.4)
