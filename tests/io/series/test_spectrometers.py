"""Binary spectra, packed here as OPUS and WiRE lay them out."""

import struct

import numpy as np
import pytest

import batteryxr
from batteryxr.core.errors import ArgumentError, FileFormatError

WAVENUMBER = np.linspace(3995.0, 405.0, 180)
BANDS = 0.02 + 0.9 * np.exp(-(((WAVENUMBER - 1430) / 60) ** 2))
SHIFT = np.linspace(150.0, 1200.0, 90)


def entry(key, value):
    """One parameter of OPUS: name, type, length in words of two bytes, value."""
    kinds = {int: (0, lambda v: struct.pack("<i", v))}
    kinds[float] = (1, lambda v: struct.pack("<d", v))
    kinds[str] = (2, lambda v: v.encode() + bytes(8 - len(v) % 8))
    kind, pack = kinds[type(value)]
    packed = pack(value)
    return key.encode() + b"\0" + struct.pack("<hh", kind, len(packed) // 2) + packed


def opus(path, spectra, axis=WAVENUMBER, units="WN"):
    """Write blocks of data; their kinds: 4 is absorbance, 5 transmittance."""
    blocks = []
    for kind, values in spectra.items():
        told = {"DPF": 1, "NPT": int(axis.size), "CSF": 1.0, "DXU": units}
        told |= {"FXV": float(axis[0]), "LXV": float(axis[-1])}
        told |= {"DAT": "02/05/2023", "TIM": "10:11:12.345 (GMT+2)"}
        status = b"".join(entry(*pair) for pair in told.items())
        code = 3 | 3 << 2 | kind << 10
        blocks.append((code | 1 << 4, status + b"END\0" + bytes(8)))
        blocks.append((code, values.astype("<f4").tobytes()))
    at, directory, body = 24 + 12 * 20, b"", b""
    for code, block in blocks:
        block += bytes(-len(block) % 4)
        directory += struct.pack("<3i", code, len(block) // 4, at)
        at, body = at + len(block), body + block
    top = b"\n\n\xfe\xfe" + struct.pack("<d3i", 920622.0, 24, 20, len(blocks))
    path.write_bytes(top + directory.ljust(240, b"\0") + body)
    return path


def block(name, number, content):
    return struct.pack("<4sIQ", name, number, 16 + len(content)) + content


def wire(path, spectra, places=None, units=1):
    """Write a .wdf file of spectra over `SHIFT`, falling as WiRE stores them."""
    n, m = spectra.shape
    top = bytearray(512 - 16)

    def put(at, form, *values):
        struct.pack_into(f"<{form}", top, at - 16, *values)

    put(0x3C, "IQQIIII", m, n, n, 1, 1, m, 0 if places is None else 2)
    put(0x60, "24s4HII", b"WiRE", 5, 5, 0, 0, 1, 3 if n > 1 else 1)
    put(0x98, "If", 6, 1e7 / 532.0)
    put(0xD0, "32s160s", b"user", b"LTMOF")
    parts = [block(b"WDF1", 1, bytes(top))]
    parts.append(block(b"DATA", 0, spectra[:, ::-1].astype("<f4").tobytes()))
    axis = struct.pack("<II", 1, units) + SHIFT[::-1].astype("<f4").tobytes()
    parts.append(block(b"XLST", 0, axis))
    parts.append(block(b"YLST", 0, struct.pack("<IIf", 0, 0, 0.0)))
    if places is not None:
        content = struct.pack("<I", 2)
        for kind, name, values in zip((3, 4), (b"X", b"Y"), places, strict=True):
            content += struct.pack("<II16s", kind, 5, name)
            content += np.asarray(values, "<f8").tobytes()
        parts.append(block(b"ORGN", 0, content))
    path.write_bytes(b"".join(parts))
    return path


def test_opus_absorbance_with_its_start(tmp_path):
    pytest.importorskip("brukeropus")
    scans = batteryxr.read_series(opus(tmp_path / "film.0", {4: BANDS}))
    assert scans.name == "absorbance"
    np.testing.assert_allclose(scans["shift"], WAVENUMBER[::-1])
    np.testing.assert_allclose(scans[0], BANDS[::-1], rtol=1e-6)
    assert scans.time.values[0] == np.datetime64("2023-05-02T08:11:12")
    # Micrometres are another way to say wavenumbers.
    micron = 1e4 / WAVENUMBER
    even = np.linspace(micron[0], micron[-1], micron.size)
    other = opus(tmp_path / "b.0", {5: np.ones(micron.size)}, even, "MI")
    scans = batteryxr.read_series(other)
    assert scans.name == "transmittance"
    np.testing.assert_allclose(np.sort(1e4 / even), scans["shift"], rtol=1e-6)


def test_opus_of_two_results_asks_for_one(tmp_path):
    pytest.importorskip("brukeropus")
    path = opus(tmp_path / "film.1", {4: BANDS, 5: 10**-BANDS})
    with pytest.raises(ArgumentError, match="transmittance"):
        batteryxr.read_series(path)
    scans = batteryxr.read_series(path, columns="absorbance")
    np.testing.assert_allclose(scans[0], BANDS[::-1], rtol=1e-6)
    cut = path.read_bytes()[:900]
    path.write_bytes(cut)
    with pytest.raises(FileFormatError, match="damaged"):
        batteryxr.read_series(path)
    with pytest.raises(FileFormatError, match="'PNT'"):
        batteryxr.read_series(opus(tmp_path / "i.0", {4: BANDS}, units="PNT"))


def test_wire_spectra_and_maps(tmp_path):
    pytest.importorskip("renishawWiRE")
    one = 100 + 900 / (1 + ((SHIFT - 580) / 40) ** 2)
    scans = batteryxr.read_series(wire(tmp_path / "one.wdf", one[None]))
    np.testing.assert_allclose(scans["shift"], SHIFT, rtol=1e-6)
    np.testing.assert_allclose(scans[0], one, rtol=1e-6)
    spectra = one + 10.0 * np.arange(6)[:, None]
    places = np.tile([0.0, 2.0, 4.0], 2), np.repeat([0.0, 1.5], 3)
    scans = batteryxr.read_series(wire(tmp_path / "map.wdf", spectra, places))
    np.testing.assert_allclose(scans, spectra, rtol=1e-6)
    np.testing.assert_allclose(scans.x, 1e3 * places[0])
    np.testing.assert_allclose(scans.y, 1e3 * places[1])


def test_damaged_and_other_wire_files_are_refused(tmp_path):
    pytest.importorskip("renishawWiRE")
    path = wire(tmp_path / "a.wdf", np.ones((2, SHIFT.size)))
    whole = path.read_bytes()
    for damaged in (whole[:700], whole[:512] + bytes(64), whole[:100]):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match="damaged"):
            batteryxr.read_series(path)
    with pytest.raises(FileFormatError, match="runs over nm"):
        batteryxr.read_series(
            wire(tmp_path / "nm.wdf", np.ones((1, SHIFT.size)), units=3)
        )


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"RAW1.01\0\1\0", "a Bruker pattern"),
        (b"RAW4.00\0\0", "a Bruker pattern"),
        (b"RAW2\1\0", "a Bruker pattern"),
        (b"RAW \0\0", "a Bruker pattern"),
        (b"RAW_1.06Powdat", "a Stoe pattern"),
        (b"FI\0\0\0\0", "a Rigaku pattern"),
        (b"PEPE2D constant interval", "a PerkinElmer spectrum"),
        (b"WIT_PR06", "a WITec project"),
        (b"Spectral Data File\r\n", "a Thermo spectrum"),
        (b"GWYPGwyContainer\0", "a Gwyddion file"),
    ],
)
def test_other_binaries_are_named_as_what_they_are(tmp_path, start, words):
    path = tmp_path / "a.dat"
    path.write_bytes(start + bytes(range(256)) * 4)
    with pytest.raises(FileFormatError, match=f"is {words}"):
        batteryxr.read_series(path)
