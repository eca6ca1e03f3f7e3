"""Fit spectra as sums of standards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.provenance import recorded
from batteryxr.xanes.composition.standards import (
    NAMES,
    Curve,
    curves,
    movable,
    on_grid,
    own_noise,
    reached,
)
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra
from batteryxr.xanes.spectra import window as in_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.checks import NonNegative
    from batteryxr.xanes.kernels.combining.results import Design
    from batteryxr.xanes.spectra import Range

    Standards = xr.DataArray | Mapping[str, xr.DataArray]

#: Names of spectra that are not normalised, and need not sum to one.
_OF_THICKNESS = ("absorption", "optical_density")
#: Bits of the variable `flag`.
_FLAGS = {1: "no_data", 2: "sum_not_one", 4: "energy_shifted", 8: "shift_at_limit"}

#: Results that are one number for each spectrum, by their place among the statistics.
_STATISTICS = {
    6: ("weight_sum", "Sum of weights"),
    0: ("chi2", "Sum of squared residuals"),
    5: ("residual_sd", "Standard deviation of the residuals"),
    2: ("r_factor_free", "R factor, free sum"),
    3: ("r_factor_sum_to_one", "R factor, weights sum to one"),
    4: ("n_independent", "Independent values"),
}


@recorded
def lcf(
    spectra: xr.DataArray | xr.Dataset,
    *,
    standards: Annotated[xr.DataArray | Mapping[str, xr.DataArray], OwnLabels()],
    window: Range | None = None,
    non_negative: bool = True,
    closure: bool = False,
    baseline: Literal[0, 1] | None = None,
    max_shift: NonNegative = 0.0,
    shared: bool = False,
    errors: NonNegative | Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Fit every spectrum by a linear combination of standards, exactly.

    *Lazy*.

    Parameters
    ----------
    spectra
        Spectra along `energy`, in any other dimensions, prepared like the standards
        (normalised or flattened).
    standards
        Spectra by name, or along the dimension `standard`; interpolated (cubic) to
        the energies of `spectra` if these differ.
    window
        Energies to fit, in eV; default: all.
    non_negative
        Weights are not below zero.
    closure
        Weights sum to one. A poor standard then distorts the others: compare the two
        R factors.
    baseline
        Degree of an added polynomial, 0 or 1, with free sign and outside the sum;
        None: no polynomial.
    max_shift
        Largest energy shift of each standard in eV, fitted with the weights (some ten
        milliseconds for each spectrum); 0: no shift. Energies this close to an end of
        a standard are then left out.
    shared
        Whether all standards have the same shift: the spectrum has another scale.
    errors
        Noise of the standards, a standard deviation for all or by name; 0 for exact
        ones. Default: from the deviation of their values from neighbouring energies.

    Returns
    -------
    xarray.Dataset
        `weight` and `weight_error` along `standard`. The error is one standard
        deviation from the residuals, as if no weight were held at zero; it includes
        their correlation over energies, what few independent values leave unknown of
        it, and the noise of the standards. `weight_sum`,
        `chi2` (sum of squared residuals), `residual_sd`, `r_factor_free` and
        `r_factor_sum_to_one`: sum (y - fit)² / sum y² without and with that
        constraint. `n_independent`: number of independent values among the energies.
        With `max_shift`, `energy_shift` (added to the energies of a standard) and its
        error; with `baseline`, `background` along `order`. `flag` (1: no data; 2: the
        weights sum to less than 0.9 or more than 1.1, unless the spectra are plain
        absorption; 4: the residual looks like an energy shift, and errors reach to the
        weights with it; 8: a shift ended at `max_shift`, and the weights' errors, as
        if it were free, may be too small).

    Raises
    ------
    ArgumentError
        If the window holds too few energies.
    DataError
        If the standards do not cover the energies, or are not independent.

    Warns
    -----
    DataQualityWarning
        If a spectrum has one of the last three flags (not for lazy data).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> pure = cell["truth"].to_dataset()["components"]
    >>> standards = {
    ...     name: pure.sel(component=name) for name in pure["component"].values
    ... }
    >>> shares = spectra.xanes.lcf(standards=standards)
    >>> shares["weight"].dims
    ('standard', 'scan')
    """
    array = as_spectra(spectra, caller="lcf", names=NAMES)
    if window is not None:
        inside = in_window(array.energy.values, window, name="window", least=2)
        array = array.isel(energy=inside)
    items = curves(standards)
    if max_shift:
        array = array.isel(energy=reached(array.energy.values, items, max_shift))
    names, matrix = on_grid(items, array.energy.values)
    x = array.energy.values
    noise = _noise(items, errors)
    design = _design(x, matrix, noise, baseline, non_negative, closure)
    moving = (*movable(items, x), float(max_shift), shared) if max_shift else None
    parts = _apply(array, design, moving)
    if array.name in _OF_THICKNESS:  # the sum is then the thickness of a pixel
        parts["flag"] = parts["flag"] & np.uint8(255 - 2)
    result = _labelled(parts, names, bool(max_shift))
    result = inherit(result, array, window=[float(x[0]), float(x[-1])])
    if not blocks.is_lazy(result):
        _warn(result.flag)
    return result


def _noise(
    items: Mapping[str, Curve], errors: float | Mapping[str, float] | None
) -> np.ndarray:
    if errors is None:
        return own_noise(items)
    if not isinstance(errors, float | int):
        if missing := [name for name in items if name not in errors]:
            raise ArgumentError("errors", errors, f"one for each of {missing}")
        return np.array([float(errors[name]) for name in items])
    return np.full(len(items), float(errors))


def _design(
    x: np.ndarray,
    matrix: np.ndarray,
    noise: np.ndarray,
    baseline: int | None,
    non_negative: bool,
    closure: bool,
) -> Design:
    """Return the design of a fit, checked to be solvable."""
    from batteryxr.xanes.kernels.combining.results import Design

    scaled = (x - x.mean()) / (0.5 * np.ptp(x))
    powers = scaled[None] ** np.arange(0 if baseline is None else baseline + 1)[:, None]
    rank = int(np.linalg.matrix_rank(np.concatenate([matrix, powers])))
    if rank < len(matrix) + len(powers) or rank >= x.size:
        raise DataError(
            "standards",
            f"they are not independent, or no fewer than the {x.size} energies",
            "Drop one that the others already contain, or widen the window.",
        )
    return Design(matrix, powers, noise, x, non_negative, closure)


def _apply(
    array: xr.DataArray, design: Design, moving: tuple[Any, ...] | None
) -> dict[str, xr.DataArray]:
    n, n_back = len(design.standards), len(design.background)
    dims = [["standard"], ["standard"], ["order"], ["statistic"], []]
    dims += [["standard"], ["standard"]] if moving else []
    found = blocks.apply(
        _combine,
        array,
        core_dims=[["energy"]],
        output_dims=dims,
        output_sizes={"standard": n, "order": n_back, "statistic": 7},
        dtypes=[float] * 4 + [np.uint8] + [float] * (len(dims) - 5),
        caller="lcf",
        design=design,
        moving=moving,
    )
    names = ("weight", "error", "background", "quality", "flag", "shift", "shift_error")
    return dict(zip(names, found, strict=False))


def _labelled(
    parts: dict[str, xr.DataArray], names: list[str], moved: bool
) -> xr.Dataset:
    held = {k: a.variable for k, a in parts.items()}
    first = dict.fromkeys(("weight", "error", "shift", "shift_error"), "standard")
    first["background"] = "order"
    held |= {k: held[k].transpose(d, ...) for k, d in first.items() if k in held}
    named: list[tuple[str, xr.Variable, str, str]] = [
        ("weight", held["weight"], "1", "Weight"),
        ("weight_error", held["error"], "1", "Weight, standard error"),
    ]
    for k, (name, text) in _STATISTICS.items():
        named.append((name, blocks.entry(held["quality"], k), "1", text))
    if moved:
        text = "Energy shift"
        named.append(("energy_shift", held["shift"], "eV", text))
        text = "Energy shift, standard error"
        named.append(("energy_shift_error", held["shift_error"], "eV", text))
    n_back = held["background"].sizes["order"]
    if n_back:
        named.append(("background", held["background"], "1", "Background"))
    for _, variable, units, text in named:
        variable.attrs = {"units": units, "long_name": text}
    found = {name: variable for name, variable, _, _ in named}
    found["flag"] = held["flag"]
    found["flag"].attrs = {
        "units": "1",
        "long_name": "Quality of the combination",
        "flag_masks": list(_FLAGS),
        "flag_meanings": " ".join(_FLAGS.values()),
    }
    attrs = {"units": "1", "long_name": "Standard"}
    coords: dict[str, Any] = {"standard": ("standard", names, attrs)}
    if n_back:
        attrs = {"units": "1", "long_name": "Power of the scaled energy"}
        coords["order"] = ("order", np.arange(n_back), attrs)
    return xr.Dataset(found, parts["flag"].coords | xr.Coordinates(coords))


def _warn(flag: xr.DataArray) -> None:
    """Warn of sums that are not one, and of energies that seem shifted."""
    mends = {
        2: "have weights that sum to less than 0.9 or more than 1.1: normalise spectra "
        "and standards alike, or look for a standard that is missing",
        4: "lie on other energies than the standards, by what is left: fit a shift "
        "with max_shift=1.0, or calibrate the energies first",
        8: "have a standard whose shift ended at max_shift: raise it, shift all alike "
        "with shared=True, or leave out a standard of little weight",
    }
    bits = flag.values
    for bit, mend in mends.items():
        count = int(np.count_nonzero(bits & bit))
        if count:
            warn_quality(f"lcf: {count} of {flag.size} spectra {mend}.")


def _combine(data: np.ndarray, *, design: Design, moving: Any) -> Any:
    from batteryxr.xanes.kernels.combining.fixed import combine

    found: tuple[np.ndarray, ...]
    if moving is None:
        found = combine(data, design=design)
    else:
        from batteryxr.xanes.kernels.combining.shifted import Movable, combine_shifted

        found = combine_shifted(data, design=design, movable=Movable(*moving))
    weights, errors, background, quality, *rest = found
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.sqrt(quality[..., 0] / quality[..., 1])
    more = np.stack([residual, weights.sum(axis=-1)], axis=-1)
    return weights, errors, background, np.concatenate([quality, more], -1), *rest
