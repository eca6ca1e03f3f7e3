"""How states differ: phase differences, the order parameter, and where it lies."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.fields import of_states, per_volume, space_dims
from batteryxr.cdi.bragg.states import _kept, _objects
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label, require_dims, require_variables
from batteryxr.core.optional import require
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator


@recorded
def phase_differences(
    objects: xr.DataArray | xr.Dataset,
    *,
    reference: int = 0,
    support: xr.DataArray | None = None,
    threshold: float = 0.25,
) -> xr.Dataset:
    """Compare the phase of every state with that of one of them.

    Lazy.

    The difference is taken within (-pi, pi] voxel by voxel and unwrapped then: it
    varies less than the phases themselves.

    Parameters
    ----------
    objects
        Aligned objects on ``state``; of a Dataset its ``object``, and its ``support``
        and ``filled`` where they are.
    reference
        Index of the state that is subtracted.
    support
        Of the crystal. None: the Dataset's; else where every state exceeds
        `threshold` of its largest amplitude.
    threshold
        See there.

    Returns
    -------
    xarray.Dataset
        ``phase_difference`` (rad, NaN outside the support; exactly 0 for the
        reference), its ``mean`` and ``spread`` over the voxels that were not filled,
        and ``support``, ``filled``.

    Raises
    ------
    ArgumentError
        If there is no such reference.
    ChunkingError
        If a volume is split over chunks.
    DimensionError
        If there is no ``state``.
    """
    field = _objects(objects, caller="phase_differences")
    dims = space_dims(field, caller="phase_differences")
    n = field.sizes["state"]
    if isinstance(reference, bool) or not -n <= reference < n:
        raise ArgumentError("reference", reference, f"the index of one of {n} states")
    unwrap_phase = require(
        "skimage.restoration",
        extra="images",
        purpose="unwrapping phases",
        package="scikit-image",
    ).unwrap_phase
    from batteryxr.cdi.bragg.kernels.unwrapping import unwrap

    if support is None and isinstance(objects, xr.Dataset):
        support = objects.get("support")
    if support is None:
        amplitude = abs(field)
        support = (amplitude > threshold * amplitude.max(dims)).all("state")
    if "state" in support.dims:
        support = support.all("state")
    bare = of_states(field)
    zero = bare.isel(state=reference % n)
    values = apply(
        per_volume(
            lambda a, b, s: unwrap(np.angle(a * np.conj(b)), s, unwrap_phase),
            "(i,j,k),(i,j,k),(i,j,k)->(i,j,k)",
        ),
        bare,
        zero,
        of_states(support.astype(bool)),
        core_dims=[dims, dims, dims],
        output_dims=[dims],
        dtypes=[np.empty(0, field.dtype).real.dtype],
        caller="phase_differences",
    )
    # A number times its conjugate is real but for rounding.
    itself = xr.DataArray(np.arange(n) == reference % n, dims="state")
    values = values.where(~itself, values * 0)
    values = values.transpose(*field.dims).assign_coords(field.coords)
    names = {"units": "rad"}
    result = xr.Dataset(
        {
            "phase_difference": label(
                values, "phase_difference", long_name="Phase difference", **names
            ),
            "support": label(
                support.astype(bool), "support", units="1", long_name="Common support"
            ),
        }
    )
    used = values
    if isinstance(objects, xr.Dataset) and "filled" in objects:
        result["filled"] = objects["filled"]
        used = values.where(~objects["filled"])
    for name, reduced, long_name in (
        ("mean", used.mean(dims), "Mean phase difference"),
        ("spread", used.std(dims), "Standard deviation of the phase difference"),
    ):
        result[name] = label(reduced, name, long_name=long_name, **names)
    result.attrs = _kept(objects)
    return result


@recorded
def order_parameter(
    differences: xr.DataArray | xr.Dataset, *, n_components: int = 1
) -> xr.Dataset:
    """Find the pattern that states share, and how much of it each has.

    The pattern stays lazy. The sums of products between states are computed now:
    reads (n + 1) / 2 times for n states in chunks of one, once for chunks that hold
    all states. Memory is two chunks.

    Parameters
    ----------
    differences
        Phase differences on ``state`` and space, or their Dataset. NaN counts as zero.
    n_components
        How many patterns, up to the number of states.

    Returns
    -------
    xarray.Dataset
        ``pattern`` (psi, of unit length) on ``component`` and space;
        ``order_parameter`` (Omega = psi . difference, rad) on ``state`` and
        ``component``; ``rms_phase``, the same over the root of the number of voxels:
        the phase that a voxel has of it on average; ``explained``, the share of the
        sum of squares; ``n_voxels``.

    Raises
    ------
    ArgumentError
        If `n_components` is out of range, or all differences are zero.
    DimensionError
        If there is no ``state``.

    Notes
    -----
    C = sum over states of difference x difference, *not* centred, as Serban et al.,
    Commun. Chem. (2024), eqs 2-4: with one row per voxel it is never formed. Its
    eigenvectors follow from the small matrix between states (Sirovich, Q. Appl.
    Math. 45, 561 (1987)). The sign of a pattern is free: Omega has a sum >= 0.
    """
    values = _differences(differences, caller="order_parameter")
    dims = space_dims(values, caller="order_parameter")
    n = values.sizes["state"]
    if isinstance(n_components, bool) or not 1 <= n_components <= n:
        raise ArgumentError("n_components", n_components, f"from 1 to {n} states")
    values = values.transpose("state", *dims)
    gram, voxels = _gram(values)
    if not gram.trace() > 0:
        raise ArgumentError("differences", 0.0, "differences that are not all zero")
    power, vectors = np.linalg.eigh(gram)
    order = np.argsort(power)[::-1][:n_components]
    power, vectors = np.maximum(power[order], 0.0), vectors[:, order]
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0)
    length = np.sqrt(power)
    # A state without any difference has none of the pattern, whatever rounding says.
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
    differences: xr.DataArray | xr.Dataset,
    *,
    order: xr.Dataset,
    component: int = 1,
) -> xr.Dataset:
    """Split every state's phase difference into what a pattern explains and the rest.

    Lazy.

    Parameters
    ----------
    differences
        What `order_parameter` was called on.
    order
        Its result.
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
    "Inverse PCA" is printed as the difference less psi itself, which has unit length
    over all voxels and cannot be seen; these are the two readings that can.
    """
    values = _differences(differences, caller="inverse_pca")
    require_variables(order, ["pattern", "order_parameter"], caller="inverse_pca")
    if component not in order["component"].values:
        known = order["component"].values.tolist()
        raise ArgumentError("component", component, f"one of {known}")
    one = order[["pattern", "order_parameter"]].sel(component=component)
    omega = of_states(one["order_parameter"])
    part = (omega * of_states(one["pattern"])).transpose(*values.dims)
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


@recorded
def summarise_states(fields: xr.Dataset) -> xr.Dataset:
    """Reduce the fields of each state to means and spreads.

    Lazy.

    Parameters
    ----------
    fields
        From `strain` and the steps before, with or without ``state``. Voxels that
        are ``filled`` are left out where the flag is there.

    Returns
    -------
    xarray.Dataset
        ``<name>_mean`` and ``<name>_spread`` of phase, displacement and strain as
        far as they are there, and ``n_voxels``.

    Raises
    ------
    VariableError
        If none of them is there.
    """
    names = [n for n in ("phase", "displacement", "strain") if n in fields]
    if not names:
        require_variables(fields, ["strain"], caller="summarise_states")
    dims = space_dims(fields, caller="summarise_states")
    result: dict[str, Any] = {}
    used = fields[names[0]].notnull()
    for name in names:
        field = fields[name]
        if "filled" in fields:
            field = field.where(~fields["filled"])
        used = field.notnull() if name == names[0] else used
        title, units = field.attrs["long_name"], field.attrs["units"]
        for what, reduced in (("mean", field.mean(dims)), ("spread", field.std(dims))):
            result[f"{name}_{what}"] = label(
                reduced, f"{name}_{what}", units=units, long_name=f"{title}, {what}"
            )
    count = used.sum(dims)
    result["n_voxels"] = label(count, "n_voxels", units="1", long_name="Voxels")
    return xr.Dataset(result, attrs=_kept(fields))


def _differences(
    differences: xr.DataArray | xr.Dataset, *, caller: str
) -> xr.DataArray:
    if isinstance(differences, xr.Dataset):
        require_variables(differences, ["phase_difference"], caller=caller)
        differences = differences["phase_difference"]
    require_dims(differences, ["state"], caller=caller)
    return differences


def _gram(values: xr.DataArray) -> tuple[np.ndarray, int]:
    """Return products between states, and the number of voxels with a value."""
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
                # Not held by name: it is gone before the next is read.
                gram[first, second] += _products(a, _rows(part[second]))
            del a
    lower = np.tril(gram, -1)
    return np.diag(np.diag(gram)) + lower + lower.T, int(voxels.max())


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b^T in double precision, NaN as zero, without a copy of either."""
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
    """Yield the spatial chunks, all states of each."""
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
    clean = of_states(values.fillna(0))
    parts = [
        (clean * xr.DataArray(w.astype(values.dtype), dims="state")).sum("state")
        for w in weight.T
    ]
    pattern = xr.concat(parts, dim="component")
    kept = {k: c for k, c in values.coords.items() if "state" not in c.dims}
    return pattern.where(of_states(inside)).assign_coords(kept)
