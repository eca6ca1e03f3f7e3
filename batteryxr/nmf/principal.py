"""Principal components of a series, as the PDF literature uses them.

Principal components are signed and orthogonal; phases are neither. Shown beside a
factorisation, they make plain what the constraint of non-negative ratios adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.decompose import MOST, principal_components
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.nmf.data import in_sound_unit, lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.checks import Count
    from batteryxr.nmf.joining import Several


@recorded
def pca(
    data: Several,
    n_components: Count | None = None,
    *,
    signal: str | None = None,
    centre: bool = False,
) -> xr.Dataset:
    """Return principal components, their scores, and the variance that they explain.

    Lazy: dask data are read once for the components, once more for the scores.

    Parameters
    ----------
    data
        As in `fit`. Patterns with a gap are left out, and get scores of NaN.
    n_components
        Number of components; all by default, at most 10.
    signal
        The dimension of a pattern, where it is not plain from the data.
    centre
        Subtract the mean pattern first. By default it is not: n phases then are n
        components, not n - 1.

    Returns
    -------
    xarray.Dataset
        ``components`` (component, signal), orthonormal and signed, their largest
        value positive; ``scores`` (sample, component); ``explained_variance`` and
        ``explained_variance_ratio`` (component); ``mean`` (signal), zero if not
        subtracted. Along ``eigenvalue_number``: ``eigenvalue`` and Malinowski's
        ``indicator``, for all or, beyond 300, for the first 20. In data that large,
        components within the noise are found to a few per cent of their variance;
        those above the noise are exact to rounding.

    Notes
    -----
    Chapman et al., J. Appl. Cryst. 48, 1619 (2015).

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> principal = pdf.nmf.pca(5)
    >>> principal["explained_variance_ratio"].round(3).values.tolist()[:2]
    [0.563, 0.292]
    """
    patterns = lay_out(data, signal)
    if not is_lazy(patterns.data):
        patterns = in_sound_unit(patterns)
    if n_components is None:
        there = patterns.n_samples
        if not is_lazy(patterns.data):
            whole = xr.apply_ufunc(np.isfinite, patterns.data).all(patterns.signal)
            there = int(whole.sum())
        most = min(there - centre, patterns.n_points, MOST)
        n_components = max(most, 1)
    result = principal_components(
        patterns.data, patterns.signal, n_components, centre=centre, lazy=True
    )
    if not patterns.series:
        scores = result["scores"].transpose("component", *patterns.samples)
        result = result.assign(scores=scores)
    return _in_unit_of_data(result, patterns.unit)


def _in_unit_of_data(result: xr.Dataset, unit: float) -> xr.Dataset:
    if unit == 1.0:
        return result
    powers = {"scores": 1, "mean": 1, "explained_variance": 2, "eigenvalue": 2}
    scaled = {}
    for name, power in powers.items():
        attrs, array = result[name].attrs, result[name]
        for _ in range(power):
            array = array * unit
        scaled[name] = array.assign_attrs(attrs)
    return result.assign(scaled)


@recorded
def purify(result: xr.Dataset, *, fixed: Mapping[str, int]) -> xr.Dataset:
    """Turn principal components into phases, given scans assumed to be pure.

    Reads once the scores at the chosen scans. Lazy for all else.

    Parameters
    ----------
    result
        Result of `pca` for a series.
    fixed
        Names of phases and the scan at which each is assumed 100 % pure; -1 is the
        last.

    Returns
    -------
    xarray.Dataset
        ``components``, the chosen scans rebuilt from the principal components, and
        ``weights``: how the scores of each scan combine from those of the chosen
        scans, by plain least squares. They sum to one only if the principal
        components were centred, and turn negative where the assumption fails.

    Raises
    ------
    ArgumentError
        If there are more phases than principal components, or a scan is not there.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> principal = spectra.nmf.pca(2)
    >>> pure = batteryxr.nmf.purify(principal, fixed={"charged": 20, "discharged": 0})
    >>> pure["weights"].dims
    ('scan', 'component')
    """
    require_variables(result, ["components", "scores", "mean"], caller="purify")
    scores = result["scores"]
    samples = [str(d) for d in scores.dims if d != "component"]
    if len(samples) != 1:
        raise DimensionError(
            f"purify needs the components of a series; found {scores.dims}."
        )
    dim = samples[0]
    size = scores.sizes[dim]
    centred = bool(result.attrs.get("centred", 0))
    most = scores.sizes["component"] + int(centred)
    if not 1 <= len(fixed) <= most:
        raise ArgumentError(
            "fixed", dict(fixed), f"1 to {most} phases for this many components"
        )
    for name, scan in fixed.items():
        if not -size <= scan < size:
            raise ArgumentError(
                f"fixed[{name!r}]", scan, f"a scan from {-size} to {size - 1}"
            )
    places = [scan % size for scan in fixed.values()]
    known = scores.isel({dim: places}).transpose(dim, "component").values
    # Affine combinations, where the mean was subtracted.
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
        list(fixed), dims="component", attrs={"units": "1", "long_name": "Component"}
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
