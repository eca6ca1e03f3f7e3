"""Compute lithium from charge: theoretical capacity, content, utilisation, excess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.blocks import is_lazy
from batteryxr.core.checks import check_fields, checked
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded, replayable
from batteryxr.echem.lithium.composition import Composition, parse
from batteryxr.echem.record import MOVED, NET, specific

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import Electrons, LiContent, Mass

#: Voltage (V) above which a material takes no more lithium than as weighed, and how
#: much more is told.
_FULL, _MORE = 3.2, 1.05
#: Charge of one mole of electrons (mA h mol-1): 96485.33212 C mol-1 / 3.6 C.
FARADAY = 96485.33212 / 3.6


@checked
def theoretical_capacity(
    formula: str | Composition,
    *,
    ion: str = "Li",
    electrons: Electrons | Mapping[str, float] | None = None,
    redox: Mapping[str, tuple[float, float]] | None = None,
) -> float:
    """Return the theoretical specific capacity of a material.

    Parameters
    ----------
    formula
        Material as weighed.
    ion
        Working ion. Without `electrons` and `redox` all of it counts.
    electrons
        Electrons per formula unit; or per atom of named elements:
        ``{"Fe": 3}`` for the conversion of Fe2O3.
    redox
        Oxidation states of elements before and after, which give the electrons:
        ``{"Mn": (3, 4)}``.

    Returns
    -------
    float
        Capacity in mA h g-1: n F / (3.6 M).

    Raises
    ------
    ArgumentError
        If the formula lacks the ion or a named element, or both `electrons` and
        `redox` are given.

    Examples
    --------
    >>> round(batteryxr.echem.theoretical_capacity("LiFePO4"), 1)
    169.9
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
    """Return the theoretical number of electrons per formula unit."""
    if electrons is not None and redox is not None:
        raise ArgumentError("redox", redox, "either `electrons` or `redox`, not both")
    if isinstance(electrons, Mapping):
        return sum(
            n * _atoms(composition, e, "electrons", electrons)
            for e, n in electrons.items()
        )
    if electrons is not None:
        return float(electrons)
    if redox is not None:
        states = [state for pair in redox.values() for state in pair]
        bounds.check("oxidation state", states, argument="redox")
        return sum(
            _atoms(composition, e, "redox", redox) * abs(after - before)
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


def _atoms(
    composition: Composition, element: str, argument: str, passed: Mapping[str, Any]
) -> float:
    if composition[element] == 0:
        raise ArgumentError(argument, dict(passed), f"elements of {composition}")
    return composition[element]


@replayable
@dataclass(frozen=True)
class Lithiation:
    """Set how the Li content of a material follows from the charge passed.

    Parameters
    ----------
    formula
        Active material as weighed.
    x0
        Content at zero charge, in the units of the result. Default: that of
        `formula`, which is 0 for a conversion oxide.
    per
        ``"formula"`` unit, ``"metal"`` centre, or an element such as ``"Fe"``.
    on_charge
        Effect on the material of charging the cell. Every material against Li metal
        is delithiated on charge, oxide anodes included. The negative electrode of a
        full cell is lithiated.
    ion
        Working ion.

    Raises
    ------
    ArgumentError
        If the formula cannot be read, or an argument has no meaning for it.
    """

    formula: str | Composition
    x0: LiContent | None = None
    per: str = "formula"
    on_charge: Literal["delithiation", "lithiation"] = "delithiation"
    ion: str = "Li"

    def __post_init__(self) -> None:
        check_fields(self)
        centres_of(parse(self.formula), self.per)

    def content(self, charge: xr.DataArray) -> xr.DataArray:
        """Return the Li content after a net charge (mA h g-1); lazy."""
        composition = parse(self.formula)
        centres, unit = centres_of(composition, self.per)
        start = composition[self.ion] / centres if self.x0 is None else self.x0
        sign = -1.0 if self.on_charge == "delithiation" else 1.0
        content = start + charge * (sign * composition.molar_mass / FARADAY / centres)
        return label(
            content,
            "li_content",
            long_name=f"{self.ion} per {unit}",
            formula=str(composition),
            initial_content=float(start),
        )


def content_after(
    charge: xr.DataArray,
    formula: str | Composition | Lithiation,
    *,
    mass: float | None,
    caller: str,
    voltage: xr.DataArray | None = None,
) -> xr.DataArray:
    """Return the Li content after a net charge (mA h or mA h g-1).

    Warns of one above that of the material as weighed at a `voltage` (V) where it
    takes no more.
    """
    lithiation = lithiation_of(formula)
    content = lithiation.content(specific(charge, mass, None, NET, caller=caller))
    start = content.attrs["initial_content"]
    weighed = lithiation.x0 is None and lithiation.on_charge == "delithiation"
    if voltage is None or start <= 0 or not weighed:
        return content
    if is_lazy(content) or is_lazy(voltage):
        return content
    beyond = float(content.where(voltage > _FULL).max())
    if beyond > _MORE * start:
        name = content.attrs["formula"]
        warn_quality(
            f"{caller}: {lithiation.ion} reaches {beyond:.3g} above {_FULL:g} V. "
            f"{name} as weighed has {start:g}, and the record is taken to begin with "
            f"that. Did it begin charged? Pass formula=Lithiation({name!r}, x0=...), "
            f"with a content at its first row of {2 * start - beyond:.3g} or less."
        )
    return content


def lithiation_of(formula: str | Composition | Lithiation) -> Lithiation:
    """Return the `Lithiation` of a material, made from a formula if needed."""
    return formula if isinstance(formula, Lithiation) else Lithiation(formula)


@recorded
def li_content(
    data: xr.Dataset | xr.DataArray | float,
    *,
    formula: str | Composition | Lithiation,
    mass: Mass | None = None,
    variable: str | None = None,
) -> xr.DataArray:
    """Return the Li content from the net charge passed.

    *Lazy*: reads nothing.

    Parameters
    ----------
    data
        Net charge passed since the content was ``x0``, positive if the cell was
        charged. A DataArray in units of charge or specific charge, a number in
        mA h g-1, or a Dataset with `variable`. For a cycler record the current is
        integrated.
    formula
        Active material as weighed. A `Lithiation` can also set another content at
        zero charge, metal centres, lithiation on charge or another ion.
    mass
        Mass of active material (mg); not needed for specific charge.
    variable
        Name of the charge in a Dataset. Default: for a cycler record the integrated
        current, else ``capacity_total`` from joined scans.

    Returns
    -------
    xarray.DataArray
        ``li_content`` (units 1) with the coordinates of `data`.

    Raises
    ------
    ArgumentError
        If the mass is missing, or an argument has no meaning for the formula.
    VariableError, UnitsError
        If a Dataset lacks the charge, or its units are not those of charge.

    Notes
    -----
    x = x0 -/+ 3.6 Q M / F. Hua et al., Cell Rep. Phys. Sci. 2, 100543 (2021) count
    per metal centre, to compare oxides.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> content = record.echem.li_content(formula="LiNiO2", mass=7.0)
    >>> float(content.min().round(2))
    0.04
    """
    charge = specific(data, mass, variable, NET, caller="li_content")
    return bounds.told(lithiation_of(formula).content(charge))


@recorded
def utilisation(
    data: xr.Dataset | xr.DataArray | float,
    *,
    formula: str | Composition,
    mass: Mass | None = None,
    ion: str = "Li",
    variable: str | None = None,
) -> xr.DataArray:
    """Return the fraction of the nominal Li that a capacity moves.

    *Lazy*: reads nothing.

    Parameters
    ----------
    data
        Capacities: a DataArray in units of charge or specific charge, a number in
        mA h g-1, or a Dataset with `variable`. Use charge and discharge separately:
        their ratios differ by the efficiency.
    formula
        Active material as weighed.
    mass
        Mass of active material (mg); not needed for specific capacities.
    ion
        Working ion.
    variable
        Name of the capacities in a Dataset. Default: the integrated current of a
        cycler record, else ``specific_capacity`` or ``capacity``.

    Returns
    -------
    xarray.DataArray
        ``utilisation`` (units 1); above 1 if more moves than the formula holds.

    Raises
    ------
    ArgumentError
        If the mass is missing, or the formula lacks the ion.
    VariableError, UnitsError
        If a Dataset lacks the capacity, or its units are not those of charge.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> cycling = cell["echem"].to_dataset()
    >>> cycles = cycling.echem.cycles(electrode="cathode", first="charge", mass=7.0)
    >>> used = cycles.echem.utilisation(
    ...     formula="LiNiO2", variable="charge_specific_capacity"
    ... )
    >>> used.round(2).values.tolist()
    [0.96, 0.86]
    """
    composition = parse(formula)
    theory = theoretical_capacity(composition, ion=ion)
    capacity = abs(specific(data, mass, variable, MOVED, caller="utilisation"))
    used = label(
        capacity / theory,
        "utilisation",
        units="1",
        long_name=f"{ion} moved of nominal {ion}",
        formula=str(composition),
        theoretical_capacity=theory,
    )
    return bounds.told(used, names={"utilisation": "utilisation"})


@recorded
def extra_capacity(
    data: xr.Dataset | xr.DataArray | float,
    *,
    formula: str | Composition,
    mass: Mass | None = None,
    electrons: Electrons | Mapping[str, float] | None = None,
    redox: Mapping[str, tuple[float, float]] | None = None,
    ion: str = "Li",
    variable: str | None = None,
) -> xr.Dataset:
    """Return the capacity beyond theory, and the matching Li per metal centre.

    *Lazy*: reads nothing.

    Parameters
    ----------
    data, formula, mass, ion, variable
        As in `utilisation`.
    electrons, redox
        Definition of the theoretical capacity, as in `theoretical_capacity`.

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
        If a Dataset lacks the capacity, or its units are not those of charge.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> scans = record.echem.join(
    ...     cell["scans"].to_dataset(), formula="LiNiO2", mass=7.0
    ... )
    >>> extra = scans.echem.extra_capacity(formula="LiNiO2", electrons={"Ni": 1})
    >>> list(extra.data_vars)
    ['extra_capacity', 'extra_li']
    """
    composition = parse(formula)
    theory = theoretical_capacity(
        composition, ion=ion, electrons=electrons, redox=redox
    )
    centres, unit = centres_of(composition, "metal")
    capacity = abs(specific(data, mass, variable, MOVED, caller="extra_capacity"))
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
    """Return the number and the name of the centres that a Li content counts on."""
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
