"""Find, mark and bridge glitches of the monochromator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.xanes.preparing.inputs import like
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    import xarray as xr

_Threshold = Annotated[float, Bounds(low=3.0)]
#: Least number of energies needed to find glitches.
_FEWEST = 12


@recorded
def deglitch(
    spectra: xr.DataArray | xr.Dataset,
    *,
    threshold: _Threshold = 6.0,
    fill: Literal["line", "missing"] = "line",
) -> xr.DataArray:
    """Find points that stand out from their spectrum, mark them, and bridge them.

    *Lazy*, except for the warning. A glitch is one point or a few together that no
    smooth curve through four neighbours explains; the two points at each end are
    compared with a line through the next four. Where energies are further apart than
    the features of an edge (about 1 eV), points of its own are taken too.

    Parameters
    ----------
    spectra
        Absorption or intensity along `energy`, in any other dimensions.
    threshold
        Threshold in standard deviations of each spectrum's noise.
    fill
        "line" puts glitches on a curve through their neighbours; "missing" makes them
        NaN.

    Returns
    -------
    xarray.DataArray
        Like `spectra`, with the coordinate `glitch`, True where a value was replaced.
        ``mu.where(~clean.glitch)`` keeps the measured values only.

    Raises
    ------
    ArgumentError
        If there are fewer than 12 energies.

    Warns
    -----
    DataQualityWarning
        If points were replaced, with their number and energies (not for lazy data).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> clean = spectra.xanes.deglitch()
    >>> int(clean["glitch"].sum())
    0
    """
    array = as_spectra(spectra, caller="deglitch")
    x = array.energy.values
    if x.size < _FEWEST:
        raise ArgumentError("spectra", array.name, f"{_FEWEST} energies or more")
    values, found = blocks.apply(
        _deglitch,
        array,
        core_dims=[["energy"]],
        output_dims=[["energy"], ["energy"]],
        dtypes=[array.dtype if array.dtype.kind == "f" else float, bool],
        caller="deglitch",
        x=x,
        threshold=threshold,
        fill=fill,
    )
    result = like(values, array)
    mark = found.transpose(*array.dims).reset_coords(drop=True)
    result = result.assign_coords(glitch=(array.dims, mark.data))
    result.glitch.attrs = {"units": "1", "long_name": "Glitch, replaced"}
    if not blocks.is_lazy(result):
        _warn(result.glitch)
    return result


def _warn(glitch: xr.DataArray) -> None:
    count = int(glitch.sum())
    if not count:
        return
    others = [d for d in glitch.dims if d != "energy"]
    by_energy = glitch.astype(int).sum(others).values
    worst = np.argsort(-by_energy, kind="stable")[: min(3, int((by_energy > 0).sum()))]
    where = ", ".join(f"{e:.2f}" for e in np.sort(glitch.energy.values[worst]))
    warn_quality(
        f"deglitch: {count} of {glitch.size} values stand out and were replaced, most "
        f"at {where} eV; the coordinate `glitch` marks them."
    )


def _deglitch(
    data: np.ndarray, *, x: np.ndarray, threshold: float, fill: str
) -> tuple[np.ndarray, np.ndarray]:
    from batteryxr.xanes.kernels import glitches

    found = glitches.find_glitches(data, x=x, threshold=threshold)
    if fill == "line":
        return glitches.bridge(data, found, x=x), found
    kept = data if data.dtype.kind == "f" else data.astype(float)
    return np.where(found, np.asarray(np.nan, kept.dtype), kept), found
