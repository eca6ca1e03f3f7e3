"""Describe the instrument of a pattern, and convert the axis of patterns."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from batteryxr.core import bounds
from batteryxr.core.bounds.kinds import GoniometerRadius  # noqa: TC001 - checked
from batteryxr.core.checks import Fraction, Positive, check_fields
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded, replayable
from batteryxr.core.units import in_units
from batteryxr.xanes.spectra import Spectra, axis_of

if TYPE_CHECKING:
    import xarray as xr

Wavelength = Annotated[Positive, bounds.Physical("wavelength")]
#: K-alpha 1 and 2 of tubes, in Angstrom (Hoelzer et al., Phys. Rev. A 56, 4554 (1997),
#: and International Tables for Crystallography C).
TUBES = {
    "Cr": (2.289726, 2.293651),
    "Fe": (1.936041, 1.939973),
    "Co": (1.788996, 1.792835),
    "Cu": (1.540593, 1.544427),
    "Mo": (0.709317, 0.713607),
    "Ag": (0.559422, 0.563813),
}
_TUBE = Literal["Cr", "Fe", "Co", "Cu", "Mo", "Ag"]
#: Names of the wavelength in headers, similar names of others, and of the right line.
_LINE = re.compile(
    r"wave[ _-]?length|(?<![a-z])lambda(?![a-z])|k_?alpha_?1|_?wl1?$", re.I
)
_OTHER = re.compile(
    r"ratio|alpha[ _-]?2|beta|detector|threshold|filter|laser|excit|raman|range|pixel",
    re.IGNORECASE,
)
_FIRST = re.compile(r"alpha[ _-]?1", re.IGNORECASE)
#: Units of a wavelength.
_UNIT = re.compile(
    r"(?<![a-zA-Z])(nm|pm|m|angstroms?|ang|a|å)(?![a-zA-Z])", re.IGNORECASE
)
#: Units after a number that are not those of a wavelength.
_STRANGE = re.compile(
    r"[\s(\[/]*(?<![a-zA-Z])([kM]?eV|[uµμ]m|mm|cm(?:-1)?|GHz|THz)(?![a-zA-Z])"
)
_ANGSTROMS = {"nm": 10.0, "pm": 0.01, "m": 1e10}
#: Relative distance from a line of a tube within which a number without unit is it.
_LIKE_TUBE = 2e-3
#: Axes of diffraction patterns.
PATTERN_AXES = ("two_theta", "q", "d")


@replayable
@dataclass(frozen=True, kw_only=True)
class Diffractometer:
    """Describe the instrument of a powder pattern.

    Parameters
    ----------
    radiation
        ``"xray"`` or ``"neutron"``.
    wavelength
        Wavelength in Angstrom; for a tube without monochromator, that of K-alpha 1.
        None: that of `tube`, or from the data.
    tube
        Anode, whose K-alpha doublet is then included.
    ratio
        Intensity of K-alpha 2 relative to K-alpha 1; 0 after a monochromator.
    radius
        Radius of the goniometer, in mm; displacements are then given in mm.
    polarisation
        Fraction of the intensity polarised in the plane of diffraction: 0.5 for a
        tube, about 0 for a synchrotron with vertical diffraction.

    Raises
    ------
    ArgumentError
        If a length, the ratio or the polarisation is out of range.
    """

    radiation: Literal["xray", "neutron"] = "xray"
    wavelength: Wavelength | None = None
    tube: _TUBE | None = None
    ratio: Fraction = 0.5
    radius: GoniometerRadius | None = None
    polarisation: Fraction = 0.5

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def doublet(self) -> tuple[float, float] | None:
        """Return wavelength and intensity of the second line relative to the first."""
        if self.tube is None or self.ratio == 0:
            return None
        first, second = TUBES[self.tube]
        return second / first, self.ratio


def wavelength_of(
    data: xr.DataArray | xr.Dataset, instrument: Diffractometer
) -> float | None:
    """Return the wavelength in Angstrom: as given, of the tube, or from the data.

    Raises
    ------
    DataError
        If the data give several.
    """
    if instrument.wavelength is not None:
        return instrument.wavelength
    if instrument.tube is not None:
        return TUBES[instrument.tube][0]
    if "wavelength" in data.coords:
        found = in_units(data["wavelength"], "Angstrom", caller="wavelength")
        values = np.unique(found.values)
        if values.size > 1 and np.ptp(values) > 1e-6 * values[0]:
            raise DataError(
                "wavelength",
                f"differs between scans, from {values[0]:g} to {values[-1]:g} Angstrom",
                "Fit scans of one wavelength at a time.",
            )
        return float(values[0]) if np.isfinite(values[0]) else None
    if "wavelength" in data.attrs:
        return _length(data.attrs["wavelength"])
    try:
        header = json.loads(str(data.attrs.get("header", "{}")))
    except ValueError:
        return None
    words = header if isinstance(header, dict) else {}
    named = [
        str(n) for n in words if _LINE.search(str(n)) and not _OTHER.search(str(n))
    ]
    for name in sorted(named, key=lambda n: not _FIRST.search(n)):
        length = _length(words[name], name)
        if length is not None:
            return length
    return None


def require_wavelength(known: float | None, instrument: Diffractometer | None) -> None:
    """Raise if neither the data nor the instrument give the wavelength.

    Raises
    ------
    ArgumentError
        If so; the message says how to pass it.
    """
    if known is None:
        raise ArgumentError(
            "instrument",
            instrument,
            "a Diffractometer with the wavelength, which the data do not tell",
            'Pass instrument=Diffractometer(wavelength=1.5406), or tube="Cu".',
        )


def _length(value: Any, name: str = "") -> float | None:
    """Return a wavelength in Angstrom from a number or text; None if it is none.

    Raises
    ------
    DataError
        If it has no unit and is that of a tube in nm, or has the unit of another
        quantity.

    Warns
    -----
    DataQualityWarning
        If it has no unit, and is not that of a tube.
    """
    one = np.ravel(value)[0] if np.size(value) == 1 else value
    text = re.sub(r"(?<=\d),(?=\d)", ".", str(one)).strip("\"' ")
    words = re.match(r"\d*\.?\d+(?:e[+-]?\d+)?", text, re.IGNORECASE)
    if words is None:
        return None
    number = float(words[0])
    if strange := _STRANGE.match(text[words.end() :]) or _STRANGE.search(name):
        what = f"{name or 'wavelength'} = {value}"
        told = f"is in {strange[1]!r}, which is no unit of such a length"
        raise DataError(what, told, "Pass instrument=.")
    unit = _UNIT.search(text[words.end() :]) or _UNIT.search(name)
    if unit:
        number *= _ANGSTROMS.get(unit[1].lower(), 1.0)
    elif 1e-12 < number < 1e-8:  # metres, as pyFAI writes them
        number *= 1e10
    elif 0.01 < number < 30 and not _of_tube(number):
        what = f"{name or 'wavelength'} = {value}"
        if _of_tube(10 * number):
            raise DataError(
                what, "has no unit, and is a line of a tube in nm", "Pass instrument=."
            )
        warn_quality(f"{what} has no unit, and was taken in Angstrom.")
    return number if 0.01 < number < 30 else None


def _of_tube(number: float) -> bool:
    """Tell whether a wavelength is that of a tube, or the mean of its two lines."""
    ends = ((a * (1 - _LIKE_TUBE), b * (1 + _LIKE_TUBE)) for a, b in TUBES.values())
    return any(low < number < high for low, high in ends)


@recorded
def convert_axis(
    spectra: Spectra,
    *,
    axis: Literal["two_theta", "q", "d"],
    instrument: Diffractometer | None = None,
) -> Spectra:
    """Convert patterns to another axis: two_theta, q or d.

    *Lazy*. Values are unchanged: each keeps its point, with a new label.

    Parameters
    ----------
    spectra
        Patterns along one of the three axes.
    axis
        New axis: "two_theta" (deg), "q" (1/Angstrom) or "d" (Angstrom).
    instrument
        Instrument with the wavelength. Default: from the data (coordinate or attribute
        ``wavelength``, or the files' header).

    Returns
    -------
    same type as `spectra`
        With the new axis, rising, and the wavelength as a coordinate.

    Raises
    ------
    ArgumentError
        If the wavelength is unknown.
    DataError
        If q is larger than the wavelength allows.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> patterns = batteryxr.read_series("samples/xrd/*.xrdml")
    >>> patterns.xanes.convert_axis(axis="q").dims
    ('scan', 'q')
    """
    dim = pattern_axis(spectra, caller="convert_axis")
    known = wavelength_of(spectra, instrument or Diffractometer())
    if dim == axis:
        return with_wavelength(spectra, known)
    if "two_theta" in (dim, axis):
        require_wavelength(known, instrument)
    values = axis_of(spectra, dim, caller="convert_axis").values.astype(float)
    q = to_q(values, dim, known)
    new = from_q(q, axis, known)
    if axis == "d" and (q <= 0).any():
        raise DataError(
            dim,
            "holds zero, where d has no end",
            f"Leave it out: `.sel({dim}=slice(1e-3, None))`.",
        )
    if not np.isfinite(new).all():
        raise DataError(
            dim,
            f"reaches beyond what {known} Angstrom can diffract to",
            "Check the wavelength.",
        )
    out = spectra.rename({dim: axis}).assign_coords(
        {axis: (axis, new, attributes(axis))}
    )
    return with_wavelength(out.sortby(axis), known)


def pattern_axis(data: xr.DataArray | xr.Dataset, *, caller: str) -> str:
    """Return the axis of diffraction patterns.

    Raises
    ------
    DimensionError
        If there is none, or several.
    DataError
        If angles are impossible.
    """
    found = [d for d in PATTERN_AXES if d in data.dims]
    if len(found) != 1:
        raise DimensionError(
            f"{caller} needs patterns along one of {list(PATTERN_AXES)}; found "
            f"{tuple(map(str, data.dims))}. Rename yours: `.rename(...)`."
        )
    if found == ["two_theta"] and found[0] in data.coords:
        angles = in_units(data[found[0]], "deg", caller=caller).values
        largest = float(np.abs(angles).max(initial=0.0))
        bounds.check(
            "largest scattering angle", largest, argument="two_theta", data=True
        )
    return found[0]


def with_wavelength(data: Spectra, known: float | None) -> Spectra:
    """Store the wavelength as a coordinate."""
    if known is None:
        return data
    if "wavelength" in data.coords:
        own = in_units(data["wavelength"], "Angstrom", caller="wavelength")
        if np.allclose(own.values, known, rtol=1e-6, atol=0.0):
            return data
    return data.assign_coords(wavelength=((), known, attributes("wavelength")))


def to_q(values: np.ndarray, axis: str, wavelength: float | None) -> np.ndarray:
    """Return momentum transfers in 1/Angstrom."""
    if axis == "q":
        return values
    if axis == "d":
        with np.errstate(divide="ignore"):
            return 2 * np.pi / values
    assert wavelength is not None
    return np.asarray(4 * np.pi / wavelength * np.sin(np.radians(values) / 2))


def from_q(q: np.ndarray, axis: str, wavelength: float | None) -> np.ndarray:
    """Return points of an axis from momentum transfers."""
    if axis == "q":
        return q
    with np.errstate(divide="ignore", invalid="ignore"):
        if axis == "d":
            return 2 * np.pi / q
        assert wavelength is not None
        return np.asarray(2 * np.degrees(np.arcsin(q * wavelength / (4 * np.pi))))
