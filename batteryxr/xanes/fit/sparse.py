"""Choose the energies that carry the information: fewer frames for the same maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.xanes.fit.curve import by_parameter, fitted_model
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Count
    from batteryxr.xanes.kernels.problem import Model

_Factor = Annotated[float, Bounds(low=1.0)]
#: Least fraction of an energy's own information that must remain without it.
_LEAST = 1e-9


@recorded
def sparse_energies(
    result: xr.Dataset,
    *,
    axis: Annotated[Sequence[float] | np.ndarray | xr.DataArray, OwnLabels()],
    threshold: _Factor = 1.5,
    max_pixels: Count = 200,
) -> xr.Dataset:
    """Find the few energies that keep edge energies and peak ratios almost as precise.

    *Reads once*. From a fitted stack it finds the energies at which the next similar
    particle should be measured, in less time and dose (the outlook of Uematsu et al.,
    PCCP 25, 3867 (2023)).

    Energies are given up one by one, always the one that raises the errors least. The
    noise is taken as equal at all energies, with the same dose for each; saved dose may
    be given to the remaining energies. The model is taken as right: keep a few energies
    more in case it is not, and to notice that.

    Parameters
    ----------
    result
        Result of `fit_edge` for a stack or some spectra; those without a flag are
        used, or with misfit alone.
    axis
        Energies of the measurement, or other possible ones.
    threshold
        Factor by which errors may grow.
    max_pixels
        Largest number of spectra used, spread evenly over those.

    Returns
    -------
    xarray.Dataset
        Along `energy`: `kept` (bool), the smallest set found; `rank`, 1 for the energy
        that is given up last. Along `energy` and `quantity` ("edge energy" and the area
        of each peak over the jump): `error_growth`, the factor by which errors grow if
        energies up to this rank are kept, root mean square over the spectra. It is NaN
        where too few energies are left for a fit.

    Raises
    ------
    ArgumentError
        If `axis` holds no more energies than the model has free parameters, or none
        in the fitted range.
    DataError
        If no spectrum was fitted well.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> few = maps.xanes.sparse_energies(
    ...     axis=stack["energy"], threshold=1.5, max_pixels=20
    ... )
    >>> int(few["kept"].sum())
    9
    """
    model, told = fitted_model(result, caller="sparse_energies")
    x = _asked(axis, told)
    values, free = _spectra(result, model, max_pixels)
    if x.size <= free.sum() or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ArgumentError(
            "axis", x.size, f"more than {int(free.sum())} different energies"
        )
    scaled = (x - told["baseline_centre"]) / told["baseline_scale"]
    slopes = _slopes(x, scaled, values, model)[:, :, free]
    names, gradients = _gradients(values, model, result)
    order, growth = _give_up(slopes, gradients[:, :, free], int(free.sum()))
    ranks = np.arange(1, x.size + 1)
    rank = np.empty(x.size, np.int64)
    kept_last = [k for k in range(x.size) if k not in set(order.tolist())]
    rank[[*order, *kept_last]] = ranks[::-1]
    factor = np.full((x.size, len(names)), np.nan)
    factor[x.size - np.arange(len(growth)) - 1] = growth  # by the number that is kept
    enough = np.nonzero((factor <= threshold).all(axis=1))[0]
    n_kept = int(enough[0]) + 1
    dim = told["axis"]
    columns = {
        "kept": ((dim,), rank <= n_kept, "Energy is kept"),
        "rank": ((dim,), rank, "Rank, the last given up first"),
        "error_growth": ((dim, "quantity"), factor[rank - 1], "Growth of the error"),
    }
    coords = {
        dim: (dim, x, attributes(dim)),
        "quantity": ("quantity", names, {"units": "1", "long_name": "Quantity"}),
    }
    out = xr.Dataset(coords=coords)
    for name, (dims, column, text) in columns.items():
        array = xr.DataArray(column, dims=dims)
        out[name] = label(array, name, units="1", long_name=text)
    return inherit(out, result, n_kept=n_kept)


def _asked(
    axis: Sequence[float] | np.ndarray | xr.DataArray, told: dict[str, Any]
) -> np.ndarray:
    """Return the requested energies, rising, in units of the fit.

    Raises
    ------
    ArgumentError
        If none lies in the fitted range.
    """
    if isinstance(axis, xr.DataArray):
        units = str(attributes(told["axis"])["units"])
        axis = in_units(axis, units, caller="sparse_energies").values
    x = np.sort(np.asarray(axis, dtype=float).ravel())
    low, high = told["range"]
    if not ((x >= low) & (x <= high)).any():
        ends = (float(x[0]), float(x[-1])) if x.size else ()
        expected = f"some between {low:g} and {high:g}, where spectra were fitted"
        raise ArgumentError("axis", ends, expected)
    return x


def _spectra(
    result: xr.Dataset, model: Model, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters (N, n) of well fitted spectra, and which are free."""
    from batteryxr.xanes.kernels.misfit import MISFIT

    parts = by_parameter(result, model) + by_parameter(result, model, "_error")
    if "flag" in result:
        parts.append(result["flag"])
    wide = xr.broadcast(*(p.reset_coords(drop=True) for p in parts))
    table = np.stack([p.values.ravel().astype(float) for p in wide], axis=1)
    n = model.low.size
    good = np.isfinite(table).all(axis=1)
    if "flag" in result:
        good &= np.isin(table[:, -1], (0, MISFIT))
    if not good.any():
        raise DataError(
            "result", "no spectrum was fitted with flag 0", "Look at `flag` first."
        )
    rows = table[good]
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    return rows[:, :n], (rows[:, n : 2 * n] > 0).any(axis=0)


def _slopes(
    x: np.ndarray, scaled: np.ndarray, values: np.ndarray, model: Model
) -> np.ndarray:
    """Return the slopes of each spectrum's model, (N, m, n)."""
    from batteryxr.xanes.kernels.shapes import curves

    n_rows, n = values.shape
    out = np.empty((n_rows, n, x.size))
    x, rows = np.array(x, float), np.ascontiguousarray(values)
    curves(x, scaled, rows, model.kinds, model.offsets, out)
    return out.transpose(0, 2, 1)


def _gradients(
    values: np.ndarray, model: Model, result: xr.Dataset
) -> tuple[list[str], np.ndarray]:
    """Return names of the quantities of interest, and their gradients (N, k, n)."""
    from batteryxr.xanes.kernels.shapes import unit_area

    names, rows = [], []
    if model.jump >= 0:
        one = np.zeros_like(values)
        one[:, model.jump + 1] = 1.0
        names.append("edge energy")
        rows.append(one)
    labels: Any = result["peak"].values if "peak" in result.coords else []
    kinds = dict(zip(model.offsets.tolist(), model.kinds.tolist(), strict=True))
    for o, name in zip(model.peak_offsets, labels, strict=True):
        units = np.array([unit_area(kinds[o], row, o) for row in values])
        one = np.zeros_like(values)
        one[:, o] = units[:, 0] * values[:, o + 2]
        one[:, o + 2] = units[:, 0] * values[:, o]
        if units[:, 1].any():
            one[:, o + 3] = units[:, 1] * values[:, o] * values[:, o + 2]
        if model.jump >= 0:
            area = units[:, 0] * values[:, o] * values[:, o + 2]
            one[:, model.jump] = -area / values[:, model.jump]
            names.append(f"area of {name} / jump")
        else:
            names.append(f"area of {name}")
        rows.append(one)
    return names, np.stack(rows, axis=1)


def _give_up(
    slopes: np.ndarray, gradients: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order in which energies are given up, and the growth of errors.

    Parameters
    ----------
    slopes : (N, m, n)
        Slopes of the model of N spectra at m energies, by n parameters.
    gradients : (N, k, n)
        Gradients of the k values of interest, by the parameters.
    least
        Number of energies that are always kept.

    Returns
    -------
    order : (m - least,)
        Index of each energy, in the order of giving up.
    growth : (m - least + 1, k)
        Errors relative to those with all energies, root mean square over the spectra,
        after each energy given up.

    Notes
    -----
    At a solution the covariance is the inverse of JᵀJ, J the slopes of the model.
    Leaving out one energy changes it by a matrix of rank one (Sherman & Morrison, Ann.
    Math. Stat. 21, 124 (1950)), so all candidates are compared without new solutions.
    The search is greedy, starting from all energies (backward, as for designs of
    experiments: Atkinson & Donev, Optimum Experimental Designs (1992), ch. 15).
    """
    n_energies = slopes.shape[1]
    covariance = np.linalg.inv(np.einsum("imk,iml->ikl", slopes, slopes))
    first = np.einsum("iqk,ikl,iql->iq", gradients, covariance, gradients)
    left = list(range(n_energies))
    order, growth = [], [np.ones(first.shape[1])]
    while len(left) > least:
        j = slopes[:, left]
        moved = j @ covariance  # (N, m, n)
        own = 1.0 - np.einsum("imn,imn->im", moved, j)
        now = np.einsum("iqk,ikl,iql->iq", gradients, covariance, gradients)
        across = np.einsum("imn,iqn->imq", moved, gradients)
        with np.errstate(divide="ignore", invalid="ignore"):
            more = across**2 / own[:, :, None]
        after = (now[:, None] + more) / first[:, None]
        after[own < _LEAST] = np.inf
        cost = after.mean(axis=0)  # (m, q)
        chosen = int(np.argmin(cost.mean(axis=1)))
        if not np.isfinite(cost[chosen]).all():
            break
        v = moved[:, chosen]
        covariance = covariance + (
            v[:, :, None] * v[:, None, :] / own[:, chosen, None, None]
        )
        order.append(left.pop(chosen))
        growth.append(np.sqrt(cost[chosen]))
    return np.array(order, np.int64), np.array(growth)
