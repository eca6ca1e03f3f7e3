"""Composition, Kramers-Kronig and valence: published numbers and xraydb."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core import xray
from batteryxr.core.errors import (
    ArgumentError,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.kernels.kramers_kronig import transform_matrix
from batteryxr.xanes.composition import scattering

PUBLISHED = {"Li": 0.00278, "V": -7.14, "O": 0.0757}


@pytest.mark.parametrize(
    "formula, published, chantler",
    [
        ("Li10/7V6/7O2", 39.708, 42.250),
        ("LiVO2", 35.014, 37.553),
        ("LiVO3", 43.090, 45.641),
    ],
)
def test_theoretical_ratios(formula, published, chantler):
    given = xanes.theoretical_ratio(
        formula, element="V", energy=5420.0, f_prime=PUBLISHED
    )
    table = xanes.theoretical_ratio(formula, element="V", energy=5420.0)
    assert float(given) == pytest.approx(published, abs=0.001)
    assert float(table) == pytest.approx(chantler, abs=0.001)
    assert table.attrs["table"] == "chantler"
    many = xanes.theoretical_ratio(formula, element="V", energy=[5420.0, 5460, 5540])
    assert float(many[0]) == float(table)
    np.testing.assert_allclose(many - table, [0, -2.40, 0.69], atol=0.02)


def test_formulas():
    assert xray.atoms("Ca(OH)2") == {"Ca": 1, "O": 2, "H": 2}
    assert xray.atoms("Li10/7V6/7O2")["Li"] == pytest.approx(10 / 7)
    assert xray.atoms({"V": 2, "O": 5}) == {"V": 2.0, "O": 5.0}


def test_jump_of_f2():
    jump = scattering.f_double_prime_jump("V", "K", "chantler")
    assert jump == pytest.approx(3.51, abs=0.01)


@pytest.mark.parametrize("formula, density", [("LiVO2", 4.3), ("V2O5", 3.36)])
@pytest.mark.parametrize("energy", [5420.0, 5540.0])
def test_equations_against_xraydb(formula, density, energy):
    """One micrometre of a compound: the phase gives its atoms, and so does μt."""
    import xraydb

    delta, beta, _ = xraydb.xray_delta_beta(formula, density, energy)
    length = float(scattering.wavelength(energy))
    atoms = xray.atoms(formula)
    mass = sum(n * xraydb.atomic_mass(e) for e, n in atoms.items())
    number = density * 1e6 * 1e-6 / mass * 6.02214076e23 * atoms["V"]
    phase = xr.DataArray(
        -2 * np.pi * delta * 1e-6 / length, attrs={"units": "rad"}, name="phase"
    )
    electrons = phase.xanes.effective_electrons(energy=energy)
    ratio = float(electrons.effective_electrons) / number
    theory = xanes.theoretical_ratio(formula, element="V", energy=energy)
    assert ratio == pytest.approx(float(theory), rel=1e-5)
    # The absorption of the V atoms alone, by their f'' in place of its jump.
    f2 = {e: float(scattering.f_double_prime(e, energy, "chantler")) for e in atoms}
    share = atoms["V"] * f2["V"] / sum(atoms[e] * f2[e] for e in atoms)
    mu_t = 4 * np.pi * beta * 1e-6 / length * share
    found = xanes.projected_density(
        xr.DataArray(mu_t), element="V", energy=energy, delta_f2=f2["V"]
    )
    assert float(found.projected_density) == pytest.approx(number, rel=1e-5)


def test_one_micrometre_of_livo2():
    import xraydb

    delta, beta, _ = xraydb.xray_delta_beta("LiVO2", 4.3, 5420.0)
    length = float(scattering.wavelength(5420.0))
    assert 4 * np.pi * beta * 1e-6 / length == pytest.approx(0.02193, rel=1e-3)
    assert -2 * np.pi * delta * 1e-6 / length == pytest.approx(-0.69743, rel=1e-5)


def test_end_to_end(phantom, model):
    """Absorption and phase of three domains give back their composition."""
    stack, truth = phantom(n=96)
    domains = np.digitize(stack.x.values / 15.0, [40, 56])[None, :]
    ratio = np.choose(
        np.broadcast_to(domains, truth["edge_jump"].shape), [39.71, 35.01, 43.09]
    )
    length = float(scattering.wavelength(5465.0))
    atoms = truth["edge_jump"] / (2 * length * xray.ELECTRON_RADIUS * 3.53)
    true_phase = -atoms * ratio * xray.ELECTRON_RADIUS * xray.HC / 5420.0
    rng = np.random.default_rng(0)
    phase = xr.DataArray(
        true_phase + 0.01 * rng.standard_normal(true_phase.shape),
        dims=("y", "x"),
        coords={"y": stack.y, "x": stack.x, "energy": 5420.0},
        attrs={"units": "rad"},
    )
    fit = xanes.fit_edge(stack, **model)
    density = xanes.projected_density(fit, element="V", delta_f2=3.53)
    electrons = xanes.effective_electrons(phase, errors=0.01)
    got = xanes.electron_ratio(electrons, density=density)
    thick = (truth["edge_jump"] > 0.15) & (fit.flag.values == 0)
    for value in (39.71, 35.01, 43.09):
        inside = thick & (ratio == value)
        values = got.electron_ratio.values[inside]
        assert np.median(values) == pytest.approx(value, abs=0.15)
        pull = (values - value) / got.electron_ratio_error.values[inside]
        assert 0.85 < pull.std() < 1.2
    assert density.attrs["delta_f2"] == 3.53
    assert density.attrs["table"] == "given"
    assert got.electron_ratio.attrs["units"] == "1"


def test_ratio_along_energy_and_errors(no_compute):
    e = xr.DataArray(
        [5420.0, 5460.0], dims="energy", attrs={"units": "eV", "long_name": "E"}
    )
    phase = xr.DataArray(
        -np.ones((2, 3)),
        dims=("energy", "x"),
        coords={"energy": e},
        attrs={"units": "rad"},
    ).chunk(x=1)
    jump = xr.DataArray([0.1, 0.0, 0.2], dims="x")
    density = xanes.projected_density(jump, element="V", errors=0.01)
    with no_compute():
        electrons = xanes.effective_electrons(phase, errors=0.02)
        ratio = xanes.electron_ratio(electrons, density=density)
    assert ratio.electron_ratio.dims == ("energy", "x")
    value, error = (
        float(ratio[n].isel(energy=0, x=0))
        for n in ("electron_ratio", "electron_ratio_error")
    )
    assert error / value == pytest.approx(np.hypot(0.02, 0.1))
    assert ratio.electron_ratio[:, 1].isnull().all()
    step = ratio.electron_ratio[1, 0] / ratio.electron_ratio[0, 0]
    assert float(step) == pytest.approx(5460 / 5420)


def test_kramers_kronig_of_a_lorentzian():
    e = np.linspace(5000, 6000, 4001)
    u = (e - 5470.0) / 3.0
    out = e[1000:3000:50]
    got = transform_matrix(e, out) @ (1 / (1 + u**2))
    v = (out - 5470.0) / 3.0
    w = (-out - 5470.0) / 3.0  # the pole at negative energies
    exact = v / (1 + v**2) + 0 * w
    assert abs(got - exact).max() < 1e-3


def test_kramers_kronig_needs_no_even_grid():
    fine = np.linspace(5300, 5700, 4001)
    rng = np.random.default_rng(0)
    coarse = np.sort(
        np.append(rng.choice(fine[1:-1], 120, replace=False), [5300, 5700])
    )
    values = np.interp(coarse, [5300, 5450, 5500, 5700], [0, 0, 1, 0])
    out = np.array([5360.0, 5430.0, 5520.0])
    a = transform_matrix(coarse, out) @ values
    b = transform_matrix(fine, out) @ np.interp(fine, coarse, values)
    np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_phase_and_absorption_agree(scale, standard):
    """A phase made from the absorption fits it; |T| for |T|² is betrayed."""
    normal = xanes.normalise(standard("V/V2O3"), e0=5480.0).normalised
    mu = (0.3 * normal + 0.05).assign_attrs(units="1")
    kwargs = {"element": "V", "pre": (5350, 5445), "post": (5555, 5900)}
    factors = xanes.scattering_factors(mu, **kwargs)
    assert float(factors.f2.sel(energy=5700, method="nearest")) == pytest.approx(
        float(scattering.f_double_prime("V", 5700.0, "chantler")), abs=0.1
    )
    dip = factors.f1.sel(energy=slice(5420, 5540))
    assert -11 < float(dip.min()) < -7
    swing = factors.projected_density * (25 + scale * factors.f1)
    wave = xray.HC / mu.energy
    phase = (-swing * xray.ELECTRON_RADIUS * wave).assign_attrs(units="rad")
    both = xr.Dataset({"absorption": mu, "phase": phase})
    check = both.xanes.kramers_kronig_misfit(**kwargs)
    assert float(check.kk_slope) == pytest.approx(scale, abs=1e-6)
    assert (float(check.kk_misfit) < 1e-6) is (scale == 1.0)


def test_factors_scale_with_thickness_and_chunks(phantom, no_compute):
    stack, truth = phantom(n=20, noise=0.0)
    kwargs = {"element": "V", "pre": (5420, 5461), "post": (5505, 5540)}
    eager = xanes.scattering_factors(stack, **kwargs)
    with no_compute():
        lazy = xanes.scattering_factors(stack.chunk(y=3), **kwargs)
    xr.testing.assert_allclose(eager.drop_attrs(), lazy.drop_attrs().compute())
    assert eager.f1.dims == ("energy", "y", "x")
    thick = truth["edge_jump"] > 0.1
    density = eager.projected_density.values[thick] / truth["edge_jump"][thick]
    assert density.std() / density.mean() < 0.1


def test_valence_by_a_line():
    standards = {"III": (5478.0, 3.0), "IV": (5480.0, 4.0), "V": (5482.0, 5.0)}
    energy = xr.DataArray([5479.0, 5483.0, np.nan], dims="scan", attrs={"units": "eV"})
    found = xanes.valence(energy, standards=standards, errors=0.1)
    np.testing.assert_allclose(found.valence, [3.5, 5.5, np.nan])
    np.testing.assert_allclose(found.valence_error[:2], 0.05)
    assert found.extrapolated.values.tolist() == [0, 1, 0]
    assert found.attrs["slope"] == pytest.approx(2.0)


def test_valence_errors_are_honest():
    rng = np.random.default_rng(0)
    valences = np.array([2.0, 3.0, 4.0, 5.0])
    pulls = []
    for _ in range(400):
        energies = 5472 + 2 * valences + 0.2 * rng.standard_normal(4)
        standards = {
            str(v): (e, v, 0.2) for e, v in zip(energies, valences, strict=True)
        }
        measured = xr.DataArray(5472 + 2 * 3.3 + 0.1 * rng.standard_normal())
        got = xanes.valence(measured, standards=standards, errors=0.1)
        pulls.append(float((got.valence - 3.3) / got.valence_error))
    assert 0.8 < np.std(pulls) < 1.1


def test_messages():
    phase = xr.DataArray(-0.1, attrs={"units": "rad"}, name="phase")
    with pytest.raises(DimensionError, match="energy=5420"):
        xanes.effective_electrons(phase)
    with pytest.raises(UnitsError, match="no units"):
        xanes.effective_electrons(phase.drop_attrs(), energy=5420.0)
    with pytest.raises(VariableError, match="edge_jump"):
        xanes.projected_density(phase.to_dataset(), element="V")
    with pytest.raises(ArgumentError, match="element="):
        xanes.projected_density(phase, element="Vv")
    with pytest.raises(ArgumentError, match="element='Ni'"):
        xanes.theoretical_ratio("LiVO2", element="Ni", energy=5420.0)
    with pytest.raises(ArgumentError, match=r"3\.53"):
        xanes.theoretical_ratio("LiVO2", element="V", energy=5420.0, table="henke")
    with pytest.raises(ArgumentError, match="formula='Zz'"):
        xanes.theoretical_ratio("Zz", element="V", energy=5420.0)
    with pytest.raises(ArgumentError, match="two valences"):
        xanes.valence(phase, standards={"a": (5478.0, 3.0)})
    with pytest.raises(ArgumentError, match="two valences"):
        xanes.valence(phase, standards={"a": (5478.0,), "b": (5480.0,)})
    with pytest.raises(VariableError, match="edge_energy"):
        xanes.valence(phase.to_dataset(), standards={"a": (1, 2), "b": (2, 3)})
