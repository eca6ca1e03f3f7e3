"""Match spectra to tabulated scattering factors: electrons per atom (MBACK)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.composition.scattering import (
    beside_edge,
    edge_position,
    f_double_prime,
    f_double_prime_jump,
    require_edge,
)
from batteryxr.xanes.edges.normalisation import check_limits
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import PhotonEnergy
    from batteryxr.xanes.edges.normalisation import Limits

#: Degree of the polynomial background.
Degree = Annotated[int, Bounds(low=0, high=5)]
#: Largest distance (eV) between a tabulated edge and that of a sample.
_SHIFTED = 25.0
#: Least number of energies in a range, beyond those for the polynomial.
_FEWEST = 3
_SIDES = {"pre": "below", "post": "above"}


@recorded
def mback(
    spectra: xr.DataArray | xr.Dataset,
    *,
    element: str,
    edge: str = "K",
    e0: PhotonEnergy | None = None,
    pre: Limits = (None, -50.0),
    post: Limits = (100.0, None),
    degree: Degree = 3,
) -> xr.Dataset:
    """Scale spectra to the tabulated f'' of an element, without a smooth background.

    *Lazy*. A factor and a polynomial are fitted so that the spectrum follows the table
    below and above the edge. Both sides have equal weight for any number of energies
    (T.-C. Weng et al., J. Synchrotron Rad. 12, 506 (2005), without its error function;
    the table is Chantler's). All spectra of an element get one scale. It suits
    backgrounds that are no straight line, as in fluorescence.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions.
    element, edge
        Element and edge that were measured, such as "V" and "K".
    e0
        Edge energy in eV, from which the ranges count. Default: that of the table.
    pre, post
        Ranges below and above the edge in which the spectrum follows the table,
        relative to `e0`; an open end is that of the data.
    degree
        Degree of the polynomial.

    Returns
    -------
    xarray.Dataset
        Along `energy`: `f_double_prime` in electrons per atom, and `normalised`, the
        part of this edge over the step of the table. Further `scale`, electrons per
        unit of the spectrum (NaN if there is no step upwards), and `background`.

    Raises
    ------
    ArgumentError
        If the element has no such edge, `e0` is far from it, or a range holds too few
        energies.
    DataError
        If the spectra end before the edge or begin after it.

    Warns
    -----
    DataQualityWarning
        If spectra have no step upwards (not for lazy data: look at `scale`), or
        another edge of the table lies inside the energies.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> scaled = spectra.xanes.mback(
    ...     element="Ni", pre=(None, -15), post=(20, None), degree=1
    ... )
    >>> list(scaled.data_vars)[:3]
    ['f_double_prime', 'normalised', 'background']
    """
    array = as_spectra(spectra, caller="mback")
    x = array.energy.values
    position = edge_position(element, edge)
    origin = position if e0 is None else float(e0)
    if abs(origin - position) > _SHIFTED:
        expected = f"within {_SHIFTED:g} eV of {element} {edge} at {position:g} eV"
        raise ArgumentError("e0", e0, expected)
    require_edge(x, element, edge)
    for name, limits in (("pre", pre), ("post", post)):
        check_limits(name, limits, x, origin)
    weight = _weights(x - origin, {"pre": pre, "post": post}, degree)
    # The table has its step at its own edge, the sample at e0.
    moved = x - origin + position
    table = f_double_prime(element, moved, "chantler")
    below = beside_edge(element, edge, "chantler", -1, moved)
    _warn_of_others(element, edge, moved)
    dtype = np.float32 if array.dtype == np.float32 else float
    matched, normal, background, scale = blocks.apply(
        _matched,
        array,
        core_dims=[["energy"]],
        output_dims=[["energy"], ["energy"], ["energy"], []],
        dtypes=[dtype] * 4,
        caller="mback",
        above=x > origin,
        weight=weight,
        table=table,
        below=below,
        step=f_double_prime_jump(element, edge, "chantler"),
        basis=np.vander((x - origin) / np.abs(x - origin).max(), degree + 1),
    )
    unit = str(array.attrs.get("units", "1"))
    parts = (
        ("f_double_prime", matched, "1", "Imaginary scattering factor f''"),
        ("normalised", normal, "1", "Normalised absorption"),
        ("background", background, unit, "Background"),
        ("scale", scale, "1" if unit == "1" else f"1/({unit})", "Electrons per unit"),
    )
    out = xr.Dataset(
        {
            name: label(
                part.transpose(*(d for d in array.dims if d in part.dims)),
                name,
                units=units,
                long_name=text,
            )
            for name, part, units, text in parts
        }
    )
    if not blocks.is_lazy(out) and (lost := int(out["scale"].isnull().sum())):
        which = "the spectrum has" if out["scale"].size == 1 else f"{lost} spectra have"
        warn_quality(f"mback: {which} no step upwards at {origin:g} eV: NaN.")
    return inherit(out, array, element=element, edge=edge, e0=origin)


def _weights(x: np.ndarray, ranges: dict[str, Limits], degree: int) -> np.ndarray:
    """Return the weight of each energy: 0 outside the ranges, both sides equal.

    Raises
    ------
    ArgumentError
        If a range holds too few energies.
    """
    weight = np.zeros(x.size)
    for name, (low, high) in ranges.items():
        side = x < 0 if name == "pre" else x > 0
        low, high = (
            (-np.inf if low is None else low),
            (np.inf if high is None else high),
        )
        inside = side & (x >= low) & (x <= high)
        least = _FEWEST + (degree + 1) // 2
        if inside.sum() < least:
            there = (
                f"{x[side].min():.4g} to {x[side].max():.4g}" if side.any() else "none"
            )
            raise ArgumentError(
                name,
                ranges[name],
                f"a range {_SIDES[name]} the edge with {least} energies or more",
                f"It holds {int(inside.sum())}; the data have {there} eV from e0.",
            )
        weight[inside] = 1 / np.sqrt(inside.sum())
    return weight


def _warn_of_others(element: str, edge: str, energy: np.ndarray) -> None:
    """Warn of another edge of the element among the energies."""
    import xraydb

    edges = xraydb.xray_edges(element).items()
    others = [n for n, e in edges if n != edge and energy[0] < e.energy < energy[-1]]
    if others:
        warn_quality(
            f"mback: {' and '.join(others)} of {element} lie within the energies: "
            f"`normalised` counts their steps on that of {edge}. Keep them out of "
            "`pre` and `post`, or cut the spectrum before them."
        )


def _matched(
    data: np.ndarray,
    *,
    above: np.ndarray,
    weight: np.ndarray,
    table: np.ndarray,
    below: np.ndarray,
    step: float,
    basis: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Fit ``scale * data - basis @ coefficients`` to the table, all spectra at once."""
    flat = data.reshape(-1, data.shape[-1]).astype(float)
    known = np.isfinite(flat)
    out = np.full((2, *flat.shape), np.nan)
    scale = np.full(len(flat), np.nan)
    for gaps in np.unique(known, axis=0):
        rows = (known == gaps).all(axis=1)
        used = gaps & (weight > 0)
        fewest = min(used[above].sum(), used[~above].sum())
        if fewest < _FEWEST or used.sum() < basis.shape[1] + _FEWEST:
            continue
        w, mu = weight[used], flat[rows][:, used]
        q, r = np.linalg.qr(w[:, None] * basis[used])
        tall, target = w * mu, w * table[used]
        rest, aim = tall - tall @ q @ q.T, target - q @ (q.T @ target)
        factor = rest @ aim / np.einsum("ij,ij->i", rest, rest)
        factor = np.where(factor > 0, factor, np.nan)
        terms = np.linalg.solve(r, q.T @ (factor[:, None] * tall - target).T)
        smooth = (basis @ terms).T
        out[0, rows] = factor[:, None] * flat[rows] - smooth
        out[1, rows] = smooth / factor[:, None]
        scale[rows] = factor
    matched, background = (part.reshape(data.shape) for part in out)
    normal = (matched - below) / step
    kind = data.dtype if data.dtype.kind == "f" else np.dtype(float)
    found = (matched, normal, background, scale.reshape(data.shape[:-1]))
    return tuple(part.astype(kind) for part in found)
