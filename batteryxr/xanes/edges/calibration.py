"""Compute valence from edge energies, calibrated with standards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.core.checks import NonNegative


@recorded
def valence(
    maps: xr.DataArray | xr.Dataset,
    *,
    standards: Mapping[str, Sequence[float]],
    errors: xr.DataArray | NonNegative | None = None,
) -> xr.Dataset:
    """Return the valence from the edge energy, by a line through standards.

    *Lazy*. Use edge energies of the same definition and energy calibration.

    Parameters
    ----------
    maps
        Edge energy in eV of pixels or of a series, or a Dataset with `edge_energy`
        (and `edge_energy_error`).
    standards
        By name: (edge energy, valence) or (edge energy, valence, error of the
        energy). Errors weight the line. Without errors, its error follows from the
        scatter of three or more standards.
    errors
        Standard deviation of the edge energy, if `maps` does not hold it.

    Returns
    -------
    xarray.Dataset
        `valence`, `valence_error` (from calibration and edge energy) and
        `extrapolated` (1 if the edge energy is outside the standards). Attributes hold
        `slope` (eV per electron) and `intercept` (eV).

    Raises
    ------
    ArgumentError
        If there are fewer than two standards, or all have one valence.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> standards = {"V2O3": (5474.0, 3.0), "VO2": (5477.0, 4.0), "V2O5": (5480.0, 5.0)}
    >>> valence = maps.xanes.valence(standards=standards)
    >>> valence["valence"].dims
    ('particle', 'y', 'x')
    """
    from batteryxr.xanes.kernels.calibration import fit_line

    if isinstance(maps, xr.Dataset):
        if "edge_energy" not in maps:
            raise VariableError(
                "valence needs 'edge_energy'; "
                f"the Dataset has {[str(v) for v in maps.data_vars]}."
            )
        energy = maps["edge_energy"]
        errors = maps.get("edge_energy_error") if errors is None else errors
    else:
        energy = maps
    rows = [list(v) for v in standards.values()]
    alike = {len(r) for r in rows} in ({2}, {3})
    if not alike or len({r[1] for r in rows}) < 2:
        raise ArgumentError(
            "standards",
            dict(standards),
            "at least two valences, all with or all without an error",
            "For example {'V2O3': (5478.7, 3), 'VO2': (5481.8, 4)}.",
        )
    table = np.array(rows, dtype=float)
    bounds.check("photon energy", table[:, 0], argument="standards")
    middle = table[:, 1].mean()
    intercept, slope, covariance = fit_line(table, middle)
    shift = (energy - intercept) / slope
    result = shift + middle
    spread = (
        covariance[0, 0] + 2 * shift * covariance[0, 1] + shift**2 * covariance[1, 1]
    )
    own = 0.0 if errors is None else errors**2
    outside = (energy < table[:, 0].min()) | (energy > table[:, 0].max())
    dataset = xr.Dataset(
        {
            "valence": label(result, "valence", units="1", long_name="Valence"),
            "valence_error": label(
                np.sqrt(spread + own) / abs(slope),
                "valence_error",
                units="1",
                long_name="Valence, standard error",
            ),
            "extrapolated": label(
                outside.astype(np.uint8),
                "extrapolated",
                units="1",
                long_name="Outside the standards",
            ),
        }
    )
    return inherit(
        dataset,
        maps,
        slope=slope,
        intercept=intercept - slope * middle,
        standards=[str(name) for name in standards],
    )
