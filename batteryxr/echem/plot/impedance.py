"""Plot impedance along a series: Nyquist, Bode, residuals, relaxation times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import plotting
from batteryxr.core.blocks import compute
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import in_words, require_dims, require_variables
from batteryxr.echem.impedance.spectra import as_impedance
from batteryxr.echem.plot.axes import axis as named

if TYPE_CHECKING:
    from collections.abc import Iterator

    import holoviews

#: Coordinates that colour and order a series by default.
_AXES = ("li_content", "specific_capacity", "capacity_total", "time", "spectrum")
_FIT = plotting.COLOURS[6]


@checked
def plot_nyquist(
    spectra: xr.DataArray | xr.Dataset, *, axis: str | None = None
) -> holoviews.Overlay:
    """Plot -Im against Re with equal axes, a colour for each spectrum.

    Reads once.

    Parameters
    ----------
    spectra
        Complex impedance on (``spectrum``, ``frequency``), or the result of
        `fit_circuit`, `kramers_kronig` or `drt`, whose fit is drawn as a line. Of more
        than 30 spectra an even selection is drawn, as the title then says.
    axis
        Coordinate of ``spectrum`` that names the spectra. Default: Li content if
        there is one, else capacity, else time, else the number.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> plot = spectra.echem.plot.nyquist()
    """
    hv = plotting.load_hvplot()
    x, y = _ohm("real", "Re Z"), _ohm("minus_imaginary", "−Im Z")
    layers = []
    for label, colour, z, fitted, _ in _series(spectra, axis, "plot_nyquist"):
        points = hv.Scatter((z.real, -z.imag), x, y, label=label)
        layers.append(points.opts(color=colour, size=4))
        if fitted is not None:
            line = hv.Curve((fitted.real, -fitted.imag), x, y, label=label)
            layers.append(line.opts(color=_FIT, line_width=1))
    # The plot is low, as its axes are equal: a long legend stands below it.
    return hv.Overlay(layers).opts(
        data_aspect=1,
        legend_position="bottom",
        legend_cols=3,
        legend_limit=plotting.LEGEND["legend_limit"],
        title=_titled("Nyquist", spectra),
        frame_width=450,
    )


@checked
def plot_bode(
    spectra: xr.DataArray | xr.Dataset, *, axis: str | None = None
) -> holoviews.Layout:
    """Plot modulus and phase against frequency, a colour for each spectrum.

    Reads once.

    Parameters
    ----------
    spectra, axis
        As in `plot_nyquist`.

    Returns
    -------
    holoviews.Layout
        Modulus above, phase below.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> plot = spectra.echem.plot.bode()
    """
    hv = plotting.load_hvplot()
    x = named("frequency")
    above, below = (
        _ohm("modulus", "|Z|"),
        named("phase", units="deg", long_name="−Phase"),
    )
    moduli, phases = [], []
    for label, colour, z, fitted, f in _series(spectra, axis, "plot_bode"):
        for values, line in ((z, False), (fitted, True)):
            if values is None:
                continue
            kind = hv.Curve if line else hv.Scatter
            style: dict[str, Any] = {"color": _FIT if line else colour}
            style |= {"line_width": 1} if line else {"size": 4}
            moduli.append(
                kind((f, np.abs(values)), x, above, label=label).opts(**style)
            )
            degrees = -np.degrees(np.angle(values))
            phases.append(kind((f, degrees), x, below, label=label).opts(**style))
    size = {"width": 600, "height": 260, **plotting.LOG_X}
    title = _titled("Bode", spectra)
    top = hv.Overlay(moduli).opts(
        title=title, **plotting.LEGEND, **(size | plotting.LOG_Y)
    )
    bottom = hv.Overlay(phases).opts(show_legend=False, **size)
    return hv.Layout([top, bottom]).cols(1)


@checked
def plot_residuals(result: xr.Dataset, *, axis: str | None = None) -> holoviews.Layout:
    """Plot the residuals of a fit or a Kramers-Kronig test against frequency.

    Reads once.

    Parameters
    ----------
    result
        Result of `fit_circuit`, `kramers_kronig` or `drt`.
    axis
        As in `plot_nyquist`.

    Returns
    -------
    holoviews.Layout
        Real part above, imaginary part below, in per cent of the modulus.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> plot = spectra.echem.kramers_kronig().echem.plot.residuals()
    """
    hv = plotting.load_hvplot()
    require_variables(result, ("impedance", "fitted"), caller="plot_residuals")
    x, parts = named("frequency"), ([], [])  # type: ignore[var-annotated]
    words = ("Residual of Re", "Residual of Im")
    for label, colour, z, fitted, f in _series(result, axis, "plot_residuals"):
        assert fitted is not None
        left = 100 * (z - fitted) / np.abs(z)
        for k, values in enumerate((left.real, left.imag)):
            y = named("residual", units="%", long_name=words[k])
            points = hv.Scatter((f, values), x, y, label=label)
            parts[k].append(points.opts(color=colour, size=4))
    size = {"width": 600, "height": 260, **plotting.LOG_X}
    titles = {0: {"title": _titled("Residuals", result)}}
    panels = [
        (
            hv.Overlay(layers) * hv.HLine(0).opts(color=plotting.NEUTRAL, line_width=1)
        ).opts(show_legend=k == 0, **titles.get(k, {}), **plotting.LEGEND, **size)
        for k, layers in enumerate(parts)
    ]
    return hv.Layout(panels).cols(1)


@checked
def plot_drt(result: xr.Dataset, *, axis: str | None = None) -> holoviews.QuadMesh:
    """Plot distributions of relaxation times as a map along the series.

    Reads once.

    Parameters
    ----------
    result
        Result of `drt`, on ``spectrum``.
    axis
        Coordinate of ``spectrum`` to plot against; it must rise or fall. Default: the
        first of those in `plot_nyquist` that does.

    Returns
    -------
    holoviews.QuadMesh

    Raises
    ------
    ArgumentError
        If `axis` turns back, so that charge and discharge would overlap.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> plot = spectra.echem.drt().echem.plot.drt()
    """
    hv = plotting.load_hvplot()
    require_variables(result, ("gamma", "tau"), caller="plot_drt")
    require_dims(result, ("spectrum", "tau"), caller="plot_drt")
    steady = [n for n in _AXES if n in result.coords and _is_steady(result[n])]
    name = _chosen(result, axis, steady)
    turns = result.sizes["spectrum"] > 1 and not _is_steady(result[name])
    if axis is not None and turns:
        raise ArgumentError(
            "axis", axis, f"one that rises or falls all the way, such as {steady}"
        )
    x = plotting.dimension(result[name])
    at = result[name].values
    (gamma,) = compute(result["gamma"].transpose("tau", "spectrum"))
    order = np.argsort(at, kind="stable")
    y = plotting.dimension(result["tau"])
    mesh = hv.QuadMesh(
        (at[order], result["tau"].values, gamma.values[:, order]),
        [x, y],
        plotting.dimension(result["gamma"]),
    )
    return mesh.opts(
        **plotting.LOG_Y,
        cmap="viridis",
        bgcolor="#440154",  # its darkest colour: nothing white between cells
        width=600,
        height=350,
        title="DRT",
        **plotting.colour_bar(plotting.axis_label(result["gamma"])),
    )


def _is_steady(array: xr.DataArray) -> bool:
    if array.dims != ("spectrum",) or array.isnull().any() or array.size < 2:
        return False
    if array.dtype.kind not in "iufM":
        return False
    values = array.values if array.dtype.kind == "M" else array.values.astype(float)
    step = np.diff(values).astype(float)
    return bool((step > 0).all() or (step < 0).all())


def _chosen(data: xr.DataArray | xr.Dataset, axis: str | None, usual: list[str]) -> str:
    if axis is None:
        return usual[0] if usual else "spectrum"
    known = [str(n) for n, c in data.coords.items() if c.dims == ("spectrum",)]
    if axis not in known:
        raise ArgumentError("axis", axis, f"one of {known}")
    return axis


def _series(
    spectra: xr.DataArray | xr.Dataset, axis: str | None, caller: str
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray | None, np.ndarray]]:
    """Yield label, colour, impedance, fit and frequencies of each spectrum."""
    array = as_impedance(spectra, caller=caller)
    if "spectrum" not in array.dims:
        array = array.expand_dims("spectrum")
    require_dims(array, ("spectrum", "frequency"), caller=caller)
    usual = [n for n in _AXES if n in array.coords and array[n].dims == ("spectrum",)]
    usual = [n for n in usual if not array[n].isnull().all()]
    name = _chosen(array, axis, usual)
    chosen = {"spectrum": plotting.some(array.sizes["spectrum"])}
    array = array.isel(chosen)
    (z,) = compute(array.transpose("spectrum", "frequency").sortby("frequency"))
    fit: Any = None
    if isinstance(spectra, xr.Dataset) and "fitted" in spectra:
        fit = spectra["fitted"]
        fit = fit if "spectrum" in fit.dims else fit.expand_dims("spectrum")
        fit = fit.isel(chosen)
        (fit,) = compute(fit.transpose("spectrum", "frequency").sortby("frequency"))
    n, f = z.sizes["spectrum"], z["frequency"].values
    labels = z[name].values if name in z.coords else np.arange(1, n + 1)
    words = [_words(name, value) for value in labels]
    # A charge and a discharge pass the same contents: two spectra, not one.
    twice = {one for one in words if words.count(one) > 1}
    numbers = z["spectrum"].values if "spectrum" in z.coords else np.arange(1, n + 1)
    shown = [f"{w} ({k})" if w in twice else w
             for w, k in zip(words, numbers, strict=True)]  # fmt: skip
    looks = zip(plotting.few(shown), plotting.gradual(n), strict=True)
    for k, (label, colour) in enumerate(looks):
        there = np.isfinite(z.values[k])
        fitted = None if fit is None else fit.values[k][there]
        yield label, colour, z.values[k][there], fitted, f[there]


def _titled(title: str, spectra: xr.DataArray | xr.Dataset) -> str:
    return plotting.with_count(title, spectra.sizes.get("spectrum", 1))


def _words(name: str, value: Any) -> str:
    if isinstance(value, np.datetime64):
        return plotting.plain(str(value.astype("M8[s]")).replace("T", " "))
    shown = f"{value:.3f}" if isinstance(value, float | np.floating) else f"{value}"
    return plotting.plain(f"{in_words(name)} {shown}")


def _ohm(name: str, words: str) -> Any:
    return named(name, units="ohm", long_name=words)
