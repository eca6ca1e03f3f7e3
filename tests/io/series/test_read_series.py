"""Scan series: axes, columns, clocks, conditions, laziness."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
import scan_files
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scan_files import ENERGY, R

from batteryxr import open_store, read_series, replay, save
from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError

ZONE = {"timezone": "Europe/Paris"}


@pytest.fixture
def spectra(tmp_path):
    scan_files.quick_xas(tmp_path, 12)
    return tmp_path


def test_quick_xas(spectra):
    mu = read_series(spectra, **ZONE)
    assert mu.name == "absorption"
    assert mu.dims == ("scan", "energy")
    np.testing.assert_array_equal(mu["energy"], ENERGY)
    # Natural order: 1, 2, ... 12 within each position.
    numbers = [int(name[:-4].split("_")[-1]) for name in mu["file"].values]
    assert numbers == [1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12]
    for row, number in enumerate(numbers):
        np.testing.assert_array_equal(mu[row], scan_files.spectrum(number - 1))
    k = np.array(numbers) - 1
    np.testing.assert_array_equal(mu["exposure"], 2 * (65 + 0.25 * k))
    np.testing.assert_array_equal(mu["eshift"], -0.25 - 0.001 * k)
    np.testing.assert_array_equal(mu["temperature"], 25.0 + k)
    assert mu["temperature"].units == "degC"
    assert mu["time"].values[0] == np.datetime64("2022-07-26T21:00:58.055")
    assert mu["start_local"].values[0] == "2022-07-26T23:00:58.055000"
    assert json.loads(mu.attrs["header"]) == {"E0": "8332.88"}


def test_every_coordinate_is_labelled(spectra):
    mu = read_series(spectra, pattern=r"(?P<position>pos\d)", **ZONE)
    for name, coord in mu.coords.items():
        assert "long_name" in coord.attrs, name
        # Units of a datetime are xarray's to write.
        assert ("units" in coord.attrs) == (name != "time"), name
    assert set(mu.attrs) >= {"units", "long_name", "batteryxr_call", "header"}


def test_order_of_time(spectra):
    mu = read_series(spectra, order="time", **ZONE)
    assert (np.diff(mu["time"].values) > np.timedelta64(0, "ns")).all()
    np.testing.assert_array_equal(mu[7], scan_files.spectrum(7))
    np.testing.assert_array_equal(mu["temperature"], 25.0 + np.arange(12))
    with pytest.warns(DataQualityWarning, match="time zone|undeclared zone"):
        local = read_series(spectra, order="time")
    np.testing.assert_array_equal(local, mu)


def test_order_given(spectra):
    names = ["op1_pos1_3.txt", "op1_pos1_1.txt", "op1_pos2_2.txt"]
    mu = read_series([spectra / n for n in names], order="given", **ZONE)
    assert mu["file"].values.tolist() == names


def test_undeclared_zone_is_never_guessed(spectra):
    with pytest.warns(DataQualityWarning, match="timezone='Europe/Paris'") as caught:
        mu = read_series(spectra)
    assert np.isnat(mu["time"]).all()
    assert caught[0].filename == __file__


def test_zone_in_the_header_wins(tmp_path):
    for k in range(2):
        path = tmp_path / f"a{k}.dat"
        path.write_text(
            f"# start_time: 2024-03-05T14:3{k}:00+02:00\n# energy mu\n"
            + scan_files.table([ENERGY, scan_files.spectrum(k)])
        )
    mu = read_series(tmp_path, timezone="Asia/Tokyo")
    assert mu["time"].values[1] == np.datetime64("2024-03-05T12:31:00")
    assert "start_local" not in mu.coords


def test_time_of_the_file(spectra):
    for path in spectra.iterdir():
        os.utime(path, (1.7e9, 1.7e9))
    mu = read_series(spectra, time_from="mtime", exposure=100.0)
    assert mu["time"].values[0] == np.datetime64(1_700_000_000 - 100, "s")
    none = read_series(spectra, time_from=None)
    assert np.isnat(none["time"]).all()


def test_exposure_given_one_by_one(spectra):
    seconds = np.arange(12.0)
    mu = read_series(spectra, exposure=seconds, order="time", **ZONE)
    np.testing.assert_array_equal(mu["exposure"], seconds)
    with pytest.raises(ArgumentError, match="12 of them"):
        read_series(spectra, exposure=[1.0, 2.0], **ZONE)
    with pytest.raises(ArgumentError, match="exposure"):
        read_series(spectra, exposure=-1.0, **ZONE)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("# exposure time (ms) = 250", 0.25),
        ("# count_time: 2.5 s", 2.5),
        ("#Acq. time (s)=\t5\n#Accumulations=\t3", 15.0),
        ("# Acquisition time (ms) = 5000", 5.0),
        (
            "# start time: 2024-01-01 10:00:00\n# end time: 2024-01-01 10:00:30",
            30,
        ),
        ("# #D Tue Jul 26 23:01:58 2022", np.nan),
        ("# nothing", np.nan),
    ],
)
def test_exposure_from_the_header(tmp_path, line, seconds):
    path = tmp_path / "a.xy"
    path.write_text(line + "\n" + scan_files.table([R, scan_files.pdf(0)]))
    assert read_series(path, timezone="UTC")["exposure"].values[0] == pytest.approx(
        seconds, nan_ok=True
    )


@pytest.mark.parametrize(
    "line",
    [
        "#D Tue Jul 26 23:01:58 2022",
        "# date: 2022-07-26\n# time: 23:01:58",
        "# Date: 2022/07/26 23:01:58",
        "# Scan.start_time: 2022-07-26T23:01:58",
        "start time = 2022-07-26 23:01:58",
        "#Acquired=\t26.07.2022 23:01:58",
        "# date = 26.07.2022\n# time = 23:01:58",
        "Date: Tuesday, July 26, 2022 11:01:58 PM",
        "# date: 07/26/2022 23:01:58",
    ],
)
def test_ways_to_write_a_start(tmp_path, line):
    path = tmp_path / "a.xy"
    path.write_text(line + "\n" + scan_files.table([R, R]))
    scan = read_series(path, timezone="+02:00")
    assert scan["time"].values[0] == np.datetime64("2022-07-26T21:01:58")


@pytest.mark.parametrize(
    "line",
    [
        "# date: 03/04/2022 10:00:00",
        "# date: 2022-07-26",
        "# date: 22/07/26 10:00:00",  # the year first, or last
    ],
)
def test_starts_that_could_be_two_are_not_read(tmp_path, line):
    path = tmp_path / "a.xy"
    path.write_text(line + "\n" + scan_files.table([R, R]))
    assert np.isnat(read_series(path, timezone="UTC")["time"]).all()


def test_temperature_from_the_name(tmp_path):
    scan_files.gr(tmp_path, 4)
    g = read_series(tmp_path, pattern=r"_T(?P<temperature>[\d.]+)C")
    assert g.name == "pdf"
    assert g.attrs["units"] == "1/Angstrom2"
    np.testing.assert_array_equal(g["temperature"], [30, 35, 40, 45])
    np.testing.assert_array_equal(g["r"], R)
    np.testing.assert_array_equal(g[3], scan_files.pdf(3))
    assert json.loads(g.attrs["header"])["qmax"] == "22"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "regular expression"),
        (r"T\d+", "named groups"),
        (r"(?P<scan>\d+)", "other names"),
        (r"(?P<cell>cell\d)", "do not"),
        (r"(?P<voltage>ramp)", "number for 'voltage'"),
    ],
)
def test_patterns_that_cannot_be(tmp_path, pattern, said):
    scan_files.gr(tmp_path, 2)
    with pytest.raises(ArgumentError, match=said):
        read_series(tmp_path, pattern=pattern)


LAYOUTS = {
    "blanks": (lambda a: scan_files.table(a), "# energy mu\n"),
    "tabs": (lambda a: scan_files.table(a, "\t"), "energy\tmu\n"),
    "csv": (lambda a: scan_files.table(a, ","), "energy,mu\n"),
    "csv with blanks": (lambda a: scan_files.table(a, ", "), "energy, mu\n"),
    "semicolons": (lambda a: scan_files.table(a, ";"), "energy;mu\n"),
    "decimal commas": (
        lambda a: scan_files.table(a, ";").replace(".", ","),
        "energy;mu\n",
    ),
    "decimal commas and tabs": (
        lambda a: scan_files.table(a, "\t").replace(".", ","),
        "energy\tmu\n",
    ),
    "comments within": (
        lambda a: scan_files.table(a).replace("\n", "\n# pause\n", 3),
        "# energy mu\n",
    ),
    "a footer": (lambda a: scan_files.table(a) + "\n\n# end\n", "# energy mu\n"),
    "Windows": (lambda a: scan_files.table(a).replace("\n", "\r\n"), "# energy mu\r\n"),
    "old Macintosh": (lambda a: scan_files.table(a).replace("\n", "\r"), "# E\r"),
    "no line end": (lambda a: scan_files.table(a).rstrip(), "# energy mu\n"),
    "Fit2D": (lambda a: scan_files.table(a), "a.tif\nenergy\nmu\n   200\n"),
}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_layouts(tmp_path, name):
    write, header = LAYOUTS[name]
    path = tmp_path / "a.dat"
    body = write([ENERGY, scan_files.spectrum(3)])
    path.write_text(header + body, newline="")
    mu = read_series(path, axis="energy")
    np.testing.assert_array_equal(mu["energy"], ENERGY)
    np.testing.assert_array_equal(mu[0], scan_files.spectrum(3))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.gr"
    text = "# Température = 25\n# r(Å) G\n" + scan_files.table([R, scan_files.pdf(0)])
    path.write_text(text, encoding=encoding)
    g = read_series(path)
    np.testing.assert_array_equal(g[0], scan_files.pdf(0))
    assert json.loads(g.attrs["header"]) == {"Température": "25"}


@pytest.mark.parametrize(
    ("header", "suffix", "axis", "units", "factor"),
    [
        ("# q_nm^-1 I", ".dat", "q", "1/Angstrom", 0.1),
        ("# q(A^-1) I", ".dat", "q", "1/Angstrom", 1),
        ("# 2th_deg I", ".chi", "two_theta", "deg", 1),
        ("# 2th_rad I", ".xy", "two_theta", "deg", 180 / np.pi),
        ("# Energy(keV) mu", ".txt", "energy", "eV", 1000),
        ("# r(nm) G", ".gr", "r", "Angstrom", 10),
        ("# Raman shift (cm^-1)\tI", ".txt", "shift", "1/cm", 1),
        ("", ".gr", "r", "Angstrom", 1),
        ("a.tif\n2-Theta Angle (Degrees)\nI\n  200", ".chi", "two_theta", "deg", 1),
        ("a.tif\nQ (inverse nm)\nI\n  200", ".chi", "q", "1/Angstrom", 0.1),
        ("# energy_corrected norm", ".dat", "energy", "eV", 1),
        ("", ".xye", "two_theta", "deg", 1),
    ],
)
def test_axes(tmp_path, header, suffix, axis, units, factor):
    path = tmp_path / f"a{suffix}"
    path.write_text(header + "\n" + scan_files.table([ENERGY, scan_files.spectrum(0)]))
    scan = read_series(path)
    assert scan.dims == ("scan", axis)
    assert scan[axis].attrs["units"] == units
    np.testing.assert_allclose(scan[axis], ENERGY * factor, rtol=1e-12)


def test_axis_that_nothing_tells(tmp_path):
    path = tmp_path / "a.chi"
    path.write_text(scan_files.table([R, R]))
    with pytest.raises(ArgumentError, match="axis=None: expected one of"):
        read_series(path)
    assert read_series(path, axis="q").dims == ("scan", "q")
    with pytest.raises(ArgumentError, match="axis"):
        read_series(path, axis="q (eV)")
    for unknown in ("s", "q (", "q 1/nm", "(eV)"):
        with pytest.raises(ArgumentError, match=rf"axis='{re.escape(unknown)}'"):
            read_series(path, axis=unknown)


def test_units_that_nobody_knows_are_not_taken_for_ours(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("# q(blob^-1) I\n" + scan_files.table([R, R]))
    with pytest.raises(ArgumentError, match=r"axis='q \(blob\^-1\)'.*a\.dat"):
        read_series(path)
    scan = read_series(path, axis="q (1/nm)")
    np.testing.assert_allclose(scan["q"], R / 10, rtol=1e-12)


def test_energies_that_look_like_kev(tmp_path):
    path = tmp_path / "a.xmu"
    path.write_text("# e abs\n" + scan_files.table([ENERGY / 1e3, ENERGY]))
    with pytest.warns(DataQualityWarning, match=r"axis='energy \(keV\)'"):
        read_series(path)
    scan = read_series(path, axis="energy (keV)")
    np.testing.assert_allclose(scan["energy"], ENERGY)
    path.write_text("# e mu\n" + scan_files.table([ENERGY / 1e3, ENERGY]))
    with pytest.warns(DataQualityWarning, match=r"taken as keV.*energy \(eV\)"):
        scan = read_series(path)  # no light has an absorption of X-rays
    np.testing.assert_allclose(scan["energy"], ENERGY)


def test_falling_axis_is_turned(tmp_path):
    path = tmp_path / "a.xmu"
    path.write_text(scan_files.table([ENERGY[::-1], scan_files.spectrum(0)[::-1]]))
    scan = read_series(path)
    np.testing.assert_array_equal(scan["energy"], ENERGY)
    np.testing.assert_array_equal(scan[0], scan_files.spectrum(0))


COUNTS = {
    "energy eV": ENERGY,
    "itrans": np.full(ENERGY.size, 2.0),
    "i0": 2.0 * np.exp(scan_files.spectrum(0)),
    "ifluor": np.full(ENERGY.size, 0.5),
    "irefer": np.full(ENERGY.size, 1.0),
}


@pytest.mark.parametrize(
    ("column", "name", "expected"),
    [
        (None, "absorption", scan_files.spectrum(0)),
        ("transmission", "absorption", scan_files.spectrum(0)),
        ("fluorescence", "absorption", 0.25 * np.exp(-scan_files.spectrum(0))),
        ("reference", "absorption", np.full(ENERGY.size, np.log(2.0))),
        ("itrans", "intensity", np.full(ENERGY.size, 2.0)),
        ("ITRANS", "intensity", np.full(ENERGY.size, 2.0)),
        (4, "intensity", np.full(ENERGY.size, 1.0)),
    ],
)
def test_xdi_columns(tmp_path, column, name, expected):
    path = scan_files.xdi(tmp_path / "a.xdi", COUNTS)
    scan = read_series(path, columns=column)
    assert scan.name == name
    np.testing.assert_allclose(scan[0], expected, rtol=1e-14)


def test_xdi_prefers_what_is_ready(tmp_path):
    columns = COUNTS | {"mutrans": scan_files.spectrum(7)}
    path = scan_files.xdi(tmp_path / "a.xdi", columns, Sample__name="foil")
    scan = read_series(path)
    np.testing.assert_array_equal(scan[0], scan_files.spectrum(7))
    assert scan.attrs["column"] == "mutrans"
    assert json.loads(scan.attrs["header"])["Sample.name"] == "foil"


def test_xdi_columns_in_another_order(tmp_path):
    turned = {k: COUNTS[k] for k in ("energy eV", "i0", "itrans")}
    scan_files.xdi(tmp_path / "a.xdi", COUNTS, Sample__name="one", Scan__edge="4.5 mA")
    scan_files.xdi(tmp_path / "b.xdi", turned, Sample__name="two", Scan__edge="5 mA")
    scans = read_series(tmp_path)
    np.testing.assert_array_equal(scans[0], scans[1])
    assert scans["sample_name"].values.tolist() == ["one", "two"]
    assert scans["scan_edge"].values.tolist() == [4.5, 5]
    assert scans["scan_edge"].attrs["units"] == "mA"


@pytest.mark.parametrize("column", ["mu", 0, 5, "reference"])
def test_columns_that_are_not_there(tmp_path, column):
    few = {k: COUNTS[k] for k in ("energy eV", "i0", "itrans")}
    path = scan_files.xdi(tmp_path / "a.xdi", few)
    with pytest.raises(ArgumentError, match=r"columns=.*a\.xdi"):
        read_series(path, columns=column)


def test_counts_that_have_no_logarithm(tmp_path):
    counts = COUNTS | {"itrans": np.where(ENERGY > 8390, 0.0, 2.0)}
    path = scan_files.xdi(tmp_path / "a.xdi", counts)
    with pytest.warns(DataQualityWarning, match="19 values in 1 files"):
        scan = read_series(path)
    assert int(np.isnan(scan).sum()) == 19


def test_other_axes_are_interpolated_and_said(tmp_path):
    scan_files.quick_xas(tmp_path, 3)
    short = ENERGY[10:-20] + 0.25
    (odd,) = scan_files.quick_xas(tmp_path / "..", 1, energy=short)
    odd = odd.rename(tmp_path / "op1_pos9_9.txt")
    with pytest.warns(DataQualityWarning, match=r"1 of 4 .*op1_pos9_9\.txt") as caught:
        mu = read_series(tmp_path, **ZONE)
    assert len(caught) == 1
    inside = (short[0] <= ENERGY) & (short[-1] >= ENERGY)
    np.testing.assert_array_equal(mu["energy"], ENERGY[inside])
    np.testing.assert_array_equal(mu[0], scan_files.spectrum(0)[inside])
    expected = np.interp(ENERGY[inside], short, scan_files.spectrum(0, short))
    np.testing.assert_array_equal(mu[3], expected)
    with pytest.raises(FileFormatError, match=r"op1_pos9_9\.txt.*interpolate=True"):
        read_series(tmp_path, interpolate=False, **ZONE)
    with pytest.warns(DataQualityWarning, match="1 of 4"):
        lazy = read_series(tmp_path, lazy=True, **ZONE)
    np.testing.assert_array_equal(lazy, mu)


def test_grid_of_the_user(spectra):
    grid = np.arange(8290.0, 8350.0)
    options = {"interpolate": grid, "time_from": None}
    with pytest.warns(DataQualityWarning, match="120 values"):
        mu = read_series(spectra, **options)
    np.testing.assert_array_equal(mu["energy"], grid)
    assert np.isnan(mu[:, :10]).all()
    np.testing.assert_allclose(mu[0, 10:], scan_files.spectrum(0)[:100:2], atol=1e-12)
    lazy = read_series(spectra, lazy=True, **options)
    np.testing.assert_array_equal(lazy, mu)


@pytest.mark.parametrize("grid", [[1.0], [2.0, 1.0], np.zeros((2, 2))])
def test_grids_that_are_none(spectra, grid):
    with pytest.raises(ArgumentError, match="interpolate"):
        read_series(spectra, interpolate=grid, **ZONE)


def test_axes_that_do_not_overlap(tmp_path):
    (tmp_path / "a.xmu").write_text(scan_files.table([ENERGY, ENERGY]))
    (tmp_path / "b.xmu").write_text(scan_files.table([ENERGY + 500, ENERGY]))
    with pytest.raises(ArgumentError, match=r"b\.xmu .*a\.xmu .*read them apart"):
        read_series(tmp_path)


def test_rounding_of_text_is_no_difference(tmp_path):
    (tmp_path / "a.xmu").write_text(scan_files.table([ENERGY, ENERGY]))
    (tmp_path / "b.xmu").write_text(scan_files.table([ENERGY + 1e-9, ENERGY]))
    np.testing.assert_array_equal(read_series(tmp_path)["energy"], ENERGY)


def test_two_kinds_in_one_series(tmp_path):
    scan_files.gr(tmp_path, 1, zipped=False)
    scan_files.quick_xas(tmp_path, 1)
    with pytest.raises(ArgumentError, match="files of one kind"):
        read_series(tmp_path)
    with pytest.raises(ArgumentError, match="pdf on r"):
        read_series([str(tmp_path / "*.txt"), str(tmp_path / "*.gr")])


def test_nothing_there(tmp_path):
    with pytest.raises(ArgumentError, match="an existing file"):
        read_series(tmp_path / "none*.gr")
    with pytest.raises(ArgumentError, match="files that end in"):
        read_series(tmp_path)
    with pytest.raises(ArgumentError, match="at least one"):
        read_series([])


@pytest.mark.parametrize("option", [{"order": "size"}, {"time_from": "name"}])
def test_options_that_do_not_exist(spectra, option):
    with pytest.raises(ArgumentError, match=next(iter(option))):
        read_series(spectra, **option)


def test_lazy_is_the_same_and_reads_when_asked(spectra, no_compute):
    eager = read_series(spectra, order="time", **ZONE)
    with no_compute():
        lazy = read_series(spectra, order="time", lazy=True, **ZONE)
        assert lazy.chunks == ((12,), (ENERGY.size,))
    xr.testing.assert_equal(lazy.compute(), eager)
    for chunks in (1, 5):
        xr.testing.assert_equal(lazy.chunk(scan=chunks).compute(), eager)


def test_many_files_are_lazy_in_groups(tmp_path):
    scan_files.gr(tmp_path, 600, zipped=False)
    g = read_series(tmp_path)
    assert g.chunks == ((64,) * 9 + (24,), (R.size,))
    np.testing.assert_array_equal(g[599], scan_files.pdf(599))
    again = read_series(tmp_path)
    assert g.data.name == again.data.name
    os.utime(tmp_path / "ramp_T030.00C_q.gr", (1, 1))
    assert read_series(tmp_path).data.name != g.data.name


def test_lazy_on_processes(spectra):
    lazy = read_series(spectra, lazy=True, time_from=None)
    eager = read_series(spectra, time_from=None)
    np.testing.assert_array_equal(lazy.data.compute(scheduler="processes"), eager)


def _spoil(path, line, text):
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "text", ["8350.0 0.5 0.2", "8350.0 0.5x 0.2 1.0", "8350 1_0 1 1"]
)
def test_a_damaged_line_is_named(spectra, text):
    _spoil(spectra / "op1_pos1_5.txt", 100, text)
    with pytest.raises(FileFormatError, match=r"op1_pos1_5\.txt, line 100: "):
        read_series(spectra, **ZONE)
    lazy = read_series(spectra, lazy=True, **ZONE)
    with pytest.raises(FileFormatError, match=r"op1_pos1_5\.txt, line 100: "):
        lazy.compute()


def test_a_cut_last_line_is_named_at_once(spectra):
    path = spectra / "op1_pos1_5.txt"
    path.write_bytes(path.read_bytes()[:-20])
    last = 8 + ENERGY.size
    for lazy in (False, True):
        with pytest.raises(FileFormatError, match=rf"op1_pos1_5\.txt, line {last}"):
            read_series(spectra, lazy=lazy, **ZONE).compute()


def test_an_axis_that_goes_back_cannot_be_interpolated(spectra):
    _spoil(spectra / "op1_pos1_5.txt", 100, "8300.0 0.5 0.2 1.0")
    with pytest.raises(FileFormatError, match=r"op1_pos1_5\.txt.*row 92 "):
        read_series(spectra, **ZONE)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"only words\nand words\n", "no block of numbers"),
        (b"1.0\n2.0\n", "no block of numbers"),
        (b"1 2\n3 \0 4\n", "line 2: holds NUL"),
        (b"\xff\xfe1\x00 ", "UTF-16"),
    ],
)
def test_files_that_are_none(tmp_path, raw, said):
    path = tmp_path / "a.gr"
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=said):
        read_series(path)


def test_a_broken_gzip(tmp_path):
    (path,) = scan_files.gr(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="not a whole gzip"):
        read_series(path)


def test_header_of_numbers_is_skipped_on_demand(tmp_path):
    path = tmp_path / "a.gr"
    path.write_text("20 30\n40 50\n" + scan_files.table([R, scan_files.pdf(0)]))
    np.testing.assert_array_equal(read_series(path, skip_rows=2)["r"], R)


def test_round_trip_and_replay(spectra, tmp_path):
    mu = read_series(spectra, pattern=r"(?P<position>pos\d)", **ZONE)
    save(mu, tmp_path / "store.zarr")
    stored = open_store(tmp_path / "store.zarr")["absorption"]
    xr.testing.assert_identical(stored.compute(), mu)
    mu.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataarray(tmp_path / "a.nc") as back:
        xr.testing.assert_equal(back, mu)
    again = replay(mu, spectra)
    xr.testing.assert_equal(again, mu)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    values=hnp.arrays(
        np.float64, (7, 3), elements=st.floats(-1e12, 1e12, allow_nan=False)
    ),
    separator=st.sampled_from([" ", "\t", ";", ",", "   "]),
    comma=st.booleans(),
)
def test_any_numbers_come_back_exactly(tmp_path, values, separator, comma):
    axis = np.arange(7.0)
    text = scan_files.table([axis, *values.T], separator)
    if comma and separator != ",":
        text = text.replace(".", ",")
    path = tmp_path / "a.gr"
    path.write_text(text)
    for column in (1, 2, 3):
        scan = read_series(path, columns=column)
        np.testing.assert_array_equal(scan[0], values[:, column - 1])


# Measured data


def header(path, label):
    """What a quick-XAS file says of itself, as text."""
    lines = path.read_text(encoding="latin-1").splitlines()[:12]
    return next(line for line in lines if label in line).rpartition("=")[2]


def test_rock_operando(measured):
    folder = measured("lno-operando/xas")
    files = sorted(folder.glob("norm_*.txt"))
    options = {"order": "time", "pattern": r"(?P<position>pos\d)"} | ZONE
    mu = read_series(files, **options)
    assert dict(mu.sizes) == {"scan": 458, "energy": 1649}
    for name, time, exposure in zip(
        mu["file"].values, mu["time"].values, mu["exposure"].values, strict=True
    ):
        start = np.datetime64(header(folder / name, "Time at start"), "ns")
        assert time == start - np.timedelta64(2, "h")
        assert exposure == 2 * float(header(folder / name, "Time from start"))
    assert mu["time"].values[0] == np.datetime64("2022-07-26T21:01:58.055")
    assert mu["time"].values[-1] == np.datetime64("2022-07-28T21:01:29.159")
    assert sorted(set(mu["position"].values)) == ["pos1", "pos2"]
    one = folder / str(mu["file"].values[200])
    reference = np.loadtxt(one)
    np.testing.assert_array_equal(mu["energy"], reference[:, 0])
    np.testing.assert_array_equal(mu[200], reference[:, 1])
    lazy = read_series(files, lazy=True, **options)
    np.testing.assert_array_equal(lazy[250:330], mu[250:330])


def test_xdi_library(measured):
    files = sorted(measured("xas-standards").glob("*/*.xdi"))
    assert len(files) == 51
    for path in files:
        scan = read_series(path, timezone="UTC")
        names = [
            line.split()[2]
            for line in path.read_text().splitlines()
            if line.startswith("# Column.")
        ]
        table = dict(zip(names, np.loadtxt(path).T, strict=True))
        np.testing.assert_array_equal(scan["energy"], table["energy"])
        np.testing.assert_allclose(
            scan[0], -np.log(table["itrans"] / table["i0"]), rtol=1e-12, atol=1e-12
        )
        assert not np.isnat(scan["time"]).any()


def test_molten_salt_pdfs(measured):
    folder = measured("pdf-nacl-crcl3/gr")
    g = read_series(folder, pattern=r"_T(?P<temperature>[\d.]+)C")
    stacked = np.load(measured("pdf-nacl-crcl3/nacl_crcl3.npz"))
    assert g.sizes["r"] == 3001
    np.testing.assert_array_equal(g["temperature"][:2], [30, 35])
    whole = next(v for v in stacked.values() if v.shape == (133, 3001))
    np.testing.assert_array_equal(g, whole[: g.sizes["scan"]])


def test_nanometres_among_angstroms_are_told(tmp_path):
    r = 1.0 + 0.02 * np.arange(200)
    for i, unit in enumerate((1.0, 1.0, 0.1, 1.0)):
        rows = "\n".join(f"{x * unit:.5f} {np.sin(3 * x):.5f}" for x in r)
        (tmp_path / f"s_{i}.gr").write_text(f"#### start data\n#L r  G(r)\n{rows}\n")
    with pytest.raises(FileFormatError, match=r"s_2\.gr.*0\.1 times the axis of s_0"):
        read_series(tmp_path)


@pytest.mark.parametrize("lazy", [False, True])
def test_rows_missing_within_one_file_are_not_made_up(tmp_path, lazy):
    r = np.round(1.0 + 0.02 * np.arange(200), 4)
    g = np.sin(9 * r)
    gone = {1: slice(80, 120), 2: slice(50, 51)}
    for i in range(5):
        keep = np.ones(r.size, dtype=bool)
        keep[gone.get(i, slice(0, 0))] = False
        rows = "\n".join(f"{a} {b:.6f}" for a, b in zip(r[keep], g[keep], strict=True))
        (tmp_path / f"s{i}.gr").write_text(f"#L r(A) G(r)\n{rows}\n")
    if lazy:
        pdf = read_series(tmp_path, lazy=True)
    else:
        with pytest.warns(DataQualityWarning, match="41 values in 2 files are missing"):
            pdf = read_series(tmp_path)
    values = pdf.values
    for i in range(5):
        lost = np.zeros(r.size, dtype=bool)
        lost[gone.get(i, slice(0, 0))] = True
        np.testing.assert_array_equal(np.isnan(values[i]), lost)
        np.testing.assert_allclose(values[i, ~lost], g[~lost], atol=1e-6)
