"""Compute composition from maps: absorber atoms, electrons, and their ratio.

The equations are 2 to 4 of Uematsu et al., PCCP 25, 3867 (2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds, xray
from batteryxr.core.checks import checked
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    VariableError,
)
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.xanes.composition import scattering
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.bounds.kinds import PhotonEnergy
    from batteryxr.core.checks import NonNegative, Positive


@recorded
def projected_density(
    maps: xr.DataArray | xr.Dataset,
    *,
    element: str,
    edge: str = "K",
    energy: PhotonEnergy | None = None,
    delta_f2: Positive | None = None,
    table: str = "chantler",
    errors: xr.DataArray | NonNegative | None = None,
) -> xr.Dataset:
    """Return the absorber's atoms per area from the edge jump.

    N = Δμt / (2 λ r_e Δf''). *Lazy*.

    Parameters
    ----------
    maps
        Edge jump, or a Dataset with `edge_jump` (and `edge_jump_error`).
    element, edge
        Absorbing element and its edge, such as "V" and "K".
    energy
        Energy of λ in eV; default: the tabulated edge.
    delta_f2
        Jump of f'' across the edge, in electrons; default: from `table`.
    table
        "chantler" (xraydb). Henke's table gives 3.53 for V; pass it as `delta_f2`.
    errors
        Standard deviation of the jump, if `maps` does not hold it.

    Returns
    -------
    xarray.Dataset
        `projected_density` in m-2, with `projected_density_error`. Attributes hold
        `energy`, `wavelength`, `delta_f2` and `table`.

    Raises
    ------
    VariableError
        If a Dataset has no `edge_jump`.
    ArgumentError
        If the element has no such edge.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> atoms = maps.xanes.projected_density(element="V")
    """
    jump, deviation = _with_error(maps, "edge_jump", errors)
    position = scattering.edge_position(element, edge) if energy is None else energy
    source = table if delta_f2 is None else "given"
    if delta_f2 is None:
        delta_f2 = scattering.f_double_prime_jump(element, edge, table)
    length = float(scattering.wavelength(position))
    factor = 1.0 / (2.0 * length * xray.ELECTRON_RADIUS * delta_f2)
    result = _labelled(
        jump * factor,
        None if deviation is None else xr.DataArray(deviation) * factor,
        "projected_density",
        units="m-2",
        long_name=f"Projected density of {element}",
    )
    return inherit(
        result,
        jump,
        element=element,
        edge=edge,
        energy=float(position),
        wavelength=length,
        delta_f2=float(delta_f2),
        table=source,
    )


@recorded
def effective_electrons(
    stack: xr.DataArray | xr.Dataset,
    *,
    energy: PhotonEnergy | None = None,
    errors: xr.DataArray | NonNegative | None = None,
) -> xr.Dataset:
    """Return the effective electrons per area from the phase of the transmission.

    Re[N_eff] = Σ N_j (f0_j + f'_j) = -φ / (r_e λ). *Lazy*.

    Parameters
    ----------
    stack
        Phase in rad, zero in vacuum, or a Dataset with `phase` (and `phase_error`). It
        is a map at one energy, or a spectrum or stack along `energy`.
    energy
        Photon energy in eV, if `stack` has no coordinate `energy`.
    errors
        Standard deviation of the phase, if `stack` does not hold it. An offset of the
        vacuum is the same for all pixels, and matters most where the sample is thin.

    Returns
    -------
    xarray.Dataset
        `effective_electrons` in m-2, with `effective_electrons_error`.

    Raises
    ------
    DimensionError
        If the energy is neither a coordinate nor given.
    UnitsError
        If the phase is not in rad, or in convertible units.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> objects = study["objects"].to_dataset()["transmission"].sel(particle=["P1"])
    >>> vacuum = abs(objects).min("energy") > 0.99
    >>> stack = objects.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
    >>> electrons = stack.xanes.effective_electrons(energy=5440)
    """
    phase, deviation = _with_error(stack, "phase", errors)
    scale = float(
        in_units(
            xr.DataArray(1.0, attrs=phase.attrs, name="phase"),
            "rad",
            caller="effective_electrons",
        )
    )
    if energy is not None:
        photon: Any = float(energy)
    elif "energy" in phase.coords:
        axis = phase.energy
        bounds.check("photon energy", axis.values, argument="energy", data=True)
        if bool(axis.isnull().any()):
            raise DataError(
                "energy", "has labels that are not numbers", "Drop these images."
            )
        photon = (
            in_units(axis, "eV", caller="effective_electrons")
            if "units" in axis.attrs
            else axis
        )
    else:
        raise DimensionError(
            "effective_electrons needs the photon energy: pass energy=5420.0, or give "
            "the phase a coordinate 'energy'."
        )
    factor = scale * photon / (xray.HC * xray.ELECTRON_RADIUS)
    result = _labelled(
        -(phase * factor),
        None if deviation is None else xr.DataArray(deviation) * factor,
        "effective_electrons",
        units="m-2",
        long_name="Effective electrons Re[N_eff]",
    )
    stored = {} if energy is None else {"energy": float(energy)}
    return inherit(result.transpose(*phase.dims), phase, **stored)


@recorded
def electron_ratio(
    maps: xr.Dataset,
    *,
    density: xr.Dataset | xr.DataArray,
    threshold: NonNegative = 0.0,
) -> xr.Dataset:
    """Return effective electrons per absorber atom, which depend on composition.

    *Lazy*.

    Parameters
    ----------
    maps
        Result of `effective_electrons`: a map, or one along `energy`.
    density
        Result of `projected_density`.
    threshold
        Density, in m-2, up to which the result is NaN.

    Returns
    -------
    xarray.Dataset
        `electron_ratio` and `electron_ratio_error`, with both errors propagated as
        independent. Compare with `theoretical_ratio`.

    Raises
    ------
    VariableError
        If a Dataset lacks its variable.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> images = study["objects"].to_dataset()["transmission"].sel(particle=["P1"])
    >>> vacuum = abs(images).min("energy") > 0.99
    >>> stack = images.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> density = maps.xanes.projected_density(element="V")
    >>> electrons = stack.xanes.effective_electrons(energy=5440)
    >>> ratio = batteryxr.xanes.electron_ratio(electrons, density=density)
    """
    electrons, d_electrons = _with_error(maps, "effective_electrons", None)
    atoms, d_atoms = _with_error(density, "projected_density", None)
    atoms = atoms.where(atoms > threshold)
    ratio = electrons / atoms
    error = None
    if d_electrons is not None or d_atoms is not None:
        first = (0.0 if d_electrons is None else d_electrons) / atoms
        second = ratio * (0.0 if d_atoms is None else d_atoms) / atoms
        error = (first**2 + second**2) ** 0.5
    long_name = "Effective electrons per absorber atom"
    result = _labelled(ratio, error, "electron_ratio", units="1", long_name=long_name)
    return inherit(result.transpose(*electrons.dims, ...), electrons)


@checked
def theoretical_ratio(
    formula: str | Mapping[str, float],
    *,
    element: str,
    energy: Positive | np.ndarray | xr.DataArray,
    f_prime: Mapping[str, float] | None = None,
    table: str = "chantler",
) -> xr.DataArray:
    """Return the effective electrons per absorber atom of a compound.

    The ratio is Σ N_j (Z_j + f'_j) / N_absorber.

    Parameters
    ----------
    formula
        Formula such as "LiVO2" or "Li10/7V6/7O2", or atoms by element.
    element
        Absorber: the element of the edge.
    energy
        Photon energy in eV, one or many. Near the edge f' changes by electrons.
    f_prime
        f' by element, for elements not taken from the table.
    table
        "chantler" (xraydb).

    Returns
    -------
    xarray.DataArray
        Ratio, along `energy` if there are many. Attributes hold `table` and the given
        f'.

    Raises
    ------
    ArgumentError
        If the formula lacks the absorber.

    Examples
    --------
    >>> ratio = batteryxr.xanes.theoretical_ratio("LiVO2", element="V", energy=5440.0)
    >>> float(ratio.round(1))
    36.9
    """
    atoms = xray.atoms(formula)
    if not atoms.get(element):
        raise ArgumentError(
            "element", element, f"an element of {formula!r}: {sorted(atoms)}"
        )
    given = dict(f_prime or {})
    photon = np.asarray(energy, dtype=float)
    if not np.isfinite(photon).all():
        raise ArgumentError("energy", energy, "finite energies, in eV")
    bounds.check("photon energy", photon, argument="energy")
    total = np.zeros(photon.shape)
    for other, amount in atoms.items():
        shift = (
            np.asarray(given[other], dtype=float)
            if other in given
            else scattering.f_prime(other, photon, table)
        )
        total = total + amount * (scattering.electrons(other) + shift)
    coords = {"energy": ("energy", photon, attributes("energy"))}
    ratio = (
        xr.DataArray(total / atoms[element], dims="energy", coords=coords)
        if photon.ndim
        else xr.DataArray(
            total / atoms[element],
            coords={"energy": ((), photon, attributes("energy"))},
        )
    )
    return label(
        ratio,
        "theoretical_ratio",
        units="1",
        long_name=f"Effective electrons per {element}",
        formula=str(formula),
        table=table,
        f_prime=", ".join(f"{k}: {v:g}" for k, v in given.items()),
    )


def _with_error(
    data: xr.DataArray | xr.Dataset, name: str, errors: xr.DataArray | float | None
) -> tuple[xr.DataArray, xr.DataArray | float | None]:
    if isinstance(data, xr.DataArray):
        return data, errors
    if name not in data:
        raise VariableError(
            f"{name!r} is needed; the Dataset has {[str(v) for v in data.data_vars]}."
        )
    value = data[name]
    if not value.attrs.get("history") and data.attrs.get("history"):
        value = value.assign_attrs(history=data.attrs["history"])
    return value, data.get(f"{name}_error") if errors is None else errors


def _labelled(
    value: xr.DataArray,
    error: xr.DataArray | None,
    name: str,
    *,
    units: str,
    long_name: str,
) -> xr.Dataset:
    out = {name: label(value, name, units=units, long_name=long_name)}
    if error is not None:
        out[f"{name}_error"] = label(
            error + xr.zeros_like(value),
            f"{name}_error",
            units=units,
            long_name=f"{long_name}, standard error",
        )
    return xr.Dataset(out)
