"""Valence from edge energies, by a calibration on standards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.spectra import inherit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@recorded
def valence(
    obj: xr.DataArray | xr.Dataset,
    *,
    standards: Mapping[str, Sequence[float]],
    error: xr.DataArray | float | None = None,
) -> xr.Dataset:
    """Return the valence from the edge energy, by a line through standards.

    *Lazy*. Use edge energies of one definition and one energy calibration.

    Parameters
    ----------
    obj
        Edge energy in eV, or a Dataset with `edge_energy` (and `edge_energy_error`).
    standards
        By name: (edge energy, valence) or (edge energy, valence, error of the
        energy). With errors the line is weighted by them; without, its error follows
        from the scatter of three or more.
    error
        Standard deviation of the edge energy, where `obj` does not carry it.

    Returns
    -------
    xarray.Dataset
        `valence`, `valence_error` (of calibration and edge energy together) and
        `extrapolated` (1 where the edge energy is outside the standards). Attributes
        hold `slope` (eV per electron) and `intercept` (eV).

    Raises
    ------
    ArgumentError
        If there are fewer than two standards, or all have one valence.
    """
    if isinstance(obj, xr.Dataset):
        if "edge_energy" not in obj:
            raise VariableError(
                "valence needs 'edge_energy'; "
                f"the Dataset has {[str(v) for v in obj.data_vars]}."
            )
        energy = obj["edge_energy"]
        error = obj.get("edge_energy_error") if error is None else error
    else:
        energy = obj
    rows = [list(v) for v in standards.values()]
    if len({r[1] for r in rows}) < 2 or len({len(r) for r in rows}) != 1:
        raise ArgumentError(
            "standards",
            dict(standards),
            "at least two valences, all with or all without an error",
            "For example {'V2O3': (5478.7, 3), 'VO2': (5481.8, 4)}.",
        )
    table = np.array(rows, dtype=float)
    middle = table[:, 1].mean()
    intercept, slope, covariance = _line(table, middle)
    shift = (energy - intercept) / slope
    result = shift + middle
    spread = (
        covariance[0, 0] + 2 * shift * covariance[0, 1] + shift**2 * covariance[1, 1]
    )
    own = 0.0 if error is None else error**2
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
        obj,
        slope=slope,
        intercept=intercept - slope * middle,
        standards=[str(name) for name in standards],
    )


def _line(table: np.ndarray, middle: float) -> tuple[float, float, np.ndarray]:
    """Fit energy = intercept + slope (valence - middle); return the covariance too."""
    known = table.shape[1] == 3
    weight = 1.0 / table[:, 2] if known else np.ones(len(table))
    basis = np.stack([np.ones(len(table)), table[:, 1] - middle], axis=1)
    weighted = basis * weight[:, None]
    inverse = np.linalg.inv(weighted.T @ weighted)
    found = inverse @ weighted.T @ (weight * table[:, 0])
    left = weight * (table[:, 0] - basis @ found)
    freedom = len(table) - 2
    if not known:
        scatter = float(left @ left) / freedom if freedom else 0.0
        inverse = inverse * scatter
    elif freedom:  # errors that are too small to explain the scatter are widened
        inverse = inverse * max(1.0, float(left @ left) / freedom)
    return float(found[0]), float(found[1]), inverse
