"""Beamlines as data: circles from the outermost inwards, and pixel directions."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from batteryxr.core.checks import check_fields, checked
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.files import require_regular
from batteryxr.core.provenance import replayable

#: Directions in the laboratory.
Axis = Literal["x+", "x-", "y+", "y-", "z+", "z-"]
#: Tilt (deg) of a detector on its arm that is no slip of a mount any more.
_STEEP = 45.0
_FOLDER = Path(__file__).parent / "beamlines"


@replayable
@dataclass(frozen=True)
class Circle:
    """Describe a rotation of the sample or of the detector arm.

    Parameters
    ----------
    motor
        Name of the coordinate that holds its angle (deg).
    axis
        Rotation axis at zero of all circles, with the sense of positive angles by the
        right hand: ``"y+"``. The laboratory has z along the beam and y up.
    zero
        Reading of the motor at which the circle is at zero (deg).
    """

    motor: str
    axis: Axis
    zero: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@replayable
@dataclass(frozen=True)
class Beamline:
    """Describe a diffractometer with its detector.

    Parameters
    ----------
    name
        Name of the beamline.
    sample, detector
        Circles from the outermost, which carries the others, inwards. A detector
        without an arm has none.
    rows, columns
        Direction in which detector rows and columns count up, at zero of all
        detector circles, seen in the laboratory.
    energy, distance
        Name and units of the coordinate that holds photon energy and detector
        distance, where that is not ``energy`` (eV) and ``distance`` (mm).
    tilt
        Angles (deg) by which the detector is inclined on its arm: about x, then y, then
        z of the laboratory, at zero of the arm. See `calibrate_detector`.
    """

    name: str
    sample: tuple[Circle, ...]
    detector: tuple[Circle, ...]
    rows: Axis = "y-"
    columns: Axis = "x+"
    energy: tuple[str, str] = ("energy", "eV")
    distance: tuple[str, str] = ("distance", "mm")
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        # The attributes of a result hold these tuples as lists.
        for name in ("sample", "detector", "energy", "distance", "tilt"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        check_fields(self)
        if self.rows[0] == self.columns[0]:
            raise ArgumentError("rows", self.rows, f"another axis than {self.columns}")
        if not max(map(abs, self.tilt)) < _STEEP:
            told = f"angles below {_STEEP:g} deg, as circles turn what turns farther"
            raise ArgumentError("tilt", self.tilt, told)


@checked
def beamlines() -> list[str]:
    """Return the names of the beamlines that come with the library.

    Examples
    --------
    >>> batteryxr.cdi.beamlines()[:6]
    ['34-ID-C', '4S+2D', 'CRISTAL', 'I16', 'ID01', 'ID27']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


@checked
def beamline(name: str | Path | Beamline) -> Beamline:
    """Return a beamline by its name, or from a TOML file of the same form.

    Raises
    ------
    ArgumentError
        If there is no beamline of this name.
    FileFormatError
        If the file does not describe a beamline.

    Examples
    --------
    >>> id01 = batteryxr.cdi.beamline("ID01")
    >>> [circle.motor for circle in id01.sample]
    ['eta', 'phi']
    """
    return find(name, argument="name")


def find(name: str | Path | Beamline, *, argument: str) -> Beamline:
    """Return a beamline; errors name the argument as the caller does.

    Raises
    ------
    ArgumentError, FileFormatError
        See `beamline`.
    """
    if isinstance(name, Beamline):
        return name
    path = Path(name)
    if path.suffix != ".toml":
        known = {stem.lower(): stem for stem in beamlines()}
        found = known.get(str(name).lower())
        if found is None:
            raise ArgumentError(
                argument,
                str(name),
                f"one of {beamlines()}, a .toml file, or a Beamline",
                "Copy the nearest file and set circles and axes: see Beamline.",
            )
        path = _FOLDER / f"{found}.toml"
    require_regular(path, argument=argument, most=1_000_000)
    try:
        return _from_table(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ArgumentError(argument, str(name), "a readable file") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(path, f"describes no beamline: {error!r}.") from error


def _from_table(table: dict[str, Any]) -> Beamline:
    fields = dict(table)
    for side in ("sample", "detector"):
        fields[side] = tuple(Circle(**circle) for circle in fields[side])
    for name in ("energy", "distance"):
        if name in fields:
            fields[name] = (fields[name]["coordinate"], fields[name]["units"])
    return Beamline(**fields)
