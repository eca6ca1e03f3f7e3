"""Principal components of labelled patterns, streamed or lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply, is_lazy, stream_rows
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.kernels import decompose as kernel
from batteryxr.core.model import label, require_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Largest number of components that are returned by default.
MOST = 10
#: Dimension of all eigenvalues, also of those without a returned component.
NUMBER = "eigenvalue_number"


def principal_components(
    data: xr.DataArray,
    signal: str,
    n_components: int | None = None,
    *,
    centre: bool,
    lazy: bool = False,
) -> xr.Dataset:
    """Return the principal components of patterns along one dimension.

    The smaller Gram matrix is summed over blocks of the data in a fixed order, so that
    memory is two blocks and this matrix. Patterns with a gap are left out, and have
    scores of NaN.

    Parameters
    ----------
    data
        Real patterns along `signal`, in any other dimensions.
    signal
        Dimension of a pattern.
    n_components
        Number of components. None takes as many as Malinowski's indicator finds, at
        most `MOST`; this reads the data.
    centre
        Subtract the mean pattern first.
    lazy
        Leave everything to dask for lazy data: they are read once for the components
        and once for the scores. Otherwise the components are computed now, reading
        once, and only the scores are lazy.

    Returns
    -------
    xarray.Dataset
        ``components`` (component, signal), orthonormal, their value of largest modulus
        positive; ``scores`` (..., component); ``explained_variance`` and
        ``explained_variance_ratio`` (component); ``mean`` (signal), zero where nothing
        was subtracted; ``eigenvalue`` and ``indicator`` (eigenvalue_number) of all
        possible components, or of the first 20 where there are more than 300;
        ``n_patterns``, the number of complete patterns.

    Raises
    ------
    ArgumentError
        If more components are asked for than are possible.
    DataError
        If there are fewer than two complete patterns.
    """
    patterns = data.drop_vars(list(data.coords))
    patterns.attrs = {}
    if not set(patterns.dims) - {signal}:
        patterns = patterns.expand_dims("pattern")
    points = patterns.sizes[signal]
    most = min(patterns.size // max(points, 1), points)
    if n_components is not None and not 1 <= n_components <= most:
        raise ArgumentError("n_components", n_components, f"from 1 to {most}")
    if lazy and n_components is not None and is_lazy(patterns):
        parts = _built(patterns, signal, n_components, most, centre=centre)
    else:
        parts = _computed(patterns, signal, n_components, most, centre=centre)
    result = _labelled(data, patterns, signal, parts)
    result.attrs = {"signal": signal, "centred": int(centre)}
    return result


def _sized(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Hand on blocks of data, and refuse what has no squares."""
    largest = 0.0
    for block in blocks:
        largest = max(largest, float(np.fmax.reduce(np.abs(block), None, initial=0.0)))
        require_size(max(largest, 1.0), "data")
        yield block
    require_size(largest, "data")


def _computed(
    patterns: xr.DataArray, signal: str, n: int | None, most: int, *, centre: bool
) -> dict[str, xr.DataArray]:
    """Compute the components, reading once, and choose their number."""
    points = patterns.sizes[signal]
    size = min(most, MOST) if n is None else n
    if patterns.size < points * points:
        rows = np.concatenate(list(_sized(stream_rows(patterns, signal))))
        found = kernel.from_rows(rows, size, centre)
    else:
        sums = kernel.moments(_sized(stream_rows(patterns, signal)), points)
        found = kernel.from_moments(sums, size, most, centre)
    count = int(found.n_rows)
    if count < 2:
        raise DataError("data", f"{count} patterns without gaps; expected two or more")
    limit = min(count - centre, most)
    if n is None:
        known = found.indicator[:limit]
        n = min(int(np.nanargmin(known)) + 1, MOST) if limit > 1 else 1
    if n > limit:
        raise ArgumentError("n_components", n, f"from 1 to {limit}")
    return {
        "axes": xr.DataArray(found.axes[:n], dims=("component", signal)),
        "variance": xr.DataArray(found.variance[:limit], dims=NUMBER),
        "indicator": xr.DataArray(found.indicator[:limit], dims=NUMBER),
        "mean": xr.DataArray(found.mean, dims=signal),
        "count": xr.DataArray(count),
        "total": xr.DataArray(found.total),
    }


def _built(
    patterns: xr.DataArray, signal: str, n: int, most: int, *, centre: bool
) -> dict[str, xr.DataArray]:
    """Plan what `_computed` does at once, for a known number of components."""
    samples = [str(d) for d in patterns.dims if d != signal]
    task: Callable[..., kernel.Principal]
    if patterns.size < patterns.sizes[signal] ** 2:
        inputs = [patterns.transpose(*samples, signal).chunk(-1)]
        core = [[*samples, signal]]
        task = _from_block
    else:
        values = patterns.astype(np.float64)
        whole = (abs(values) < np.inf).all(signal)
        rows = values.where(whole, 0.0)
        gram = xr.dot(rows, rows.rename({signal: "_other"}), dim=samples)
        inputs = [whole.sum(), rows.sum(samples).chunk(-1), gram.chunk(-1)]
        core = [[], [signal], [signal, "_other"]]
        task = _from_sums
    outputs = apply(
        task,
        *inputs,
        core_dims=core,
        output_dims=[["component", signal], [NUMBER], [NUMBER], [signal], [], []],
        output_sizes={"component": n, NUMBER: kernel.told(n, most)},
        dtypes=[*[np.float64] * 4, np.int64, np.float64],
        caller="pca",
        n=n,
        most=most,
        centre=centre,
    )
    names = ("axes", "variance", "indicator", "mean", "count", "total")
    return dict(zip(names, outputs, strict=True))


def _from_block(
    block: np.ndarray, *, n: int, most: int, centre: bool
) -> kernel.Principal:
    return kernel.from_rows(block.reshape(most, -1), n, centre)


def _from_sums(
    count: np.ndarray,
    total: np.ndarray,
    gram: np.ndarray,
    *,
    n: int,
    most: int,
    centre: bool,
) -> kernel.Principal:
    sums = kernel.Moments(float(count), total, gram)
    return kernel.from_moments(sums, n, most, centre)


def _scores(rows: np.ndarray, axes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.asarray((rows.astype(np.float64) - mean) @ axes.T)


def _labelled(
    data: xr.DataArray,
    patterns: xr.DataArray,
    signal: str,
    parts: dict[str, xr.DataArray],
) -> xr.Dataset:
    """Return the Dataset, with the scores of each pattern."""
    axes, variance = parts["axes"], parts["variance"]
    n = axes.sizes["component"]
    if is_lazy(patterns):
        patterns = patterns.chunk({signal: -1})
    scores = apply(
        _scores,
        patterns,
        axes,
        parts["mean"],
        core_dims=[[signal], ["component", signal], [signal]],
        output_dims=[["component"]],
        dtypes=[np.float64],
        caller="pca",
    )
    if "pattern" not in data.dims and "pattern" in scores.dims:
        scores = scores.isel(pattern=0)
    explained = variance.isel({NUMBER: slice(n)}).rename({NUMBER: "component"})
    units = str(data.attrs.get("units", "1"))
    square = "1" if units == "1" else f"({units})^2"
    table = {
        "components": (axes, "1", "Principal component"),
        "scores": (scores, units, "Score"),
        "explained_variance": (explained, square, "Variance explained"),
        "explained_variance_ratio": (
            explained / parts["total"],
            "1",
            "Fraction of the variance explained",
        ),
        "mean": (parts["mean"], units, "Pattern subtracted"),
        "eigenvalue": (variance, square, "Variance along a component"),
        "indicator": (parts["indicator"], "1", "Malinowski's indicator"),
        "n_patterns": (parts["count"], "1", "Number of complete patterns"),
    }
    result = xr.Dataset(
        {
            name: label(array, name, units=unit, long_name=text)
            for name, (array, unit, text) in table.items()
        }
    )
    numbers = np.arange(1, variance.sizes[NUMBER] + 1)
    names = [f"PC{i}" for i in range(1, n + 1)]
    one = {"units": "1"}
    index = {
        "component": ("component", names, one | {"long_name": "Component"}),
        NUMBER: (NUMBER, numbers, one | {"long_name": "Number of components"}),
    }
    return result.assign_coords(index).assign_coords(data.coords)
