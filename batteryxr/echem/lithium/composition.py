"""Parse chemical formulas with fractions, brackets and mixtures; compute with them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.core import bounds
from batteryxr.core.checks import NonNegative, Positive, check_fields, checked
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.provenance import replayable
from batteryxr.core.xray import ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Elements that are anions in battery materials.
ANIONS = frozenset({"N", "O", "F", "S", "Cl", "Se", "Br", "I"})
#: Elements that are neither anions nor metal centres: polyanion and alkali atoms.
_NO_CENTRE = frozenset({"H", "B", "C", "Si", "P", "Li", "Na", "K", "Rb", "Cs"})
#: Anions on their own, but centres of polyanions if there is oxygen.
_POLYANIONS = frozenset({"S", "Se"})
#: Oxidation states that hardly vary in battery materials.
STATES = {
    **dict.fromkeys(("H", "Li", "Na", "K", "Rb", "Cs"), 1.0),
    **dict.fromkeys(("Mg", "Ca", "Sr", "Ba", "Zn"), 2.0),
    **dict.fromkeys(("B", "Al", "Ga", "Sc", "Y", "La"), 3.0),
    **dict.fromkeys(("Si", "Ti", "Zr", "Hf"), 4.0),
    **dict.fromkeys(("P", "Nb", "Ta"), 5.0),
    **dict.fromkeys(("O", "S", "Se"), -2.0),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1.0),
    "N": -3.0,
}
#: Excess of cations over anions that rounding of a formula can explain.
_ROUNDING = 0.01

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_AMOUNT = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?")
_SYMBOL = re.compile(r"[A-Z][a-z]?")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@replayable
@dataclass(frozen=True)
class Composition:
    """Hold atoms per formula unit, in the order of the formula.

    Parameters
    ----------
    elements
        Chemical symbols.
    amounts
        Atoms of each per formula unit.
    """

    elements: tuple[str, ...]
    amounts: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("elements", "amounts"):  # attributes of a result hold lists
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        check_fields(self)
        object.__setattr__(self, "amounts", tuple(float(n) for n in self.amounts))

    def __getitem__(self, element: str) -> float:
        """Return the atoms of an element per formula unit; 0 if it is absent."""
        return dict(zip(self.elements, self.amounts, strict=True)).get(element, 0.0)

    def __mul__(self, factor: float) -> Composition:
        return Composition(self.elements, tuple(factor * n for n in self.amounts))

    def __add__(self, other: Composition) -> Composition:
        elements = tuple(dict.fromkeys(self.elements + other.elements))
        return Composition(elements, tuple(self[e] + other[e] for e in elements))

    def __str__(self) -> str:
        pairs = zip(self.elements, self.amounts, strict=True)
        return "".join(e if n == 1 else f"{e}{n:.10g}" for e, n in pairs)

    @property
    def molar_mass(self) -> float:
        """Return the mass of one mole of formula units (g mol-1)."""
        from periodictable import elements

        pairs = zip(self.elements, self.amounts, strict=True)
        return float(sum(n * elements.symbol(e).mass for e, n in pairs))

    @property
    def anions(self) -> float:
        """Return anions per formula unit; sulphur with oxygen is none (a sulphate)."""
        return self._sum(e for e in self.elements if self._is_anion(e))

    @property
    def cations(self) -> float:
        """Return the cations per formula unit."""
        return self._sum(e for e in self.elements if not self._is_anion(e))

    @property
    def metals(self) -> float:
        """Return metal centres per formula unit: all metals but the alkali ones."""
        return self._sum(e for e in self.elements if e not in ANIONS | _NO_CENTRE)

    @property
    def over_stoichiometric(self) -> bool:
        """Tell whether a rock salt of this formula has more cations than anions.

        An excess below 0.01 per two anions counts as rounding of the formula.
        """
        return self.cations_per_anions(2) > 2 + _ROUNDING

    def cations_per_anions(self, anions: float = 2) -> float:
        """Return the cations per `anions` anions.

        Raises
        ------
        DataError
            If the formula has no anions.
        """
        return self.cations * anions / _anions(self)

    def _is_anion(self, element: str) -> bool:
        sulphate = element in _POLYANIONS and self["O"] > 0
        return element in ANIONS and not sulphate

    def _sum(self, elements: Iterable[str]) -> float:
        return float(sum(self[e] for e in elements))


@checked
def formula(formula: str | Composition) -> Composition:
    """Parse a chemical formula.

    Parameters
    ----------
    formula
        Amounts are decimals or fractions (``LiNi1/3Mn1/3Co1/3O2``). Brackets of any
        kind nest (``Li[Li0.2Mn0.6Ni0.2]O2``). Subscripts may be Unicode (``Li₂O``).
        Mixtures are sums (``0.9 LiFeO2 + 0.1 Li2O``); a dot also means plus, as in
        hydrates. A `Composition` is returned unchanged.

    Returns
    -------
    Composition
        Atoms per formula unit.

    Raises
    ------
    ArgumentError
        If the text is no formula; the message gives the character.

    Examples
    --------
    >>> batteryxr.echem.formula("Li1.2Mn0.4Ti0.4O2").elements
    ('Li', 'Mn', 'Ti', 'O')
    """
    return parse(formula)


def parse(text: str | Composition, argument: str = "formula") -> Composition:
    """Parse a chemical formula that was passed as `argument`.

    Raises
    ------
    ArgumentError
        If the text is no formula; the message gives the character.
    """
    if isinstance(text, Composition):
        return text
    atoms = _FormulaParser(text, argument).mixture()
    return Composition(tuple(atoms), tuple(atoms.values()))


class _FormulaParser:
    """Parse one formula by recursive descent; errors give their position."""

    def __init__(self, text: str, argument: str) -> None:
        self.argument = argument
        plain = unicodedata.normalize("NFKC", text).replace("⁄", "/")
        self.text = re.sub(r"\s+", " ", plain).strip()
        self.at = 0

    def mixture(self) -> dict[str, float]:
        atoms: dict[str, float] = {}
        while True:
            self._skip()
            share = self._amount(default=1.0)
            self._skip()
            _merge(atoms, self._group(closing=""), share)
            self._skip()
            if self.at == len(self.text):
                break
            if self.text[self.at] not in "+·•⋅∙*":
                raise self._error("an element, an amount, a bracket or '+'")
            self.at += 1
        if not any(atoms.values()):
            raise self._error("at least one atom")
        return atoms

    def _group(self, closing: str) -> dict[str, float]:
        atoms: dict[str, float] = {}
        start = self.at
        while self.at < len(self.text):
            if opened := _CLOSING.get(self.text[self.at]):
                self.at += 1
                inner = self._group(opened)
                if self.text[self.at : self.at + 1] != opened:
                    raise self._error(repr(opened))
                self.at += 1
            elif symbol := self._symbol():
                inner = {symbol: 1.0}
            else:
                break
            _merge(atoms, inner, self._amount(default=1.0))
        if self.at == start:
            raise self._error("an element or a bracket")
        return atoms

    def _symbol(self) -> str:
        found = _SYMBOL.match(self.text, self.at)
        if found is None:
            return ""
        for symbol in (found[0], found[0][:1]):
            if symbol in ELEMENTS:
                self.at += len(symbol)
                return symbol
        raise self._error("an element")

    def _amount(self, default: float) -> float:
        found = _AMOUNT.match(self.text, self.at)
        if found is None:
            return default
        if found[2] is not None and float(found[2]) == 0:
            raise self._error("a fraction with a denominator other than 0")
        self.at = found.end()
        return float(found[1]) / float(found[2] or 1)

    def _skip(self) -> None:
        while self.text[self.at : self.at + 1] == " ":
            self.at += 1

    def _error(self, expected: str) -> ArgumentError:
        found = self.text[self.at : self.at + 1]
        where = (
            f"{expected} at character {self.at + 1}, not {found!r}"
            if found
            else f"{expected} at its end"
        )
        mend = "Write decimals with a point." if found == "," else ""
        return ArgumentError(self.argument, self.text, where, mend)


def _merge(atoms: dict[str, float], inner: dict[str, float], factor: float) -> None:
    for element, n in inner.items():
        atoms[element] = atoms.get(element, 0.0) + factor * n


@checked
def add_lithia(
    formula: str | Composition,
    mol_percent: NonNegative,
    *,
    lithia: str | Composition = "Li2O",
    anions: Positive = 2.0,
) -> Composition:
    """Add lithia to a material and normalise to `anions` anions.

    Parameters
    ----------
    formula
        Material to which lithia is added.
    mol_percent
        Moles of lithia per 100 mol of `formula`.
    lithia
        Compound that is added: Li2O, or another source such as ``"LiF"``.
    anions
        Anions per formula unit of the result; 2 for rock salts.

    Returns
    -------
    Composition
        The mixture. `Composition.over_stoichiometric` tells whether its cations
        exceed its anions.

    Raises
    ------
    ArgumentError
        If `mol_percent` is negative, or a formula cannot be read.
    DataError
        If the mixture has no anions.

    Notes
    -----
    Wang et al., Adv. Mater. (2023): 10 mol % Li2O turns Li1.2Ti0.2Mn0.6O1.8F0.2 into
    Li1.33Ti0.19Mn0.57O1.81F0.19.

    Examples
    --------
    >>> mixed = batteryxr.echem.add_lithia("LiNiO2", 10.0)
    >>> [round(amount, 3) for amount in mixed.amounts]
    [1.143, 0.952, 2.0]
    """
    bounds.check("mol per cent", mol_percent or None, argument="mol_percent")
    mixed = parse(formula) + parse(lithia, "lithia") * (mol_percent / 100)
    return mixed * (anions / _anions(mixed))


@checked
def oxidation_state(
    formula: str | Composition,
    element: str,
    *,
    states: Mapping[str, float] | None = None,
) -> float:
    """Return the mean oxidation state of an element that balances the charge.

    Parameters
    ----------
    formula
        Material that contains the element.
    element
        Element whose state is wanted.
    states
        Oxidation states of other elements, if they have no usual one (Li 1, Ti 4,
        Nb 5, O -2, F -1...) or differ from it.

    Returns
    -------
    float
        Mean oxidation state of `element`.

    Raises
    ------
    ArgumentError
        If the formula lacks `element`, or the state of another element is unknown.

    Examples
    --------
    >>> batteryxr.echem.oxidation_state("LiMn2O4", "Mn")
    3.5
    """
    composition = parse(formula)
    if composition[element] == 0:
        raise ArgumentError("element", element, f"an element of {composition}")
    known = STATES | dict(states or {})
    charge = 0.0
    for other, amount in zip(composition.elements, composition.amounts, strict=True):
        if other == element:
            continue
        ambiguous = other in _POLYANIONS and composition["O"] > 0
        if other not in (states or {} if ambiguous else known):
            raise ArgumentError(
                "states",
                states,
                f"the oxidation state of {other}, which varies",
                f"Pass it, for example states={{{other!r}: 2}}.",
            )
        charge += known[other] * amount
    return -charge / composition[element]


def _anions(composition: Composition) -> float:
    if composition.anions == 0:
        known = ", ".join(sorted(ANIONS))
        raise DataError(
            str(composition),
            f"has no anions, that is none of {known}",
            "Write it whole, such as LiNiO2.",
        )
    return composition.anions
