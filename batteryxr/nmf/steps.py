"""The stepwise protocol: fix known components, raise n, compare, reconstruct."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.labels import OwnLabels, matched
from batteryxr.core.model import label, require_variables
from batteryxr.core.plotting import keep_colours
from batteryxr.core.provenance import recorded
from batteryxr.nmf.constraints import Constraints
from batteryxr.nmf.factorisation import fit
from batteryxr.nmf.phases.measured import told
from batteryxr.nmf.starting import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batteryxr.core.checks import Fraction, Whole
    from batteryxr.nmf.joining import Several

#: Up to this number all ways to sum components are tried, else the nearest is taken.
_EXHAUSTIVE = 200_000


@recorded
def raise_n(
    data: Several,
    /,
    result: xr.Dataset,
    *,
    by: Whole = 1,
    keep: Sequence[str] | Mapping[str, str] = (),
    fixed: Annotated[Mapping[str, int | xr.DataArray] | None, OwnLabels()] = None,
    constraints: Constraints | None = None,
    **options: Any,
) -> xr.Dataset:
    """Fit again with more components, keeping known components fixed.

    Reads as `fit` does. Fixed components stay fixed; shift, closure and scale are
    taken from the previous step.

    Parameters
    ----------
    data
        As in `fit`.
    result
        Result of the previous step.
    by
        Number of components to add.
    keep
        Components of the previous step to fix from now on: their names, or a mapping
        of new names to old ones, ``{"bcc-FeO": "CP3"}``.
    fixed
        Further known components, as in `fit`: ``{"pristine": 0, "reduced": -1}``.
    constraints
        As in `fit`; constraints that are not set come from the previous step.
    **options
        Any other argument of `fit`; errors and masks must be given again.

    Returns
    -------
    xarray.Dataset
        As in `fit`.

    Raises
    ------
    ArgumentError
        If a component to keep does not exist.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> more = spectra.nmf.raise_n(fit, keep=["CP1"])
    >>> more.sizes["component"]
    4
    """
    require_variables(result, ["components", "fixed"], caller="raise_n")
    names = [str(n) for n in result["component"].values]
    renamed = (
        dict(keep) if isinstance(keep, Mapping) else {str(k): str(k) for k in keep}
    )
    for name in renamed.values():
        if name not in names:
            raise ArgumentError("keep", name, f"components among {names}")
    known: dict[str, int | xr.DataArray] = {
        name: _as_it_was(result, i)
        for i, name in enumerate(names)
        if result["fixed"].values[i] and name not in renamed.values()
    }
    for new, old in renamed.items():
        known[new] = result["components"].isel(component=names.index(old), drop=True)
    known |= fixed or {}
    closure = bool(result.attrs.get("closure", 1))
    shift, scale = None, result.attrs.get("scale")
    if result.attrs.get("shift_kind", "none") != "none":
        shift = result["shift_curve"]
        if not closure:
            known = {
                name: p + shift if isinstance(p, xr.DataArray) else p
                for name, p in known.items()
            }
    before = Constraints(
        signal=result.attrs.get("signal"),
        shift=shift,
        scale=None if scale == "closure" else scale,
    )
    given: dict[str, Any] = {
        "fixed": known,
        "closure": closure,
        "constraints": (constraints or Constraints()).over(before),
    }
    found = fit(data, len(names) + by, **(given | options))
    return keep_colours(found, result, renamed)


def _as_it_was(result: xr.Dataset, i: int) -> xr.DataArray:
    """Return a fixed component, with its origin as an attribute."""
    pattern = result["components"].isel(component=i, drop=True)
    if "origin" not in result:
        return pattern
    return pattern.assign_attrs(origin=ORIGINS[int(result["origin"].values[i])])


@recorded
def compare_steps(
    result: xr.Dataset, other: Annotated[xr.Dataset, OwnLabels()]
) -> xr.Dataset:
    """Find which components of a finer step add up to those of a coarser one.

    Reads once the weights, which are small for a series.

    Parameters
    ----------
    result
        The coarser step, of m components.
    other
        A finer step, with more components, of the same series.

    Returns
    -------
    xarray.Dataset
        ``part_of`` (finer component: index of its coarser one, -1 for none);
        ``summed_weights`` (sample, component), the sum over its parts, to be drawn
        over the coarser weights; ``difference`` (component), the root mean square
        difference of both; and ``likeness`` (finer, component), the correlation of
        the patterns.

    Raises
    ------
    DataError
        If the two steps differ in their samples or points.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> finer = spectra.nmf.fit(4)
    >>> match = batteryxr.nmf.compare_steps(fit, finer)
    >>> list(match.data_vars)[:4]
    ['part_of', 'summed_weights', 'difference', 'likeness']
    """
    for step in (result, other):
        require_variables(step, ["components", "weights"], caller="compare_steps")
    coarse, fine = result["weights"], other["weights"].rename(component="finer")
    samples = [d for d in coarse.dims if d != "component"]
    if any(coarse.sizes[d] != fine.sizes.get(d, -1) for d in samples):
        raise DataError(
            "other",
            f"has the sizes {dict(fine.sizes)}; expected the samples of the first "
            f"step, {dict(coarse.sizes)}",
        )
    along = (set(result["components"].dims) | {*samples}) - {"component"}
    other = matched(result, other, argument="other", dims=along)
    fine = other["weights"].rename(component="finer")
    a = coarse.transpose(*samples, "component").values.reshape(
        -1, coarse.sizes["component"]
    )
    b = fine.transpose(*samples, "finer").values.reshape(-1, fine.sizes["finer"])
    good = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    part_of = _parts(a[good], b[good])
    member = part_of[:, None] == np.arange(a.shape[1])
    table = xr.DataArray(
        member.astype(np.float64),
        dims=("finer", "component"),
        coords={"finer": fine["finer"], "component": coarse["component"]},
    )
    summed = xr.dot(fine, table, dim="finer")
    difference = np.sqrt(((summed - coarse) ** 2).mean(samples))
    patterns = [
        np.nan_to_num(s["components"].transpose("component", ...).values)
        for s in (other, result)
    ]
    likeness = np.corrcoef(*patterns)[: len(b.T), len(b.T) :]
    units = str(coarse.attrs.get("units", "1"))
    texts = {
        "part_of": (
            xr.DataArray(part_of, dims="finer"),
            "1",
            "Part of this component",
        ),
        "summed_weights": (summed, units, "Summed ratio of the parts"),
        "difference": (difference, units, "Difference of summed ratios"),
        "likeness": (table.copy(data=likeness), "1", "Correlation of patterns"),
    }
    out = {
        name: label(array, name, units=unit, long_name=text)
        for name, (array, unit, text) in texts.items()
    }
    finer_coord = fine["finer"].assign_attrs(
        units="1", long_name="Component of the finer step"
    )
    return xr.Dataset(out).assign_coords(finer=finer_coord)


def _parts(coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Assign each column of `fine` to one of `coarse`, or to none (least squares)."""
    m, n = coarse.shape[1], fine.shape[1]
    gram = fine.T @ fine
    cross = fine.T @ coarse
    if (m + 1) ** n <= _EXHAUSTIVE:
        choices: Iterable[tuple[int, ...]] = itertools.product(range(-1, m), repeat=n)
    else:
        length = np.sqrt(np.outer(np.diag(gram), (coarse**2).sum(axis=0)))
        choices = [tuple((cross / np.maximum(length, 1e-300)).argmax(axis=1))]
    best, lowest = np.zeros(n, dtype=np.int64), np.inf
    for choice in choices:
        chosen = np.array(choice)
        member = (chosen[:, None] == np.arange(m)).astype(float)
        value = float(np.vdot(member, gram @ member) - 2 * np.vdot(member, cross))
        if value < lowest - 1e-12 * abs(lowest if np.isfinite(lowest) else 0.0):
            best, lowest = chosen, value
    return best


@recorded
def reconstruct(
    result: xr.Dataset,
    *,
    component: Sequence[str] | None = None,
    normalise: bool = True,
    minimum: Fraction = 0.05,
) -> xr.DataArray:
    """Rebuild the series from some of its components.

    Lazy. For a solid solution, select the components that describe it together: the
    result is the series of its own patterns, as if it had been measured pure.

    Parameters
    ----------
    result
        A factorisation.
    component
        Names; all by default.
    normalise
        Divide by the summed ratio of the chosen components.
    minimum
        Below this summed ratio a normalised pattern would be noise, and is NaN.

    Returns
    -------
    xarray.DataArray
        (sample, signal), in the units of the data, with ``summed_ratio`` as a
        coordinate.

    Raises
    ------
    ArgumentError
        If a component does not exist, or nothing can be normalised.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> series = batteryxr.nmf.reconstruct(fit, component=["CP1"])
    >>> series.dims
    ('scan', 'energy')
    """
    require_variables(
        result, ["components", "weights", "shift_curve"], caller="reconstruct"
    )
    names = [str(n) for n in result["component"].values]
    chosen = names if component is None else [str(c) for c in component]
    if wrong := [c for c in chosen if c not in names]:
        raise ArgumentError("component", wrong, f"names among {names}")
    if not chosen:
        raise ArgumentError("component", [], f"at least one of {names}")
    closure = bool(result.attrs.get("closure", 1))
    if normalise and not closure and component is not None:
        raise ArgumentError(
            "normalise",
            True,
            "False where weights do not sum to one",
            "Without closure weights are amounts, not ratios.",
        )
    weights = result["weights"].sel(component=chosen)
    patterns = result["components"].sel(component=chosen)
    if "stretch" in result:
        from batteryxr.nmf.stretching import stretched_series

        series = stretched_series(result, chosen)
    else:
        series = xr.dot(weights, patterns, dim="component")
    if not closure:
        series = series + result["shift_curve"]
    total = weights.sum("component")
    if normalise and closure:
        series = (series / total).where(total >= minimum)
    signal = next(d for d in patterns.dims if d != "component")
    series = series.transpose(..., signal)
    units = patterns.attrs if closure else weights.attrs
    out = label(
        series,
        "reconstruction",
        units=str(units.get("units", "1")),
        long_name=f"Reconstruction from {', '.join(chosen)}",
    )
    out.attrs |= told(patterns.attrs)
    ratio = label(total, "summed_ratio", units="1", long_name="Summed ratio")
    return out.assign_coords(summed_ratio=ratio.drop_vars("component", errors="ignore"))
