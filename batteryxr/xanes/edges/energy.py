"""Find edge energies: steepest rise, half jump, white line, and their reliability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import (
    ArgumentError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import label, together
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.preparation import FitOptions, prepare
from batteryxr.xanes.fit.terms import Terms, as_edge, as_peaks
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra
from batteryxr.xanes.spectra import window as in_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import Share
    from batteryxr.xanes.fit.terms import Edge, Peak
    from batteryxr.xanes.spectra import Range

_NORMALISED = ("normalised", "flattened")
#: A flag that `normalise` gives, by which its flags are known.
_ISOLATED = "e0_isolated_point"


@recorded
def edge_energy(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal["half_jump", "derivative", "white_line", "fit"] = "half_jump",
    window: Range | None = None,
    fraction: Share = 0.5,
    edge: Edge | Range | None = None,
    peaks: Peak | Range | Sequence[Peak | Range] = (),
) -> xr.Dataset:
    """Return the edge energy of normalised spectra, and flag unreliable ones.

    *Lazy*, except for the warning, and for "fit" (see `fit_edge`).

    Parameters
    ----------
    spectra
        Result of `normalise`, or normalised spectra along `energy`.
    method
        "half_jump": the first rise through `fraction` of the jump, interpolated.
        "derivative": E0 of Athena and Larch, the steepest rise, at an energy of the
        grid. "white_line": the maximum, from a parabola through three points. "fit":
        b2 of `fit_edge`, with its error.
    window
        Search range in eV. Start it above a strong pre-edge peak.
    fraction
        Fraction of the jump for "half_jump".
    edge, peaks
        Model for "fit".

    Returns
    -------
    xarray.Dataset
        `edge_energy` in eV; `flag` (1: no data; 2: on the pre-edge, since a dip
        separates it from the last rise through it; 4: the white line is one of several
        maxima within noise, more than 2 eV apart; 8: beside values that are missing;
        16: `normalise` flagged its spectrum). By method also `white_line_height`, or
        `edge_energy_error` and the flags of the fit.

    Raises
    ------
    ArgumentError
        If the window holds no energy, or "fit" lacks `edge`.
    VariableError
        If the spectra are not normalised.

    Warns
    -----
    DataQualityWarning
        If an edge energy lies on the pre-edge peak, as in V2O5 and VO2, or a white
        line is lost in noise (not for lazy data: look at `flag`).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> normal = spectra.xanes.normalise(
    ...     e0=8345, pre=(-30, -16), post=(20, 55), degree=1
    ... )
    >>> edges = normal.xanes.edge_energy()
    >>> list(edges.data_vars)
    ['edge_energy', 'flag']
    """
    array = as_spectra(spectra, caller="edge_energy", names=_NORMALISED)
    if array.name in ("absorption", "optical_density"):
        raise VariableError(
            f"edge_energy needs normalised spectra; found {array.name!r}. "
            "Call `.xanes.normalise(...)` first, or rename what is normalised."
        )
    if window is not None:
        in_window(array.energy.values, window, name="window", least=2)
    if method == "fit":
        if edge is None:
            mend = "Pass edge=(low, high), the range of the edge energy."
            raise ArgumentError("method", method, "'fit' together with an edge", mend)
        part = array if window is None else array.sel(energy=slice(*window))
        terms = Terms(as_edge(edge), as_peaks(peaks), 0)
        fit = prepare(part, terms, FitOptions(), caller="edge_energy")
        found = fit.apply(part, caller="edge_energy")
        return found[["edge_energy", "edge_energy_error", "r_factor", "flag"]]
    found, height, flag = blocks.apply(
        _find,
        array,
        core_dims=[["energy"]],
        output_dims=[[], [], []],
        dtypes=[float, float, np.uint8],
        caller="edge_energy",
        x=array.energy.values,
        method=method,
        window=window or (-np.inf, np.inf),
        level=fraction,
    )
    if isinstance(spectra, xr.Dataset) and _ISOLATED in _meanings(spectra):
        flag = flag | np.uint8(16) * (spectra["flag"].reset_coords(drop=True) > 0)
    name = {
        "half_jump": f"Edge energy at {fraction:g} of the jump",
        "derivative": "Edge energy at the steepest rise",
        "white_line": "White-line energy",
    }[method]
    out = {
        "edge_energy": label(found, "edge_energy", units="eV", long_name=name),
        "flag": label(
            flag,
            "flag",
            units="1",
            long_name="Quality of the edge energy",
            flag_masks=[1, 2, 4, 8, 16],
            flag_meanings="no_data on_pre_edge in_noise in_gap normalisation_flagged",
        ),
    }
    if method == "white_line":
        out["white_line_height"] = label(
            height, "white_line_height", units="1", long_name="White-line height"
        )
    result = inherit(together(out), array)
    if not blocks.is_lazy(result):
        _warn(result, method)
    return result


def _meanings(spectra: xr.Dataset) -> str:
    return (
        str(spectra["flag"].attrs.get("flag_meanings", "")) if "flag" in spectra else ""
    )


def _warn(result: xr.Dataset, method: str) -> None:
    bits = result["flag"].values
    wrong = (bits & 2) > 0
    count = int(wrong.sum())
    if count:
        mean = float(np.nanmean(result["edge_energy"].values[wrong]))
        warn_quality(
            f"edge_energy: by {method!r}, {count} of {wrong.size} edge energies "
            f"(mean {mean:.2f} eV) sit on the pre-edge peak, before the edge rises. "
            "Pass window=(low, high) that starts above the peak, or method='fit'."
        )
    lost = int(np.count_nonzero(bits & 4))
    if lost:
        warn_quality(
            f"edge_energy: in {lost} of {bits.size} spectra other energies are "
            "as high as the white line within noise. Pass a narrower window, average "
            "spectra or pixels (`rebin`), or fit the white line (`fit_edge`)."
        )
    gaps = int(np.count_nonzero(bits & 8))
    if gaps:
        warn_quality(
            f"edge_energy: {gaps} of {bits.size} edge energies lie where values "
            "are missing, and are not known (flag in_gap)."
        )


def _find(data: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
    from batteryxr.xanes.kernels.edge_energy import find

    return find(data, **options)
