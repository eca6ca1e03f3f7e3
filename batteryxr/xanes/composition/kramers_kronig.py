"""Compute f' and f'' of the absorber from absorption, and compare with the phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.core.xray import ELECTRON_RADIUS, HC
from batteryxr.xanes.composition import scattering
from batteryxr.xanes.kernels.phase import Reference, compare_phase, factors_of
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra, window

if TYPE_CHECKING:
    from batteryxr.core.checks import Whole
    from batteryxr.xanes.spectra import Range


@recorded
def scattering_factors(
    spectra: xr.DataArray | xr.Dataset,
    *,
    element: str,
    edge: str = "K",
    pre: Range,
    post: Range,
    degree: Whole = 1,
    table: str = "chantler",
) -> xr.Dataset:
    """Return f' and f'' of the absorber from measured absorption.

    The absorption is matched to the table away from the edge. Its difference from the
    table goes through the Kramers-Kronig integral and is added to the table's f'
    (Cross et al., PRB 58, 11215 (1998)). *Lazy*.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions and on any scale.
    element, edge
        Absorbing element and its edge.
    pre, post
        Energies in eV below and above the edge where the table holds.
    degree
        Degree of the polynomial for all other absorption.
    table
        "chantler" (xraydb).

    Returns
    -------
    xarray.Dataset
        `f1` (f', in electrons per atom) and `f2` (f'') along `energy`, and
        `projected_density` (m-2), the atoms per area if `spectra` is μt. NaN where the
        absorption has a gap, or no jump.

    Raises
    ------
    ArgumentError
        If a range holds too few energies, or the element has no such edge.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> factors = spectra.xanes.scattering_factors(
    ...     element="Ni", pre=(8312, 8330), post=(8365, 8400)
    ... )
    """
    array = as_spectra(spectra, caller="scattering_factors")
    absorber = _Absorber(element, edge, table)
    reference = _reference(array.energy.values, absorber, (pre, post), degree)
    f1, f2, density = blocks.apply(
        factors_of,
        array,
        core_dims=[["energy"]],
        output_dims=[["energy"], ["energy"], []],
        dtypes=[float] * 3,
        caller="scattering_factors",
        reference=reference,
    )
    order = array.dims
    result = xr.Dataset(
        {
            "f1": label(f1.transpose(*order), "f1", units="1", long_name="f′"),
            "f2": label(f2.transpose(*order), "f2", units="1", long_name="f″"),
            "projected_density": label(
                density,
                "projected_density",
                units="m-2",
                long_name=f"Projected density of {element}",
            ),
        }
    )
    return inherit(result, array, element=element, edge=edge)


@recorded
def kramers_kronig_misfit(
    spectra: xr.DataArray | xr.Dataset,
    *,
    phase: xr.DataArray | None = None,
    element: str,
    edge: str = "K",
    pre: Range,
    post: Range,
    degree: Whole = 1,
    table: str = "chantler",
) -> xr.Dataset:
    """Compare the phase of each pixel with that expected from its absorption.

    *Lazy*.

    Parameters
    ----------
    spectra
        Absorption μt along `energy`, or a Dataset with `absorption` and `phase`.
    phase
        Phase in rad on the same axes.
    element, edge, pre, post, degree, table
        As in `scattering_factors`. The polynomial also includes the phase of the other
        elements and an offset of the vacuum.

    Returns
    -------
    xarray.Dataset
        `kk_misfit`: root mean square difference in electrons per absorber atom;
        `kk_slope`: change of f' in the phase over that from the absorption, 1 if they
        agree (2 or 1/2 shows that |T| was taken for |T|²); `kk_residual` along
        `energy`.

    Raises
    ------
    DataError
        If the phase is missing.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> misfit = stack.xanes.kramers_kronig_misfit(
    ...     element="V", pre=(5420, 5460), post=(5500, 5540)
    ... )
    """
    if phase is None:
        if not isinstance(spectra, xr.Dataset) or "phase" not in spectra:
            raise DataError(
                "phase",
                "is neither passed nor a variable beside the absorption",
                "Pass the phase in rad, on the axes of the absorption.",
            )
        phase = spectra["phase"]
    array = as_spectra(spectra, caller="kramers_kronig_misfit")
    phase = in_units(phase, "rad", caller="kramers_kronig_misfit")
    phase = blocks.whole(phase, "energy")
    absorber = _Absorber(element, edge, table)
    reference = _reference(array.energy.values, absorber, (pre, post), degree)
    rms, slope, residual = blocks.apply(
        compare_phase,
        array,
        phase,
        core_dims=[["energy"], ["energy"]],
        output_dims=[[], [], ["energy"]],
        dtypes=[float] * 3,
        caller="kramers_kronig_misfit",
        reference=reference,
    )
    residual = residual.transpose(*array.dims)
    parts = {
        "kk_misfit": (rms, "Phase against absorption, rms per atom"),
        "kk_slope": (slope, "Phase over absorption"),
        "kk_residual": (residual, "Phase against absorption, per atom"),
    }
    result = xr.Dataset(
        {
            name: label(value, name, units="1", long_name=long_name)
            for name, (value, long_name) in parts.items()
        }
    )
    return inherit(result, array, element=element, edge=edge)


class _Absorber(NamedTuple):
    """Name an edge, and the table of its scattering factors."""

    element: str
    edge: str
    table: str

    def position(self) -> float:
        return scattering.edge_position(self.element, self.edge)


def _reference(
    x: np.ndarray, absorber: _Absorber, windows: tuple[Range, Range], degree: int
) -> Reference:
    """Return the tabulated and optical data at these energies.

    `windows` lie before and after the edge.
    """
    from batteryxr.core.kernels.kramers_kronig import transform_matrix

    before, after = (
        window(x, part, name=name, least=2)
        for part, name in zip(windows, ("pre", "post"), strict=True)
    )
    if before.sum() + after.sum() < degree + 3:
        raise ArgumentError(
            "degree", degree, f"fewer than the {before.sum() + after.sum()} energies"
        )
    position = absorber.position()
    # Both sides get equal weight, however densely they were measured.
    weight = before / np.sqrt(before.sum()) + after / np.sqrt(after.sum())
    scaled = (x - position) / max(abs(x[0] - position), abs(x[-1] - position))
    return Reference(
        matrix=transform_matrix(x, x),
        f1=scattering.f_prime(absorber.element, x, absorber.table),
        f2=scattering.f_double_prime(absorber.element, x, absorber.table),
        basis=np.vander(scaled, degree + 1, increasing=True),
        weight=weight,
        absorption=x / (2.0 * HC * ELECTRON_RADIUS),
        phase=-x / (HC * ELECTRON_RADIUS),
    )
