"""Plot spectra, and the fit of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DimensionError
from batteryxr.core.plotting import (
    ABOVE,
    COLOURS,
    LEGEND,
    as_title,
    axis_label,
    few,
    gradual,
    load_hvplot,
    plain,
    some,
    with_count,
)
from batteryxr.xanes.fit.curve import model_curve
from batteryxr.xanes.fit.result import FLAGS
from batteryxr.xanes.plot.figures import WIDE, lines
from batteryxr.xanes.plot.ticks import ticks
from batteryxr.xanes.preparing.inputs import SIGNALS, axis_along
from batteryxr.xanes.spectra import ABSORPTION, as_spectra

if TYPE_CHECKING:
    import holoviews

    from batteryxr.xanes.diffraction.instrument import Diffractometer
    from batteryxr.xanes.diffraction.lattices import Phase


@checked
def plot_spectra(
    spectra: xr.DataArray | xr.Dataset,
    *,
    edges: xr.Dataset | None = None,
    offset: float = 0.0,
    kind: Literal["values", "difference"] = "values",
    by: str | None = None,
    candidates: Phase | None = None,
    instrument: Diffractometer | None = None,
    dim: str | None = None,
) -> holoviews.Overlay:
    """Plot spectra or patterns, one curve for each: XANES, Raman, FTIR, diffraction.

    Computes them.

    Parameters
    ----------
    spectra
        A spectrum, or spectra along one further dimension; normalised, flattened...
        Of more than 30 an even selection is drawn, as the title then says. Colours of
        more than ten change little by little, and the legend names some.
    edges
        Result of `edge_energy`, drawn as dashed lines.
    offset
        Distance between curves, as a fraction of the largest range: stacked curves or
        a waterfall.
    kind
        "values", or their "difference" from the first that is not empty.
    by
        Coordinate that names the curves, such as "voltage" or "sample"; curves of one
        name have one colour.
    candidates
        CIF, crystal or cell whose reflections are marked below.
    instrument
        A `Diffractometer` with the wavelength for these marks.
    dim
        Axis; default: the only one present.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    ArgumentError
        If the coordinate `by` is missing.
    DimensionError
        If there is more than one further dimension.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> flat = spectra.xanes.normalise(e0=8345, pre=(-30, -16), post=(20, 55), degree=1)
    >>> plot = flat.xanes.plot.spectra(offset=0.1)
    """
    hv = load_hvplot()
    along = axis_along(spectra, dim, caller="plot_spectra")
    names: tuple[str, ...] = (
        *("flattened", "normalised", "absorption", "optical_density"),
        *SIGNALS,
    )
    if isinstance(spectra, xr.Dataset):
        names = tuple(n for n in names if n in spectra and along in spectra[n].dims)
    array = as_spectra(spectra, caller="plot_spectra", dim=along, names=names)
    others = {d: n for d, n in array.sizes.items() if d != along}
    array = array.isel({d: some(n) for d, n in others.items()}).compute()
    named = lines(array, along, by)
    first = next((y for _, y in named if np.isfinite(y).any()), named[0][1])
    if kind == "difference":
        named = [(name, y - first) for name, y in named]
    # Rows without a number, such as of scans that were left out, have no range.
    known = [y[np.isfinite(y)] for _, y in named if np.isfinite(y).any()]
    step = offset * max((float(np.ptp(y)) for y in known), default=0.0)
    x = array[along].values
    kinds = list(dict.fromkeys(name for name, _ in named))  # one colour each
    both = zip(few(kinds), _paints(len(kinds)), strict=True)
    looks = dict(zip(kinds, both, strict=True))
    along_x, up = axis_label(array[along]), axis_label(array)
    curves = [
        hv.Curve((x, y + i * step), along_x, up, label=plain(looks[name][0])).opts(
            color=looks[name][1]
        )
        for i, (name, y) in enumerate(named)
    ]
    if candidates is not None:
        low = min((float(y.min()) for y in known), default=0.0)
        high = max((float(y.max()) for y in known), default=1.0)
        span = (low - 0.08 * (high - low), high)
        curves.append(ticks(hv, candidates, array[along], instrument, span))
    if edges is not None:
        found = np.atleast_1d(edges["edge_energy"].values).ravel()
        curves += [
            hv.VLine(float(e)).opts(color=paint, line_dash="dashed", line_width=1)
            for paint, e in zip(_paints(found.size), found, strict=True)
            if np.isfinite(e)
        ]
    title = with_count("Spectra", max(others.values(), default=1))
    return hv.Overlay(curves).opts(hv.opts.Overlay(title=title, **LEGEND, **WIDE))


@checked
def plot_fit(
    spectra: xr.DataArray | xr.Dataset, *, result: xr.Dataset
) -> holoviews.Layout:
    """Plot one spectrum with its fit, and the residuals below.

    Parameters
    ----------
    spectra
        One spectrum: select a pixel first, `.sel(x=..., y=..., method="nearest")`.
    result
        Result of `fit_edge` or `fit_peaks` at the same pixel.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> run = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = run["scans"].to_dataset()["absorption"]
    >>> fit = spectra.xanes.fit_edge(edge=(8335, 8355), baseline=1)
    >>> plot = spectra[0].xanes.plot.fit(result=fit.isel(scan=0))
    """
    hv = load_hvplot()
    curve = model_curve(result)
    dim = str(curve.dims[0])
    names = (*ABSORPTION, "intensity")
    array = as_spectra(spectra, caller="plot_fit", dim=dim, names=names)
    array = array.squeeze(drop=True).compute()
    if array.ndim != 1:
        raise DimensionError(
            f"plot_fit shows one spectrum; found {array.dims}. Select one pixel."
        )
    model = model_curve(result, axis=array[dim]).squeeze(drop=True).values
    curve = curve.squeeze(drop=True).compute()
    x, y = array[dim].values, array.values
    along, up = axis_label(array[dim]), axis_label(array)
    upper = hv.Scatter((x, y), along, up, label="measured").opts(color="black", size=4)
    smooth = curve[dim].values, curve.values
    upper *= hv.Curve(smooth, along, up, label="fit").opts(color=COLOURS[1])
    left = hv.Curve((x, y - model), along, "Residual").opts(color="black")
    return hv.Layout(
        [
            upper.opts(title=as_title(_verdict(result)), **ABOVE, **WIDE),
            (left * hv.HLine(0).opts(color="grey", line_width=1)).opts(
                width=WIDE["width"], height=160
            ),
        ]
    ).cols(1)


def _paints(count: int) -> list[str]:
    """Return distinct colours, or those of a long series, which are gradual."""
    return gradual(count) if count > len(COLOURS) else list(COLOURS[:count])


def _verdict(fit: xr.Dataset) -> str:
    """Return the result of a fit of one spectrum in words, with its flag."""
    flag = int(np.squeeze(fit["flag"].values))
    said = [text.replace("_", " ") for bit, text in FLAGS.items() if flag & bit]
    where = "edge_energy" if "edge_energy" in fit else "peak_position"
    units = str(fit[where].attrs.get("units", ""))
    values = np.atleast_1d(np.squeeze(fit[where].values))
    found = ", ".join(f"{v:.2f}" for v in values if np.isfinite(v))
    what = "Edge" if where == "edge_energy" else "Peaks"
    title = f"{what} at {found} {units}" if found else "Not fitted"
    return f"{title}: {', '.join(said)}" if said else title
