"""Text of diffractometers and spectrometers, with what their headers say."""

import re
import warnings

import numpy as np
import pytest
import series_files

import batteryxr
from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError

ANGLE = 10 + 0.02 * np.arange(60)
COUNTS = np.arange(60) + 100.0
PAIRS = "".join(f"{a:.4f},{b:.0f}\n" for a, b in zip(ANGLE, COUNTS, strict=True))
BODY = "".join(f"{b:.0f}\n" for b in COUNTS)


def panalytical(axis="Gonio"):
    return (
        "[Measurement conditions]\nSample identification,LTMOF\nComment,\n"
        "Anode material,Cu\nK-Alpha1 wavelength,1.5405980\n"
        "K-Alpha2 wavelength,1.5444260\nRatio K-Alpha2/K-Alpha1,0.5\n"
        f"File date and time,02-5-2023 10:11:12\nScan axis,{axis}\n"
        "Scan range,10.0,11.2\nScan step size,0.02\n\n[Scan points]\n"
        "Angle,Intensity\n" + PAIRS
    )


def ras(axis="TwoThetaTheta"):
    return (
        "*RAS_DATA_START\n*RAS_HEADER_START\n*HW_XG_WAVE_LENGTH_ALPHA1 "
        '"1.540598"\n*HW_XG_WAVE_LENGTH_UNIT "Angstrom"\n'
        f'*MEAS_SCAN_AXIS_X "{axis}"\n*RAS_HEADER_END\n*RAS_INT_START\n'
        + PAIRS.replace(",", " ")
        + "*RAS_INT_END\n*RAS_DATA_END\n"
    )


def asc(axis="2theta/theta"):
    return (
        "*TYPE = Raw\n*GROUP_COUNT = 1\n*BEGIN\n*WAVE_LENGTH1 = 1.540598\n"
        f"*SCAN_AXIS = {axis}\n*START = 10.0\n*STOP = 11.18\n*STEP = 0.02\n"
        f"*COUNT = 60\n{BODY}*END\n*EOF\n"
    )


def uxd(drive="COUPLED", ranges=1):
    one = (
        "; Data for range {n}\n_DRIVE='{drive}'\n_STEPTIME=0.5\n_STEPSIZE=0.02\n"
        "_START=10.0\n_2THETA=10.0\n_COUNTS\n{body}"
    )
    parts = [one.format(n=k, drive=drive, body=BODY) for k in range(1, ranges + 1)]
    return "; a file\n_FILEVERSION=2\n_WL1=1.540598\n" + "".join(parts)


WRITERS = {"a.csv": panalytical, "a.ras": ras, "a.asc": asc, "a.uxd": uxd}


@pytest.mark.parametrize("name", WRITERS)
def test_patterns_know_their_wavelength(tmp_path, name):
    (tmp_path / name).write_text(WRITERS[name]())
    scans = batteryxr.read_series(tmp_path / name)
    np.testing.assert_allclose(scans.two_theta, ANGLE)
    np.testing.assert_array_equal(scans[0], COUNTS)
    assert float(scans.xanes.convert_axis(axis="q").wavelength) == 1.540598


@pytest.mark.parametrize("name", WRITERS)
def test_a_rocking_curve_is_no_pattern(tmp_path, name):
    (tmp_path / name).write_text(WRITERS[name]("Omega"))
    with pytest.raises(ArgumentError, match="runs over 'Omega'"):
        batteryxr.read_series(tmp_path / name)
    assert "two_theta" in batteryxr.read_series(tmp_path / name, axis="two_theta").dims


def test_ranges_of_a_file_keep_what_stands_above_them(tmp_path):
    (tmp_path / "a.uxd").write_text(uxd(ranges=3))
    scans = batteryxr.read_series(tmp_path / "a.uxd")
    assert scans.shape == (3, 60)
    assert float(scans.xanes.convert_axis(axis="q").wavelength) == 1.540598


def test_a_scan_without_its_mark_is_not_lost(tmp_path):
    first, second = asc().replace("*BEGIN\n", ""), asc()
    path = tmp_path / "a.asc"
    path.write_text(first.replace("*EOF", "") + second)
    with pytest.raises(FileFormatError, match="2 blocks of counts"):
        batteryxr.read_series(path)


@pytest.mark.parametrize(
    ("unit", "name"), [("%T", "transmittance"), ("A", "absorbance")]
)
def test_perkin_elmer_text(tmp_path, unit, name):
    shift = 4000.0 - 60 * np.arange(60)
    body = "".join(f"{x:.6f}\t{50 + k:.6f}\n" for k, x in enumerate(shift))
    text = (
        "PE IR       SUBTECH     SPECTRUM    ASCII       PEDS        4.00\n-1\n"
        "film.sp\n2023/05/02\n10:11:12.00\n2023/05/02\n10:12:00.00\nuser\n#HDR\n11\n"
        f"#GR\ncm-1\n{unit}\n1.000000\n0.000000\n4000.000000\n#DATA\n{body}"
    )
    (tmp_path / "film.asc").write_text(text)
    scans = batteryxr.read_series(tmp_path / "film.asc", timezone="UTC")
    assert scans.name == name
    np.testing.assert_allclose(scans["shift"], shift[::-1])
    assert scans.time.values[0] == np.datetime64("2023-05-02T10:11:12")
    if unit == "%T":
        share = scans.xanes.rescale(method="absorbance").absorbance
        np.testing.assert_allclose(share[0, -1], -np.log10(0.5))
    assert scans["shift"].attrs["long_name"] == "Wavenumber"


def test_a_function_of_kubelka_and_munk_is_no_reflectance(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"{x},{x / 7}\n" for x in range(400, 4000, 9))
    path.write_text("Wavenumber (cm-1),Kubelka-Munk\n" + rows)
    with pytest.raises(ArgumentError, match="'Kubelka-Munk'"):
        batteryxr.read_series(path)


@pytest.mark.parametrize("unit", ["nm^-1", "Angstrom^{-1}"])
def test_titles_of_fit2d_along_q(tmp_path, unit):
    q = np.linspace(0.5, 40.0, 90)
    rows = "".join(f" {x:14.7E} {50 + x:14.7E}\n" for x in q)
    path = tmp_path / "a.chi"
    path.write_text(f"a.tif\nq ({unit})\nIntensity\n        90\n" + rows)
    scans = batteryxr.read_series(path)
    np.testing.assert_allclose(scans["q"], q / 10 if unit[0] == "n" else q, rtol=1e-6)
    np.testing.assert_allclose(scans[0], 50 + q, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("JCAMP, absorbance", 9),
        ("Rigaku asc", 12),
        ("Bruker uxd", 2),
        ("Philips udf", 6),
        ("Sietronics cpi", 40),
        ("GSAS STD", 2),
        ("start step stop", 2),
    ],
)
def test_numbers_that_end_too_soon_are_told(tmp_path, name, cut):
    kinds = series_files.vibrational() | series_files.diffraction()
    path = tmp_path / kinds[name].name
    whole = kinds[name].text
    path.write_text(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batteryxr.read_series(path)
    path.write_text(whole[:-cut])
    with pytest.warns(DataQualityWarning, match="the file may be cut"):
        batteryxr.read_series(path)


def test_a_promise_of_points_is_held_against_a_pattern(tmp_path):
    whole = series_files.diffraction()["Bruker uxd"].text
    n = series_files.TT.size
    for more in (0, 8):
        path = tmp_path / f"{more}.uxd"
        path.write_text(whole.replace("_COUNTS", f"_STEPCOUNT={n + more}\n_COUNTS"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batteryxr.read_series(path)
        assert bool(caught) == bool(more)


def test_a_step_that_contradicts_the_stop_is_refused(tmp_path):
    """A doubled step gave angles up to 149 degrees, and no word."""
    path = tmp_path / "a.asc"
    path.write_text(asc().replace("STEP = 0.02", "STEP = 0.04"))
    with pytest.raises(FileFormatError, match=r"stops at 11\.18.*is wrong"):
        batteryxr.read_series(path)
    path.write_text(asc().replace("STOP = 11.18", "STOP = 12.18"))
    with pytest.warns(DataQualityWarning, match="end"):  # stopped before its end
        batteryxr.read_series(path)


def test_a_copy_of_a_scan_is_told(tmp_path):
    rng = np.random.default_rng(1)
    energy = np.arange(7050.0, 7190.0)
    for k in range(3):
        mu = np.arctan(energy - 7120) + 0.01 * rng.standard_normal(energy.size)
        text = series_files.rows(energy, mu)
        (tmp_path / f"{k}.xmu").write_text("# energy mu\n" + text)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        batteryxr.read_series(tmp_path, timezone="UTC", time_from=None)
    (tmp_path / "3.xmu").write_bytes((tmp_path / "1.xmu").read_bytes())
    with pytest.warns(DataQualityWarning, match=r"3.xmu those of 1.xmu"):
        batteryxr.read_series(tmp_path, timezone="UTC", time_from=None)


@pytest.mark.parametrize(("status", "told"), [("Completed", 0), ("Aborted", 1)])
def test_a_scan_that_was_stopped_is_told(tmp_path, status, told):
    text = series_files.diffraction()["xrdml"].text
    path = tmp_path / "a.xrdml"
    path.write_text(text.replace("<scan>", f'<scan status="{status}">'))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        batteryxr.read_series(path)
    assert sum("all angles are stretched" in str(w.message) for w in said) == told


def _stopped(text, mark=""):
    """Return a scan of even steps, a third of its counts, and what else it says."""
    counts = re.search(r"<(intensities|counts)[^>]*>([^<]*)<", text)[2].split()
    n = len(counts)
    for end, at in (("start", 10.0), ("end", 10.0 + 0.02 * (n - 1))):
        text = re.sub(f"(<{end}Position>)[^<]*", rf"\g<1>{at:.4f}", text)
    whole = text.replace("</positions>", f"</positions>{mark}")
    return whole, whole.replace(" ".join(counts), " ".join(counts[: n // 3]))


MARKS = ("<stepSize>0.02</stepSize>", "<numberOfPoints>{}</numberOfPoints>", "")


@pytest.mark.parametrize("mark", MARKS)
def test_a_completed_scan_with_fewer_counts_than_steps_is_told(tmp_path, mark):
    text = series_files.diffraction()["xrdml"].text
    n = len(re.search(r"<(intensities|counts)[^>]*>([^<]*)<", text)[2].split())
    whole, stopped = _stopped(text, mark.format(n))
    path = tmp_path / "a.xrdml"
    path.write_text(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        scan = batteryxr.read_series(path, timezone="UTC")
    np.testing.assert_allclose(np.diff(scan.two_theta), 0.02, rtol=1e-6)
    path.write_text(stopped)
    if mark:
        with pytest.raises(FileFormatError, match=f"makes {n}: it was stopped"):
            batteryxr.read_series(path)
    else:
        with pytest.warns(DataQualityWarning, match="uneven steps"):
            batteryxr.read_series(path)


@pytest.mark.parametrize("start", [b"\1\0\0LS6", b"PK\3\4\0\0"])
def test_binaries_of_labspec_are_named_by_their_ending(tmp_path, start):
    path = tmp_path / "map.l6s"
    path.write_bytes(start + bytes(range(256)))
    with pytest.raises(FileFormatError, match="a LabSpec 6 file"):
        batteryxr.read_series(path)


def test_fewer_counts_between_the_same_angles_are_told(tmp_path):
    text = series_files.diffraction()["xrdml"].text
    (tmp_path / "a.xrdml").write_text(text)
    counts = re.search(r"<(intensities|counts)[^>]*>([^<]*)<", text)[2]
    (tmp_path / "b.xrdml").write_text(text.replace(counts, counts[: len(counts) // 2]))
    with pytest.warns(DataQualityWarning, match=r"a.xrdml, b.xrdml run over the same"):
        batteryxr.read_series(tmp_path)


OMEGA = (
    '</positions><positions axis="Omega" unit="deg"><startPosition>5</startPosition>'
    "<endPosition>{}</endPosition></positions>"
)


@pytest.mark.parametrize(
    ("scan", "old", "new", "words"),
    [
        ("Omega", "", "", "says that Omega moved"),
        ("Phi", "", "", "says that Phi moved"),
        ("Gonio", 'unit="deg"', 'unit="rad"', "gives 2Theta in 'rad'"),
        ("Gonio", '"deg"', '"deg"/><positions axis="2Theta" unit="deg"', "twice"),
        ("Gonio", "</positions>", OMEGA.format(40), "it turned 35"),
        ("2Theta", "</positions>", OMEGA.format(29.975), "it turned 24.975"),
        ("Gonio", "</positions>", OMEGA.format(29.975), ""),
        ("2Theta-Omega", "", "", ""),
    ],
)  # fmt: skip
def test_axes_that_contradict_the_scan_are_told(tmp_path, scan, old, new, words):
    text = series_files.diffraction()["xrdml"].text
    text = text.replace("<scan>", f'<scan scanAxis="{scan}">')
    path = tmp_path / "a.xrdml"
    path.write_text(text.replace(old, new, 1) if old else text)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        if not words:
            batteryxr.read_series(path, timezone="UTC")
            return
        with pytest.raises((FileFormatError, DataQualityWarning), match=words):
            batteryxr.read_series(path, timezone="UTC")


@pytest.mark.parametrize(("first", "length"), [(0, 300), (40, 8), (120, 77), (250, 50)])
def test_counts_without_angles_that_stand_there_twice_are_refused(
    tmp_path, first, length
):
    """Behind a copy all points would be at wrong angles, and nothing else tells."""
    counts = np.random.default_rng(3).poisson(80, 300)
    head = "_FILEVERSION=2\n_DRIVE='COUPLED'\n_STEPSIZE=0.05\n_START=10\n_COUNTS\n"
    path = tmp_path / "a.uxd"

    def write(values):
        path.write_text(head + "".join(f"{v}\n" for v in values))
        return path

    assert batteryxr.read_series(write(counts)).sizes["two_theta"] == 300
    end = first + length
    with pytest.raises(FileFormatError, match=f"points {first + 1} to .* twice"):
        batteryxr.read_series(write([*counts[:end], *counts[first:]]))


def test_one_count_more_than_its_angles_is_told(tmp_path):
    counts = np.random.default_rng(3).poisson(80, 101)
    path = tmp_path / "a.cpi"
    head = "SIETRONICS XRD SCAN\n10\n15\n0.05\nCu\n1.54\n22\n1.0\nHB\nx\nSCANDATA\n"
    path.write_text(head + "".join(f"{v}\n" for v in counts))
    assert batteryxr.read_series(path).sizes["two_theta"] == 101
    path.write_text(head + "".join(f"{v}\n" for v in [*counts, counts[-1]]))
    with pytest.warns(DataQualityWarning, match="one more than from start to stop"):
        batteryxr.read_series(path)
