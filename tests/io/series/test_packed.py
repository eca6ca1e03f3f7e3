"""Patterns in archives, written here as Bruker and Rigaku pack them."""

import zipfile

import numpy as np
import pytest

import batteryxr
from batteryxr.core.errors import ArgumentError, FileFormatError

ANGLE = 10 + 0.02 * np.arange(50)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLE - 10.5) / 0.1) ** 2)))


def brml(path, axes=("TwoTheta", "Theta"), data=None, unit="A"):
    infos = "".join(f'<ScanAxisInfo AxisId="{a}" AxisName="{a}"/>' for a in axes)
    half = {"TwoTheta": ANGLE, "Theta": ANGLE / 2, "Phi": 0 * ANGLE}
    rows = "".join(
        f"<Datum>0.5,1,{','.join(f'{half[a][i]:.5f}' for a in axes)},{c:.0f}</Datum>"
        for i, c in enumerate(COUNTS)
    )
    text = (
        '<?xml version="1.0"?><RawData><TimeStampStarted>2023-05-02T10:11:12+02:00'
        "</TimeStampStarted><WaveLengthAlpha1 "
        f'Unit="{unit}" Value="{0.15406 if unit == "nm" else 1.5406}"/>'
        f"<DataRoutes>{infos}{rows if data is None else data}</DataRoutes></RawData>"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("DataContainer.xml", "<a/>")
        archive.writestr("Experiment0/RawData0.xml", text)
    return path


def rasx(path, axis="TwoThetaTheta"):
    rows = "\r\n".join(
        f"{a:.4f}\t{c:.1f}\t1.0" for a, c in zip(ANGLE, COUNTS, strict=True)
    )
    conditions = (
        "<Measurement><WavelengthKalpha1>1.540593</WavelengthKalpha1>"
        f"<AxisName>{axis}</AxisName></Measurement>"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("root.xml", "<a/>")
        archive.writestr("Data0/Profile0.txt", "\ufeff" + rows)
        archive.writestr("Data0/MesurementConditions0.xml", conditions)
    return path


@pytest.mark.parametrize("axes", [("TwoTheta", "Theta"), ("Theta", "TwoTheta")])
def test_brml_takes_the_angle_by_its_name(tmp_path, axes):
    scans = batteryxr.read_series(brml(tmp_path / "a.brml", axes))
    np.testing.assert_allclose(scans.two_theta, ANGLE, atol=1e-5)
    np.testing.assert_array_equal(scans.values[0], COUNTS)
    assert scans.time.values[0] == np.datetime64("2023-05-02T08:11:12")
    q = scans.xanes.convert_axis(axis="q")
    assert float(q.wavelength) == 1.5406


def test_rasx(tmp_path):
    scans = batteryxr.read_series(rasx(tmp_path / "a.rasx"))
    np.testing.assert_allclose(scans.two_theta, ANGLE, atol=1e-4)
    np.testing.assert_array_equal(scans.values[0], COUNTS)
    assert float(scans.xanes.convert_axis(axis="d").wavelength) == 1.540593


def test_what_is_no_pattern_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match="its axes are"):
        batteryxr.read_series(brml(tmp_path / "a.brml", ("Phi",)))
    for axis in ("chi", "theta", "omega"):  # a rocking curve is no pattern
        with pytest.raises(FileFormatError, match=f"over '{axis}'"):
            batteryxr.read_series(rasx(tmp_path / "a.rasx", axis))
    path = tmp_path / "b.brml"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "1 2")
    with pytest.raises(FileFormatError, match=r"no \.brml"):
        batteryxr.read_series(path)
    whole = brml(tmp_path / "c.brml").read_bytes()
    (tmp_path / "d.brml").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="zip"):
        batteryxr.read_series(tmp_path / "d.brml")


def test_scans_of_one_archive_come_in_the_order_of_their_numbers(tmp_path):
    path = tmp_path / "a.rasx"
    with zipfile.ZipFile(path, "w") as archive:
        for k in (0, 1, 2, 10, 11):
            rows = "\n".join(
                f"{a:.4f} {k + c:.1f} 1.0" for a, c in zip(ANGLE, COUNTS, strict=True)
            )
            archive.writestr(f"Data{k}/Profile{k}.txt", rows)
            archive.writestr(
                f"Data{k}/MesurementConditions{k}.xml",
                "<M><WavelengthKalpha1>1.540593</WavelengthKalpha1>"
                "<AxisName>TwoThetaTheta</AxisName></M>",
            )
    scans = batteryxr.read_series(path)
    assert (scans.values[:, 0] - COUNTS[0]).tolist() == [0, 1, 2, 10, 11]


@pytest.mark.parametrize("unit", ["A", "\u212b", "\u00c5", "nm"])
def test_the_wavelength_comes_in_the_unit_that_the_file_tells(tmp_path, unit):
    scans = batteryxr.read_series(brml(tmp_path / "a.brml", unit=unit))
    q = scans.xanes.convert_axis(axis="q")
    assert float(q.wavelength) == pytest.approx(1.5406)


def test_routes_of_one_measurement_are_scans_of_their_own(tmp_path):
    routes = ""
    for factor in (1, 3):
        rows = "".join(
            f"<Datum>0.5,1,{a:.5f},{factor * c:.0f}</Datum>"
            for a, c in zip(ANGLE, COUNTS, strict=True)
        )
        axis = '<ScanAxisInfo AxisId="TwoTheta" AxisName="TwoTheta"/>'
        routes += f"<DataRoute>{axis}{rows}</DataRoute>"
    scans = batteryxr.read_series(brml(tmp_path / "a.brml", (), data=routes))
    np.testing.assert_array_equal(scans, [COUNTS, 3 * COUNTS])
    assert scans.label.values.tolist() == ["route 1", "route 2"]


def test_an_axis_that_rasx_does_not_name_is_asked_for(tmp_path):
    path = rasx(tmp_path / "a.rasx", axis="")
    with pytest.raises(ArgumentError, match="tells what its axis is"):
        batteryxr.read_series(path)
    scans = batteryxr.read_series(path, axis="two_theta", columns="intensity")
    np.testing.assert_allclose(scans.two_theta, ANGLE, atol=1e-4)
