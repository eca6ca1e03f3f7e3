"""A particle of three domains, from diffraction patterns to its chemistry."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.cdi import KramersKronig, Schedule, ptycho_energies
from batteryxr.simulate import ptychography
from batteryxr.xanes import (
    Edge,
    Peak,
    effective_electrons,
    electron_ratio,
    fit_edge,
    projected_density,
    rim_distance,
)

pytestmark = pytest.mark.long

BEFORE = slice(5400, 5462)
#: Depth below rims and domain borders (nm), where a reconstruction is blurred.
DEPTH = 75.0


@pytest.fixture(scope="module")
def particle(tmp_path_factory):
    scan, truth = ptychography(
        positions=12,
        step=100.0,
        pixel_size=25.0,
        particle=(1200.0, 800.0),
        photons=3e5,
    )
    stack = ptycho_energies(
        scan,
        store=tmp_path_factory.mktemp("particle") / "out.zarr",
        iterations=30,
        schedule=Schedule(lead=200),
        kramers_kronig=KramersKronig("VO2", start=15, every=5),
        progress=False,
    ).load()
    return stack, truth


@pytest.fixture(scope="module")
def cores(particle):
    stack, truth = particle
    domain = truth.domain.interp(y=stack.y, x=stack.x, method="nearest")
    inside = (rim_distance(domain > 0) > DEPTH) & (stack.flag == 0)
    return inside, [inside & (rim_distance(domain == k) > DEPTH) for k in (1, 2, 3)]


def fitted(absorption):
    # Photoabsorption falls with the energy about so: levels are level without it.
    return fit_edge(
        absorption * (absorption.energy / 5465.0) ** 2.7,
        edge=Edge((5470, 5484), width=(0.8, 6.0)),
        peaks=[Peak((5463, 5469), width=(0.5, 3.0), name="pre-edge")],
        mask=None,
    )


def test_edge_energies_of_pixels(particle, cores):
    stack, truth = particle
    edges = fitted(stack.absorption.where(cores[0])).edge_energy
    errors = []
    for edge, core in zip(truth.edge_energy, cores[1], strict=True):
        assert int(core.sum()) > 100
        error = (edges - float(edge)).values[core.values]
        assert abs(error.mean()) < 0.15
        errors.append(error)
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) <= 0.3


def test_compositions_of_domains(particle, cores):
    stack, truth = particle
    images = stack[["absorption", "phase"]]
    for k, core in enumerate(cores[1]):
        mean = images.where(core).mean(("y", "x"), keep_attrs=True)
        density = projected_density(fitted(mean.absorption), element="V")
        electrons = effective_electrons(mean.phase.sel(energy=BEFORE))
        ratio = electron_ratio(electrons, density=density).electron_ratio
        expected = float(truth.f1[k].sel(energy=BEFORE).mean())
        assert float(ratio.mean()) == pytest.approx(expected, rel=0.01)


def test_phase_and_absorption_agree(particle, cores):
    stack, _ = particle
    # In rad, of a phase of some 0.6 that swings by a tenth across the edge.
    assert float(stack.kk_misfit.where(cores[0]).median()) < 0.01
