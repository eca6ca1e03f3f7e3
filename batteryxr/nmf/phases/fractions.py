"""Amounts of phases: from fractions of signal to moles, weights and lithium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.kernels.pair_distribution import scattering_power
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.xray import atoms

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Li taken up per anion of an oxide, fluoride, ... that is reduced.
_VALENCE = {"O": 2, "S": 2, "Se": 2, "F": 1, "Cl": 1, "N": 3, "P": 3}
#: Alkali metals that move in and out.
_ALKALI = ("Li", "Na", "K")
#: Elements that are not metals here: alkali, anions, and elements of binders.
_OTHER = {*_ALKALI, "H", "C", *_VALENCE}
#: Difference of lithium contents above which a warning is given.
_APART = 0.1


@recorded
def amounts(
    result: xr.Dataset,
    *,
    formula: Mapping[str, str],
    scale: Mapping[str, float] | None = None,
    instrument: PdfInstrument = PdfInstrument(),
    electrode: str | None = None,
) -> xr.Dataset:
    """Turn ratios, which are fractions of signal, into mole and weight fractions.

    Lazy. In a total-scattering pattern a phase counts by its atoms and the square of
    their mean scattering length. In spectra it counts by the signal of one mole, given
    as `scale`. The ratios must be fractions of a signal whose sum was the same in each
    scan. Patterns normalised scan by scan, each by its own composition, give results
    off by a few per cent.

    Parameters
    ----------
    result
        Result of `fit` under closure, also with the ranges of `bands` merged into it.
    formula
        Formula unit of each component: ``{"first": "Fe2O3", "CP1": "LiFeO2"}``.
    scale
        Signal of one mole of each component, in any unit. By default it follows from
        the formulas, for G(r), which is normalised by the mean scattering length.
    instrument
        Instrument whose radiation sets the scattering lengths.
    electrode
        Formula of the electrode before the experiment, for the lithium. Anions of the
        electrode that a phase lacks are taken as unseen Li2O (Li2S, LiF).

    Returns
    -------
    xarray.Dataset
        ``mole_fraction`` (of formula units) and ``weight_fraction`` along the scans,
        each with ``_low`` and ``_high`` where the result has ranges. With `electrode`
        also ``li_per_metal``, all Li of the phases and of unseen compounds (Na or K,
        where the cycler or the electrode says so), with ``_low`` and ``_high`` too.
        ``li_difference`` is its difference to the ``li_content`` of the cycler, where
        the scans have it; a content per formula unit, by its name, is divided by the
        metals of that unit.

    Raises
    ------
    ArgumentError
        If a formula is missing or invalid, or a scale is not positive.
    DataError
        If the fit was without closure: its weights are not ratios.

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> shift = pdf.nmf.lower_envelope()
    >>> fit = pdf.nmf.fit(2, constraints=batteryxr.nmf.Constraints(shift=shift))
    >>> found = batteryxr.nmf.amounts(fit, formula={"CP1": "Fe2O3", "CP2": "Fe"})
    >>> list(found.data_vars)
    ['mole_fraction', 'weight_fraction']
    """
    require_variables(result, ["weights"], caller="amounts")
    if not result.attrs.get("closure", 1):
        raise DataError(
            "result", "weights that do not sum to one", "Fit with closure=True."
        )
    names = [str(n) for n in result["component"].values]
    units = _formulas(names, formula)
    signal = _signals(names, units, scale, instrument)
    grams = np.array([_mass(unit) for unit in units])
    out: dict[str, xr.DataArray] = {}
    for name, per_signal, text in (
        ("mole_fraction", 1.0 / signal, "Mole fraction"),
        ("weight_fraction", grams / signal, "Weight fraction"),
    ):
        out |= _fractions(result, name, per_signal, text)
    if electrode is not None:
        moles = out["mole_fraction"]
        out |= _lithium(result, units, moles, signal, atoms(electrode))
    return xr.Dataset(out)


def _formulas(names: list[str], formula: Mapping[str, str]) -> list[dict[str, float]]:
    """Return the atoms in a formula unit of each component."""
    missing = [name for name in names if name not in formula]
    unknown = [name for name in formula if name not in names]
    if missing or unknown:
        raise ArgumentError(
            "formula",
            dict(formula),
            f"one for each of {names}",
            f"Missing: {missing}." if missing else f"Unknown: {unknown}.",
        )
    units = [atoms(formula[name]) for name in names]
    for name, unit in zip(names, units, strict=True):
        if not unit or min(unit.values()) <= 0:
            raise ArgumentError(f"formula[{name!r}]", formula[name], "a formula")
    return units


def _signals(
    names: list[str],
    units: list[dict[str, float]],
    scale: Mapping[str, float] | None,
    instrument: PdfInstrument,
) -> np.ndarray:
    """Return the signal of a mole of each component, (k,)."""
    if scale is None:
        found = []
        for unit in units:
            power = scattering_power(tuple(unit), instrument.radiation)
            count = np.array(list(unit.values()))
            # Atoms times the square of their mean: the normalisation of a pattern.
            found.append(float(count @ power) ** 2 / count.sum())
        return np.array(found)
    if sorted(scale) != sorted(names):
        raise ArgumentError("scale", dict(scale), f"one number for each of {names}")
    values = np.array([float(scale[name]) for name in names])
    if not (np.isfinite(values) & (values > 0)).all():
        raise ArgumentError("scale", dict(scale), "numbers > 0")
    return values


def _mass(unit: dict[str, float]) -> float:
    import periodictable

    return sum(n * float(getattr(periodictable, e).mass) for e, n in unit.items())


def _fractions(
    result: xr.Dataset, name: str, per_signal: np.ndarray, text: str
) -> dict[str, xr.DataArray]:
    """Return fractions, and their range where the ratios have a range."""
    weights = result["weights"]
    each = xr.DataArray(per_signal, dims="component", coords=_names(weights))
    parts = weights * each
    out = {name: (parts / parts.sum("component", skipna=False), text)}
    if "weights_low" in result and len(per_signal) > 1:
        # The others share the rest: extreme if one of them takes all of it.
        many, few = (
            xr.DataArray(
                [f(np.delete(per_signal, i)) for i in range(len(per_signal))],
                dims="component",
                coords=_names(weights),
            )
            for f in (np.max, np.min)
        )
        for end, other in (("low", many), ("high", few)):
            share = result[f"weights_{end}"]
            own = share * each
            out[f"{name}_{end}"] = (
                own / (own + (1 - share) * other),
                f"{'Lowest' if end == 'low' else 'Highest'} {text.lower()} that fits",
            )
    return {
        key: label(array.transpose(*weights.dims), key, units="1", long_name=words)
        for key, (array, words) in out.items()
    }


def _names(weights: xr.DataArray) -> dict[str, xr.DataArray]:
    return {"component": weights["component"]}


def _lithium(
    result: xr.Dataset,
    units: list[dict[str, float]],
    moles: xr.DataArray,
    signal: np.ndarray,
    whole: dict[str, float],
) -> dict[str, xr.DataArray]:
    """Return Li (Na, K) per metal, including unseen Li2O and the like."""
    ion = _ion(moles, whole)
    anions = [e for e in whole if e in _VALENCE]
    metals = _metals(whole)
    if not metals or not anions:
        raise ArgumentError("electrode", whole, "a metal and an anion, such as LiNiO2")
    metal = np.array([_metals(unit) for unit in units])
    gained = np.array([unit.get(ion, 0.0) for unit in units])
    for anion in anions:
        there = np.array([unit.get(anion, 0.0) for unit in units])
        gained = gained + _VALENCE[anion] * (whole[anion] / metals * metal - there)
    coords = _names(moles)
    each, centres = (
        xr.DataArray(count, dims="component", coords=coords)
        for count in (gained, metal)
    )
    total = xr.dot(moles, centres, dim="component")
    lithium = xr.dot(moles, each, dim="component") / total.where(total > 0)
    out: dict[str, Any] = {"li_per_metal": (lithium, f"{ion} per metal, of the phases")}
    if "weights_low" in result:
        ends = apply(
            _extremes,
            *(
                result[name].drop_vars("component")
                for name in ("weights", "weights_low", "weights_high")
            ),
            core_dims=[["component"]] * 3,
            output_dims=[[], []],
            dtypes=[np.float64, np.float64],
            caller="amounts",
            above=gained / signal,
            below=metal / signal,
        )
        for end, array in zip(("low", "high"), ends, strict=True):
            text = f"{'Lowest' if end == 'low' else 'Highest'} {ion} per metal"
            array = array.assign_coords(lithium.coords).transpose(*lithium.dims)
            out[f"li_per_metal_{end}"] = (array, f"{text} that fits")
    if "li_content" in lithium.coords:
        apart = lithium - _per_metal(lithium["li_content"], whole)
        out["li_difference"] = (apart, f"{ion} per metal, phases less cycler")
        if not is_lazy(apart) and (off := _most(apart.values)) > _APART:
            warn_quality(
                f"phases and cycler differ by up to {off:.2f} {ion} per metal in nine "
                "of ten scans. Charge made no phase, the formula is another, or ratios "
                "are not sure (see `bands`)."
            )
    return {
        key: label(array, key, units="1", long_name=text)
        for key, (array, text) in out.items()
    }


def _ion(moles: xr.DataArray, whole: dict[str, float]) -> str:
    """Return the alkali metal that moves, from the cycler or else the electrode."""
    if "li_content" in moles.coords:
        said = str(moles["li_content"].attrs.get("long_name", "")).split(" ")[0]
        if said in _ALKALI:
            return said
    return next((ion for ion in _ALKALI if ion in whole), "Li")


def _extremes(
    weights: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    above: np.ndarray,
    below: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the extremes of a quotient of sums of ratios (..., k) that sum to one.

    For a trial quotient, the rest above the lowest ratios goes where it counts most
    (Dinkelbach, Manag. Sci. 13, 492, 1967).
    """
    ends = []
    low, high = np.minimum(low, weights), np.maximum(high, weights)
    for sign in (-1.0, 1.0):
        best = weights
        for _ in range(12):
            with np.errstate(invalid="ignore", divide="ignore"):
                goal = (best @ above) / (best @ below)
            gain = sign * (above - goal[..., None] * below)
            order = np.argsort(-gain, axis=-1)
            room = np.take_along_axis(high - low, order, axis=-1)
            rest = (1.0 - low.sum(axis=-1))[..., None]
            before = np.cumsum(room, axis=-1) - room
            put = np.clip(rest - before, 0.0, room)
            best = np.take_along_axis(low, order, axis=-1) + put
            best = np.take_along_axis(best, np.argsort(order, axis=-1), axis=-1)
        ends.append(np.where(best @ below > 0, goal, np.nan))
    return ends[0], ends[1]


def _per_metal(content: xr.DataArray, whole: dict[str, float]) -> xr.DataArray:
    """Return a Li content per metal, if its name says that it is per formula unit."""
    if "formula unit" not in str(content.attrs.get("long_name", "")):
        return content
    formula = content.attrs.get("formula")
    unit = whole if formula is None else atoms(str(formula))
    return content / (_metals(unit) or _metals(whole))


def _metals(unit: dict[str, float]) -> float:
    return sum(n for e, n in unit.items() if e not in _OTHER)


def _most(apart: np.ndarray) -> float:
    """Return the 0.9 quantile of the absolute differences; 0 without any value."""
    known = np.abs(apart[np.isfinite(apart)])
    return float(np.quantile(known, 0.9)) if known.size else 0.0
