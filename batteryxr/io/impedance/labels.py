"""Find impedance columns by label, with their units and their sign."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.units import affine
from batteryxr.io.door.words import LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Quantity of a column -> units. ``minus_imaginary`` is the axis of a Nyquist plot.
NAMES: dict[str, str] = {
    "frequency": "Hz",
    "angular_frequency": "rad/s",
    "log10_frequency": "1",
    "conductance": "S",
    "susceptance": "S",
    "real": "ohm",
    "imaginary": "ohm",
    "minus_imaginary": "ohm",
    "modulus": "ohm",
    "phase": "deg",
    "minus_phase": "deg",
    "test_time": "s",
    "voltage": "V",
    "current": "mA",
    "temperature": "degC",
    "spectrum": "1",
}
#: Name and its labels without units, in lower case without blanks; first match taken.
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        "frequency",
        r"(sweep)?freq(uency|uenz)?\.?|f|fr[eé]quence|fre[ck]uencia|frequenza",
    ),
    ("angular_frequency", r"omega|ω|ω|w|(angular)?freq(uency)?\.?"),
    ("log10_frequency", r"(log_?10|lg)\(?(freq(uency)?|f)"),
    ("conductance", r"re\(y\)|y_?re(al)?|re(al)?_?y|y'"),
    ("susceptance", r"im\(y\)|y_?im(ag)?|im(ag)?_?y"),
    ("real", r"re\(z(we)?\)|z?re(al)?|re(al)?_?z|z_?re(al)?|z'|z1|real(\(z\)|teil)"),
    ("minus_imaginary", r"-(im\(z(we)?\)|z?im(ag)?|im(ag)?_?z|z_?im(ag)?|z''|z2)"),
    ("imaginary", r"im\(z(we)?\)|z?im(ag)?|im(ag)?_?z|z_?im(ag)?|imag\(z\)"),
    ("real", r"(impedance)?real(part)?(impedance)?"),
    ("minus_imaginary", r"-(impedance)?imag(inary)?(part)?(impedance)?"),
    ("imaginary", r"(impedance)?imag(inary)?(part)?(impedance)?|imagin(ä|ae)rteil"),
    ("modulus", r"(impedance)?(magnitude|modulus)(impedance)?"),
    ("modulus", r"\|z(we)?\||zmod|z_?mod(ulus)?|modulus|(abs|mag)\(z\)"),
    ("modulus", r"impedan(ce|z)|z|magnitude|betrag"),
    ("phase", r"phase\(z(we)?\)|phase(angle)?|z_?phase|zphz|phi|φ|ϕ|theta|θ|arg\(z\)"),
    ("minus_phase", r"-(phase\(z(we)?\)|phase(angle)?|phi|φ|ϕ|theta|θ|arg\(z\))"),
    ("test_time", r"time|elapsedtime|t"),
    ("voltage", r"<?ewe>?|vdc|edc|potential|voltage|e"),
    ("current", r"<?i>?|idc|current"),
    ("temperature", r"<?temp(erature)?>?"),
    ("spectrum", r"cyclenumber|spectrum|scan"),
)
#: Labels that some programs use for Im(Z), and others for -Im(Z).
_EITHER_SIGN = re.compile(r"z''|z2|y''")
#: Quantities that tell the frequency, in the order of preference.
_FREQUENCIES = ("frequency", "angular_frequency", "log10_frequency")
_SIGNED = {"imaginary", "minus_imaginary"}
_TURNED = {"phase", "minus_phase"}
_FORMS = (
    re.compile(r"(?P<bare>(?:log_?10|lg)\s*\(\s*\w+)\s*[/(\[]\s*(?P<unit>\w+)[\s)\]]+"),
    re.compile(r"(?P<bare>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]"),
    re.compile(r"(?P<bare>.*\S)\s*/\s*(?P<unit>[^/]+)"),
    re.compile(r"(?P<bare>.*[^_])_(?P<unit>[^_]+)"),
    re.compile(r"(?P<bare>.*\S)\s*,\s*(?P<unit>[^,]+)"),
)
#: Cells of a row of units that name none.
_NO_UNITS = frozenset({"", "#", "-", "none", "1", "%"})
_UNIT = re.compile(
    r"(?P<prefix>(?:(?!Grad)[TGMkmuµμn])?)(?P<base>Grad|degrés?|rad(/s|\s?s-1|\s?s\^-1)|"
    r"[oO]hms?|OHM|Ω|Ω|[Hh]z|HZ|[Ss](ec)?|[Ss]iemens|V|A|"
    r"min|h|deg(ree)?s?|°|rad|°?C|deg\s?C|K)\.?"
)
_BASES = {"ohm": "ohm", "ohms": "ohm", "ω": "ohm", "hz": "Hz", "s": "s", "sec": "s",
          "v": "V", "a": "A", "min": "min", "h": "h", "deg": "deg", "degs": "deg",
          "degree": "deg", "degrees": "deg", "°": "deg", "rad": "rad", "c": "degC",
          "grad": "deg", "degré": "deg", "degrés": "deg",
          "siemens": "S", "rad/s": "rad/s", "rads-1": "rad/s", "rad s-1": "rad/s",
          "rads^-1": "rad/s", "rad s^-1": "rad/s",
          "°c": "degC", "degc": "degC", "deg c": "degC", "k": "K"}  # fmt: skip
#: Labels of ZPlot, whose brackets hold no units.
_ZPLOT = {"Z'(a)": "Z' (ohm)", "Z''(b)": "Im(Z) (ohm)"}
#: Words before a label that stand for a minus sign.
_MINUS = re.compile(r"^(minus|neg(ative|\.)?|\(-\)|-1\s?[*x·×])[\s_]*", re.IGNORECASE)
_NAMED = re.compile(r"\s*(\w+)\s*(?:[(\[]([^()\[\]]*)[)\]])?\s*")


class FromColumn(NamedTuple):
    """Place of a quantity: its column, read as ``factor * number + offset``."""

    column: int
    factor: float
    offset: float


def find(
    labels: Sequence[str], explicit: Mapping[str, str] | None, line: int
) -> dict[str, FromColumn] | None:
    """Return the column of each quantity; None if these are no labels of a spectrum.

    Parameters
    ----------
    labels
        Labels as written in the file.
    explicit
        Label -> name and units, given by the user; it takes precedence.
    line
        Line for errors; `io.door.files.named` says of which file.

    Raises
    ------
    ArgumentError
        If an explicit label is missing or its name or units are wrong.
    FileFormatError
        If the labels belong to a spectrum, but their names, signs or units are
        ambiguous.
    """
    stripped = [label.strip() for label in labels]
    stripped = [x if len(x) <= LABEL else f"{x[:LABEL]} ..." for x in stripped]
    found = told(stripped, explicit or {})
    taken = {source.column for source in found.values()}
    others = replaced(found)
    bare = [_split(label) for label in stripped]
    without: dict[str, str] = {}
    for name, pattern in _KNOWN:
        for index, (text, units) in enumerate(bare):
            if name in found or name in others or index in taken:
                continue
            if not re.fullmatch(pattern, text):
                continue
            if name == "log10_frequency" and units != "Hz":
                continue  # decades of what?
            source = _source(index, name, units)
            if source is not None:
                found[name] = source
                taken.add(index)
            elif not units:
                without.setdefault(stripped[index], f"{name} ({NAMES[name]})")
    again = [
        stripped[k]
        for k, (text, units) in enumerate(bare)
        if k not in taken
        and re.fullmatch(_KNOWN[0][1], text)
        and units
        and _source(k, "frequency", units) is not None
    ]
    if again and not (explicit and "frequency" in told(stripped, explicit)):
        raise FileFormatError(
            None,
            f"has {again[0]!r} beside another column of frequencies: are spectra side "
            "by side? Write each to a file of its own, or say which columns are meant: "
            "columns={'label': 'frequency (Hz)', ...}, with labels that differ.",
            line,
        )
    timed = any(name in found for name in _FREQUENCIES)
    wanted = timed and is_complex(found)
    looks = timed or any(text == "freq" for text, _ in bare)
    if wanted or not looks:
        return found if wanted else None
    raise FileFormatError(None, _lacking(stripped, bare, without), line)


def with_units(labels: Sequence[str], beside: Sequence[str]) -> tuple[str, ...] | None:
    """Return labels with the units of a row beside; None if that is no such row."""
    cells = [cell.strip().strip("[]()") for cell in beside]
    units = [_units(cell) for cell in cells]
    told = any(one is not None and one.endswith("Hz") for one in units)
    if len(cells) != len(labels) or not told or units.count(None) == len(units) - 1:
        return None
    if any(
        one is None and not _is_other(cell)
        for one, cell in zip(units, cells, strict=True)
    ):
        return None
    return tuple(
        label if one is None or _split(label)[1] else f"{label} ({cell})"
        for label, one, cell in zip(labels, units, cells, strict=True)
    )


def _is_other(cell: str) -> bool:
    """Tell whether a cell of a row of units is short and holds no number."""
    return cell.lower() in _NO_UNITS or (
        len(cell) < 10 and not any(letter.isdigit() for letter in cell)
    )


def named_here(labels: Sequence[str], explicit: Mapping[str, str]) -> bool:
    """Tell whether any label that the user names is among these."""
    stripped = [label.strip() for label in labels]
    there = {*stripped, *_short(stripped)}
    return any(label.strip() in there for label in explicit)


def replaced(said: Mapping[str, FromColumn]) -> set[str]:
    """Return the quantities that the user's columns replace, whatever their label."""
    if said.keys() & _SIGNED:
        return _SIGNED
    # A phase given by the user is meant: real and imaginary part would override it.
    return _TURNED | _SIGNED | {"real"} if said.keys() & _TURNED else set()


def is_complex(found: Mapping[str, FromColumn]) -> bool:
    """Tell whether both parts of the impedance are there, or modulus and phase."""
    parts = "real" in found and bool({"imaginary", "minus_imaginary"} & found.keys())
    polar = "modulus" in found and bool({"phase", "minus_phase"} & found.keys())
    return parts or polar or {"conductance", "susceptance"} <= found.keys()


def _lacking(
    labels: Sequence[str],
    bare: Sequence[tuple[str, str | None]],
    without: Mapping[str, str],
) -> str:
    polar = [labels[k] for k, (text, _) in enumerate(bare) if text in ("|y|", "ymod")]
    if polar:
        return (
            f"{polar[0]!r} is an admittance: its phase is that of Y to some programs, "
            "and that of Z to others. Export real and imaginary part."
        )
    either = [labels[k] for k, (t, _) in enumerate(bare) if _EITHER_SIGN.fullmatch(t)]
    if either:
        one, way = ("Y", "susceptance (S)") if either[0][0] in "yY" else ("Z", "")
        way = way or "imaginary (ohm)' or 'minus_imaginary (ohm)"
        return (
            f"{either[0]!r} is Im({one}) to some programs and -Im({one}) to others. "
            f"Say which: columns={{{either[0]!r}: '{way}'}}."
        )
    if without:
        return (
            f"the labels {list(without)} have no units. Say what they are in: "
            f"columns={dict(without)}, or whatever they are, of {sorted(NAMES)}."
        )
    return (
        f"the labels {list(labels)} name no real and imaginary part, nor modulus and "
        f"phase. Pass columns={{'label': 'real (ohm)', ...}}, with {sorted(NAMES)}."
    )


def _split(label: str) -> tuple[str, str | None]:
    """Return a label in lower case without units and blanks, and the units."""
    text = label.replace('"', "''").replace("′", "'").replace("″", "''")
    text = re.sub("[−–‐]", "-", text).replace("`", "'").strip()
    text = _MINUS.sub("-", _ZPLOT.get(text, text))
    for form in _FORMS:
        match = form.fullmatch(text)
        if match and (units := _units(match["unit"])) is not None:
            return _plain(match["bare"]), units
    return _plain(text), None


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", text).lower().rstrip("._").replace("freq.", "freq")


def _units(written: str) -> str | None:
    """Return units as pint reads them, or None for another word.

    Upper and lower case are different prefixes: mOhm is not MOhm.
    """
    match = _UNIT.fullmatch(written.strip())
    if match is None:
        return None
    base = _BASES.get(match["base"].lower())
    if base is None or (match["prefix"] and base in ("degC", "K", "min", "h")):
        return None
    prefix = match["prefix"].replace("µ", "u").replace("μ", "u")
    return prefix + base


def _source(index: int, name: str, units: str | None) -> FromColumn | None:
    if name in ("spectrum", "log10_frequency"):
        return FromColumn(index, 1.0, 0.0)
    if not units:
        return None
    if NAMES[name] == "S":
        # Siemens and seconds are one letter, told apart by the quantity.
        units = re.sub("s$", "S", units)
    if "rad/s" in (units, NAMES[name]):
        return FromColumn(index, 1.0, 0.0) if units == NAMES[name] else None
    try:
        return FromColumn(index, *affine(units, NAMES[name]))
    except UnitsError:
        return None


def _short(labels: Sequence[str]) -> list[str]:
    """Return labels without text in brackets or after a slash."""
    return [re.split(r"\s*[(\[/]", label)[0].strip() for label in labels]


def told(labels: Sequence[str], explicit: Mapping[str, str]) -> dict[str, FromColumn]:
    """Return the column of each quantity that the user names, among stripped labels.

    Raises
    ------
    ArgumentError
        If a label does not exist, or its name or units are missing or wrong.
    """
    found = {}
    short = _short(labels)
    for label, said in explicit.items():
        if label.strip() not in [*labels, *short]:
            raise ArgumentError("columns", label, f"labels of the file: {labels}")
        match = _NAMED.fullmatch(said)
        if match is None or match[1] not in NAMES:
            raise ArgumentError(
                "columns", said, f"one of {sorted(NAMES)}, such as 'real (ohm)'"
            )
        names = labels if label.strip() in labels else short
        if list(names).count(label.strip()) > 1 or match[1] in found:
            raise ArgumentError(
                "columns",
                f"{label}: {said}",
                f"one column for each name, by its whole label in {list(labels)}",
            )
        index = list(names).index(label.strip())
        # Units from the user take precedence over units in the label.
        units = _units(match[2]) if match[2] is not None else _split(labels[index])[1]
        source = _source(index, match[1], units)
        if source is None:
            raise ArgumentError(
                "columns",
                f"{label}: {said}",
                f"units of {NAMES[match[1]]!r}, in the label or behind the name",
            )
        found[match[1]] = source
    return found
