"""The range of ratios and components that fit as well as a result."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.nmf.ground import Ground, errors_of, ground_of
from batteryxr.nmf.posterior import NOISE, Labels, mean_ranges
from batteryxr.nmf.results import labelled
from batteryxr.nmf.shifts import lowest

if TYPE_CHECKING:
    from batteryxr.core.checks import Seed
    from batteryxr.nmf.kernels.feasible import Range
    from batteryxr.nmf.phases.candidates import Candidates
    from batteryxr.nmf.shifts import Lowest

#: Above this many components a short walk does not give the range.
_SHORT = 8
#: Mean range of a component's ratios above which a warning is given.
_WIDE = 0.06
#: Steps of a brief walk, and of one that also climbs to the corners.
_BRIEF, _CORNERS = 2000, 12_000
#: Number of patterns that fit, tried in place of an unknown one.
_TRIED = 5


@recorded
def bands(
    result: xr.Dataset,
    *,
    shift: Annotated[Lowest, OwnLabels()] = "physics",
    candidates: Candidates | None = None,
    noise: Annotated[float, Bounds(low=0.0, below=math.inf)] | None = None,
    steps: Annotated[int, Bounds(low=400)] = 80_000,
    seed: Seed = 0,
) -> xr.Dataset:
    """Return the range of each weight and component that fits as well as the result.

    Reads weights and residuals of the result once, weights of G(r) twice; the ranges of
    an image stay lazy. A hit-and-run walk covers all factorisations with the same
    product and nothing below zero beyond noise. "Below" means below what physics
    allows, not below the shift of the fit: a phase that never occurs pure dips below
    any envelope of the data. The range narrows as components are fixed. A fixed scan
    has noise, which all other components inherit. A component found by an earlier step
    is not certain, and moves with the free ones. Presence windows and known weights
    are kept, and errors given to the fit set the noise of each scan and point. That
    weights are unimodal is not used: their range is wider than need be.

    Parameters
    ----------
    result
        Result of `fit`, `raise_n` or `metropolis`.
    shift
        Lower bound of all true components: ``"physics"``, zero where the fit was not
        shifted and -4 pi rho0 r for G(r); ``"fit"``, the shift of the fit; or a curve.
    candidates
        Crystals or CIFs that may occur; the densest gives rho0. By default rho0 is
        1.15 times that of the densest scan.
    noise
        Standard deviation of a value of the data, or of a typical value where the fit
        was given errors. By default the root mean square residual, corrected for the
        noise that a fit of as many components absorbs.
    steps
        Number of steps of the walk.
    seed
        Seed of the walk.

    Returns
    -------
    xarray.Dataset
        ``weights_low``, ``weights_high`` and ``weights_width``, three standard
        deviations of noise included; ``weights_middle``, which is off by half of the
        width at most, where the result itself may be off by all of it;
        ``components_low`` and ``components_high``;
        ``bound_curve``; and ``bound_share``, the fraction of its points at which a
        component of the result lies on that bound, within noise. Without closure each
        component keeps its area.

    Raises
    ------
    DataError
        If the components stretch, as they cannot be rotated into one another.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> ranges = batteryxr.nmf.bands(fit, shift="fit", steps=2000)
    >>> list(ranges.data_vars)[:4]
    ['weights_low', 'weights_high', 'weights_width', 'weights_middle']
    """
    ground = ground_of(result, lowest(result, shift, candidates), noise, seed)
    found = ground.walk(steps)
    lift, points, here = ground.lift, ground.points, ground.here
    k = len(ground.patterns)
    labels = Labels(result, np.arange(k), here, points, lift)
    if ground.errors is None:
        low, high = _ends(result["weights"], found)
    else:
        low, high = (
            labels.factor("weights", values, "weights", "Weight")
            for values in found.weights
        )
    wider = _scatter(ground, found, result["weights"])
    top = 1.0 if ground.closure else None
    out = _with_noise(result["weights"], low, high, wider, top=top)
    for index, end in enumerate(("low", "high")):
        out[f"components_{end}"] = labels.factor(
            "components",
            found.components[index] * (ground.unit * ground.profile),
            f"components_{end}",
            f"{'Highest' if index else 'Lowest'} component that fits",
        )
    height = ground.patterns[:, points] * ground.unit
    near = height <= 3 * ground.noise * ground.profile
    out["bound_share"] = labelled(
        "bound_share", "component", near.mean(axis=1), "1", "Share on the bound"
    )
    curve = result["shift_curve"].copy(data=np.zeros(points.size) + lift)
    out["bound_curve"] = label(
        curve,
        "bound_curve",
        units=str(curve.attrs.get("units", "1")),
        long_name="Bound of the components",
    )
    answer = xr.Dataset(out)
    answer.attrs = {"noise": ground.noise, "closure": int(ground.closure)}
    return answer


@recorded
def advise(
    result: xr.Dataset,
    *,
    shift: Annotated[Lowest, OwnLabels()] = "physics",
    candidates: Candidates | None = None,
    noise: Annotated[float, Bounds(low=0.0, below=math.inf)] | None = None,
    steps: Annotated[int, Bounds(low=400)] = 20_000,
    seed: Seed = 0,
) -> xr.Dataset:
    """Tell which component's pattern, if known, would narrow the ranges most.

    Reads the weights of the result once. The true pattern is not known: several that
    fit are tried in its place, and the resulting ranges are averaged.

    Parameters
    ----------
    result, shift, candidates, noise, seed
        As in `bands`.
    steps
        Number of steps of each walk; there are five walks for each free component.

    Returns
    -------
    xarray.Dataset
        Per component: ``weights_width``, the mean range of all ratios if its pattern
        were known, as `bands` would give it, with ``weights_width_low`` and ``_high``,
        the ends over the patterns tried; beside it ``range_width``, that of now;
        ``purest``, the scan with most of it, and ``purity``, its highest possible
        ratio there. A scan that may be pure can be fixed in place of a pattern.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> advice = batteryxr.nmf.advise(fit, shift="fit", steps=2000)
    >>> list(advice.data_vars)[:4]
    ['weights_width', 'purest', 'purity', 'range_width']
    """
    ground = ground_of(result, lowest(result, shift, candidates), noise, seed)
    if ground.errors is None or ground.closure is False:
        raise DataError("result", "no series of ratios; expected a fit under closure")
    now = ground.walk(steps)
    k = len(ground.patterns)
    widths = np.empty((k, _TRIED))
    picked = np.linspace(len(now.rotations) // 4, len(now.rotations) - 1, _TRIED)
    for i, turn in enumerate(now.rotations[picked.astype(int)]):
        moved = ground.turned(turn)
        for j in range(k):
            known = ground.known.copy()
            known[j] = "pattern"
            errors = errors_of(moved.weights, known, ground.samples)
            told = replace(moved, known=known, errors=errors)
            widths[j, i] = _noisy_width(told, told.walk(steps))
    highest = np.clip(now.weights[1], 0.0, 1.0)
    table = {
        "weights_width": (widths.mean(axis=1), "Mean range if the pattern were known"),
        "purest": (np.flatnonzero(ground.here)[highest.argmax(axis=1)], "Purest scan"),
        "purity": (highest.max(axis=1), "Highest ratio there that fits"),
    }
    out = {
        name: labelled(name, "component", values, "1", text)
        for name, (values, text) in table.items()
    }
    width = _noisy_width(ground, now)
    out["range_width"] = labelled(
        "range_width", (), width, "1", "Mean range of a ratio"
    )
    for end, values in (("low", widths.min(axis=1)), ("high", widths.max(axis=1))):
        name, text = f"weights_width_{end}", "Mean range for the pattern tried, "
        out[name] = labelled(name, "component", values, "1", f"{text}{end}est")
    return xr.Dataset(out).assign_coords(component=result["component"])


def with_width(result: xr.Dataset) -> xr.Dataset:
    """Add the ranges of the ratios of a series, and tell where they are wide."""
    if is_lazy(result["weights"]) or "signed" in result:
        return result  # computing it would read the data once more, or has no bound
    bare = result.drop_vars("unimodal", errors="ignore")  # told by `bands`
    ground = ground_of(bare, lowest(result, "physics", None), None, 0)
    k = len(ground.patterns)
    found = None
    if ground.errors is not None and 1 < k <= _SHORT:
        with contextlib.suppress(DataError):  # told as components that are alike
            found = ground.walk(_BRIEF, points=False)
            if k > 2 and _widths(found).max() > 0.5 * _WIDE:
                found = ground.walk(_CORNERS, points=False)
    if found is None:
        if k > _SHORT:
            warn_quality(
                f"how far the ratios of {k} components may differ and fit as well is "
                f"not looked for beyond {_SHORT}: `bands` does. `model_order` tells "
                "how many the data bear."
            )
        return result.assign(mean_ranges(np.full(k, np.nan), "1"))
    widths = _widths(found)
    result = result.assign(mean_ranges(widths, "1"))
    labels = Labels(result, np.arange(k), ground.here, ground.points)
    low, high = (
        labels.factor("weights", w, "weights", "Weight") for w in found.weights
    )
    weights = result["weights"]
    range_ = _with_noise(weights, low, high, _scatter(ground, found, weights), top=1.0)
    middle, half = range_["weights_middle"], 0.5 * range_["weights_width"]
    text = "Middle of the range of a weight"
    result["weights_centre"] = label(
        middle, "weights_centre", units="1", long_name=text
    )
    text = "Half of the range of a weight"
    result["weights_centre_error"] = label(
        half, "weights_centre_error", units="1", long_name=text
    )
    tell_ranges(result)
    return result


def _widths(found: Range) -> np.ndarray:
    """Return the mean range of the ratios of each component, (k,)."""
    low, high = np.clip(found.weights, 0.0, 1.0)
    return np.asarray((high - low).mean(axis=1))


def tell_ranges(result: xr.Dataset) -> None:
    """Warn of components whose ratios may differ widely and fit as well."""
    each = result["component_range"]
    wide = [
        f"{c} by {float(each.sel(component=c)):.2f}"
        for c in result["component"].values[each.values > _WIDE]
    ]
    if wide:
        better = "`bands` gives the range of each"
        if "weights_centre" in result:
            better = (
                "where none is pure, report `weights_centre`, which is off by "
                f"`weights_centre_error` at most, and {better}"
            )
        warn_quality(
            f"ratios may differ by {float(each.mean()):.2f} on average and fit as well "
            f"({', '.join(wide)}). This answer is the one near the purest scans: "
            f"{better}. `advise` says what would narrow it. Where the crystals are "
            "known, `fit_structures` has no such range."
        )


def _noisy_width(ground: Ground, found: Range) -> float:
    """Return the mean range of all ratios with their noise, as `bands` gives it."""
    far = _reach(ground, found)
    low, high = (found.weights[0] - far, found.weights[1] + far)
    return float((np.clip(high, 0.0, 1.0) - np.clip(low, 0.0, 1.0)).mean())


def _reach(ground: Ground, found: Range) -> np.ndarray:
    """Return how far noise reaches in the weights, (k, patterns); (k, 1) for images.

    It adds the noise of a pattern and the noise of the components. Components that are
    more alike are harder to separate: a high quantile over the factorisations counts.
    """
    gram = ground.rows @ ground.rows.T
    reach = []
    for turn in found.rotations[:: max(len(found.rotations) // 50, 1)]:
        inverse = np.linalg.pinv(turn @ gram @ turn.T, hermitian=True)
        if ground.closure:  # a common change does not affect ratios
            total = inverse.sum(axis=1)
            inverse = inverse - np.outer(total, total) / total.sum()
        reach.append(np.sqrt(np.maximum(np.diag(inverse), 0.0)))
    noise = ground.noise / ground.unit
    noise *= math.sqrt(ground.memory)
    far = (NOISE * noise * np.quantile(reach, 0.84, axis=0))[:, None]
    if ground.errors is None:
        return far
    w = ground.weights
    own = np.einsum("is,ij,js->s", w, ground.errors, w)
    level = 1.0 if ground.samples is None else ground.samples**2
    return np.asarray(far * np.sqrt(level + own))


def _scatter(ground: Ground, found: Range, like: xr.DataArray) -> xr.DataArray:
    """Return how far noise reaches in the weights, (component, samples of series)."""
    far = _reach(ground, found)
    if ground.errors is None:
        return xr.DataArray(far[:, 0], dims="component")
    whole = np.full((len(far), ground.here.size), np.nan)
    whole[:, ground.here] = far
    along = [d for d in like.dims if d != "component"]
    shape = [like.sizes[d] for d in along]
    return xr.DataArray(whole.reshape(-1, *shape), dims=["component", *along])


def _ends(weights: xr.DataArray, found: Range) -> list[xr.DataArray]:
    """Return the lowest and highest weights over all rotations, lazy if weights are."""
    ends = apply(
        _range_of,
        weights.drop_vars("component"),
        core_dims=[["component"]],
        output_dims=[["component"], ["component"]],
        dtypes=[np.float64, np.float64],
        caller="bands",
        turns=np.linalg.inv(found.rotations),
    )
    return [end.transpose(*weights.dims) for end in ends]


def _with_noise(
    weights: xr.DataArray,
    low: xr.DataArray,
    high: xr.DataArray,
    wider: xr.DataArray,
    *,
    top: float | None,
) -> dict[str, xr.DataArray]:
    """Return the range of the weights, extended by `wider` at either end."""
    bare = weights.drop_vars(list(weights.coords))
    low, high = low - wider, high + wider
    low = low.where(low < bare, bare).clip(0.0, top).transpose(*weights.dims)
    high = high.where(high > bare, bare).clip(0.0, top).transpose(*weights.dims)
    parts = {
        "weights_low": (low, "Lowest weight that fits"),
        "weights_high": (high, "Highest weight that fits"),
        "weights_width": (high - low, "Range of a weight"),
        "weights_middle": (0.5 * (low + high), "Middle of the range of a weight"),
    }
    units = str(weights.attrs["units"])
    return {
        name: label(
            array.assign_coords(weights.coords), name, units=units, long_name=text
        )
        for name, (array, text) in parts.items()
    }


def _range_of(
    weights: np.ndarray, *, turns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest weights (..., k) over all turns (draws, k, k)."""
    low, high = np.array(weights, dtype=np.float64), np.array(weights, dtype=np.float64)
    for turn in turns:
        other = weights @ turn
        np.minimum(low, other, out=low)
        np.maximum(high, other, out=high)
    return low, high
