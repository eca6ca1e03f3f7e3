"""Unit conversion at the boundary: pint parses units, kernels get plain floats."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import UnitsError

if TYPE_CHECKING:
    import xarray as xr

#: Words that pint reads as something else (one cycle is 2 pi rad to it).
_COUNTS = frozenset({"cycle", "cycles", "step", "steps", "count", "counts", "turn"})
#: Expressions that pint would compute as Python numbers: a power of a power, an
#: exponent of three digits. No unit is written so, and a foreign file could block us
#: for ever.
_ENDLESS = re.compile(
    r"(\*\*|\^)\s*\(?\s*[+-]?\d{3}|\d\s*\)?\s*(\*\*|\^)[^/ ]*(\*\*|\^)"
)
_LONGEST = 100
_EXPONENT = re.compile(r"(?<=[A-Za-zµμΩÅ°])(-?\d+)")


@functools.cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(
        preprocessors=[lambda s: _EXPONENT.sub(r"**\1", s)]
    )
    registry.define("@alias angstrom = Angstrom")
    return registry


@functools.cache
def affine(units: str, to: str) -> tuple[float, float]:
    """Return ``(factor, offset)`` such that ``value_to = factor * value + offset``.

    Parameters
    ----------
    units, to
        Unit strings in UDUNITS spelling, such as ``"mA h g-1"``.

    Raises
    ------
    UnitsError
        If a unit is unknown or the two measure different things.
    """
    if units == to:
        return 1.0, 0.0
    for text in (units, to):
        _require_readable(text)
    registry = _registry()
    try:
        zero, one = (registry.Quantity(v, units).to(to).magnitude for v in (0.0, 1.0))
    except Exception as error:
        raise UnitsError(f"units {units!r} cannot become {to!r}: {error}") from error
    return float(one - zero), float(zero)


def _require_readable(text: str) -> None:
    """Raise unless a text may be passed to pint as a unit."""
    if words := _COUNTS.intersection(re.findall(r"[A-Za-z]+", text)):
        raise UnitsError(
            f"units {text!r}: {min(words)!r} is a count, not a unit. "
            "Use '1' for counts and numbers."
        )
    if len(text) > _LONGEST or _ENDLESS.search(text):
        raise UnitsError(f"units {text[:_LONGEST]!r}: no unit is written so.")


@functools.cache
def pint_unit(units: str) -> Any:
    """Return units as pint objects, in the registry that pint-xarray uses.

    Raises
    ------
    UnitsError
        If the units are unknown.
    """
    import pint

    _require_readable(units)
    try:
        own = _registry().Unit(units)
        registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
        return registry.Unit(str(own))
    except Exception as error:
        raise UnitsError(f"units {units!r} are not known: {error}") from error


def in_units(array: xr.DataArray, to: str, *, caller: str) -> xr.DataArray:
    """Return `array` in units `to`; lazy, and unchanged where the units agree.

    Raises
    ------
    UnitsError
        If the array has no units, or they measure something else.
    """
    units = array.attrs.get("units")
    if units is None:
        raise UnitsError(
            f"{caller}: {array.name!r} has no units; expected {to!r} or what "
            f"converts to it. Set `ds[{array.name!r}].attrs['units'] = {to!r}`."
        )
    try:
        factor, offset = affine(str(units), to)
    except UnitsError as error:
        raise UnitsError(f"{caller}: {array.name!r}: {error}") from error
    if units == to:
        return array
    if (factor, offset) == (1.0, 0.0):
        converted = array.copy(deep=False)  # another spelling of the same unit
    else:
        converted = array * factor + offset if offset else array * factor
    converted.attrs = array.attrs | {"units": to}
    return converted.rename(array.name)


def in_units_of(data: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Return an array in the units of the data; units nobody knows stay as they are.

    Raises
    ------
    UnitsError
        If both units are known and measure different things.
    """
    wanted, given = (a.attrs.get("units") for a in (data, other))
    if wanted is None or given is None or wanted == given:
        return other
    try:
        factor, offset = affine(str(given), str(wanted))
    except UnitsError as error:
        if wanted in ("1", "") or given in ("1", ""):
            return other  # also written for what has no units
        try:
            for units in (wanted, given):
                pint_unit(str(units))
        except UnitsError:
            return other
        raise UnitsError(
            f"{other.name or 'an array'} is in {given!r}, the data in {wanted!r}: "
            "these measure different things. Correct attrs['units'] of one of them."
        ) from error
    if (factor, offset) == (1.0, 0.0):
        return other
    return (other * factor + offset).assign_attrs(other.attrs | {"units": wanted})


#: Units whose usual spelling differs from UDUNITS.
_WRITTEN = {
    "Angstrom": "Å",
    "angstrom": "Å",
    "degC": "°C",
    "deg": "°",
    "degree": "°",
    "um": "µm",
    "ohm": "Ω",
    "percent": "%",
}
_RAISED = str.maketrans("-0123456789.", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")
_FACTOR = re.compile(r"([A-Za-zµμΩÅ°%]+)(?:\^|\*\*)?(-?\d+)?")


def written(units: str) -> str:
    """Return units as printed in a paper, such as ``"mA h g⁻¹"``.

    Parameters
    ----------
    units
        In UDUNITS spelling, such as ``"mA h g-1"`` or ``"1/Angstrom"``. Other texts
        (words, brackets) are returned unchanged.
    """
    above, *below = units.split("/")
    factors = [] if above.strip() == "1" else above.split()
    parts = [(text, 1) for text in factors]
    parts += [(text, -1) for group in below for text in group.split()[:1]]
    parts += [(text, 1) for group in below for text in group.split()[1:]]
    out = []
    for text, sign in parts:
        found = _FACTOR.fullmatch(text)
        if found is None:
            return units
        word, power = found[1], sign * int(found[2] or 1)
        raised = "" if power == 1 else str(power).translate(_RAISED)
        out.append(_WRITTEN.get(word, word) + raised)
    return " ".join(out) or units


def with_power(number: str) -> str:
    """Return a number with its power of ten as printed: ``"7e-05"`` as 7 × 10⁻⁵."""
    digits, _, power = number.partition("e")
    return f"{digits} × 10{str(int(power)).translate(_RAISED)}" if power else number


def readable_bytes(n: float) -> str:
    """Return a size with its unit, such as ``'41.9 MB'``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
