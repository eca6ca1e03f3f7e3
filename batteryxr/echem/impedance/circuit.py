"""Parse equivalent circuits from a text into a tree, without evaluating the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from batteryxr.core.errors import ArgumentError
from batteryxr.echem.impedance.kernels.elements import KINDS

_TOKEN = re.compile(r"\s*(?:(p\()|([A-Za-z]{1,3})([0-9]{0,6})|([-,)]))")
_LETTERS = ", ".join(KINDS)
_EXPECTED = (
    f"elements ({_LETTERS}) with a number each, '-' in series and p(a,b) in parallel, "
    "such as 'R0-p(R1,CPE1)-W1'"
)
#: Largest number of elements, and deepest nesting of brackets.
_MOST, _DEEPEST = 40, 10


class Element(NamedTuple):
    """Hold one element: its kind, its name, and the index of its first parameter."""

    kind: str
    name: str
    first: int


class Series(NamedTuple):
    """Hold parts in series."""

    parts: tuple[Node, ...]


class Parallel(NamedTuple):
    """Hold parts in parallel."""

    parts: tuple[Node, ...]


Node = Element | Series | Parallel


@dataclass(frozen=True)
class Circuit:
    """Hold an equivalent circuit.

    Parameters
    ----------
    text
        The text as given.
    root
        The parts in series.
    elements
        Elements in the order in which they are written.
    """

    text: str
    root: Series
    elements: tuple[Element, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters in order: ``"R0"``, ``"CPE1_Q"``."""
        return tuple(
            f"{e.name}_{name}" if name else e.name
            for e in self.elements
            for name, _ in KINDS[e.kind].parameters
        )

    @property
    def units(self) -> tuple[str, ...]:
        """Return the units of the parameters."""
        return tuple(u for e in self.elements for _, u in KINDS[e.kind].parameters)


def parse(text: str) -> Circuit:
    """Return the circuit that a text describes.

    Raises
    ------
    ArgumentError
        If the text is no circuit; the message names the place.

    Examples
    --------
    >>> parse("R0-p(R1,CPE1)-W1").parameters
    ('R0', 'R1', 'CPE1_Q', 'CPE1_n', 'W1')
    """
    reader = _CircuitReader(text)
    root = reader.series(0)
    if reader.place < len(text.rstrip()):
        reader.refuse()
    names = [e.name for e in reader.elements]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ArgumentError(
            "circuit", text, f"names that differ; {twice[0]!r} comes more than once"
        )
    return Circuit(text, root, tuple(reader.elements))


class _CircuitReader:
    """Read a circuit from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.elements: list[Element] = []
        self._count = 0

    def refuse(self) -> None:
        raise ArgumentError(
            "circuit", self.text, _EXPECTED, f"See character {self.place + 1}."
        )

    def series(self, depth: int) -> Series:
        parts = [self._part(depth)]
        while self._takes("-"):
            parts.append(self._part(depth))
        return Series(tuple(parts))

    def _takes(self, sign: str) -> bool:
        match = _TOKEN.match(self.text, self.place)
        if match is None or match[4] != sign:
            return False
        self.place = match.end()
        return True

    def _part(self, depth: int) -> Node:
        match = _TOKEN.match(self.text, self.place)
        if match is None or match[4] or depth > _DEEPEST:
            self.refuse()
        assert match is not None
        if match[1]:
            self.place = match.end()
            arms: list[Node] = [self._arm(depth)]
            while self._takes(","):
                arms.append(self._arm(depth))
            if not self._takes(")") or len(arms) < 2:
                self.refuse()
            return Parallel(tuple(arms))
        kind = match[2]
        if kind not in KINDS or len(self.elements) == _MOST:
            self.refuse()
        self.place = match.end()
        element = Element(kind, match[2] + match[3], self._count)
        self._count += len(KINDS[kind].parameters)
        self.elements.append(element)
        return element

    def _arm(self, depth: int) -> Node:
        arm = self.series(depth + 1)
        return arm.parts[0] if len(arm.parts) == 1 else arm
