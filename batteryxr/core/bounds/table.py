"""The table of quantities: possible and likely values, and common mistakes.

A technique adds its quantities as rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Correction = float | tuple[float, float] | Callable[[float], float]


@dataclass(frozen=True)
class Bound:
    """Describe bounds of a quantity.

    Parameters
    ----------
    units
        Units of the values; "1" for a plain number.
    possible
        Lowest and highest possible value; values outside are an error.
    likely
        Lowest and highest value of most experiments; values outside are warned of.
    slips
        Units that are passed by mistake, and their correction: a factor, factor and
        offset, or a function. The message names the one that gives the most likely
        value.
    neighbours
        Number of neighbouring values in results that are judged by their median: a few
        odd ones are no mistake. All are taken where there are fewer; less than three
        are not judged.
    known
        Numbers that everybody writes in another unit, likely in ours, but hardly ever
        meant: by that unit, its correction and the numbers.
    """

    units: str
    possible: tuple[float, float]
    likely: tuple[float, float]
    slips: Mapping[str, Correction] = field(default_factory=dict)
    neighbours: int = 1
    known: Mapping[str, tuple[Correction, tuple[float, ...]]] = field(
        default_factory=dict
    )


_LENGTHS_NM = {"um": 1e3, "Angstrom": 0.1, "mm": 1e6, "m": 1e9}
_LENGTHS_UM = {"mm": 1e3, "m": 1e6, "nm": 1e-3}
_LENGTHS_MM = {"m": 1e3, "cm": 10.0, "um": 1e-3}
_TIMES = {"min": 60.0, "h": 3600.0, "ms": 1e-3, "us": 1e-6}
#: Wavelengths of copper, molybdenum, cobalt, iron, chromium and silver tubes.
_TUBES_NM = (
    0.154056, 0.15418, 0.154184, 0.154439, 0.0709317, 0.071073, 0.178897, 0.193604,
    0.19374, 0.228970, 0.22910, 0.0559407, 0.056086
)  # fmt: skip
#: Energies of the same tubes in keV.
_TUBES_KEV = (
    8.0478, 8.048, 8.0411, 8.041, 8.05, 17.4793, 17.479, 17.48, 6.9303, 6.930, 6.4038,
    6.404, 5.4147, 5.415, 22.163, 22.16
)  # fmt: skip
_KELVIN = {"K": (1.0, -273.15), "degC, read as K": (1.0, 273.15)}
_PER_CENT = {"per cent": 0.01}
_PARTS = {"per cent": 1e4, "a fraction": 1e6}

BOUNDS: dict[str, Bound] = {
    # of a cell
    "mass": Bound("mg", (1e-6, 1e8), (0.02, 2e6), {"g": 1e3, "kg": 1e6, "ug": 1e-3}),
    "nominal capacity": Bound("mA h", (1e-6, 1e7), (0.01, 2e6), {"A h": 1e3}),
    "voltage": Bound("V", (-100.0, 1500.0), (-10.0, 100.0), {"mV": 1e-3}),
    "voltage step": Bound("V", (0.0, 5.0), (0.0, 0.3), {"mV": 1e-3, "uV": 1e-6}),
    "current": Bound("mA", (-1e7, 1e7), (-1e6, 1e6), {"uA": 1e-3, "A": 1e3}),
    "rest current": Bound("mA", (0.0, 1e5), (0.0, 1e3), {"uA": 1e-3, "nA": 1e-6}),
    "gap": Bound("s", (0.0, math.inf), (5.0, 1e8), {"h": 3600.0, "min": 60.0}),
    "exposure": Bound("s", (0.0, 1e6), (0.0, 2e4), {"ms": 1e-3, "us": 1e-6}),
    "pulse": Bound("s", (0.0, 1e9), (1e-3, 2e4), _TIMES),
    "rest": Bound("s", (0.0, 1e10), (60.0, 1e7), _TIMES),
    "titration pulse": Bound("s", (0.0, 1e9), (20.0, 2e5), _TIMES),
    "row interval": Bound("s", (0.0, 1e6), (1e-4, 600.0), {"ms": 1e-3, "us": 1e-6}),
    "resistance": Bound("ohm", (-1e12, 1e12), (-1e5, 1e5), {"mohm": 1e-3}),
    "frequency": Bound("Hz", (0.0, 1e13), (2e-6, 2e7),
                       {"mHz": 1e-3, "uHz": 1e-6, "kHz": 1e3, "MHz": 1e6}),
    "interruption": Bound("s", (0.0, 1e9), (0.0, 600.0), {"ms": 1e-3, "us": 1e-6}),
    "clock offset": Bound("s", (0.0, 4e6), (0.0, 2e5), {"ms": 1e-3}),
    "clock drift": Bound("1e-6", (0.0, 1e6), (0.5, 2e4),
                         _PARTS),
    # A clock that was reset is years off.
    "declared clock offset": Bound("s", (0.0, 4e9), (0.0, 2e5), {"ms": 1e-3}),
    "declared clock drift": Bound("1e-6", (0.0, 1e6), (1e-2, 2e4),
                                  _PARTS),
    "electrons": Bound("1", (0.0, 1e4), (5e-3, 36.0), _PER_CENT),
    "relative tolerance": Bound("1", (0.0, 1e6), (0.0, 0.5), _PER_CENT),
    "part of a capacity": Bound("1", (0.0, 1e3), (0.0, 0.3), _PER_CENT),
    "relative noise": Bound("1", (0.0, 100.0), (0.0, 0.25), _PER_CENT),
    "oxidation state": Bound("1", (-1e3, 1e3), (-4.0, 9.0), _PER_CENT),
    "strain": Bound("1", (0.0, 0.2), (0.0, 0.12), _PER_CENT),
    "share": Bound("1", (0.0, 10.0), (0.0, 1.5), _PER_CENT),
    "capacity per mass": Bound("mA h g-1", (0.0, 1e5), (0.5, 4500.0),
                               {"A h g-1": 1e3, "mA h kg-1": 1e-3}),
    "mol per cent": Bound("1", (0.0, 1e4), (0.2, 200.0), {"a fraction": 100.0}),
    "temperature": Bound("degC", (-273.15, 2e3), (-100.0, 250.0), _KELVIN),
    "specific capacity": Bound("mA h g-1", (-1e5, 1e5), (-4500.0, 4500.0)),
    "usual specific capacity": Bound("mA h g-1", (0.0, 1e5), (0.5, 4500.0),
                                     {"a mass in ug or a current in A": 1e3,
                                      "a mass in g, passed as if in mg": 1e-3,
                                      "a mass in kg, passed as if in mg": 1e-6}),
    "Li content": Bound("1", (-5.0, 50.0), (-0.2, 25.0), _PER_CENT),
    "utilisation": Bound("1", (0.0, 1e6), (0.0, 2.5),
                         {"C g-1 in place of mA h g-1": 1 / 3.6, **_PER_CENT}),
    "coulombic efficiency": Bound("1", (0.0, 1e6), (0.5, 1.5), _PER_CENT, 5),
    "particle radius": Bound("nm", (0.1, 1e8), (1.0, 1e6), _LENGTHS_NM),
    "diffusivity": Bound("m2 s-1", (0.0, 1.0), (0.0, 1e-8), {"cm2 s-1": 1e-4}),
    "diffusion time": Bound("s", (0.0, 1e15), (100.0, 1e9), {"h": 3600.0, "min": 60.0}),
    "C-rate": Bound("1/h", (0.0, 1e5), (1e-4, 200.0), _PER_CENT),
    "window in a pulse": Bound("s", (0.0, 1e9), (0.0, 1.5e4), _TIMES),
    "time constant": Bound("s", (0.0, 1e15), (0.0, 1e10), _TIMES),
    # of a beam
    "photon energy": Bound("eV", (10.0, 1e6), (100.0, 2e5),
                           {"keV": 1e3, "MeV": 1e6, "meV": 1e-3, "J": 6.241509e18}),
    "energy shift": Bound("eV", (-1e5, 1e5), (-50.0, 50.0), {}),
    "wavelength": Bound("Angstrom", (1e-2, 1e4), (0.05, 130.0),
                        {"nm": 10.0, "m": 1e10, "pm": 0.01},
                        known={"nm": (10.0, _TUBES_NM),
                              "keV": (lambda e: 12.398420 / e, _TUBES_KEV)}),
    "angle": Bound("deg", (-360.0, 360.0), (-180.0, 180.0), {"mdeg": 1e-3}),
    "angle of incidence": Bound("deg", (0.0, 180.0), (1.6, 180.0), {"rad": 57.295780}),
    "detector distance": Bound("mm", (1e-3, 1e6), (5.0, 5e4), _LENGTHS_MM),
    "detector pixel": Bound("um", (1e-3, 1e4), (0.3, 1e3), _LENGTHS_UM),
    # The widest crystal is half of it: wavelength * distance / pixel.
    "width that a detector sees": Bound("nm", (0.0, 1e9), (350.0, 2e5),
                                 {"the distance in cm": 10.0,
                                  "the distance in m": 1e3, "the pixel in nm": 1e3,
                                  "the distance in um": 1e-3,
                                  "the pixel in mm": 1e-3}),
    "pixel size": Bound("nm", (1e-4, 1e8), (0.5, 5e5), _LENGTHS_NM),
    "zone plate": Bound("um", (0.1, 1e5), (8.0, 5e3), _LENGTHS_UM),
    "central stop": Bound("um", (0.0, 1e5), (0.5, 1e3), _LENGTHS_UM),
    "outer zone": Bound("nm", (0.1, 1e6), (3.0, 1e3), _LENGTHS_NM),
    "focus": Bound("nm", (0.1, 1e7), (1.0, 5e4), _LENGTHS_NM),
    "half angle": Bound("mrad", (1e-4, 1e3), (0.02, 200.0),
                        {"rad": 1e3, "deg": 17.453293, "urad": 1e-3}),
    "size of a defocus": Bound("um", (0.0, 1e7), (0.01, 2e4), {"m": 1e6, "mm": 1e3}),
    "defocus": Bound("um", (-1e7, 1e7), (-2e4, 2e4), {"nm": 1e-3}),
    "span of positions": Bound("nm", (0.0, 1e8), (2.0, 1e7), _LENGTHS_NM),
    "voxel size": Bound("nm", (1e-3, 1e6), (0.05, 1e4), _LENGTHS_NM),
    "rocking span": Bound("deg", (0.0, 360.0), (0.0, 20.0), {"mdeg": 1e-3}),
    "rocking step": Bound("deg", (0.0, 360.0), (3e-4, 5.0), {"rad": 57.295780}),
    "Bragg peak": Bound("1/Angstrom", (0.0, 100.0), (0.15, 30.0),
                        {"two_theta in rad": 57.295780}),
    "goniometer radius": Bound("mm", (1.0, 1e5), (30.0, 5e3), {"m": 1e3, "cm": 10.0}),
    "width of an edge": Bound("eV", (0.0, 1e4), (0.02, 200.0),
                              {"keV": 1e3, "meV": 1e-3}),
    "energy step": Bound("eV", (0.0, 1e4), (0.005, 50.0), {"keV": 1e3, "meV": 1e-3}),
    # of a sample
    "lattice length": Bound("Angstrom", (0.1, 1e4), (1.2, 300.0),
                            {"nm": 10.0, "pm": 0.01, "m": 1e10}),
    "lattice angle": Bound("deg", (0.0, 180.0), (15.0, 165.0), {"rad": 57.295780}),
    "Scherrer factor": Bound("1", (0.0, 100.0), (0.5, 2.1), _PER_CENT),
    "crystal size": Bound("nm", (0.1, 1e8), (1.0, 1e5), _LENGTHS_NM),
    "distance r": Bound("Angstrom", (-1.0, 1e5), (0.0, 1e3), {"pm": 0.01}),
    "largest r": Bound("Angstrom", (0.0, 1e5), (4.5, 1e3), {"nm": 10.0, "pm": 0.01}),
    "wavenumber": Bound("1/cm", (-1e9, 1e9), (-6e4, 6e4), {"1/m": 0.01}),
    "occupancy": Bound("1", (0.0, 1e3), (0.0, 1.02), _PER_CENT),
    "simulated r": Bound("Angstrom", (0.0, 500.0), (0.0, 150.0), {"pm": 0.01}),
    "step of r": Bound("Angstrom", (0.0, 100.0), (1e-4, 0.5), {"pm": 0.01, "nm": 10.0}),
    "momentum transfer": Bound("1/Angstrom", (0.0, 1e3), (0.0, 100.0),
                               {"1/nm": 0.1, "1/m": 1e-10}),
    "range of Q": Bound("1/Angstrom", (0.1, 1e3), (2.0, 100.0),
                        {"1/nm": 0.1, "1/pm": 100.0}),
    "damping of Q": Bound("1/Angstrom", (0.0, 10.0), (0.0, 0.2), {"1/nm": 0.1}),
    "scattering angle": Bound("deg", (-360.0, 360.0), (-180.0, 180.0),
                              {"centideg": 0.01, "mdeg": 1e-3}),
    "largest scattering angle": Bound("deg", (0.0, 360.0), (3.3, 180.0),
                                      {"rad": 57.295780, "mdeg": 1e-3}),
}  # fmt: skip
