"""Correct fluorescence of thick samples for their own absorption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, VariableError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.core.xray import atoms, require_symbols
from batteryxr.xanes.composition.scattering import edge_position, require_edge
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.bounds.kinds import Incidence

#: Largest distance (eV) from the edge at which absorption is looked up.
_BESIDE = 10.0
#: Factor of noise growth above which a correction is doubtful.
_AMPLIFIED = 4.0
#: Strongest lines of each edge.
_LINES = {"K": "Ka", "L1": "Lb", "L2": "Lb", "L3": "La"}


@recorded
def over_absorption(
    spectra: xr.DataArray | xr.Dataset,
    *,
    formula: str,
    element: str,
    edge: str = "K",
    geometry: tuple[Incidence, Incidence] = (45.0, 45.0),
) -> xr.Dataset:
    """Correct fluorescence of a thick, uniform sample for its own absorption.

    *Lazy*.

    The measured signal is N (a + 1) / (a + N), with N the true normalised absorption.
    Here a is the absorption without the edge, plus that of the line times sin in / sin
    out, over the step of the edge (L. Tröger et al., Phys. Rev. B 46, 3283 (1992)).
    The equation is solved for N. It holds for opaque samples; thin ones, or particles
    smaller than a few micrometres, need less correction.

    Parameters
    ----------
    spectra
        Result of `normalise`, or normalised spectra along `energy`, of fluorescence.
    formula
        Composition of the sample, with binder, such as "LiNi0.8Mn0.1Co0.1O2".
    element, edge
        Element and edge that were measured: "K", "L1", "L2" or "L3".
    geometry
        Angles of the incoming beam and of the detector to the surface, in degrees.

    Returns
    -------
    xarray.Dataset
        `normalised`, corrected (NaN where the signal exceeds what this sample can
        give). Attributes hold `alpha`, the a above, and `noise_factor`, (a + 1) / a,
        the growth of noise above the edge.

    Raises
    ------
    ArgumentError
        If the formula cannot be read or lacks the element, or an angle is invalid.
    DataError
        If the spectra end before the edge of the element, or begin after it.
    VariableError
        If the spectra are not normalised.

    Warns
    -----
    DataQualityWarning
        If noise grows more than fourfold: measure at grazing exit, dilute, or use
        transmission.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> flat = spectra.xanes.normalise(e0=8345, pre=(-30, -16), post=(20, 55), degree=1)
    >>> corrected = flat.xanes.over_absorption(formula="LiNiO2", element="Ni")
    >>> list(corrected.data_vars)[:3]
    ['normalised']
    """
    caller = "over_absorption"
    array = as_spectra(spectra, caller=caller, names=("normalised", "flattened"))
    if array.name in ("absorption", "optical_density"):
        raise VariableError(
            f"{caller} needs normalised spectra; found {array.name!r}. "
            "Call `.xanes.normalise(...)` first, or rename what is normalised."
        )
    alpha = _alpha(formula, element, edge, geometry)
    require_edge(array.energy.values, element, edge)
    values = blocks.apply(
        _corrected,
        array,
        core_dims=[["energy"]],
        output_dims=[["energy"]],
        dtypes=[array.dtype if array.dtype.kind == "f" else float],
        caller=caller,
        alpha=alpha,
    ).transpose(*array.dims)
    factor = (alpha + 1.0) / alpha
    if factor > _AMPLIFIED:
        warn_quality(
            f"{caller}: noise above the edge grows by a factor of {factor:.1f}, and so "
            "do errors of formula and angles. Measure at grazing exit, dilute, or use "
            "transmission."
        )
    text = "Normalised absorption, without over-absorption"
    normal = label(values, "normalised", units="1", long_name=text)
    out = xr.Dataset({"normalised": normal})
    return inherit(out, array, alpha=alpha, noise_factor=factor)


def _corrected(data: np.ndarray, *, alpha: float) -> np.ndarray:
    left = alpha + 1.0 - data
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > 0, alpha * data / left, np.nan).astype(data.dtype)


def _alpha(
    formula: str, element: str, edge: str, geometry: tuple[float, float]
) -> float:
    """Return the absorption of all else, relative to the edge step.

    It is that of the incoming beam below the edge, and that of the fluorescence line.

    Raises
    ------
    ArgumentError
        If angles, edge, element or formula are invalid.
    """
    if edge not in _LINES:
        raise ArgumentError("edge", edge, f"one of {list(_LINES)}")
    if not all(0 < angle <= 90 for angle in geometry):
        raise ArgumentError("geometry", geometry, "two angles of 0 to 90 degrees")
    require_symbols(formula)
    position = edge_position(element, edge)
    parts = atoms(formula)
    if element not in parts:
        raise ArgumentError("formula", formula, f"a formula that holds {element}")
    import xraydb

    every = xraydb.xray_lines(element, edge)
    lines = [v for name, v in every.items() if name.startswith(_LINES[edge])]
    if not lines:
        raise ArgumentError(
            "element", element, f"an element with a line {_LINES[edge]}"
        )
    strength = np.array([v.intensity for v in lines])
    line = np.average([v.energy for v in lines], weights=strength)
    beside = _clear_of_others(position, parts)
    energy = np.array([line, position - beside, position + beside])
    plain = "".join(f"{name}{n:.12f}" for name, n in parts.items())
    back, below, above = xraydb.material_mu(plain, energy, density=1.0)
    first, second = np.sin(np.deg2rad(np.asarray(geometry, float)))
    return float((back * first / second + below) / (above - below))


def _clear_of_others(position: float, parts: Mapping[str, float]) -> float:
    """Return the distance (eV) from an edge within which there is no other edge.

    For example, the L3 edge of titanium lies 6 eV below its L2 edge.
    """
    import xraydb

    every = [e.energy for name in parts for e in xraydb.xray_edges(name).values()]
    away = np.abs(np.array(every, float) - position)
    return min(_BESIDE, 0.4 * float(away[away > 0].min(initial=np.inf)))
