"""Monitors by devices, places and descriptions; what is no monitor stays unread."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from series_files import I0, IT, MU, E, T, rows

from batteryxr import read_series
from batteryxr.core.errors import ArgumentError, DataQualityWarning

#: Header over columns of energy, I0, It -> part of what is said, if anything.
SAID = {
    "# Energy (readback), eV\tKeithley_I0 [A]\tKeithley_I1 [A]": "",
    "# ch1: I0 ion chamber\n# ch2: It ion chamber\n# energy ch1 ch2": "",
    "# counters: c1=I0, c2=I1\n# E c1 c2": "",
    "Channel A = incident  Channel B = transmitted\nE(eV)\tChannel A\tChannel B": "",
    "# I0 = sca1\n# It = sca2\n# energy sca1 sca2": "",
    "# 20ID:mono:energy.RBV 20ID:scaler1:I0 20ID:scaler1:IT": "of a device",
    "# energy ic_before ic_after": "",
    "# Mono [eV]\tIC_in\tIC_out": "",
    "# mono_e_rbv, i0_current, itrans_current": "",
    "# Columns: 1 = Energy, 2 = I0, 3 = I1": "",
    "column 1 = energy in eV, column 2 = I0, column 3 = transmitted intensity": "",
    "# mono_energy iono1 iono2": "by their order",
    "Energy(eV)   IC1   IC2": "by their order",
    " Col 1 ENERGY_ENC DOUBLE\n Col 2 IONCH1 DOUBLE\n Col 3 IONCH2 DOUBLE": (
        "by their order"
    ),
    "# energy_eV IC0 ICT": "",
    "#C 1_Energy (eV) 2_i0 3_i1": "",
    "# Energy_c1 I0_KEITHLEY1_c2 I1_KEITHLEY2_c3": "",
    "# columns: energy [eV], I0 [cts], I1 [cts]": "",
    "# columns: energy, sclr_i0, sclr_it": "of a device",
}


@pytest.mark.parametrize("header", SAID)
def test_monitors_are_found_by_devices_places_and_descriptions(tmp_path, header):
    path = tmp_path / "a.dat"
    path.write_text(f"{header}\n" + rows(E, I0, IT, sep="\t"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scan = read_series(path)
    np.testing.assert_allclose(scan[0], MU, atol=1e-5)
    np.testing.assert_allclose(scan["energy"], E)
    said = " ".join(str(w.message) for w in told)
    assert SAID[header] in said
    assert bool(SAID[header]) == bool(said), said


OTHER = (
    "# energy keithley_I0_gain It",
    "# energy ic1 ic4",
    "# c2 = I0/I1\n# energy I0 c2",
    "# energy I0 It_dark",
    "# ch1: I0 and It gain 1e6\n# energy ch1 ch2",
    "# energy ic1_pressure ic2_flow",
    "# resolution[eV]  I0  It",
)


@pytest.mark.parametrize("header", OTHER)
def test_what_changes_a_channel_is_no_monitor(tmp_path, header):
    path = tmp_path / "a.dat"
    path.write_text(f"{header}\n" + rows(E, I0, IT))
    with pytest.raises(ArgumentError):
        read_series(path)


def test_energies_without_units_are_kev_if_a_beam_went_through_a_sample(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("energy I0 I1\n" + rows(E / 1e3, I0, IT))
    with pytest.warns(DataQualityWarning, match="taken as keV"):
        np.testing.assert_allclose(read_series(path)["energy"], E)
    as_written = read_series(path, axis="energy (eV)")
    np.testing.assert_allclose(as_written["energy"], E / 1e3)


def test_an_angle_takes_its_crystal_from_a_line_of_text(tmp_path):
    spacing = 5.43102 / np.sqrt(3)
    angle = np.rad2deg(np.arcsin(12398.41984 / (2 * spacing * E)))
    path = tmp_path / "a.dat"
    path.write_text(
        "# Si(111) DCM\n# Bragg angle [deg]  I0  It\n" + rows(angle, I0, IT)
    )
    np.testing.assert_allclose(read_series(path)["energy"], E, atol=0.02)


def test_windows_of_detector_elements_are_summed(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text(
        "mono_keV,i0_cps,sdd1_roi_fe,sdd2_roi_fe\n"
        + rows(E / 1e3, I0, T, 2 * T, sep=",")
    )
    np.testing.assert_allclose(read_series(path)[0], 3 * T / I0)


def test_fluorescence_is_read_where_no_beam_is_behind_the_sample(tmp_path):
    path = tmp_path / "a.dat"
    fluo = 0.01 * MU * I0
    path.write_text("# energy i0 i1 iff\n" + rows(E, I0, 0 * E, fluo))
    for lazy in (False, True):
        with pytest.warns(DataQualityWarning, match="fluorescence is read"):
            scan = read_series(path, lazy=lazy)
        np.testing.assert_allclose(scan[0], 0.01 * MU, rtol=1e-6)


def test_elements_counted_behind_a_line_are_summed(tmp_path):
    path = tmp_path / "a.dat"
    fluo = 0.005 * MU * I0
    path.write_text("# energy i0 fe_ka_1 fe_ka_2 icr_1\n" + rows(E, I0, fluo, fluo, E))
    np.testing.assert_allclose(read_series(path)[0], 0.01 * MU, rtol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_current_below_zero_everywhere_is_turned_and_told(tmp_path, sign):
    path = tmp_path / "a.dat"
    path.write_text("# energy i0 tey\n" + rows(E, sign * I0, -0.01 * MU * I0))
    with pytest.warns(DataQualityWarning, match="is inverted"):
        scan = read_series(path)
    np.testing.assert_allclose(scan[0], 0.01 * MU, rtol=1e-6)
