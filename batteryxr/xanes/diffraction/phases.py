"""Compute the reflections of a phase, from a file, a crystal or a lattice alone."""

from __future__ import annotations

import os

import numpy as np

from batteryxr.core.crystals import Crystal, read_crystal
from batteryxr.xanes.diffraction.cells import (
    CENTRED,
    Cell,
    Reflections,
    form_of,
    indices,
    metric_of,
    system_of,
)
from batteryxr.xanes.diffraction.instrument import TUBES, Diffractometer
from batteryxr.xanes.diffraction.intensities import line_power

#: Relative strength below which reflections are ignored.
_WEAK = 1e-3


def reflections(
    phase: str | os.PathLike[str] | Crystal | Cell,
    q_range: tuple[float, float],
    instrument: Diffractometer,
) -> Reflections:
    """Return the reflections of a phase within a range of q, by rising q."""
    crystal = as_phase(phase)
    if instrument.wavelength is None and instrument.tube is None:
        # For patterns over q, use any wavelength at which all reflections exist.
        longest = 0.8 * 4 * np.pi / q_range[1]
        instrument = Diffractometer(
            radiation=instrument.radiation,
            wavelength=min(TUBES["Cu"][0], longest),
            polarisation=instrument.polarisation,
        )
    if isinstance(crystal, Cell):
        vectors, system = crystal.vectors, crystal.system
        hkl = indices(vectors, q_range[1])
        hkl = hkl[CENTRED[crystal.centring](*hkl.T)]
        power = np.ones(len(hkl))
    else:
        vectors, system = crystal.cell, system_of(crystal.cell)
        hkl = indices(vectors, q_range[1])
        power = line_power(crystal, hkl, instrument)
    form, metric = form_of(hkl, system), metric_of(vectors, system)
    # The last of a family has the usual indices: positive and falling.
    keys, inverse = np.unique(form, axis=0, return_inverse=True)
    inverse = np.ravel(inverse)
    total = np.bincount(inverse, power, len(keys))
    rank = np.lexsort((*hkl.T[::-1], (hkl >= 0).sum(axis=1)))
    last = np.zeros(len(keys), int)
    last[inverse[rank]] = rank
    q = 2 * np.pi * np.sqrt(keys @ metric)
    strength = total / total.max() if total.size else total
    seen = (q >= q_range[0]) & (q <= q_range[1]) & (strength > _WEAK)
    order = np.flatnonzero(seen)[np.argsort(q[seen], kind="stable")]
    return Reflections(hkl[last[order]], keys[order], metric, strength[order], system)


def as_phase(phase: str | os.PathLike[str] | Crystal | Cell) -> Crystal | Cell:
    """Return a crystal or cell, reading a file if a path is given."""
    return read_crystal(phase) if isinstance(phase, str | os.PathLike) else phase
