"""Columns chosen by what they are called: beamlines, instruments, programs."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
import series_files as dialects
from series_files import FL, I0, IR, IT, MU, RAMAN, TT, XRD, E, S, T, rows

from batteryxr import read_series
from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    DataQualityWarning,
    FileFormatError,
)

KNOWN = dialects.beamlines() | dialects.vibrational() | dialects.diffraction()


def write(folder, dialect):
    path = folder / dialect.name
    path.write_bytes(dialect.text.encode(dialect.encoding))
    return path


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_layout_is_read_right_without_arguments(tmp_path, name):
    known = KNOWN[name]
    path = write(tmp_path, known)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scan = read_series(path, timezone="UTC")
    said = [str(w.message) for w in told if "is read" in str(w.message)]
    assert bool(said) == known.warns, [str(w.message) for w in told]
    assert scan.name == known.quantity
    assert scan.shape == (1, known.axis.size)
    near = known.tolerance
    np.testing.assert_allclose(scan[scan.dims[1]], known.axis, rtol=near)
    np.testing.assert_allclose(scan[0], known.values, rtol=max(near, 1e-5), atol=1e-6)


def in_hdf5(path, scans, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for name, values in scans.items():
            file[name] = values[0] if isinstance(values, tuple) else values
            if isinstance(values, tuple):
                file[name].attrs["units"] = values[1]
    return path


def test_point_scans_of_bliss_are_scans(tmp_path):
    held = {}
    for k in (1, 2):
        at = f"{k}.1/measurement"
        held |= {f"{at}/energy_enc": E / 1000, f"{at}/mu_trans": MU * k}
        held |= {f"{at}/I0": I0, f"{at}/xmap_mca": np.ones((E.size, 9))}
        held[f"{k}.1/instrument/I0/data"] = I0  # a second way to the same counter
        held[f"{k}.1/start_time"] = f"2023-03-02T10:1{k}:00+01:00"
    held["3.1/measurement/samx"] = np.arange(9.0)  # a scan of a motor
    scans = read_series(in_hdf5(tmp_path / "a.h5", held, creator="Bliss"))
    np.testing.assert_allclose(scans["energy"], E)  # keV, as BLISS counts
    np.testing.assert_allclose(scans, np.stack([MU, 2 * MU]))
    assert [str(t)[:16] for t in scans["time"].values] == [
        "2023-03-02T09:11",
        "2023-03-02T09:12",
    ]


def test_point_scans_of_nexus_name_their_columns(tmp_path):
    at = "entry1/qexafs_counterTimer01"
    held = {f"{at}/qexafs_energy": (E, "eV"), f"{at}/I0": I0, f"{at}/It": IT}
    path = in_hdf5(tmp_path / "a.nxs", held)
    np.testing.assert_allclose(read_series(path)[0], MU, atol=1e-9)
    angle = np.degrees(np.arcsin(12398.4198 / (2 * 3.13556) / E))
    held[f"{at}/mono_theta"] = (angle, "deg")
    crystal = {"entry1/instrument/monochromator/d_spacing": 3.13556}
    turned = {k: v for k, v in held.items() if "energy" not in k} | crystal
    scan = read_series(in_hdf5(tmp_path / "turned.nxs", turned))
    np.testing.assert_allclose(scan["energy"], E, rtol=1e-6)
    held.pop(f"{at}/It")
    with pytest.raises(ArgumentError, match=r"'I0'.*'qexafs_energy'"):
        read_series(in_hdf5(tmp_path / "b.nxs", held))
    images = {"exchange/data": np.ones((9, 8, 7)), "exchange/theta": np.arange(9.0)}
    with pytest.raises(FileFormatError, match="Read it with read_stack"):
        read_series(in_hdf5(tmp_path / "c.h5", images))


XDI = "# XDI/1.0\n# Column.1: energy eV\n# Column.2: itrans\n# Column.3: i0\n"


def test_point_scans_whose_axis_has_no_name_are_asked_for(tmp_path):
    at = "scan/scan_data"
    held = {f"{at}/actuator_1_1": E, f"{at}/data_01": I0, f"{at}/data_02": IT}
    path = in_hdf5(tmp_path / "a.nxs", held)
    with pytest.raises(ArgumentError, match=r"'actuator_1_1', 1: 'data_01'.*'data_02'"):
        read_series(path)
    with pytest.raises(ArgumentError, match="columns="):
        read_series(path, axis="energy")
    np.testing.assert_allclose(read_series(path, axis="energy", columns=1)[0], I0)


def test_an_energy_that_a_beamline_calls_an_angle_is_found_in_nexus(tmp_path):
    at = "entry1/ionchambers"
    held = {f"{at}/bragg1WithOffset": (E, "eV"), f"{at}/I0": I0, f"{at}/It": IT}
    scan = read_series(in_hdf5(tmp_path / "a.nxs", held))
    np.testing.assert_allclose(scan[0], MU, atol=1e-5)
    np.testing.assert_allclose(scan["energy"], E)


def test_names_that_contradict_each_other_are_told(tmp_path):
    path = tmp_path / "a.xdi"
    path.write_text(XDI + "#----\n# energy i0 itrans\n" + rows(E, I0, IT))
    with pytest.raises(ArgumentError, match="'itrans or i0'"):
        read_series(path)
    path.write_text(XDI + "#----\n# energy itrans i0\n" + rows(E, IT, I0))
    np.testing.assert_allclose(read_series(path)[0], MU, atol=1e-5)


@pytest.mark.parametrize("name", ["wavelength", "angle", "encoder", "k", "2theta"])
def test_another_axis_is_not_taken_for_energies(tmp_path, name):
    path = tmp_path / "a.dat"
    path.write_text(f"# {name} i0 itrans\n" + rows(E, I0, IT))
    with pytest.raises(ArgumentError, match=name):
        read_series(path, axis="energy")


HINTS = {
    "energy I0 I1 Fe_ROI ICR_1": (IT, FL, FL, "'Fe_ROI' may be fluorescence"),
    "energy I0 It I0_dark It_dark": (IT, T, T, "'I0_dark', 'It_dark' are not subtr"),
    "energy I0 TEY KETEK_Fe": (MU * I0, FL, "'KETEK_Fe' may be fluorescence"),
    "energy I0 It1 It2 TEY": (IT, IT, MU * I0, "'It1', 'It2' may be of a transm"),
    "energy I0 It FeKa_sum NiKa_sum": (IT, FL, FL, "'FeKa_sum', 'NiKa_sum' may be"),
    "energy I0 mu_a mu_b": (MU, 2 * MU, "'mu_b' may be spectra of other samples"),
    "energy I0 A_abs B_abs": (MU, 2 * MU, "'B_abs' may be spectra of other samples"),
}


@pytest.mark.parametrize("names", HINTS)
def test_what_is_left_beside_a_transmission_is_told(tmp_path, names):
    *columns, said = HINTS[names]
    path = tmp_path / "a.dat"
    path.write_text(f"# {names}\n" + rows(E, I0, *columns))
    with pytest.warns(DataQualityWarning, match=said):
        np.testing.assert_allclose(read_series(path)[0], MU, atol=1e-6)


@pytest.mark.parametrize(
    "first", ["ID energy", "energy_ID", "GapEnergy", "Harmonic energy (eV)"]
)
def test_energies_of_a_source_are_not_the_axis(tmp_path, first):
    path = tmp_path / "a.dat"
    path.write_text(
        f"{first}\tMono energy\tI0\tIt\n" + rows(E / 5, E, I0, IT, sep="\t")
    )
    np.testing.assert_array_equal(read_series(path)["energy"], E)


@pytest.mark.parametrize(("shift", "told"), [(4.0, True), (0.02, False)])
def test_two_columns_of_energies_that_differ_are_told(tmp_path, shift, told):
    path = tmp_path / "a.dat"
    path.write_text("# energy energy_calibrated i0 it\n" + rows(E, E + shift, I0, IT))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read_series(path)["energy"], E)
    assert (
        any("'energy_calibrated' holds other" in str(w.message) for w in said) == told
    )


def test_two_axes_of_one_name_are_told(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("# energy energy mu\n" + rows(E + 5, E, MU))
    with pytest.warns(DataQualityWarning, match="several columns 'energy'"):
        read_series(path)


COUNTS = {
    "only a monitor": "# energy I0\n" + rows(E, I0),
    "a dwell time": "# energy time\n" + rows(E, E * 0 + 1),
    "a second energy": "# energy energy_rbv\n" + rows(E, E + 0.01),
    "a name nobody knows": "# energy sample7\n" + rows(E, MU),
    "which of two is first": "# energy i1 i2\n" + rows(E, I0, IT),
    "two emission lines": "# energy i0 fe_ka ni_ka\n" + rows(E, I0, FL, FL),
    "two of one beam": "# energy it I0_upstream I0_downstream\n" + rows(E, IT, I0, I0),
    "intensities along the beam": "# energy Int0 Int1 Int2\n" + rows(E, I0, IT, IT),
    "a sample before a foil": "# energy I_0 I_sample I_ref\n" + rows(E, I0, IT, IR),
    "a sample beside counts": "# energy I0 D1_Ni_sum I_sample\n" + rows(E, I0, FL, FL),
    "the reference alone": "# energy reference i0\n" + rows(E, MU, I0),
    "a logarithm the other way": "# energy ln(it/i0)\n" + rows(E, -MU),
    "two traces": "Raman shift\tIntensity_A\tIntensity_B\n" + rows(S, RAMAN, RAMAN),
    "intensity or counts": "Raman shift\tIntensity\tCounts\n" + rows(S, RAMAN, RAMAN),
    "absorbance or %T": "wavenumber\tAbsorbance\t%T\n" + rows(S, RAMAN, RAMAN),
    "I(Q) or S(Q)": "# Q I(Q) S(Q)\n" + rows(TT, XRD, XRD),
}


@pytest.mark.parametrize("name", COUNTS)
def test_columns_that_nobody_can_tell_are_listed(tmp_path, name):
    path = tmp_path / "a.dat"
    path.write_text(COUNTS[name])
    with pytest.raises(ArgumentError, match=r"columns=") as told:
        read_series(path)
    words = COUNTS[name].splitlines()[0].lstrip("# ").split()
    assert repr(words[-1].split("(")[0])[:-1] in str(told.value)
    assert "Pass columns=" in str(told.value)
    assert read_series(path, columns=1).shape[0] == 1


def test_numbers_without_names_are_not_called_absorption(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text(rows(E, I0))
    assert read_series(path, axis="energy").name == "intensity"
    assert read_series(path, axis="energy", columns=1).name == "absorption"
    path.write_text(rows(E, I0, IT))
    with pytest.raises(ArgumentError, match="3 columns without names"):
        read_series(path, axis="energy")


@pytest.mark.parametrize(
    "header",
    [
        "    Energy    <xanes>",
        " 7112.000 26 1 = E_edge, Z, n_edge\n    Energy    <xanes>",
        "# energy_relative mu",
    ],
)
def test_energies_counted_from_an_edge_are_refused(tmp_path, header):
    path = tmp_path / "Fe_conv.txt"
    path.write_text(f"{header}\n" + rows(E - 7112, MU))
    with pytest.raises(ArgumentError, match="counted from an edge"):
        read_series(path)
    kept = read_series(path, axis="energy (eV)", columns=1)
    np.testing.assert_allclose(kept["energy"], E - 7112)


def test_names_that_hold_colons_between_tabs_are_names(tmp_path):
    path = tmp_path / "a.dat"
    names = ["Mono Energy", "XMAP12:FeKa_Sum", "12BM:IC:I0", "It"]
    path.write_text("# " + "\t ".join(names) + "\n" + rows(E, FL, I0, IT, sep="\t"))
    every = read_series(path, columns="all")
    np.testing.assert_allclose(every["transmission"][0], MU, atol=1e-6)
    np.testing.assert_allclose(every["fluorescence"][0], FL / I0, rtol=1e-6)


def test_counts_of_a_numbered_spectrum_are_intensities(tmp_path):
    path = tmp_path / "witec.txt"
    names = "Raman Shift (rel. 1/cm)\tSpectrum 1 (CCD cts)\n"
    path.write_text(names + rows(S, RAMAN, sep="\t"))
    np.testing.assert_allclose(read_series(path)[0], RAMAN)


def test_point_scans_of_stxm_are_counts_along_energies(tmp_path):
    path = tmp_path / "a_0.xsp"
    path.write_text(rows(E, I0, sep="\t"))
    counts = read_series(tmp_path)
    assert counts.name == "intensity"
    np.testing.assert_array_equal(counts["energy"], E)
    path.write_text(rows(E, I0, IT, sep="\t"))
    with pytest.raises(ArgumentError, match="3 columns without names"):
        read_series(path)


def test_every_channel_on_demand(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("# energy i0 it ir time\n" + rows(E, I0, IT, IT / 2, E * 0 + 1))
    every = read_series(path, columns="all")
    assert set(every) == {"transmission", "reference", "i0", "it", "ir", "time_column"}
    np.testing.assert_allclose(every["transmission"][0], MU, atol=1e-6)
    np.testing.assert_allclose(every["reference"][0], np.log(2), atol=1e-6)
    np.testing.assert_array_equal(every["i0"][0], I0)
    two = read_series(path, columns=["i0", "it"])
    assert set(two) == {"i0", "it"}


def spec(*scans):
    head = "#F a\n#D Tue Jul 26 23:01:58 2022\n"
    return head + "".join(
        f"\n#S {k} ascan {names.split()[0]}\n#D Tue Jul 26 23:0{k}:58 2022\n"
        f"#N {len(names.split())}\n#L {'  '.join(names.split())}\n{body}"
        for k, (names, body) in enumerate(scans, 1)
    )


def test_each_scan_of_a_spec_file_is_one(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text(
        spec(
            ("Energy I0 I1", rows(E, I0, IT)),
            ("Energy I0 I1", rows(E, I0, IT * np.exp(-0.1))),
            ("samx I0 I1", rows(E / 1000, I0, IT)),
            ("Energy I0 I1", ""),
        )
    )
    with pytest.warns(DataQualityWarning, match="1 scans of other kinds.*3 ascan samx"):
        scans = read_series(path, timezone="UTC")
    assert scans["label"].values.tolist() == ["1 ascan Energy", "2 ascan Energy"]
    np.testing.assert_allclose(scans - MU, [[0.0] * E.size, [0.1] * E.size], atol=1e-6)
    minutes = np.diff(scans["time"].values) / np.timedelta64(1, "m")
    assert minutes.tolist() == [1.0]


@pytest.mark.parametrize("turn", [0, 1])
def test_scans_up_and_down_are_two(tmp_path, turn):
    path = tmp_path / "a.dat"
    back = slice(-1 - turn, None, -1)
    both = np.r_[E, E[back]], np.r_[MU, 2 * MU[back]]
    path.write_text("# energy mu\n" + rows(*both))
    with pytest.warns(DataQualityWarning, match="2 scans, parted where its axis turns"):
        scans = read_series(path)
    assert scans.sizes == {"scan": 2, "energy": E.size}
    last = E.size - turn  # the point of the turn was measured once
    np.testing.assert_allclose(scans[1, :last], 2 * MU[:last])
    with pytest.raises(FileFormatError, match="several scans"):
        read_series([path, path], lazy=True).compute()


@pytest.mark.parametrize("name", ["a.xy", "a.dat"])
def test_axes_out_of_order_are_named(tmp_path, name):
    path = tmp_path / name
    x = TT if name == "a.xy" else E
    order = np.r_[0:40, 30 : x.size]
    path.write_text("" if name == "a.xy" else "# energy mu\n")
    path.write_text(path.read_text() + rows(x[order], x[order]))
    with pytest.raises(FileFormatError, match="goes back at row 41 "):
        read_series(path)


def test_an_energy_measured_twice_is_averaged_and_said(tmp_path):
    path = tmp_path / "a.dat"
    order = np.r_[0:40, 39 : E.size]
    values = MU[order] + np.r_[np.zeros(40), 0.2, np.zeros(E.size - 40)]
    path.write_text("# energy mu\n" + rows(E[order], values))
    with pytest.warns(DataQualityWarning, match="1 energies stand there twice"):
        scan = read_series(path)
    assert scan.sizes["energy"] == E.size
    assert float(scan[0, 39]) == pytest.approx(MU[39] + 0.1)


def maps():
    y, x = (a.ravel() for a in np.meshgrid([0.0, 5.0], [0.0, 1.0, 2.0], indexing="ij"))
    n = S.size
    values = np.concatenate([RAMAN[::-1] * (k + 1) for k in range(6)])
    columns = [np.repeat(x, n), np.repeat(y, n), np.tile(S[::-1], 6), values]
    yield "#X\t\t#Y\t\t#Wave\t\t#Intensity\n" + rows(*columns, sep="\t"), "column_x", x
    units = "X (µm)\tY (µm)\tRaman shift (cm-1)\tIntensity (cts)\n"
    yield units + rows(*columns, sep="\t"), "x", x * 1000
    wide = "\t\t" + "\t".join(map(str, S)) + "\n"
    for k in range(6):
        row = [f"{v:.6g}" for v in (y[k], x[k], *(RAMAN * (k + 1)))]
        wide += "\t".join(row) + "\n"
    told = "#AxisType[1]=\tSpectr\n#AxisUnit[1]=\t1/cm\n"
    yield told + wide, "coordinate_2", x


@pytest.mark.parametrize("which", range(3))
def test_maps_are_spectra_at_places(tmp_path, which):
    text, name, x = list(maps())[which]
    path = tmp_path / "map.txt"
    path.write_text(text)
    scans = read_series(path)
    assert scans.sizes == {"scan": 6, "shift": S.size}
    np.testing.assert_allclose(scans[name], x)
    expected = np.outer(np.arange(1, 7), RAMAN)
    np.testing.assert_allclose(scans, expected, rtol=1e-4)


def test_a_library_of_athena_is_all_of_its_spectra(tmp_path):
    path = tmp_path / "lib.nor"
    names = ["FeO", "Fe3O4", "Fe2O3"]
    path.write_text(
        "# XDI/1.0 Demeter/0.9.26\n# Column.1: energy eV\n"
        + "".join(f"# Column.{k}: {n}\n" for k, n in enumerate(names, 2))
        + "# ---\n"
        + rows(E, MU, MU**2, MU**3)
    )
    scans = read_series(path)
    assert scans["label"].values.tolist() == names
    np.testing.assert_allclose(scans, [MU, MU**2, MU**3], rtol=1e-9)


def test_a_file_cut_in_half_does_not_trim_the_series(tmp_path):
    for k in range(6):
        n = E.size // 2 if k == 2 else E.size
        (tmp_path / f"{k}.dat").write_text("# energy mu\n" + rows(E[:n], MU[:n] + k))
    for lazy in (False, True):
        with pytest.warns(DataQualityWarning, match=r"1 of 6 files end early.*2\.dat"):
            scans = read_series(tmp_path, lazy=lazy).compute()
        np.testing.assert_allclose(scans[3], MU + 3)
        assert int(np.isnan(scans).sum()) == E.size - E.size // 2
        np.testing.assert_allclose(scans[2, : E.size // 2], MU[: E.size // 2] + 2)


def jcamp(lines, n, first, last, units="TRANSMITTANCE"):
    return (
        "##TITLE=x\n##DATA TYPE=INFRARED SPECTRUM\n##XUNITS=1/CM\n"
        f"##YUNITS={units}\n##FIRSTX={first}\n##LASTX={last}\n##NPOINTS={n}\n"
        f"##XFACTOR=1\n##YFACTOR=2\n##XYDATA=(X++(Y..Y))\n{lines}\n##END=\n"
    )


def test_packed_lines_of_jcamp(tmp_path):
    path = tmp_path / "a.jdx"
    # 100 101 102 102 104 | 104 (again) 101 101 101 | then plain and squeezed numbers
    lines = "400A00JJ%K\n396A04lUB0\n391 -7 15b3"
    path.write_text(jcamp("400A00JJ%K\n396A04l%%", 8, 400, 393))
    scan = read_series(path)
    assert scan.name == "transmittance"
    expected = 2.0 * np.array([100, 101, 102, 102, 104, 101, 101, 101])
    np.testing.assert_array_equal(scan["shift"], np.arange(393.0, 401))
    np.testing.assert_array_equal(scan[0], expected[::-1])
    path.write_text(jcamp("400A00JT%K\n395 7 -15b3", 8, 400, 393))
    expected = 2.0 * np.array([100, 101, 102, 102, 104, 7, -15, -23])
    with pytest.raises(FileFormatError, match="does not go on"):
        read_series(path)
    path.write_text(jcamp(lines, 9, 400, 392))
    with pytest.raises(FileFormatError, match=r"cut|go on|stands at"):
        read_series(path)
    assert expected.size == 8
    path.write_text(jcamp("400 1 2 3 4\n392 9 10 11 12\n396 5 6 7 8", 12, 400, 389))
    with pytest.raises(FileFormatError, match="another order"):
        read_series(path)


@pytest.mark.parametrize("units", ["ABSORBANCE", "%TRANSMITTANCE", "TRANSMITTANCE"])
def test_kinds_of_ordinate_are_not_mixed(tmp_path, units):
    (tmp_path / "a.jdx").write_text(jcamp("400 1 2 3 4", 4, 400, 403, units))
    (tmp_path / "b.jdx").write_text(jcamp("400 1 2 3 4", 4, 400, 403, "REFLECTANCE"))
    one = read_series(tmp_path / "a.jdx")
    assert one.units == ("percent" if "%" in units else "1")
    with pytest.raises(ArgumentError, match="read the two kinds apart"):
        read_series(tmp_path)


def test_an_attenuator_is_counted_in(tmp_path):
    path = tmp_path / "a.ras"
    path.write_text("*RAS_INT_START\n" + rows(TT, XRD, TT * 0 + 9) + "*RAS_INT_END\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that an attenuator stands still is no doubt
        np.testing.assert_allclose(read_series(path)[0], XRD * 9)


def test_what_is_read_of_a_diffractometer_beside_the_counts(tmp_path):
    path = write(tmp_path, KNOWN["xrdml"])
    scan = read_series(path)
    assert scan["time"].values[0] == np.datetime64("2022-07-26T21:01:58")
    assert float(scan["exposure"][0]) == 20.0
    assert "1.5405980" in scan.attrs["header"]


STOPPED = ("xrdml", "Rigaku asc", "GSAS STD", "GSAS fxye", "JCAMP, absorbance")


@pytest.mark.parametrize("name", STOPPED)
def test_a_packed_file_that_was_cut_is_refused(tmp_path, name):
    known = KNOWN[name]
    path = write(tmp_path, known)
    raw = path.read_bytes()
    for part in (0.4, 0.7, 0.9):
        path.write_bytes(raw[: int(part * len(raw))])
        with pytest.raises(BatteryxrError):
            read_series(path)


def test_a_line_of_units_names_no_columns(tmp_path):
    """Two columns of "cps" came back as two scans."""
    path = tmp_path / "a.dat"
    path.write_text(
        "Energy\tmon\tdet\n[eV]\t[cps]\t[cps]\n" + rows(E, I0, IT, sep="\t")
    )
    with pytest.raises(ArgumentError, match="'det'"):
        read_series(path)


def counted(folder, name, i0, transmitted):
    energy = np.arange(8300.0, 8300 + i0.size)
    table = np.stack([energy, i0, transmitted], axis=1)
    np.savetxt(folder / name, table, header="energy i0 itrans", fmt="%.6g")
    return folder / name


MONITOR = 1e5 + 3e3 * np.random.default_rng(0).standard_normal(120)
DEPTH = 0.2 + 1 / (1 + np.exp(60 - np.arange(120.0)))


@pytest.mark.parametrize(
    ("i0", "told"),
    [
        (np.full(120, 65535.0), "is stuck in 1 of 1 scans: 65535 everywhere"),
        (np.minimum(MONITOR, 102000), "saturates in 1 of 1 scans"),
        (np.where(np.arange(120) // 20 == 3, MONITOR[60], MONITOR), "is stuck.* 20 r"),
        (np.where(np.arange(120) == 7, 0.0, MONITOR), "sees no beam.*: 1 readings"),
    ],
)
def test_monitors_that_do_not_measure_are_told(tmp_path, i0, told):
    path = counted(tmp_path, "scan.dat", i0, MONITOR * np.exp(-DEPTH))
    with pytest.warns(DataQualityWarning, match=f"'i0'.*{told}"):
        read_series(path)


def test_rows_without_beam_are_missing_and_inverted_ones_are_not(tmp_path):
    off = np.where(np.arange(120) == 7, -1.0, 1.0)
    path = counted(tmp_path, "a.dat", MONITOR * off, MONITOR * np.exp(-DEPTH) * off)
    with pytest.warns(DataQualityWarning, match="sees no beam"):
        mu = read_series(path)[0]
    assert np.flatnonzero(mu.isnull()).tolist() == [7]  # not the ratio of two minus
    path = counted(tmp_path, "b.dat", -MONITOR, -MONITOR * np.exp(-DEPTH))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read_series(path)[0], DEPTH, atol=1e-4)
