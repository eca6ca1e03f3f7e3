"""The phase pattern that all states share, and its amount in each state."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import bare, space_axes, variable
from batteryxr.cdi.bragg.consistency.objects import warn_of_degrees
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label, require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.core.checks import Count


@recorded
def order_parameter(
    states: xr.DataArray | xr.Dataset, *, n_components: Count = 1
) -> xr.Dataset:
    """Find the phase pattern that states share, and its amount in each state.

    The pattern stays lazy. Products between states are summed now. For n states, data
    are read (n + 1) / 2 times in chunks of one state, and once in chunks that hold all
    states. Memory is two chunks.

    Parameters
    ----------
    states
        Phase differences on ``state`` and space, or their Dataset, in rad where they
        tell no units. NaN counts as zero.
    n_components
        Number of patterns, up to the number of states.

    Returns
    -------
    xarray.Dataset
        ``pattern`` (psi, of unit length) on ``component`` and space;
        ``order_parameter`` (Omega = psi . difference, rad) on ``state`` and
        ``component``; ``rms_phase``, the same over the root of the number of voxels:
        the rms phase of a voxel due to the pattern; ``explained``, the fraction of the
        sum of squares; ``n_voxels``.

    Raises
    ------
    ArgumentError
        If `n_components` is out of range.
    DataError
        If all differences are zero.
    DimensionError
        If there is no ``state``.

    Notes
    -----
    C = sum over states of difference x difference, *not* centred (Serban et al.,
    Commun. Chem. (2024), eqs 2-4). C has one row per voxel and is never formed: its
    eigenvectors follow from the small matrix between states (Sirovich, Q. Appl. Math.
    45, 561 (1987)). The sign of a pattern is free; it is chosen so that Omega has a sum
    >= 0.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> changes = states.cdi.phase_differences(gauge="core")
    >>> order = changes.cdi.order_parameter()
    >>> order["order_parameter"].dims
    ('state', 'component')
    """
    values = _phase_differences(states, caller="order_parameter")
    dims = space_axes(values, caller="order_parameter")
    n = values.sizes["state"]
    if n_components > n:
        raise ArgumentError("n_components", n_components, f"from 1 to {n} states")
    values = values.transpose("state", *dims)
    with np.errstate(over="ignore", invalid="ignore"):
        gram, voxels = gram_matrix(values)
    if not np.isfinite(gram).all():
        told = "hold numbers too large to be squared"
        raise DataError("states", told, "Phase differences are a few rad.")
    if not gram.trace() > 0:
        raise DataError(
            "states",
            "hold phase differences that are all zero",
            "Pass states that differ.",
        )
    power, vectors = np.linalg.eigh(gram)
    order = np.argsort(power)[::-1][:n_components]
    power, vectors = np.maximum(power[order], 0.0), vectors[:, order]
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0)
    length = np.sqrt(power)
    # A state without any difference contains no pattern, whatever the rounding.
    vectors[np.diag(gram) == 0] = 0.0
    weight = vectors / np.where(length > 0, length, 1.0)
    number = xr.DataArray(
        np.arange(1, n_components + 1),
        dims="component",
        attrs={"units": "1", "long_name": "Component"},
    )
    pattern = _combine(values, weight)
    omega = xr.DataArray(vectors * length, dims=("state", "component"))
    of_state = {k: c for k, c in values.coords.items() if c.dims in (("state",), ())}
    units = {"units": "rad"}
    result = xr.Dataset(
        {
            "pattern": label(pattern, "pattern", units="1", long_name="Pattern ψ"),
            "order_parameter": label(
                omega, "order_parameter", long_name="Order parameter Ω", **units
            ),
            "rms_phase": label(
                omega / np.sqrt(voxels), "rms_phase", long_name="Rms phase", **units
            ),
            "explained": (
                "component",
                power / gram.trace(),
                {"units": "1", "long_name": "Share of the sum of squares"},
            ),
            "n_voxels": (
                (),
                voxels,
                {"units": "1", "long_name": "Voxels of the crystal"},
            ),
        },
        coords=of_state | {"component": number},
    )
    return result


@recorded
def inverse_pca(
    states: xr.DataArray | xr.Dataset,
    *,
    order: xr.Dataset,
    component: Count = 1,
) -> xr.Dataset:
    """Split each state's phase difference into the part of a pattern and the rest.

    Lazy.

    Parameters
    ----------
    states
        Phase differences that `order_parameter` was called on.
    order
        Result of `order_parameter`.
    component
        Number of the pattern, from 1.

    Returns
    -------
    xarray.Dataset
        ``contribution`` (Omega_s psi) and ``residual`` (difference - Omega_s psi) on
        ``state`` and space, in rad; their sum is the difference.

    Raises
    ------
    ArgumentError
        If there is no such component.
    DimensionError
        If there is no ``state``.

    Notes
    -----
    "Inverse PCA" was published as the difference less psi itself. psi has unit length
    over all voxels and is too small to be seen; these are the two readings that can.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> differences = states.cdi.phase_differences(gauge="core")
    >>> order = differences.cdi.order_parameter()
    >>> parts = differences.cdi.inverse_pca(order=order)
    """
    values = _phase_differences(states, caller="inverse_pca")
    require_variables(order, ["pattern", "order_parameter"], caller="inverse_pca")
    if component not in order["component"].values:
        known = order["component"].values.tolist()
        raise ArgumentError("component", component, f"one of {known}")
    one = order[["pattern", "order_parameter"]].sel(component=component)
    omega = bare(one["order_parameter"])
    part = (omega * bare(one["pattern"])).transpose(*values.dims)
    part = part.astype(values.dtype).assign_coords(values.coords)
    part = part.where(values.notnull())
    named = {"units": "rad"}
    return xr.Dataset(
        {
            "contribution": label(
                part, "contribution", long_name="Contribution Ωψ", **named
            ),
            "residual": label(
                values - part, "residual", long_name="Residual Δφ − Ωψ", **named
            ),
        }
    )


def _phase_differences(
    states: xr.DataArray | xr.Dataset, *, caller: str
) -> xr.DataArray:
    differences = variable(states, "phase_difference", caller=caller)
    require_dims(differences, ["state"], caller=caller)
    if differences.dtype.kind != "f":
        raise DataError(
            "states",
            f"hold {differences.dtype}, not phase differences",
            "Call phase_differences, and pass its result.",
        )
    if "units" in differences.attrs:
        differences = in_units(differences, "rad", caller=caller)
    return warn_of_degrees(differences, caller=caller)


def gram_matrix(values: xr.DataArray) -> tuple[np.ndarray, int]:
    """Return the products between states, and the number of voxels with a value."""
    n = values.sizes["state"]
    gram = np.zeros((n, n))
    voxels = np.zeros(n)
    groups = _slices(values.chunksizes.get("state", (n,)))
    for region in _regions(values):
        part = values[region]
        for i, first in enumerate(groups):
            a = _rows(part[first])
            voxels[first] += _counts(a)
            gram[first, first] += _products(a, a)
            for second in groups[:i]:
                # Not bound to a name, so that it is freed before the next one is read.
                gram[first, second] += _products(a, _rows(part[second]))
            del a
    lower = np.tril(gram, -1)
    return np.diag(np.diag(gram)) + lower + lower.T, int(voxels.max())


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b^T in double precision, NaN as zero, without copying either array."""
    total = np.zeros((len(a), len(b)))
    for part in _blocks(a):
        left, right = (np.nan_to_num(m[:, part].astype(float)) for m in (a, b))
        total += left @ right.T
    return total


def _counts(a: np.ndarray) -> np.ndarray:
    return np.sum([np.isfinite(a[:, part]).sum(axis=1) for part in _blocks(a)], axis=0)


def _blocks(a: np.ndarray, size: int = 16384) -> list[slice]:
    return [slice(k, k + size) for k in range(0, a.shape[1], size)]


def _rows(part: xr.DataArray) -> np.ndarray:
    return part.values.reshape(part.shape[0], -1)


def _regions(values: xr.DataArray) -> Iterator[tuple[slice, ...]]:
    """Yield the spatial chunks, each with all states."""
    sizes = [
        _slices(values.chunksizes.get(dim, (values.sizes[dim],)))
        for dim in values.dims[1:]
    ]
    for region in itertools.product(*sizes):
        yield (slice(None), *region)


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    edges = [0, *itertools.accumulate(sizes)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _combine(values: xr.DataArray, weight: np.ndarray) -> xr.DataArray:
    """Return the sums over states with weights (state, component); NaN outside."""
    inside = values.notnull().any("state")
    clean = bare(values.fillna(0))
    parts = [
        (clean * xr.DataArray(w.astype(values.dtype), dims="state")).sum("state")
        for w in weight.T
    ]
    pattern = xr.concat(parts, dim="component")
    kept = {k: c for k, c in values.coords.items() if "state" not in c.dims}
    return pattern.where(bare(inside)).assign_coords(kept)
