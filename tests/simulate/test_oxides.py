"""Oxides: structures are those of the literature, series are what is declared."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

from batteryxr import simulate
from batteryxr.core.crystals import PdfInstrument, lattice
from batteryxr.core.errors import ArgumentError
from batteryxr.simulate import structures


def shells(crystal, element, cut):
    """Distances from each atom of an element to its oxygens, as a set of tuples."""
    n = np.arange(-1, 2)
    cells = np.stack(np.meshgrid(n, n, n, indexing="ij"), -1).reshape(-1, 3)
    x = crystal.sites @ crystal.cell
    oxygen = np.array([e == "O" for e in crystal.elements])
    out = set()
    for i, e in enumerate(crystal.elements):
        if e == element:
            apart = x[oxygen][:, None] + cells @ crystal.cell - x[i]
            d = np.linalg.norm(apart, axis=-1).ravel()
            out.add(tuple(np.sort(d[d < cut]).round(2)))
    return out


@pytest.mark.parametrize(
    ("crystal", "element", "expected"),
    [
        (structures.hematite(), "Fe", {(1.95,) * 3 + (2.12,) * 3}),
        (
            structures.spinel("Fe3O4", 8.396, {"Fe": 1.0}, "Fe", 0.2549),
            "Fe",
            {(1.89,) * 4, (2.06,) * 6},
        ),
        (structures.hausmannite(), "Mn", {(1.93,) * 4 + (2.28,) * 2, (2.04,) * 4}),
        (structures.rock_salt("MnO", 4.445, {"Mn": 1.0}), "Mn", {(2.22,) * 6}),
        (
            structures.lithiated_spinel("LiFe3O4", lattice(8.4), "Fe", 0.25),
            "Li",
            {(2.1,) * 6},
        ),
    ],
)
def test_metals_have_their_neighbours(crystal, element, expected):
    found = shells(crystal, element, 2.45)
    assert len(found) == len(expected)
    for a, b in zip(sorted(found), sorted(expected), strict=True):
        assert a == pytest.approx(b, abs=0.02)


def test_alpha_manganese_has_58_atoms_apart():
    crystal = structures.alpha_manganese()
    x = crystal.sites[:, None] - crystal.sites
    x -= np.round(x)
    d = np.linalg.norm(x @ crystal.cell, axis=-1)
    assert len(d) == 58
    assert d[d > 0].min() == pytest.approx(2.24, abs=0.03)


@pytest.mark.parametrize("oxide", ["Fe2O3", "Fe3O4", "FeO", "MnO", "Mn3O4"])
def test_a_series_is_the_mixture_of_its_phases(oxide):
    tree = simulate.oxide_series(
        oxide, n_scans=31, r_range=(1.0, 12.0), step=0.04, noise=0
    )
    truth, pdf = tree["truth"].to_dataset(), tree["scans"]["pdf"]
    ratios = truth["ratios"]
    assert np.abs(ratios.sum("component") - 1).max() < 1e-12
    assert ratios.min() >= 0
    assert ratios[0, 0] == 1
    assert ratios[-1, -1] == 1
    mixed = (ratios.drop_vars("li_content") @ truth["components"]).values
    np.testing.assert_allclose(pdf.values, mixed, atol=1e-12)
    assert pdf["li_content"][0] == 0
    assert (np.diff(pdf["voltage"]) <= 0).all()
    assert pdf.attrs["units"] == "1/Angstrom2"


def test_a_solid_solution_has_the_composition_and_lattice_of_each_scan():
    """At one Li per Fe the salt is alone: its pairs are summed one by one."""
    tree = simulate.oxide_series(
        "Fe2O3, solid solutions",
        n_scans=34,
        r_range=(1.5, 9.0),
        step=0.05,
        noise=0,
        instrument=PdfInstrument(),
    )
    iron = 1 + (1 / 3) * 7 / 27  # a third of the way, on a smooth step
    edge = 3.98 + 0.16 * iron
    truth = tree["truth"].to_dataset().isel(scan=10, component=1)
    assert float(truth["composition"]) == pytest.approx(iron)
    np.testing.assert_allclose(truth["cell_length"], edge)
    r = tree["scans"]["r"].values
    places = np.array(list(itertools.product(range(-5, 6), repeat=3)))
    far = edge / 2 * np.linalg.norm(places, axis=1)
    cation, oxygen = 3 * (1 - iron / 2) + 26 * iron / 2, 8.0
    like = (cation**2 + oxygen**2) / 2
    power = np.where(places.sum(axis=1) % 2 == 0, like, cation * oxygen)[far > 0]
    far = far[far > 0]
    width = 2 * 0.006
    peaks = np.exp(-((r[:, None] - far) ** 2) / (2 * width)) @ power
    mean = (cation + oxygen) / 2
    g = peaks / np.sqrt(2 * np.pi * width) / (r * mean**2)
    g -= 4 * np.pi * r * 8 / edge**3
    g *= 1 - 1.5 * r / 40 + 0.5 * (r / 40) ** 3
    found = tree["scans"]["pdf"].isel(scan=10)
    np.testing.assert_allclose(found, g, atol=3e-3 * np.abs(g).max())


def test_lazy_is_eager_whatever_the_chunks(no_compute):
    options = {"n_scans": 12, "r_range": (1.0, 4.0), "step": 0.05, "seed": 3}
    oxide = "Mn3O4, solid solution"
    eager = simulate.oxide_series(oxide, **options)["scans"]["pdf"]
    for chunks in (1, 5, 12):
        with no_compute():
            lazy = simulate.oxide_series(oxide, **options, chunks=chunks)
        assert lazy["scans"]["pdf"].chunks[0][0] == chunks
        xr.testing.assert_equal(lazy["scans"]["pdf"].compute(), eager)


def test_noise_is_as_declared():
    options = {"n_scans": 60, "r_range": (1.0, 12.0), "step": 0.04}
    clean = simulate.oxide_series("FeO", **options, noise=0)["scans"]["pdf"]
    noisy = simulate.oxide_series("FeO", **options, noise=0.05)["scans"]["pdf"]
    spread = float((noisy - clean).std())
    assert spread == pytest.approx(0.05 * float(clean.std()), rel=0.03)
    assert noisy.attrs["noise"] == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "CoO"}, "one of"),
        ({"n_scans": 1}, "n_scans"),
        ({"noise": -1}, "noise"),
        ({"r_range": (1.0, 0.5)}, "r_range"),
        ({"chunks": 0}, "chunks"),
    ],
)
def test_what_is_wrong_is_named(options, words):
    with pytest.raises(ArgumentError, match=words):
        simulate.oxide_series(**options)
