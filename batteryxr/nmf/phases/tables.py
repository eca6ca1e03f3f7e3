"""Label the outcomes of fits of structures: parameters, cells and patterns."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.model import label

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.pattern_fit import PatternFit
    from batteryxr.nmf.phases.candidates import Candidate

GREEK = ("alpha", "beta", "gamma")
#: Parameters of a fit: units and long name.
PARAMETERS = {
    "strain": ("1", "Relative change of the lattice, mean of all directions"),
    "u_iso": ("Angstrom2", "Mean square displacement"),
    "diameter": ("Angstrom", "Particle diameter"),
    "occupancy": ("1", "Occupancy"),
    "delta1": ("Angstrom", "Correlated motion, falling as 1/r"),
    "delta2": ("Angstrom2", "Correlated motion, falling as 1/r2"),
    "q_broad": ("1/Angstrom", "Widening of peaks with distance"),
    "scale": ("1", "Scale"),
}


def table(
    found: list[PatternFit | None],
    fits: list[Candidate],
    shape: tuple[int, ...],
    dims: list[str],
    *,
    r: np.ndarray,
) -> dict[str, xr.DataArray]:
    """Return all parameters, their errors, R_w and the fitted patterns.

    The candidates run fastest.
    """
    fit = fits[0]
    kept = {"strain", "diameter", "scale", *fit.widths}
    kept |= set() if fit.others else {"u_iso"}
    kept |= {"occupancy"} if fit.occupancy else set()
    names = [n for n in PARAMETERS if n in kept]
    rows = [fit.named(f) if f is not None else None for f in found]
    out: dict[str, xr.DataArray] = {}
    for name in names:
        units, text = PARAMETERS[name]
        if name == "occupancy":
            text = f"{text} of {fit.occupancy}"
        for index, suffix in enumerate(("", "_error")):
            values = [np.nan if row is None else row[name][index] for row in rows]
            out[name + suffix] = label(
                xr.DataArray(np.array(values).reshape(shape), dims=dims),
                name + suffix,
                units=units,
                long_name=f"{text}, error" if suffix else text,
            )
    if fit.others:
        out |= _displacements(found, fit, dims)
    each = zip(itertools.cycle(fits), found, strict=False)
    both = [own.cell(f.values, f.covariance) if f else None for own, f in each]
    out |= cells(both, shape, dims)
    r_w = np.array([np.nan if f is None else f.r_w for f in found]).reshape(shape)
    out["r_w"] = label(xr.DataArray(r_w, dims=dims), "r_w", units="1", long_name="R_w")
    empty = np.full(r.size, np.nan)
    models = np.array([empty if f is None else f.model for f in found])
    out["fitted"] = label(
        xr.DataArray(models.reshape(*shape, r.size), dims=[*dims, "r"]),
        "fitted",
        units="1/Angstrom2",
        long_name="Fitted G(r)",
    )
    return out


def _displacements(
    found: list[PatternFit | None], fit: Candidate, dims: list[str]
) -> dict[str, xr.DataArray]:
    """Return the displacement of each element, and its error."""
    none = np.full((2, len(fit.elements)), np.nan)
    both = np.array([none if f is None else fit.displacements(f) for f in found])
    which = {"units": "1", "long_name": "Element"}
    coords = {"element": ("element", fit.elements, which)}
    units, text = PARAMETERS["u_iso"]
    out = {}
    for i, (key, words) in enumerate(
        (("u_element", text), ("u_element_error", f"{text}, error"))
    ):
        array = xr.DataArray(both[:, i], dims=[*dims, "element"], coords=coords)
        out[key] = label(array, key, units=units, long_name=words)
    return out


def cells(
    found: list[tuple[np.ndarray, np.ndarray] | None],
    shape: tuple[int, ...],
    dims: list[str],
) -> dict[str, xr.DataArray]:
    """Return lengths and angles of unit cells, and their errors, labelled."""
    none = np.full((2, 6), np.nan)
    both = np.array([none if one is None else one for one in found])
    both = both.reshape(*shape, 2, 6)
    out = {}
    for error, suffix in enumerate(("", "_error")):
        for part, name, dim, names, units, text in (
            (slice(3), "length", "axis", "abc", "Angstrom", "Length of the cell"),
            (slice(3, 6), "angle", "angle", GREEK, "deg", "Angle of the cell"),
        ):
            key = f"cell_{name}{suffix}"
            which = {"units": "1", "long_name": text.split(" ")[0]}
            array = xr.DataArray(
                both[..., error, part],
                dims=[*dims, dim],
                coords={dim: (dim, list(names), which)},
            )
            words = f"{text}, error" if error else text
            out[key] = label(array, key, units=units, long_name=words)
    return out
