"""Column labels of impedance: what they name, in which units, and with which sign."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.units import affine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: What a column may be -> units. ``minus_imaginary`` is what a Nyquist plot shows.
NAMES: dict[str, str] = {
    "frequency": "Hz",
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
#: Whole label without its units, lower case, no blanks -> name. The first that fits.
_KNOWN: tuple[tuple[str, str], ...] = (
    ("frequency", r"freq(uency)?\.?|f"),
    ("real", r"re\(z(we)?\)|z?re(al)?|re(al)?_?z|z_?re(al)?|z'|z1|real\(z\)"),
    ("minus_imaginary", r"-(im\(z(we)?\)|z?im(ag)?|im(ag)?_?z|z_?im(ag)?|z''|z2)"),
    ("imaginary", r"im\(z(we)?\)|z?im(ag)?|im(ag)?_?z|z_?im(ag)?|imag\(z\)"),
    ("modulus", r"\|z(we)?\||zmod|z_?mod(ulus)?|modulus|impedance|(abs|mag)\(z\)"),
    ("phase", r"phase\(z(we)?\)|phase(angle)?|zphz|phi|φ|ϕ|theta|θ|arg\(z\)"),
    ("minus_phase", r"-(phase\(z(we)?\)|phase(angle)?|phi|φ|ϕ|theta|θ|arg\(z\))"),
    ("test_time", r"time|elapsedtime|t"),
    ("voltage", r"<?ewe>?|vdc|edc|potential|voltage|e"),
    ("current", r"<?i>?|idc|current"),
    ("temperature", r"<?temp(erature)?>?"),
    ("spectrum", r"cyclenumber|spectrum|scan"),
)
#: Named so by some with the sign of Im(Z), by others with that of a Nyquist plot.
_EITHER_SIGN = re.compile(r"z''|z2")
_SIGNED = {"imaginary", "minus_imaginary"}
_TURNED = {"phase", "minus_phase"}
_FORMS = (
    re.compile(r"(?P<bare>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]"),
    re.compile(r"(?P<bare>.*\S)\s*/\s*(?P<unit>[^/]+)"),
)
_UNIT = re.compile(
    r"(?P<prefix>[TGMkmuµμn]?)(?P<base>[oO]hms?|OHM|Ω|Ω|[Hh]z|HZ|[Ss](ec)?|V|A|"
    r"min|h|deg(ree)?s?|°|rad|°?C|deg\s?C|K)\.?"
)
_BASES = {"ohm": "ohm", "ohms": "ohm", "ω": "ohm", "hz": "Hz", "s": "s", "sec": "s",
          "v": "V", "a": "A", "min": "min", "h": "h", "deg": "deg", "degs": "deg",
          "degree": "deg", "degrees": "deg", "°": "deg", "rad": "rad", "c": "degC",
          "°c": "degC", "degc": "degC", "deg c": "degC", "k": "K"}  # fmt: skip
_NAMED = re.compile(r"\s*(\w+)\s*(?:[(\[]([^()\[\]]*)[)\]])?\s*")


class FromColumn(NamedTuple):
    """Where a quantity stands: its column, and ``factor * read + offset``."""

    column: int
    factor: float
    offset: float


def find(
    labels: Sequence[str], explicit: Mapping[str, str] | None, path: Path, line: int
) -> dict[str, FromColumn] | None:
    """Return where each quantity stands; None if these are no labels of a spectrum.

    Parameters
    ----------
    labels
        As written.
    explicit
        Label -> name and units, from the user: goes first.
    path, line
        For errors.

    Raises
    ------
    ArgumentError
        If an explicit label is not what it should be.
    FileFormatError
        If they are of a spectrum, and it cannot be told by name which part is which,
        with which sign, or in which units.
    """
    stripped = [label.strip() for label in labels]
    found = told(stripped, explicit or {})
    taken = {source.column for source in found.values()}
    others = replaced(found)
    bare = [_split(label) for label in stripped]
    without: list[str] = []
    for name, pattern in _KNOWN:
        for index, (text, units) in enumerate(bare):
            if name in found or name in others or index in taken:
                continue
            if not re.fullmatch(pattern, text):
                continue
            source = _source(index, name, units)
            if source is not None:
                found[name] = source
                taken.add(index)
            elif not units:
                without.append(stripped[index])
    wanted = "frequency" in found and is_complex(found)
    looks = "frequency" in found or any(text == "freq" for text, _ in bare)
    if wanted or not looks:
        return found if wanted else None
    raise FileFormatError(path, _lacking(stripped, bare, without), line)


def named_here(labels: Sequence[str], explicit: Mapping[str, str]) -> bool:
    """Tell whether a label that the user names is among these."""
    stripped = [label.strip() for label in labels]
    there = {*stripped, *_short(stripped)}
    return any(label.strip() in there for label in explicit)


def replaced(said: Mapping[str, FromColumn]) -> set[str]:
    """Return what the user's own columns stand in place of, whatever its label."""
    if said.keys() & _SIGNED:
        return _SIGNED
    # A phase that is told is meant: real and imaginary part would go before it.
    return _TURNED | _SIGNED | {"real"} if said.keys() & _TURNED else set()


def is_complex(found: Mapping[str, FromColumn]) -> bool:
    """Tell whether both parts of the impedance are there, or modulus and phase."""
    parts = "real" in found and bool({"imaginary", "minus_imaginary"} & found.keys())
    polar = "modulus" in found and bool({"phase", "minus_phase"} & found.keys())
    return parts or polar


def _lacking(
    labels: Sequence[str],
    bare: Sequence[tuple[str, str | None]],
    without: Sequence[str],
) -> str:
    either = [labels[k] for k, (t, _) in enumerate(bare) if _EITHER_SIGN.fullmatch(t)]
    if either:
        return (
            f"{either[0]!r} is Im(Z) to some programs and -Im(Z) to others. Say which: "
            f"columns={{{either[0]!r}: 'imaginary (ohm)'}} or 'minus_imaginary (ohm)'."
        )
    if without:
        return (
            f"the label {without[0]!r} has no units. Say what it is in: "
            f"columns={{{without[0]!r}: 'real (ohm)'}}, or whatever it is, one of "
            f"{sorted(NAMES)}."
        )
    return (
        f"the labels {list(labels)} name no real and imaginary part, nor modulus and "
        f"phase. Pass columns={{'label': 'real (ohm)', ...}}, with {sorted(NAMES)}."
    )


def _split(label: str) -> tuple[str, str | None]:
    """Return the label without units, lower case and blanks, and the units."""
    text = label.replace('"', "''").replace("′", "'").replace("″", "''")
    text = re.sub("[−–‐]", "-", text).replace("`", "'").strip()
    for form in _FORMS:
        match = form.fullmatch(text)
        if match and (units := _units(match["unit"])) is not None:
            return _plain(match["bare"]), units
    return _plain(text), None


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", text).lower().rstrip("._").replace("freq.", "freq")


def _units(written: str) -> str | None:
    """Return units as pint reads them; None of another word.

    A large letter is another prefix than a small one: mOhm is not MOhm.
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
    if name == "spectrum":
        return FromColumn(index, 1.0, 0.0)
    if not units:
        return None
    try:
        return FromColumn(index, *affine(units, NAMES[name]))
    except UnitsError:
        return None


def _short(labels: Sequence[str]) -> list[str]:
    """Return labels without what stands in brackets or behind a stroke."""
    return [re.split(r"\s*[(\[/]", label)[0].strip() for label in labels]


def told(labels: Sequence[str], explicit: Mapping[str, str]) -> dict[str, FromColumn]:
    """Return where each quantity stands that the user names, among stripped labels.

    Raises
    ------
    ArgumentError
        If a label is not there, or does not say what it is and in which units.
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
        # What the user says goes before what the label says.
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
