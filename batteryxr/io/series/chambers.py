"""Tell what channels are that have numbers for names: by the header, by their order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batteryxr.io.door.words import LINE
from batteryxr.io.series.headers import slug
from batteryxr.io.series.roles import Role, changes, role_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Monitors in their order along the beam.
ALONG_BEAM = ("i0", "it", "ir")
_MONITORS = (*ALONG_BEAM, "fluo", "tey")
#: Words for a monitor in a line that describes a channel.
_PHRASES = {
    "i0": r"\bi_?0\b",
    "it": r"\bi_?(?:t|tr|trans\w*)\b|\btransmi",
    "ir": r"\bi_?ref\w*\b|\breference",
    "fluo": r"\bi_?f(?:l\w*)?\b|\bfluo",
    "tey": r"\btey\b|\belectron yield|\bdrain",
}
#: Places of a monitor along the beam, in a description or in its own name.
_PLACES = {
    "i0": r"\bincident|\bincoming|\b(?:before|front of) (?:the )?sample|\bupstream"
    r"|\b(?:ic|ion|chamber) (?:in|front|entrance|before)\b",
    "it": r"\b(?:after|behind|downstream of) (?:the )?sample|\btransmitted"
    r"|\b(?:ic|ion|chamber) (?:out|back|exit|after|behind)\b",
    "ir": r"\b(?:after|behind|downstream of) (?:the )?(?:ref\w*|foil)",
}
_PHRASED = {role: re.compile(w, re.IGNORECASE) for role, w in _PHRASES.items()}
_PLACED = {role: re.compile(w, re.IGNORECASE) for role, w in _PLACES.items()}
_RATIO = re.compile(r"\w\)?\s*/\s*\(?i", re.IGNORECASE)  # "I1/I0" is no monitor
#: "ch1: I0", "It = ch2": several on a line are parted by commas.
_PAIR = re.compile(
    r"(?<![\w.])([^\W\d]\w*(?:[ .-]\w+)*)\s*(?:=>|->|[:=]|(?<=\s)-(?=\s)|\bis\b)\s*"
    r"([^,;|=\n]+?)(?=\s{2,}|\s*[,;|\n]|\s*$)"
)
#: Energies that are no axis.
_WIDTH = re.compile(
    r"resol|bandw|loss|gap|edge|e0|step|shift|kin|bind|pass", re.IGNORECASE
)
#: An ion chamber with a number: "Ion chamber 2", "iono3", "IC_1", "bl_ic2", "IONCH1".
_CHAMBER = re.compile(
    r"(?P<stem>.*?(?:(?<![a-z])i_?c|ion[io]?|ion_?ch|(?:ion|ioni[sz]ation)?\W*_?chamber))"
    r"[\s_.#-]*(?P<number>\d)(?P<end>(?:\D.*)?)",
    re.IGNORECASE,
)


def mapped(
    names: Sequence[str], roles: Sequence[Role], lines: Iterable[str]
) -> dict[int, Role]:
    """Return the roles of columns that lines such as "ch1: I0" or "It = ch2" tell.

    A name that no table knows may tell the place in the beam: "IC behind sample".
    """
    keys = {slug(name): i for i, name in enumerate(names)}
    found: dict[int, set[str]] = {}
    for key, text in (pair for line in lines for pair in _pairs(line)):
        if slug(key) in keys:
            found.setdefault(keys[slug(key)], set()).update(_described(text))
        elif slug(text) in keys and (own := role_of(key, "energy").name) in _MONITORS:
            found.setdefault(keys[slug(text)], set()).add(own)
    left = [
        i
        for i, name in enumerate(names)
        if not (found.get(i) or roles[i].name or changes(name))
    ]
    for i in left:
        placed = _matched(_PLACED, names[i])
        beside = (re.split(r"[\W_]+", names[j]) for j in left if j != i)
        rivals = {role_of(word, "energy").name for words in beside for word in words}
        found[i] = placed - rivals  # "I0_upstream" beside "I0_downstream"
    return {i: Role(next(iter(of))) for i, of in found.items() if len(of) == 1}


def in_order(names: Sequence[str], roles: Sequence[Role]) -> dict[int, Role]:
    """Return the roles of ion chambers that are counted from 1 along the beam.

    It returns nothing if any column is the monitor of the incident beam by name, or
    if some chamber is missing.
    """
    if any(role.name == "i0" for role in roles):
        return {}
    found = {i: m for i, name in enumerate(names) if (m := _CHAMBER.fullmatch(name))}
    numbers = [int(m["number"]) for m in found.values()]
    alike = {(m["stem"].lower(), m["end"].lower()) for m in found.values()}
    if len(alike) != 1 or numbers not in ([1, 2], [1, 2, 3]):
        return {}
    return {i: Role(ALONG_BEAM[k - 1]) for i, k in zip(found, numbers, strict=True)}


def _pairs(line: str) -> list[tuple[str, str]]:
    """Return what stands on both sides of the signs in a line: "a: b=c, d=e"."""
    line = line[:LINE]
    found: list[tuple[str, str]] = _PAIR.findall(line)
    _, colon, rest = line.partition(":")
    return found + (_PAIR.findall(rest) if colon else [])


def _described(text: str) -> set[str]:
    """Return the roles that a description names: by its words, else its phrases."""
    own = role_of(text.strip(), "energy").name
    if own in _MONITORS or own in ("mu", "mu_fluo", "mu_tey"):
        return {own}
    if changes(text) or _RATIO.search(text):
        return set()
    return _matched(_PHRASED, text) | _matched(_PLACED, text)


def _matched(table: dict[str, re.Pattern[str]], text: str) -> set[str]:
    plain = text.replace("_", " ")
    return {
        role
        for role, words in table.items()
        if words.search(text) or words.search(plain)
    }


def by_units(
    names: Sequence[str], roles: Sequence[Role], units: Sequence[str]
) -> dict[int, Role]:
    """Return the axis of energies that units alone tell, if it is a single column."""
    if any(role.name == "energy" for role in roles):
        return {}
    bare = [
        i
        for i, (name, role, of) in enumerate(zip(names, roles, units, strict=True))
        if of in ("eV", "keV")
        and not (role.name or changes(name) or _WIDTH.search(name))
    ]
    return {bare[0]: Role("energy")} if len(bare) == 1 else {}
