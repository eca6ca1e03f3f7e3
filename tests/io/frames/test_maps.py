"""Maps of scanning probes, written here from the public description of .gsf."""

import numpy as np
import pytest

import batteryxr
from batteryxr.core.errors import FileFormatError

HEIGHT = np.arange(12.0).reshape(3, 4) ** 2 / 7


def gsf(path, values, **fields):
    rows, columns = values.shape
    told = {"XRes": columns, "YRes": rows} | fields
    text = "Gwyddion Simple Field 1.0\n"
    text += "".join(f"{k} = {v}\n" for k, v in told.items())
    raw = text.encode()
    raw += bytes(4 - len(raw) % 4)
    path.write_bytes(raw + values.astype("<f4").tobytes())
    return path


@pytest.mark.parametrize("title", ["A", "Am", "Ampl", "Amplitude", "µ-IR 1430"])
def test_simple_fields_lie_along_y_and_x(tmp_path, title):
    fields = {"XReal": 2e-6, "YReal": 9e-7, "XYUnits": "m", "ZUnits": "V"}
    path = gsf(tmp_path / "a.gsf", HEIGHT, **fields, XOffset=1e-6, Title=title)
    found = batteryxr.read_image(path)
    assert found.dims == ("y", "x")
    np.testing.assert_allclose(found, HEIGHT, rtol=1e-6)
    np.testing.assert_allclose(found.x, [1250, 1750, 2250, 2750])
    np.testing.assert_allclose(found.y, [150, 450, 750])
    assert found.attrs["units"] == "V"
    assert found.x.attrs["units"] == "nm"
    assert found.attrs["long_name"] == title


def test_text_of_a_channel(tmp_path):
    path = tmp_path / "a.txt"
    rows = "\n".join("\t".join(f"{v:.6g}" for v in row) for row in HEIGHT)
    head = "# Channel: Height\n# Width: 4.00 µm\n# Height: 3.00 µm\n# Value units: m\n"
    path.write_text(head + rows + "\n", encoding="utf-8")
    found = batteryxr.read_image(path)
    np.testing.assert_allclose(found, HEIGHT, rtol=1e-5)
    np.testing.assert_allclose(found.y, [500, 1500, 2500])
    # Without lengths, pixels have numbers.
    plain = batteryxr.read_image(gsf(tmp_path / "b.gsf", HEIGHT))
    assert plain.x.values.tolist() == [0, 1, 2, 3]
    assert plain.x.attrs["units"] == "1"


def test_damaged_maps_are_refused(tmp_path):
    path = gsf(tmp_path / "a.gsf", HEIGHT)
    whole = path.read_bytes()
    for damaged, words in (
        (whole[:-4], "cut"),
        (whole[:30], "cut"),
        (b"GWYP" + whole, "does not begin"),
        (whole.replace(b"XRes = 4", b"XRes = x"), "XRes = x"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=words):
            batteryxr.read_image(path)
    with pytest.raises(FileFormatError, match="lengths in 'V'"):
        batteryxr.read_image(gsf(path, HEIGHT, XReal=1, XYUnits="V"))


@pytest.mark.parametrize("length", ["0", "-3e-6", "nan", "inf"])
def test_a_map_that_reaches_nowhere_is_refused(tmp_path, length):
    path = gsf(tmp_path / "a.gsf", np.ones((2, 3)), XReal=length, XYUnits="m")
    with pytest.raises(FileFormatError, match="XReal"):
        batteryxr.read_image(path)


def test_lengths_of_a_text_map_that_cannot_be_read_are_not_left_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("# Channel: Z\n# Width: 3,0 µm\n# Height: 2.0 µm\n1 2 3\n4 5 6\n")
    with pytest.raises(FileFormatError, match="Width: 3,0"):
        batteryxr.read_image(path)
