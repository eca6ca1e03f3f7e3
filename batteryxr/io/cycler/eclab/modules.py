"""Split a BioLogic ``.mpr`` file into modules, and read its settings and log."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from batteryxr.core.errors import FileFormatError
from batteryxr.io.cycler.eclab.layout import TECHNIQUES
from batteryxr.io.door.files import refuse_other

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAGIC = b"BIO-LOGIC MODULAR FILE\x1a"
_FIRST = 52  # bytes before the first module
_MARK = b"MODULE"
_NAME, _LENGTH, _HEADER = 6, 41, 57  # bytes into a module: name, length, payload
_PLAIN = struct.Struct("<II8s")  # length, version, day
#: Other headers are recognised if their length leads to the next module: possible
#: bytes of the length, and possible sizes of the header.
_PLACES, _HEADERS = (41, 45, 49), range(57, 97, 4)
_MOST = 64
_EPOCH = datetime(1899, 12, 30)  # day 0 of dates that count days
_DAYS = (32874.0, 73051.0)  # 1990 to 2100
_CHARGE = 26801.5  # mA h/mol, EC-Lab's value of Faraday's constant
_NONE = "(unspecified)"
#: Byte in the settings of a float32, or of a text's length, which the text follows.
_NUMBERS = {
    "mass": 263,  # mg
    "at": 267,
    "molar": 271,  # g/mol
    "ion": 275,
    "start": 279,
    "area": 529,  # cm2
    "characteristic": 588,
    "capacity": 604,
}
_TEXTS = {
    "Comments": 7,
    "Electrode material": 286,
    "Electrolyte": 448,
    "Reference electrode": 533,
}
_ELECTRONS, _MASS_UNIT, _CAPACITY_UNIT = 283, 593, 608
_MASS_UNITS, _CAPACITY_UNITS = {1: "g", 2: "mg"}, {1: "A.h", 2: "mA.h"}
_LEAST, _LEAST_LOG = 609, 593
#: Byte in the log.
_CHANNEL, _START, _SERIAL = 9, 585, 975
_LOG_TEXTS = {"File": 593, "Host": 849, "Address": 900, "EC-Lab": 951, "Firmware": 958}


@dataclass(frozen=True)
class Module:
    """Hold one module of a file.

    Parameters
    ----------
    name
        Name, such as ``"VMP data"``.
    version
        Version of its layout; None if the header is of an unknown kind.
    payload
        Content after the header.
    """

    name: str
    version: int | None
    payload: memoryview


class EclabSettings(NamedTuple):
    """Describe settings and log of a file."""

    technique: str
    start: datetime | None
    device: str
    header: dict[str, Any]
    x: tuple[float, float] | None  # content at the start, and mA h per unit of it


def modules(raw: bytes, path: Path) -> list[Module]:
    """Return the modules of a file, each as long as it states.

    Parameters
    ----------
    raw
        The whole file.
    path
        Path of the file, for errors.

    Raises
    ------
    FileFormatError
        If the file was cut, or a header is damaged.
    """
    if not raw.startswith(_MAGIC) or raw[len(_MAGIC) : _FIRST].strip(b" \0"):
        refuse_other(path, raw[:4096], "mpr")
        raise FileFormatError(path, "its first bytes are no head of a .mpr file.")
    found: list[Module] = []
    place = _FIRST
    while place < len(raw):
        if not raw.startswith(_MARK, place) or len(found) == _MOST:
            raise FileFormatError(
                path, f"no module begins at byte {place:,}: it is damaged."
            )
        module, place = _module(raw, place, path)
        found.append(module)
    if not found:
        raise FileFormatError(path, "the file ends before its first module.")
    return found


def _module(raw: bytes, place: int, path: Path) -> tuple[Module, int]:
    name = raw[place + _NAME : place + 16].rstrip(b" \0").decode("latin-1")
    if len(raw) < place + _HEADER:
        raise FileFormatError(path, f"it is cut within the head of module {name!r}.")
    length, version, day = _PLAIN.unpack_from(raw, place + _LENGTH)
    start, end = place + _HEADER, place + _HEADER + length
    whole = memoryview(raw)
    if _ends(raw, end) and _is_day(day):
        return Module(name, version, whole[start:end]), end
    if length == 0xFFFFFFFF or end <= len(raw):
        for start, end in _guesses(raw, place):
            if _ends(raw, end):
                return Module(name, None, whole[start:end]), end
    if length == 0xFFFFFFFF or _ends(raw, end) or end < len(raw):
        raise FileFormatError(path, f"the head of module {name!r} is damaged.")
    raise FileFormatError(
        path,
        f"module {name!r} has {len(raw) - start:,} of the {length:,} bytes that it "
        "announces: the file was cut, or is being written. Copy it again.",
    )


def _ends(raw: bytes, end: int) -> bool:
    return end == len(raw) or raw.startswith(_MARK, end)


def _is_day(day: bytes) -> bool:
    """Tell whether eight letters are a date, in any order of day and month."""
    return sum(chr(letter).isdigit() for letter in day) >= 4 and day.isascii()


def _guesses(raw: bytes, place: int) -> list[tuple[int, int]]:
    """Return possible starts and ends of the payload for another kind of header."""
    found = []
    for offset in _PLACES:
        if place + offset + 4 > len(raw):
            continue
        (length,) = struct.unpack_from("<I", raw, place + offset)
        starts = [place + size for size in _HEADERS if size >= offset + 12]
        found += [(start, start + length) for start in starts]
    return found


def settings_of(modules: Sequence[Module]) -> EclabSettings:
    """Return settings and log of a file, if they are of a known kind."""
    by_name = {module.name: module for module in modules}
    header: dict[str, Any] = {}
    technique, x = "", None
    settings, log = by_name.get("VMP Set"), by_name.get("VMP LOG")
    if settings is not None and settings.payload:
        number = settings.payload[0]
        technique = TECHNIQUES.get(number, f"technique {number}")
        header["Technique"] = technique
        if settings.version == 0 and len(settings.payload) >= _LEAST:
            x = _settings(bytes(settings.payload), header)
    start, device = None, ""
    if log is not None and len(log.payload) >= _LEAST_LOG:
        # A date in these years is no accident, whatever the version.
        start = _start(log.payload)
        device = _log(bytes(log.payload), header) if log.version == 0 else ""
    if start is not None:
        header["Acquisition started on"] = f"{start:%m/%d/%Y %H:%M:%S.%f}"[:-3]
    if (loops := by_name.get("VMP loop")) is not None:
        header["loops"] = _loops(loops.payload)
    header["modules"] = [module.name for module in modules]
    return EclabSettings(technique, start, device, header, x)


def _settings(raw: bytes, header: dict[str, Any]) -> tuple[float, float] | None:
    for name, place in _TEXTS.items():
        if (words := _text(raw, place)) and words != _NONE:
            header[name] = words
    value = {n: struct.unpack_from("<f", raw, p)[0] for n, p in _NUMBERS.items()}
    (electrons,) = struct.unpack_from("<H", raw, _ELECTRONS)
    mass_unit = _MASS_UNITS.get(raw[_MASS_UNIT], "?")
    if value["capacity"] and (unit := _CAPACITY_UNITS.get(raw[_CAPACITY_UNIT])):
        header["Battery capacity"] = f"{value['capacity']:.6g} {unit}"
    header |= {
        "Mass of active material": f"{value['mass']:.3f} mg",
        "Molecular weight of active material (at x = 0)": f"{value['molar']:.3f} g/mol",
        "Atomic weight of intercalated ion": f"{value['ion']:.3f} g/mol",
        "Acquisition started at": f"xo = {value['start']:.3f}",
        "Number of e- transfered per intercalated ion": str(electrons),
        "Electrode surface area": f"{value['area']:.3f} cm²",
        "Characteristic mass": f"{value['characteristic']:.3f} {mass_unit}",
    }
    molar = value["molar"] + value["at"] * value["ion"]
    if not (value["mass"] > 0 and molar > 0 and electrons):
        return None
    return value["start"], _CHARGE * electrons * value["mass"] / 1000 / molar


def _log(raw: bytes, header: dict[str, Any]) -> str:
    header["Run on channel"] = str(raw[_CHANNEL] + 1)
    for name, place in _LOG_TEXTS.items():
        if place < len(raw) and (words := _text(raw, place)):
            header[name] = words
    serial = _text(raw, _SERIAL) if len(raw) > _SERIAL else ""
    return f"BioLogic (SN {serial})" if serial.isalnum() else ""


def _start(log: memoryview) -> datetime | None:
    """Return the start of the acquisition: days since 1899, to the millisecond."""
    (days,) = struct.unpack_from("<d", log, _START)
    if not _DAYS[0] < days < _DAYS[1]:
        return None
    return _EPOCH + timedelta(milliseconds=round(days * 86_400_000))


def _loops(payload: memoryview) -> list[int]:
    """Return the first rows of loops: a count and as many numbers; else none."""
    if len(payload) < 4:
        return []
    (count,) = struct.unpack_from("<I", payload)
    if 4 + 4 * count > len(payload):
        return []
    return list(struct.unpack_from(f"<{count}I", payload, 4))


def _text(raw: bytes, place: int) -> str:
    """Return the text that follows a byte with its length."""
    end = place + 1 + raw[place]
    words = raw[place + 1 : end].decode("cp1252", errors="replace")
    return words.replace("\r\n", "\n").strip("\0 \n")
