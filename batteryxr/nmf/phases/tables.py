"""Label the outcomes of fits of structures: parameters, cells and patterns."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.model import label
from batteryxr.nmf.phases.measured import LITTLE, LOST, MUCH, RECURS
from batteryxr.nmf.phases.mixtures import at_bound
from batteryxr.nmf.results import FLAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.nmf.kernels.pattern_fit import Mixed, PatternFit, Spread
    from batteryxr.nmf.phases.candidates import Candidate, CandidateSeries

#: Smallest fraction of a phase at which its structure is judged.
_THERE = 0.02
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


@dataclass(frozen=True, eq=False)
class SeriesTable:
    """Hold a solution, to be labelled; `lit` marks the rows that were fitted.

    `noise` is that of the data over the errors given, and `pairs` are the phases whose
    ratio is open.
    """

    rows: xr.DataArray
    lit: np.ndarray
    model: CandidateSeries
    found: Mixed
    spread: Spread
    noise: float
    pairs: list[tuple[int, int]]

    def result(self, crystals: Mapping[str, object]) -> xr.Dataset:
        """Return ratios, structures and patterns, labelled."""
        names, dim = list(crystals), str(self.rows.dims[0])
        out: dict[str, xr.DataArray] = {}
        both = (dim, "component")
        shares, errors = self.found.scales, self.spread.scales
        for name, values, text in (
            ("weights", shares, "Share of the signal"),
            ("weights_error", errors, "Share of the signal, error"),
        ):
            out[name] = self.labelled(name, both, values, "1", text)
        out |= self.cells()
        for end, text in (("", ""), ("_error", ", error")):
            first = out[f"cell_length{end}"].sel(axis="a", drop=True)
            key, text = f"lattice{end}", f"Lattice parameter{text}"
            out[key] = label(first, key, units="Angstrom", long_name=text)
        for name, (values, error) in self.parameters().items():
            units, text = PARAMETERS[name]
            for key, array, words in (
                (name, values, text),
                (f"{name}_error", error, f"{text}, error"),
            ):
                dims = ("component",) if name == "u_iso" else both
                array = array[0] if name == "u_iso" else array
                out[key] = self.labelled(key, dims, array, units, words)
        out |= self.patterns(dim)
        ends = [
            bool(
                any(
                    at_bound(fit, q)
                    for q in self.model.parameters(
                        self.found.values, k, self.model.basis
                    )[shares[:, k] > _THERE]
                )
            )
            for k, fit in enumerate(self.model.fits)
        ]
        out["at_bound"] = self.labelled(
            "at_bound", ("component",), np.array(ends), "1", "Fit ended at a bound"
        )
        both_open = np.isin(np.arange(len(names)), np.array(self.pairs, dtype=int))
        text = "Another phase explains as much: its ratio to that is open"
        out["undetermined"] = self.labelled(
            "undetermined", ("component",), both_open, "1", text
        )
        out["flag"] = label(xr.DataArray(self.flags(), dims=(dim,)), "flag", **FLAGS)
        kept = {n: c for n, c in self.rows.coords.items() if n != "component"}
        return xr.Dataset(out).assign_coords(kept | {"component": names})

    def flags(self) -> np.ndarray:
        """Return 6 for scans that are explained worse than their noise allows."""
        from batteryxr.nmf.kernels.noise import repeated

        values = self.rows.values
        empty = ~np.isfinite(values).all(axis=1) | ~values.any(axis=1)
        out = np.where(empty, 1, 2).astype(np.int8)
        square = (self.found.rest**2).mean(axis=1)
        size = ((self.model.weight * values[self.lit]) ** 2).mean(axis=1)
        known = np.isfinite(self.noise)
        much = square > (MUCH * self.noise**2 if known else LOST**2 * size)
        much |= repeated(self.found.rest) > RECURS
        out[self.lit] = np.where(much & (square > LITTLE**2 * size), 6, 0)
        return out

    def labelled(
        self,
        name: str,
        dims: tuple[str, ...],
        values: np.ndarray,
        units: str,
        text: str,
    ) -> xr.DataArray:
        """Label values; rows without a fit get NaN."""
        if dims[0] == self.rows.dims[0]:
            whole = np.full((self.lit.size, *values.shape[1:]), np.nan)
            whole[self.lit] = values
            values = whole
        array = xr.DataArray(values, dims=dims)
        return label(array, name, units=units, long_name=text)

    def parameters(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return values and errors of each kind, (scans, phases)."""
        model, p = self.model, self.found.values
        shape = (len(model.basis), len(model.fits))
        kinds = ("strain", "u_iso", "diameter", "occupancy")
        out = {k: (np.full(shape, np.nan), np.full(shape, np.nan)) for k in kinds}
        for k, fit in enumerate(model.fits):
            values = model.parameters(p, k, model.basis)
            variance = np.diagonal(self.covariance(k), axis1=1, axis2=2)
            errors = np.sqrt(np.maximum(variance, 0.0))
            for i in range(fit.shape.start):
                value, error = values[:, i], errors[:, i]
                if i == 2:
                    bulk = value <= 1e-6
                    with np.errstate(divide="ignore", invalid="ignore"):
                        error = np.where(bulk, np.nan, error / value**2)
                        value = np.where(bulk, math.inf, 1.0 / value)
                if i == 3:
                    value, error = value * fit.share, error * fit.share
                out[kinds[i]][0][:, k], out[kinds[i]][1][:, k] = value, error
        if not any(fit.occupancy for fit in model.fits):
            del out["occupancy"]
        return out

    def covariance(self, k: int) -> np.ndarray:
        """Return that of a phase's parameters in each scan, (scans, own, own)."""
        basis, own = self.model.basis, self.model.places()[k]
        one = np.ones((len(basis), 1))
        at = [one if i == 1 else basis for i in range(len(own))]
        rows = [
            [
                np.einsum("sa,ab,sb->s", at[i], self.spread.values[p, q], at[j])
                for j, q in enumerate(own)
            ]
            for i, p in enumerate(own)
        ]
        out = np.moveaxis(np.array(rows), -1, 0)
        if self.spread.bent is not None:
            out += self.spread.bent[k][:, None] * np.eye(len(own))
        return out

    def cells(self) -> dict[str, xr.DataArray]:
        """Return lengths and angles of the cells, (scan, component, axis)."""
        found: list[tuple[np.ndarray, np.ndarray] | None] = [None] * self.lit.size
        model, count = self.model, len(self.model.fits)
        found *= count
        for k, fit in enumerate(model.fits):
            values = model.parameters(self.found.values, k, model.basis)
            rows = zip(
                np.flatnonzero(self.lit), values, self.covariance(k), strict=True
            )
            for scan, p, covariance in rows:
                found[scan * count + k] = fit.cell(p, covariance)
        dims = [str(self.rows.dims[0]), "component"]
        return cells(found, (self.lit.size, count), dims)

    def patterns(self, dim: str) -> dict[str, xr.DataArray]:
        """Return fitted and mean patterns, and the residuals."""
        weight, shares = self.model.weight, self.found.scales
        shapes = self.found.shapes / weight[:, None]
        rest = self.found.rest / weight
        fitted = np.einsum("sk,skp->sp", shares, shapes)
        total = np.maximum(shares.sum(axis=0), 1e-12)
        mean = np.einsum("sk,skp->kp", shares / total, shapes)
        level = np.sqrt((rest**2).mean(axis=1))
        size = np.sqrt(((fitted + rest) ** 2).mean(axis=1))
        units = str(self.rows.attrs.get("units", "1/Angstrom2"))
        table = {
            "fitted": ((dim, "r"), fitted, units, "Fitted G(r)"),
            "components": (("component", "r"), mean, units, "Mean pattern of a phase"),
            "residual": ((dim,), level, units, "Root mean square residual"),
            "relative_residual": ((dim,), level / size, "1", "Residual over pattern"),
            "r_w": ((dim,), level / size, "1", "R_w"),
        }
        return {name: self.labelled(name, *of) for name, of in table.items()}
