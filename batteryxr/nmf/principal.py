"""Principal components of a series, as the PDF literature uses them.

Signed and orthogonal where phases are neither: shown beside a factorisation, they
tell what the constraint of non-negative ratios adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.nmf.layout import Layout, lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.nmf.layout import Several


@recorded
def pca(
    data: Several,
    n: int | None = None,
    *,
    signal: str | None = None,
    centre: bool = False,
) -> xr.Dataset:
    """Return principal components, their scores, eigenvalues and shares.

    Lazy: dask data are read once for the eigenvalues, once more for the scores.

    Parameters
    ----------
    data
        As of `fit`, without gaps.
    n
        How many; by default all, at most 10.
    signal
        The dimension of a pattern, where it is not plain.
    centre
        Subtract the mean pattern first. By default it is not: n phases then are n
        components, not n - 1.

    Returns
    -------
    xarray.Dataset
        ``components`` (component, signal), orthonormal and signed, their largest
        value positive; ``weights`` (sample, component), the scores; ``eigenvalue``
        and ``share`` (component), of the sum of all eigenvalues; ``mean`` (signal),
        zero if not subtracted.

    Notes
    -----
    Chapman et al., J. Appl. Cryst. 48, 1619 (2015).
    """
    layout = lay_out(data, signal, caller="pca")
    most = min(layout.n_samples, layout.n_points)
    n = min(most, 10) if n is None else n
    if not 1 <= n <= most:
        raise ArgumentError("n", n, f"a whole number from 1 to {most}")
    axis = layout.signal
    bare = _float(layout)
    mean = (
        bare.mean(layout.samples)
        if centre
        else xr.zeros_like(bare.isel(dict.fromkeys(layout.samples, 0)))
    )
    varied = bare - mean if centre else bare
    axes, eigenvalues, total = _axes(varied, layout, n)
    scores = xr.dot(varied, axes, dim=axis).transpose(*layout.samples, "component")
    if not layout.series:
        scores = scores.transpose("component", *layout.samples)
    units = str(layout.data.attrs.get("units", "1"))
    out = xr.Dataset(
        {
            "components": label(
                axes.transpose("component", axis),
                "components",
                units="1",
                long_name="Principal component",
            ),
            "weights": label(scores, "weights", units=units, long_name="Score"),
            "eigenvalue": label(
                eigenvalues, "eigenvalue", units=f"({units})^2", long_name="Eigenvalue"
            ),
            "share": label(
                eigenvalues / total,
                "share",
                units="1",
                long_name="Share of the sum of eigenvalues",
            ),
            "mean": label(mean, "mean", units=units, long_name="Mean pattern"),
        }
    )
    names = [f"PC{i}" for i in range(1, n + 1)]
    component = xr.DataArray(
        names, dims="component", attrs={"units": "1", "long_name": "Component"}
    )
    out = out.assign_coords(component=component).assign_coords(layout.data.coords)
    out.attrs = {"signal": axis, "centred": int(centre)}
    return out


def _float(layout: Layout) -> xr.DataArray:
    bare = layout.data.drop_vars(list(layout.data.coords)).astype(np.float64)
    bare.attrs = {}
    return bare.chunk({layout.signal: -1}) if is_lazy(bare) else bare


def _axes(
    varied: xr.DataArray, layout: Layout, n: int
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return axes (signal, component), eigenvalues and their sum, from a Gram."""
    axis = layout.signal
    total = (varied**2).sum()
    by_points = layout.n_points <= layout.n_samples
    if by_points:
        gram = xr.dot(varied, varied.rename({axis: "_other"}), dim=layout.samples)
        vectors, values = _eigen(gram, axis, n)
        return _signed(vectors, axis), values, total
    rows = varied
    if len(layout.samples) > 1:
        rows = varied.stack(_sample=layout.samples, create_index=False)
    sample = str(next(d for d in rows.dims if d != axis))
    if is_lazy(rows):
        rows = rows.chunk({sample: -1})
    gram = xr.dot(rows, rows.rename({sample: "_other"}), dim=axis)
    left, values = _eigen(gram, sample, n)
    lengths = np.sqrt(values.where(values > 0))
    axes = (xr.dot(rows, left, dim=sample) / lengths).fillna(0.0)
    return _signed(axes.transpose(axis, "component"), axis), values, total


def _eigen(gram: xr.DataArray, axis: str, n: int) -> tuple[xr.DataArray, xr.DataArray]:
    if is_lazy(gram):
        gram = gram.chunk({axis: -1, "_other": -1})
    vectors, values = apply(
        _largest,
        gram,
        core_dims=[[axis, "_other"]],
        output_dims=[[axis, "component"], ["component"]],
        output_sizes={"component": n},
        dtypes=[np.float64, np.float64],
        caller="pca",
        n=n,
    )
    return vectors, values


def _largest(gram: np.ndarray, *, n: int) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(gram)
    return vectors[..., ::-1][..., :n], np.maximum(values[..., ::-1][..., :n], 0.0)


def _signed(axes: xr.DataArray, axis: str) -> xr.DataArray:
    """Let the value of largest modulus be positive: signs are not defined."""
    sign = xr.where(axes.max(axis) >= -axes.min(axis), 1.0, -1.0)
    return axes * sign


@recorded
def purify(result: xr.Dataset, *, pure: Mapping[str, int]) -> xr.Dataset:
    """Turn principal components into phases, assuming scans that hold one alone.

    Reads once the scores at the chosen scans. Lazy for the rest.

    Parameters
    ----------
    result
        Of `pca`, of a series.
    pure
        Names of phases and the scan at which each is assumed 100 % pure; -1 is the
        last.

    Returns
    -------
    xarray.Dataset
        ``components``, the chosen scans rebuilt from the principal components, and
        ``weights``: how the scores of every scan combine from those of the chosen
        ones, by least squares and nothing else. They sum to one only if the principal
        components were centred, and turn negative where the assumption fails.

    Raises
    ------
    ArgumentError
        If there are more phases than principal components, or a scan is not there.
    """
    require_variables(result, ["components", "weights", "mean"], caller="purify")
    scores = result["weights"]
    samples = [str(d) for d in scores.dims if d != "component"]
    if len(samples) != 1:
        raise ArgumentError("result", samples, "the analysis of a series")
    dim = samples[0]
    size = scores.sizes[dim]
    centred = bool(result.attrs.get("centred", 0))
    most = scores.sizes["component"] + int(centred)
    if not 1 <= len(pure) <= most:
        raise ArgumentError(
            "pure", dict(pure), f"1 to {most} phases for this many components"
        )
    for name, scan in pure.items():
        if not -size <= scan < size:
            raise ArgumentError(
                f"pure[{name!r}]", scan, f"a scan from {-size} to {size - 1}"
            )
    places = [scan % size for scan in pure.values()]
    known = scores.isel({dim: places}).transpose(dim, "component").values
    # Affine combinations, where the mean was taken out.
    extended = np.column_stack([known, np.full(len(known), float(centred))])
    inverse = np.linalg.pinv(extended)
    back = xr.DataArray(inverse[:-1], dims=("component", "phase"))
    offset = xr.DataArray(inverse[-1] * float(centred), dims="phase")
    weights = xr.dot(scores.drop_vars("component"), back, dim="component") + offset
    patterns = xr.dot(
        xr.DataArray(known, dims=("phase", "component")),
        result["components"].drop_vars("component"),
        dim="component",
    )
    units = str(scores.attrs.get("units", "1"))
    phases = xr.DataArray(
        list(pure), dims="component", attrs={"units": "1", "long_name": "Component"}
    )
    out = xr.Dataset(
        {
            "components": label(
                (patterns + result["mean"]).rename(phase="component"),
                "components",
                units=units,
                long_name="Component",
            ),
            "weights": label(
                weights.rename(phase="component"),
                "weights",
                units="1",
                long_name="Ratio",
            ),
        }
    ).assign_coords(component=phases)
    out.attrs = {"signal": result.attrs.get("signal", "")}
    return out
