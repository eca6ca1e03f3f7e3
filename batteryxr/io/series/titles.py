"""Find the names and units of a file's columns anywhere in its header."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.io.series.roles import READ_OR_SET, axis_of, role_of

if TYPE_CHECKING:
    from collections.abc import Sequence

BRACKETS = re.compile(r"(?P<name>.*?)\s*[(\[](?P<units>[^)\]]*)[)\]]?\s*")
_SUFFIXED = re.compile(
    r"(?P<name>2th|tth|q|r|e|energy|(?:[\w -]*\S)?)"
    r"(?:_|\s*/\s*|:|, | in )(?P<units>\S+)",
    re.IGNORECASE,
)
#: "Column.1: energy eV", "Col 2 I0 DOUBLE", "(3) It".
NUMBERED = re.compile(
    r"[#%!;*/\s]*(?:col(?:umn)?[ ._]*(?P<a>\d+)\s*[:=]?|\((?P<b>\d+)\))"
    r"\s*(?P<text>\S.*)",
    re.IGNORECASE,
)
#: "1) Mono Energy    11) It", "(1) Energy (2) I0", "1: Energy  2: I0" in one line or
#: several, and "P1 = {Energy}" or "D2 = {i0}" of EPICS.
_LISTED = re.compile(
    r"(?<![^\s#%!;*])[(\[]?(\d+)(?:[)\]]|:(?!\d))\s*(.+?)"
    r"(?=\s*[,;|]?\s+[(\[]?\d+(?:[)\]]|:(?!\d))|\s*$)"
)
#: "2  [1-D Detector 1]  pv, description, mode, unit" of EPICS's MDA.
_MDA = re.compile(r"[#\s]*(\d+)\s+\[([^\]]*)\]\s*(.*)")
#: "column 1 = energy in eV, column 2 = I0", "1 = energy, 2 = I0", in one line.
_NUMBERED_IN_LINE = re.compile(
    r"(?<![\w.])(?:col(?:umn)?[ ._]*)?(\d+)\s*(?:[:=](?!\d)|is\b|-\s)\s*(.+?)"
    r"(?=\s*[,;|.]?\s*(?:and\s+)?(?:(?:col(?:umn)?[ ._]*)\d|(?<!\S)\d+\s*=)"
    r"|\s*[,;.]?\s*$)",
    re.IGNORECASE,
)
#: "1_Energy (keV) 2_sec 3_i0" in one line.
_JOINED = re.compile(r"(?<!\S)(\d+)_(.+?)(?=\s+\d+_|\s*$)")
#: "I0_c4": the number of the column behind its name.
_COUNTED_NAME = re.compile(r"(?P<name>.*\w)_c(?P<number>\d+)")
#: "1   Energy (eV)" under "Column   Description", one in a line.
_NUMBERED_LINES = re.compile(r"^[#%!;*\s]*(\d+)[.\s]\s*([^\W\d].*?)\s*$")
_BRACED = re.compile(r"\b[PD]\d+\s*=\s*\{([^}]*)\}")
_FIO_TYPE = re.compile(r"\s+(DOUBLE|FLOAT|INTEGER|LONG)\s*$")
_SPEC_NAMES = re.compile(r"[#%!;*/\s]*#L\s+(?P<names>.*)")
#: A unit in brackets belongs to the word before it: "q (Angstrom^{-1})".
_UNIT_ALONE = re.compile(r"[(\[][^)\]]+[)\]]")
_SEPARATORS = (
    r"\t",
    r"\t+",
    r"\s*,\s*",
    r"\s*;\s*",
    r"\s{2,}",
    r"\s*\|\s*",
    r"\s+\*\s+",
    r"\s+",
)

#: What stands for units of counts, and of none.
_COUNTED = re.compile(r"cps|cts|counts?(/s)?|arb\w*\.?|a\.?u\.?|-|1|", re.IGNORECASE)
#: Spellings of units -> the data model's spelling.
_UNITS = {
    "Angstrom": ("å", "a", "angstrom", "angstroms", "aa"),
    "nm": ("nm",),
    "1/Angstrom": (
        *("å^-1", "å-1", "1/å", "a^-1", "a-1", "1/a", "aa^-1"),
        *("invangstrom", "inverseangstrom", "inverseangstroms"),
    ),
    "1/nm": ("nm^-1", "nm-1", "1/nm", "inversenm"),
    "1/cm": ("cm^-1", "cm-1", "1/cm", "rel.1/cm"),
    "eV": ("ev",),
    "keV": ("kev",),
    "deg": ("deg", "degree", "degrees", "°"),
    "rad": ("rad", "radian", "radians"),
    "degC": ("c", "°c", "degc", "celsius"),
    "K": ("k", "kelvin"),
    "s": ("s", "sec", "second", "seconds"),
    "ms": ("ms", "millisecond", "milliseconds"),
    "min": ("min", "minutes"),
    "mA": ("ma",),
    "V": ("v", "volt", "volts"),
}
_SPELLED = {spelling: unit for unit, known in _UNITS.items() for spelling in known}
#: Units that no axis has: temperature_K is one name.
_CONDITIONS = ("V", "K", "s", "mA")
#: Room that each of several equally wide titles takes at least.
_NARROWEST = 12
#: Text in a header -> the columns below it.
_NEVER_NAMED = (
    ("*RAS_INT_START", ("2theta (deg)", "intensity", "attenuation")),
    ("*  X-ray Absorption Data  *", ("energy (eV)", "absorption")),
    (
        "omega e k mu mu0 chi",  # FEFF
        ("energy (eV)", "e - e0", "k", "mu", "background", "chi"),
    ),
)


@dataclass(frozen=True)
class Titles:
    """Hold names and units of columns; empty if the header lacks some of them.

    Attributes
    ----------
    names, units
        One name and one unit for each column.
    first
        Name and units of the first column, even if it alone is named.
    misfit
        Names in the last line of the header, if there are more of them than columns.
    """

    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    first: tuple[str, str] = ("", "")
    misfit: tuple[str, ...] = ()


def read_titles(header: Sequence[str], plain: Sequence[str], n: int) -> Titles:
    """Find the names that a header gives its `n` columns.

    Parameters
    ----------
    header
        All lines of the header.
    plain
        Lines other than ``key: value``, without comment signs.
    n
        Number of columns.
    """
    found = (
        _agreed(_numbered(header, n), plain, n)
        or _spec(header, n)
        or _photon_factory(header, n)
        or _legend(header, n)
        or _events(header, n)
        or _implied(header, n)
        or _in_one_line(plain, n)
        or _line_by_line(plain, n)
    )
    if found:
        names, units = zip(*found, strict=True)
        return Titles(names, units, found[0])
    alone = (t for t in map(title, plain) if axis_of(t[0]))
    return Titles(first=next(alone, ("", "")), misfit=_misfit(plain, n))


def _misfit(plain: Sequence[str], n: int) -> tuple[str, ...]:
    """Return the names in the last line, if there are more of them than columns."""
    for separator in _SEPARATORS if plain else ():
        words = re.split(separator, plain[-1].strip("# \n"))
        if n < len(words) and all(role_of(title(w)[0]).name for w in words):
            return tuple(words)
    return ()


def spelled(units: str) -> str:
    """Return units in the data model's spelling; empty if they are unknown."""
    plain = re.sub(r"[\s${}]|_$", "", units).replace(r"\AA", "å").lower()
    return _SPELLED.get(plain.replace("⁻¹", "^-1").replace("ångström", "å"), "")


def title(word: str) -> tuple[str, str]:
    """Return name and units of a column title; unknown units stay as written."""
    match = _SUFFIXED.fullmatch(word)
    units = spelled(match["units"]) if match and match["name"] else ""
    if match and units and (units not in _CONDITIONS or ":" in word):
        return match["name"], units
    for sign in (" / ", ","):
        name, there, rest = word.partition(sign)
        if there and name and rest.strip() and _COUNTED.fullmatch(rest.strip()):
            return name.strip(), ""
    match = BRACKETS.fullmatch(word)
    if match is None or not match["name"]:
        return word, ""
    whole, short = role_of(_letters(word)), role_of(match["name"])
    if (
        whole.name
        and not spelled(match["units"])
        and (not short.name or not whole.rank)
    ):
        return word, ""  # ln(I0/It), G(r): the brackets are part of the name
    if not spelled(match["units"]) and _tells(match["name"], match["units"]):
        return f"{match['name']} {match['units']}", ""
    return match["name"], spelled(match["units"]) or match["units"]


def _tells(name: str, inside: str) -> bool:
    """Tell whether brackets hold no units, but what the name alone does not say."""
    if axis_of(name):
        return bool(READ_OR_SET.fullmatch(inside))
    long = len(inside) > 1 and not _COUNTED.fullmatch(inside)
    return long and not role_of(name).name and bool(role_of(inside).name)


def _letters(word: str) -> str:
    sign = "-" if word.lstrip().startswith("-") else ""
    return sign + re.sub(r"[^\w%θμ]", "", word)


def _numbered(header: Sequence[str], n: int) -> list[tuple[str, str]]:
    texts: dict[int, str] = {}
    for line in header:
        if match := NUMBERED.match(line):
            texts[int(match["a"] or match["b"])] = match["text"]
    start = 0 if 0 in texts else 1
    if set(texts) != set(range(start, start + n)):
        return []
    return [_xdi(texts[i]) for i in sorted(texts)]


def _agreed(
    numbered: list[tuple[str, str]], plain: Sequence[str], n: int
) -> list[tuple[str, str]]:
    """Give both names to columns that another line of the header names differently."""
    others = [ln for ln in plain if not NUMBERED.match(ln)]
    line = _in_one_line(others, n) if numbered else []
    mine = [role_of(name).name for name, _ in numbered]
    theirs = [role_of(name).name for name, _ in line]
    if mine == theirs or not line or sorted(mine) != sorted(theirs):
        return numbered
    return [
        (own if a == b else (f"{own[0]} or {other[0]}", ""))
        for own, other, a, b in zip(numbered, line, mine, theirs, strict=True)
    ]


def _xdi(text: str) -> tuple[str, str]:
    """Return name and units of "energy eV || PV" or "ENERGY DOUBLE"."""
    text = _FIO_TYPE.sub("", text.split("||")[0]).strip()
    name, _, units = text.partition(" ")
    known = spelled(units) or (units and spelled(units.split()[0]))
    if units and _COUNTED.fullmatch(units):
        return name, ""
    if units and not known and not role_of(name).name:
        return title(text)
    return (name, known or units.strip()) if units else title(name)


def _spec(header: Sequence[str], n: int) -> list[tuple[str, str]]:
    for line in reversed(header):
        if match := _SPEC_NAMES.fullmatch(line):
            words = [w for w in re.split(r"\s{2,}|\t", match["names"].strip()) if w]
            words = words if len(words) == n else match["names"].split()
            return [title(w) for w in words] if len(words) == n else []
    return []


def _photon_factory(header: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return columns of the 9809 format, whose monitors have a mode, not a name.

    The word "Mode" stands below the first column, or before it.
    """
    words = next((ln.split() for ln in header if ln.split()[:1] == ["Mode"]), [])
    known = any("angle(c)" in ln.lower() for ln in header)
    if len(words) not in (n, n + 1) or not known or {*words[1 : 3 - n]} - {"0"}:
        return []
    called = {"1": "i0", "2": "it", "3": "ifluor"}
    names = [called.get(mode, f"mode {mode}") for mode in words[3 - n :]]
    part = names.count("ifluor") > 1
    names = [f"ifluor{i}" if part and w == "ifluor" else w for i, w in enumerate(names)]
    angles = [("angle(c)", "deg"), ("angle(o)", "deg"), ("time", "s")]
    return [*angles, *((name, "") for name in names)]


def _legend(header: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return titles of a list such as "1) Energy    11) I0", or "D1 = {i0}"."""
    for listed in (_LISTED, _JOINED, _NUMBERED_IN_LINE, _NUMBERED_LINES):
        texts = {int(k): text for line in header for k, text in listed.findall(line)}
        if set(texts) == set(range(1, n + 1)):
            titles = [title(texts[k].strip()) for k in sorted(texts)]
            if listed is not _NUMBERED_LINES or any(axis_of(t[0]) for t in titles):
                return titles
    names = [text for line in header for text in _BRACED.findall(line)]
    if len(names) == n:
        return [title(name) for name in names]
    rows = [match.groups() for line in header if (match := _MDA.fullmatch(line))]
    if [int(k) for k, *_ in rows] in (list(range(n)), list(range(1, n + 1))):
        return [_of_mda(what, text) for _, what, text in rows]
    return []


def _of_mda(what: str, text: str) -> tuple[str, str]:
    """Return name and units of a column of EPICS: the description, else the PV."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else [what]
    units = next(filter(None, map(spelled, parts[2:])), "")
    name = parts[1] if len(parts) > 1 and parts[1] else parts[0]
    return (name, units) if units else title(name)


def _events(header: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return titles that a line has in quotes, as "#(1) "Event-ID" "I0" "I1""."""
    lines = [re.findall(r'"(?:\$\()?([^"]*?)\)?"', ln) for ln in header if "#(" in ln]
    found = [[title(word) for word in words] for words in lines if len(words) == n]
    known = [sum(bool(role_of(t[0]).name) for t in titles) for titles in found]
    # Names of process variables alone tell nothing: another line may.
    return found[known.index(max(known))] if max(known, default=0) > 1 else []


def _implied(header: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return the columns of a layout that never names them."""
    for sign, names in _NEVER_NAMED:
        if len(names) == n and any(
            sign in line or sign in " ".join(line.split()) for line in header
        ):
            return [title(name) for name in names]
    return []


def _in_one_line(plain: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return the titles in the line that names most columns, with a line of units."""
    best: list[tuple[str, str]] = []
    alone: list[tuple[str, str]] = []
    most, below = 0, [""] * n
    for line in reversed(plain[-60:]):
        words = _words(line, n)
        titles = [title(w) for w in words]
        known = sum(
            bool(role_of(name).name) or of in ("eV", "keV") for name, of in titles
        )
        units = [spelled(w.strip("()[]")) for w in words]
        if any(units) and not any(below):
            below = units  # the line above may hold the names
            if not best and all(map(_is_unit, words)):
                alone = titles
                continue
        if known > most or (known and known == most and _only_units(best)):
            pairs = zip(titles, below, strict=True)
            best, most = (
                [(a, b or ("" if below is units else c)) for (a, b), c in pairs],
                known,
            )
    return best or alone


def _is_unit(word: str) -> bool:
    plain = word.strip("()[]")
    return bool(spelled(plain) or _COUNTED.fullmatch(plain))


def _only_units(titles: list[tuple[str, str]]) -> bool:
    return bool(titles) and any(spelled(name) for name, _ in titles)


@functools.lru_cache(maxsize=1024)
def _words(line: str, n: int) -> list[str]:
    quoted: list[str] = re.findall(r'"([^"]*\w[^"]*)"', line)
    if len(quoted) == n:
        return quoted
    for separator in _SEPARATORS:
        words = [w.strip("\"'# ") for w in re.split(separator, line.strip("\n"))]
        words = _uncounted(words)
        named = [w for w in words if re.search(r"[^\W\d_]|^%T|^[12]/", w)]
        if len(words) == n and len(named) >= max(n - 1, 2):
            return [] if any(_UNIT_ALONE.fullmatch(w) for w in words) else words
    together = re.sub(r"\s+(?=[(\[])", "", line)  # "Energy (eV) I0 (counts)"
    bracketed = len(re.findall(r"[(\[]", line)) >= (1 if n > 2 else 2)
    if bracketed and together != line and (words := _words(together, n)):
        return words
    return _equally_wide(line, n)


def _uncounted(words: list[str]) -> list[str]:
    """Return names without the number of their column, if each has its own."""
    found = [_COUNTED_NAME.fullmatch(word) for word in words]
    if all(m and int(m["number"]) == k for k, m in enumerate(found, 1)):
        return [m["name"] for m in found if m]
    return words


def _equally_wide(line: str, n: int) -> list[str]:
    """Return `n` titles that take equal room, as LabVIEW at APS writes them."""
    for width in range(_NARROWEST, len(line) // 2 + 1):
        words = [line[i : i + width] for i in range(0, len(line), width)]
        if len(words) == n and not any(w[:1].isspace() for w in words):
            gaps = [w[-1].isspace() for w in words[:-1] if len(w.strip()) < width]
            return [w.strip() for w in words] if gaps and all(gaps) else []
    return []


def _line_by_line(plain: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return the last `n` lines: Fit2D and SSRL write one name a line."""
    lines = [ln for ln in plain if not re.fullmatch(r"[\s\d.]+", ln)][-n:]
    titles = [title(ln) for ln in lines]
    return titles if len(titles) == n and any(axis_of(t[0]) for t in titles) else []
