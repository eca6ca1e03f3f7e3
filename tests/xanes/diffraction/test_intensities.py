"""Intensities of powder lines, against calculations that share no code."""

import numpy as np
import pytest

from batteryxr import nmf, xanes

CIF = """data_rock_salt
_cell_length_a 4.15
_cell_length_b 4.15
_cell_length_c 4.15
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Li1 Li 0 0 0 0.20 0.01
Ni1 Ni 0 0 0 {ni} 0.01
Ti1 Ti 0 0 0 0.05 0.01
O1 O 0.5 0.5 0.5 0.90 0.015
F1 F 0.5 0.5 0.5 0.10 0.015
"""
COPPER = xanes.Diffractometer(wavelength=1.540593)
NEUTRONS = xanes.Diffractometer(wavelength=1.540593, radiation="neutron")


@pytest.fixture
def rock_salt(tmp_path):
    def write(ni=0.72):
        path = tmp_path / "rock_salt.cif"
        path.write_text(CIF.format(ni=ni))
        return path

    return write


def test_x_rays_as_dans_diffraction_has_them(rock_salt):
    """|F|2 by Dans_Diffraction 3.4.0 ("xray dispersion", 8.04778 keV) of this CIF.

    Multiplicity, Lorentz and polarisation factors were put on by hand.
    """
    lines = xanes.powder_lines(rock_salt(), instrument=COPPER, limits=(10, 100))
    assert lines.reflection.values[:5].tolist() == ["111", "200", "220", "311", "222"]
    assert lines.multiplicity.values[:5].tolist() == [8, 6, 12, 24, 8]
    ratio = float(lines.intensity[0] / lines.intensity[1])
    assert ratio == pytest.approx(0.45248550, rel=0.01)
    expected = np.array([0.45248550, 1.0, 0.48634817, 0.13746688, 0.12880679])
    np.testing.assert_allclose(lines.intensity[:5] / 100, expected, rtol=0.01)


def test_neutrons_by_hand(rock_salt):
    """Scattering lengths of NIST's table, in fm."""
    b = {"Li": -1.90, "Ni": 10.3, "Ti": -3.438, "O": 5.803, "F": 5.654}
    metal = 0.2 * b["Li"] + 0.72 * b["Ni"] + 0.05 * b["Ti"]
    anion = 0.9 * b["O"] + 0.1 * b["F"]
    power = []
    for (h, k, ell), many in (((1, 1, 1), 8), ((2, 0, 0), 6), ((2, 2, 0), 12)):
        s = np.sqrt(h * h + k * k + ell * ell) / 8.30
        damped = [np.exp(-8 * np.pi**2 * u * s**2) for u in (0.01, 0.015)]
        f = 4 * (metal * damped[0] + (-1) ** (h + k + ell) * anion * damped[1])
        theta = np.arcsin(1.540593 * s)
        power.append(many * f**2 / (np.sin(theta) ** 2 * np.cos(theta)))
    lines = xanes.powder_lines(rock_salt(), instrument=NEUTRONS, limits=(10, 100))
    found = lines.intensity[:3] / lines.intensity[1]
    np.testing.assert_allclose(found, np.array(power) / power[1], rtol=0.01)
    assert lines.structure_factor.attrs["units"] == "fm"


def test_vacancies_count(rock_salt):
    full = xanes.powder_lines(rock_salt(0.75), instrument=COPPER)
    fewer = xanes.powder_lines(rock_salt(0.60), instrument=COPPER)
    ratio = [float(r.intensity[0] / r.intensity[1]) for r in (full, fewer)]
    assert ratio[0] > 1.2 * ratio[1]


def test_lines_of_a_crystal_are_looked_for_in_patterns(rock_salt):
    crystal = nmf.read_crystal(rock_salt())
    lines = xanes.powder_lines(crystal, instrument=COPPER)
    np.testing.assert_allclose(
        lines.d, 4.15 / np.sqrt([3, 4, 8, 11, 12][: lines.sizes["reflection"]])
    )
    np.testing.assert_allclose(lines.q * lines.d, 2 * np.pi)
    layered = nmf.read_crystal(rock_salt())
    assert layered.u_iso == pytest.approx([0.01] * 12 + [0.015] * 8)
