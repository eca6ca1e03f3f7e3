"""Pair distribution functions of crystals: against a plain double sum, and limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from batteryxr.core.crystals import Crystal, PdfInstrument, cell_of, lattice
from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.pair_distribution import (
    PairDistribution,
    scattering_power,
    sphere,
)

R = 0.02 * np.arange(50, 501)


def oblique() -> Crystal:
    return Crystal(
        "oblique",
        lattice(3.9, 4.4, 5.1, 82.0, 97.0, 108.0),
        ("Fe", "O", "Mn"),
        np.array([[0.0, 0.0, 0.0], [0.45, 0.52, 0.48], [-0.2, 0.3, 0.7]]),
        np.array([1.0, 1.0, 0.5]),
    )


def plain_sum(crystal: Crystal, r: np.ndarray, u_iso: float | np.ndarray) -> np.ndarray:
    """G(r) by the definition, atom by atom."""
    u = np.broadcast_to(u_iso, len(crystal.sites))
    power = scattering_power(crystal.elements, "xray") * crystal.occupancy
    atoms = crystal.occupancy.sum()
    mean = power.sum() / atoms
    place = crystal.sites @ crystal.cell
    n = np.arange(-6, 7)
    cells = np.stack(np.meshgrid(n, n, n, indexing="ij"), -1).reshape(-1, 3)
    total = np.zeros_like(r)
    for i, here in enumerate(place):
        for j, there in enumerate(place):
            d = np.linalg.norm(cells @ crystal.cell + there - here, axis=1)
            d = d[(d > 1e-3) & (d < r[-1] + 2)]
            for one in d:
                square = u[i] + u[j]
                peak = np.exp(-((r - one) ** 2) / (2 * square))
                peak /= np.sqrt(2 * np.pi * square)
                total += power[i] * power[j] * peak
    rho = atoms / crystal.volume
    return total / (atoms * mean**2) / r - 4 * np.pi * rho * r


def test_equals_the_sum_over_pairs():
    crystal = oblique()
    found = PairDistribution(crystal, R)(u_iso=0.006)
    true = plain_sum(crystal, R, 0.006)
    assert np.abs(found - true).max() < 2e-3 * np.abs(true).max()


def test_each_element_moves_by_itself():
    crystal = oblique()
    found = PairDistribution(crystal, R)(u_iso={"Fe": 0.004, "O": 0.011, "Mn": 0.007})
    true = plain_sum(crystal, R, np.array([0.004, 0.011, 0.007]))
    assert np.abs(found - true).max() < 2e-3 * np.abs(true).max()


def test_a_strained_lattice_is_that_lattice():
    crystal = oblique()
    larger = Crystal(
        "larger",
        crystal.cell * 1.01,
        crystal.elements,
        crystal.sites,
        crystal.occupancy,
    )
    a = PairDistribution(crystal, R)(strain=0.01, u_iso=0.006)
    b = PairDistribution(larger, R)(u_iso=0.006)
    np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(b).max())


def test_a_cell_of_another_shape_is_that_cell():
    crystal = oblique()
    calculate = PairDistribution(crystal, R, directed=True)
    sizes = np.array([0.004, -0.006, 0.005, 0.003, -0.004])
    other = replace(crystal, cell=crystal.cell @ calculate.strained(0.002, sizes))
    assert np.abs(cell_of(other.cell) / cell_of(crystal.cell) - 1)[3:].max() > 2e-3
    found = calculate(strain=0.002, shape=sizes, u_iso=0.006)
    true = plain_sum(other, R, 0.006)
    assert np.abs(found - true).max() < 3e-3 * np.abs(true).max()


@pytest.mark.parametrize(
    ("cell", "free"),
    [
        (lattice(4.0), 0),
        (lattice(4.0, c=5.0), 1),
        (lattice(4.0, c=5.0, gamma=120.0), 1),
        (lattice(4.0, alpha=70.0, beta=70.0, gamma=70.0), 1),
        (lattice(4.0, 4.5, 5.0), 2),
        (lattice(4.0, 4.5, 5.0, beta=97.0), 3),
        (lattice(4.0, 4.5, 5.0, 82.0, 97.0, 108.0), 5),
    ],
)
def test_symmetry_leaves_the_parameters_of_each_system_free(cell, free):
    metal = Crystal("metal", cell, ("Fe",), np.zeros((1, 3)), np.ones(1))
    modes = PairDistribution(metal, R, directed=True).modes
    assert len(modes) == free
    np.testing.assert_allclose(np.trace(modes, axis1=1, axis2=2), 0.0, atol=1e-12)
    for mode in modes:  # right angles of the system stay right
        angles = cell_of(cell @ (np.eye(3) + 0.01 * mode))[3:]
        kept = cell_of(cell)[3:]
        right = np.isclose(kept, 90.0) | np.isclose(kept, 120.0)
        np.testing.assert_allclose(angles[right], kept[right], atol=1e-6)


def test_atoms_that_break_the_symmetry_of_the_cell_count():
    """A cubic cell with a second atom off the middle of one axis is tetragonal."""
    sites = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.4]])
    crystal = Crystal("polar", lattice(4.0), ("Fe", "O"), sites, np.ones(2))
    (mode,) = PairDistribution(crystal, R, directed=True).modes
    np.testing.assert_allclose(np.abs(mode), np.diag([1, 1, 2]) / 3, atol=1e-9)


def test_an_empty_site_is_no_site():
    crystal = oblique()
    kept = np.array([0, 2])
    bare = Crystal(
        "bare",
        crystal.cell,
        tuple(crystal.elements[i] for i in kept),
        crystal.sites[kept],
        crystal.occupancy[kept],
    )
    a = PairDistribution(crystal, R)(occupancy={("O", None): 0.0})
    np.testing.assert_allclose(a, PairDistribution(bare, R)(), atol=1e-10)


def test_a_particle_ends_where_it_ends():
    g = PairDistribution(oblique(), R)(diameter=6.0)
    assert np.abs(g[R > 6.0]).max() < 1e-9
    assert sphere(np.array([0.0]), 6.0) == 1.0
    assert sphere(np.array([1.0]), np.inf) == 1.0
    # Share of pairs at half a diameter, from the volume of two overlapping spheres.
    assert sphere(np.array([3.0]), 6.0)[0] == pytest.approx(5 / 16)


def test_nothing_is_left_beyond_the_measured_range():
    r = 0.01 * np.arange(1, 3001)
    limited = PairDistribution(oblique(), r, instrument=PdfInstrument(q_max=15.0))(
        u_iso=0.003, diameter=14.0
    )
    whole = PairDistribution(oblique(), r)(u_iso=0.003, diameter=14.0)
    q = np.array([8.0, 14.0, 16.0, 25.0])
    seen = [[np.trapezoid(g * np.sin(k * r), r) for k in q] for g in (limited, whole)]
    np.testing.assert_allclose(seen[0][:2], seen[1][:2], atol=0.2)
    assert np.abs(seen[0][2:]).max() < 0.05 * np.abs(seen[1]).max()


def test_a_grid_between_multiples_of_its_step_is_interpolated():
    on, off = R, R[:-1] + 0.007
    a = PairDistribution(oblique(), on, instrument=PdfInstrument(q_max=20.0))()
    b = PairDistribution(oblique(), off, instrument=PdfInstrument(q_max=20.0))()
    between = np.interp(off, on, a)
    assert np.abs(b - between).max() < 0.03 * np.abs(a).max()


def test_radiation():
    assert scattering_power(("O",), "xray")[0] == 8
    assert scattering_power(("Mn",), "neutron")[0] == pytest.approx(-3.73, abs=0.05)
    with pytest.raises(ArgumentError, match="'xray' or 'neutron'"):
        scattering_power(("O",), "electron")
