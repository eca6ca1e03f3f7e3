"""Lithium from charge: theory, content, utilisation, and what exceeds theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError, UnitsError
from batteryxr.core.model import attributes, label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.units import affine, in_units
from batteryxr.echem._record import FATAL, is_mean
from batteryxr.echem.composition import Composition
from batteryxr.echem.composition import formula as parse

#: Charge of one mole of electrons (mA h mol-1): 96485.33212 C mol-1 / 3.6 C.
FARADAY = 96485.33212 / 3.6
#: Variables that hold a net charge, and that hold the capacity of a half cycle.
_NET = ("capacity_total",)
_MOVED = ("specific_capacity", "capacity")
#: Rows of a record further apart are not joined (s), as in `half_cycles`.
_MAX_GAP = 3600.0


def theoretical_capacity(
    formula: str | Composition,
    *,
    ion: str = "Li",
    electrons: float | Mapping[str, float] | None = None,
    redox: Mapping[str, tuple[float, float]] | None = None,
) -> float:
    """Return the theoretical specific capacity of a material.

    Parameters
    ----------
    formula
        The material as weighed.
    ion
        The working ion. Without `electrons` and `redox` all of it counts.
    electrons
        Electrons per formula unit; or per atom of named elements:
        ``{"Fe": 3}`` for the conversion of Fe2O3.
    redox
        What the electrons come from: the oxidation states of elements before and
        after, ``{"Mn": (3, 4)}``.

    Returns
    -------
    float
        Capacity in mA h g-1: n F / (3.6 M).

    Raises
    ------
    ArgumentError
        If the formula lacks the ion or a named element, or both `electrons` and
        `redox` are given.
    """
    composition = parse(formula)
    n = electrons_of(composition, ion, electrons, redox)
    return n * FARADAY / composition.molar_mass


def electrons_of(
    composition: Composition,
    ion: str,
    electrons: float | Mapping[str, float] | None,
    redox: Mapping[str, tuple[float, float]] | None,
) -> float:
    """Return the electrons per formula unit that theory allows."""
    if electrons is not None and redox is not None:
        raise ArgumentError("redox", redox, "either `electrons` or `redox`, not both")
    if isinstance(electrons, Mapping):
        return sum(n * _atoms(composition, e) for e, n in electrons.items())
    if electrons is not None:
        if not electrons > 0:
            raise ArgumentError("electrons", electrons, "a number > 0")
        return float(electrons)
    if redox is not None:
        return sum(
            _atoms(composition, e) * abs(after - before)
            for e, (before, after) in redox.items()
        )
    if composition[ion] == 0:
        raise ArgumentError(
            "formula",
            str(composition),
            f"a formula with {ion}, or `electrons` or `redox`",
            'For a conversion electrode pass, for example, electrons={"Fe": 3}.',
        )
    return composition[ion]


def _atoms(composition: Composition, element: str) -> float:
    if composition[element] == 0:
        raise ArgumentError("element", element, f"an element of {composition}")
    return composition[element]


@recorded
def li_content(
    data: xr.Dataset | xr.DataArray | float,
    *,
    formula: str | Composition,
    mass: float | None = None,
    x0: float | None = None,
    per: str = "formula",
    on_charge: Literal["delithiation", "lithiation"] = "delithiation",
    ion: str = "Li",
    variable: str | None = None,
) -> xr.DataArray:
    """Return the Li content from the net charge passed.

    Lazy: reads nothing.

    Parameters
    ----------
    data
        Net charge passed since the content was `x0`, positive where the cell was
        charged: a DataArray in units of charge or specific charge, a number in
        mA h g-1, or a Dataset with `variable`. Of a cycler record the current is
        integrated.
    formula
        The active material as weighed.
    mass
        Mass of active material (mg); not needed for specific charge.
    x0
        Content at zero charge, in the units of the result. Default: that of
        `formula`, 0 for a conversion oxide.
    per
        ``"formula"`` unit, ``"metal"`` centre, or an element such as ``"Fe"``.
    on_charge
        What charging the cell does to the material. Every material against Li metal
        is delithiated on charge, oxide anodes included; the negative electrode of a
        full cell is lithiated.
    ion
        The working ion.
    variable
        Name of the charge in a Dataset. Default: the integrated current of a cycler
        record, else ``capacity_total``, which joined scans have.

    Returns
    -------
    xarray.DataArray
        ``li_content`` (units 1) with the coordinates of `data`.

    Raises
    ------
    ArgumentError
        If the mass is missing, or an argument has no meaning for the formula.
    VariableError, UnitsError
        If a Dataset lacks the charge, or its units are no charge.

    Notes
    -----
    x = x0 -/+ 3.6 Q M / F; Hua et al., Cell Rep. Phys. Sci. 2, 100543 (2021) count
    per metal centre, so that oxides compare.
    """
    composition = parse(formula)
    if on_charge not in ("delithiation", "lithiation"):
        raise ArgumentError("on_charge", on_charge, "'delithiation' or 'lithiation'")
    centres, unit = centres_of(composition, per)
    start = composition[ion] / centres if x0 is None else x0
    charge = _specific(data, mass, variable, _NET, caller="li_content")
    sign = -1.0 if on_charge == "delithiation" else 1.0
    content = start + charge * (sign * composition.molar_mass / FARADAY / centres)
    return label(
        content,
        "li_content",
        long_name=f"{ion} per {unit}",
        formula=str(composition),
        initial_content=float(start),
    )


@recorded
def utilisation(
    data: xr.Dataset | xr.DataArray | float,
    *,
    formula: str | Composition,
    mass: float | None = None,
    ion: str = "Li",
    variable: str | None = None,
) -> xr.DataArray:
    """Return the share of the nominal Li that a capacity moves.

    Lazy: reads nothing.

    Parameters
    ----------
    data
        Capacities: a DataArray in units of charge or specific charge, a number in
        mA h g-1, or a Dataset with `variable`. Charge and discharge apart: their
        ratios differ by the efficiency.
    formula
        The active material as weighed.
    mass
        Mass of active material (mg); not needed for specific capacities.
    ion
        The working ion.
    variable
        Name of the capacities in a Dataset. Default: the integrated current of a
        cycler record, else ``specific_capacity`` or ``capacity``.

    Returns
    -------
    xarray.DataArray
        ``utilisation`` (units 1); above 1 where more moves than the formula holds.

    Raises
    ------
    ArgumentError
        If the mass is missing, or the formula has none of the ion.
    VariableError, UnitsError
        If a Dataset lacks the capacity, or its units are no charge.
    """
    composition = parse(formula)
    theory = theoretical_capacity(composition, ion=ion)
    capacity = abs(_specific(data, mass, variable, _MOVED, caller="utilisation"))
    return label(
        capacity / theory,
        "utilisation",
        units="1",
        long_name=f"{ion} moved of nominal {ion}",
        formula=str(composition),
        theoretical_capacity=theory,
    )


@recorded
def extra_capacity(
    data: xr.Dataset | xr.DataArray | float,
    *,
    formula: str | Composition,
    mass: float | None = None,
    electrons: float | Mapping[str, float] | None = None,
    redox: Mapping[str, tuple[float, float]] | None = None,
    ion: str = "Li",
    variable: str | None = None,
) -> xr.Dataset:
    """Return the capacity beyond theory, and the Li per metal centre behind it.

    Lazy: reads nothing.

    Parameters
    ----------
    data, formula, mass, ion, variable
        As in `utilisation`.
    electrons, redox
        As in `theoretical_capacity`: what theory allows.

    Returns
    -------
    xarray.Dataset
        ``extra_capacity`` (mA h g-1) and ``extra_li`` (Li per metal centre), 0 where
        a capacity stays within theory.

    Raises
    ------
    ArgumentError
        If the mass is missing, or the theory is not defined for the formula.
    VariableError, UnitsError
        If a Dataset lacks the capacity, or its units are no charge.
    """
    composition = parse(formula)
    theory = theoretical_capacity(
        composition, ion=ion, electrons=electrons, redox=redox
    )
    centres, unit = centres_of(composition, "metal")
    capacity = abs(_specific(data, mass, variable, _MOVED, caller="extra_capacity"))
    extra = (capacity - theory).clip(min=0.0)
    extra_li = extra * (composition.molar_mass / FARADAY / centres)
    result = xr.Dataset(
        {
            "extra_capacity": label(
                extra,
                "extra_capacity",
                units="mA h g-1",
                long_name="Capacity beyond theory",
            ),
            "extra_li": label(
                extra_li,
                "extra_li",
                units="1",
                long_name=f"{ion} beyond theory per {unit}",
            ),
        }
    )
    return result.assign_attrs(formula=str(composition), theoretical_capacity=theory)


def centres_of(composition: Composition, per: str) -> tuple[float, str]:
    """Return how many of what a Li content counts on, and what they are called."""
    if per == "formula":
        return 1.0, "formula unit"
    if per == "metal":
        if composition.metals == 0:
            raise ArgumentError("per", per, f"metal centres; {composition} has none")
        return composition.metals, "metal centre"
    if composition[per] == 0:
        raise ArgumentError(
            "per", per, f"'formula', 'metal' or an element of {composition}"
        )
    return composition[per], per


def _specific(
    data: xr.Dataset | xr.DataArray | float,
    mass: float | None,
    variable: str | None,
    usual: Sequence[str],
    *,
    caller: str,
) -> xr.DataArray:
    """Return charge in mA h g-1, whatever it came as."""
    if isinstance(data, xr.Dataset):
        data = _charge(data, variable, usual, caller=caller)
    elif not isinstance(data, xr.DataArray):
        known = attributes("specific_capacity")
        data = xr.DataArray(float(data), name="specific_capacity", attrs=known)
    if not _is_charge(data.attrs.get("units")):
        return in_units(data, "mA h g-1", caller=caller)
    if mass is None or not mass > 0:
        raise ArgumentError(
            "mass",
            mass,
            "the mass of active material in mg",
            f"{data.name!r} is a charge, not a specific one.",
        )
    return in_units(data, "mA h", caller=caller) / (mass * 1e-3)


def _is_charge(units: str | None) -> bool:
    if units is None:
        return False
    try:
        affine(str(units), "mA h")
    except UnitsError:
        return False
    return True


def _charge(
    ds: xr.Dataset, variable: str | None, usual: Sequence[str], *, caller: str
) -> xr.DataArray:
    if variable is None:
        # A record's own `capacity` begins anew with every half cycle.
        if "record" in ds.dims and "current" in ds.variables:
            return _integrated(ds, caller=caller)
        variable = next((name for name in usual if name in ds.variables), usual[-1])
    require_variables(ds, [variable], caller=caller)
    return ds[variable]


def _integrated(ds: xr.Dataset, *, caller: str) -> xr.DataArray:
    """Integrate the current over time by the rules of `half_cycles`."""
    from batteryxr.echem.kernels.charge import increments

    require_variables(ds, ["test_time"], caller=caller)
    if flags := FATAL & {str(f) for f in np.atleast_1d(ds.attrs.get("flags", []))}:
        raise ArgumentError(
            "data",
            str(ds.attrs.get("title", "record")),
            f"a record whose charge can be trusted; it is flagged {sorted(flags)}",
            "Mend it when reading: read_cycler(..., repair=...).",
        )
    current = in_units(ds["current"], "mA", caller=caller)
    time = in_units(ds["test_time"], "s", caller=caller)
    apart = xr.DataArray(np.arange(ds.sizes["record"]) == 0, dims="record")
    if "file" in ds:
        apart = apart | (ds["file"] != _before(ds["file"]))
    charge = apply(
        increments,
        *(time, _before(time), current, _before(current), apart),
        core_dims=[()] * 5,
        dtypes=[np.float64],
        caller=caller,
        mean=is_mean(current),
        max_gap=_MAX_GAP,
    )
    passed = charge.cumsum("record", skipna=False)
    return label(passed, "capacity", long_name="Net charge passed")


def _before(array: xr.DataArray) -> xr.DataArray:
    return array.shift(record=1)
