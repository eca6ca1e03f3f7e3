"""Compute intensities of powder reflections from a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.crystals import Crystal, read_crystal
from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.pair_distribution import scattering_power
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.core.xray import HC
from batteryxr.xanes.diffraction.cells import Reflections, indices
from batteryxr.xanes.diffraction.instrument import TUBES, Diffractometer, from_q

if TYPE_CHECKING:
    import os

    from batteryxr.xanes.spectra import Range

#: Relative difference of spacings below which reflections are one line.
_SAME = 1e-7


@recorded
def powder_lines(
    crystal: Crystal | str | os.PathLike[str],
    *,
    instrument: Diffractometer = Diffractometer(tube="Cu"),
    limits: Range = (10.0, 90.0),
) -> xr.Dataset:
    """Calculate the lines of a powder: positions and intensities.

    Parameters
    ----------
    crystal
        CIF file or crystal; sites may be partly filled or shared by elements. Its
        ``u_iso`` damps the lines; ``dataclasses.replace(crystal, u_iso=...)`` sets it.
    instrument
        Radiation, wavelength and polarisation.
    limits
        Range of two_theta (deg).

    Returns
    -------
    xarray.Dataset
        Along ``reflection``: ``intensity`` (strongest 100), ``two_theta``, ``q``,
        ``d``, ``multiplicity``, ``structure_factor`` (|F|, electrons or fm) and the
        indices ``h``, ``k``, ``l`` of one reflection of each family.

    Raises
    ------
    ArgumentError
        If no line lies within the limits.

    Notes
    -----
    Form factors are those of free atoms by Waasmaier & Kirfel (Acta Cryst. A51, 416
    (1995)) with Chantler's f' and f''. Coherent scattering lengths are those of
    periodictable (Sears, Neutron News 3, 26 (1992), and its updates). Lorentz and
    polarisation factors are those of a powder, without absorption or preferred
    orientation.

    Examples
    --------
    >>> from diffpy.structure import Atom, Lattice, Structure
    >>> atoms = [Atom("Cs", [0.0, 0.0, 0.0]), Atom("Cl", [0.5, 0.5, 0.5])]
    >>> Structure(atoms, Lattice(4.12, 4.12, 4.12, 90, 90, 90)).write("CsCl.cif", "cif")
    >>> lines = batteryxr.xanes.powder_lines("CsCl.cif")
    >>> lines["intensity"].dims
    ('reflection',)
    """
    bounds.check("largest scattering angle", limits[1], argument="limits")
    crystal = crystal if isinstance(crystal, Crystal) else read_crystal(crystal)
    wavelength = instrument.wavelength or TUBES[instrument.tube or "Cu"][0]
    q_max = 4 * np.pi / wavelength * np.sin(np.radians(min(limits[1], 179.0)) / 2)
    hkl = indices(crystal.cell, max(float(q_max), 0.0))
    if not hkl.size:
        raise ArgumentError("limits", limits, "a range of two_theta with a line")
    reciprocal = np.linalg.inv(crystal.cell).T
    q = 2 * np.pi * np.linalg.norm(hkl @ reciprocal, axis=1)
    # Among equals the usual indices come last: positive and falling.
    rank = np.lexsort((*hkl.T[::-1], (hkl >= 0).sum(axis=1), np.round(q / _SAME / 10)))
    hkl, q = hkl[rank], q[rank]
    power = line_power(crystal, hkl, instrument)
    ends = np.append(np.flatnonzero(np.diff(q) > _SAME * q[1:]), q.size - 1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    total = np.add.reduceat(power, starts)
    angle = from_q(q[ends], "two_theta", wavelength)
    seen = (angle >= limits[0]) & (angle <= limits[1])
    seen &= total > 1e-9 * total[seen].max(initial=0.0)
    if not seen.any():
        raise ArgumentError("limits", limits, "a range of two_theta with a line")
    squared = structure_factors(crystal, hkl, instrument)
    counts = 2 * (ends - starts + 1)
    mean = np.add.reduceat(np.abs(squared) ** 2, starts) / (ends - starts + 1)
    at = ends[seen]
    names = Reflections(hkl[at], *(np.empty(0),) * 3, "").names
    strength = 100 * total[seen] / total[seen].max()
    units = "1" if instrument.radiation == "xray" else "fm"
    columns = {
        "intensity": (strength, "1", "Intensity, strongest 100"),
        "two_theta": (angle[seen], "deg", "Diffraction angle 2θ"),
        "q": (q[at], "1/Angstrom", "Momentum transfer Q"),
        "d": (2 * np.pi / q[at], "Angstrom", "Lattice spacing d"),
        "multiplicity": (counts[seen], "1", "Multiplicity"),
        "structure_factor": (np.sqrt(mean[seen]), units, "Structure factor |F|"),
    }
    for i, letter in enumerate("hkl"):
        columns[letter] = (hkl[at, i], "1", f"Index {letter}")
    result = xr.Dataset(
        {
            name: ("reflection", values, {"units": unit, "long_name": words})
            for name, (values, unit, words) in columns.items()
        },
        coords={
            "reflection": (
                "reflection",
                names,
                {"units": "1", "long_name": "Reflection"},
            ),
            "wavelength": ((), wavelength, attributes("wavelength")),
        },
    )
    return result.assign_attrs(crystal=crystal.name)


def line_power(
    crystal: Crystal,
    hkl: np.ndarray,
    instrument: Diffractometer,
) -> np.ndarray:
    """Return |F|2 with Lorentz and polarisation factors for each (h, k, l)."""
    wavelength = instrument.wavelength or TUBES[instrument.tube or "Cu"][0]
    squared = np.abs(structure_factors(crystal, hkl, instrument)) ** 2
    reciprocal = np.linalg.inv(crystal.cell).T
    s = 0.5 * np.linalg.norm(hkl @ reciprocal, axis=1)
    sine = np.minimum(s * wavelength, 0.9999)
    cosine = np.sqrt(1 - sine**2)
    twice = 1 - 2 * sine**2
    polarised = 1.0
    if instrument.radiation == "xray":
        share = instrument.polarisation
        polarised = (1 - share) + share * twice**2
    return np.asarray(squared * polarised / (sine**2 * cosine))


def structure_factors(
    crystal: Crystal,
    hkl: np.ndarray,
    instrument: Diffractometer,
) -> np.ndarray:
    """Return F for each (h, k, l), in electrons or fm."""
    reciprocal = np.linalg.inv(crystal.cell).T
    s = 0.5 * np.linalg.norm(hkl @ reciprocal, axis=1)
    known = crystal.u_iso if crystal.u_iso is not None else 0.0
    u = np.broadcast_to(known, len(crystal.elements))
    phase = np.exp(2j * np.pi * (hkl @ crystal.sites.T))
    damped = np.exp(-8 * np.pi**2 * np.outer(s**2, u)) * crystal.occupancy
    power = _powers(crystal.elements, s, instrument)
    return np.asarray((power * damped * phase).sum(axis=1))


def _powers(
    elements: tuple[str, ...], s: np.ndarray, instrument: Diffractometer
) -> np.ndarray:
    """Return (reflections, atoms) scattering powers at sin(theta) / wavelength."""
    if instrument.radiation == "neutron":
        return np.broadcast_to(
            scattering_power(elements, "neutron"), (s.size, len(elements))
        )
    import xraydb

    wavelength = instrument.wavelength or TUBES[instrument.tube or "Cu"][0]
    energy = HC / (wavelength * 1e-10)
    table = {}
    for symbol in set(elements):
        real = xraydb.f1_chantler(symbol, energy)
        imaginary = xraydb.f2_chantler(symbol, energy)
        table[symbol] = xraydb.f0(symbol, s) + real + 1j * imaginary
    return np.stack([table[symbol] for symbol in elements], axis=1)
