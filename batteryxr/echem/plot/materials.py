"""Plot materials: percolation against lithium, and comparisons of many materials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import DimensionError
from batteryxr.core.model import require_variables
from batteryxr.core.plotting import (
    ABOVE,
    BARS,
    COLOURS,
    NEUTRAL,
    dimension,
    load_hvplot,
    plain,
)
from batteryxr.core.units import in_units
from batteryxr.echem.counting import Counting, half_cycle_table
from batteryxr.echem.lithium.composition import parse
from batteryxr.echem.lithium.content import (
    centres_of,
    electrons_of,
    li_content,
    lithiation_of,
)
from batteryxr.echem.plot.cycling import branches, strength
from batteryxr.echem.record import columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import holoviews
    import xarray as xr

    from batteryxr.core.bounds.kinds import Electrons, Mass
    from batteryxr.core.plotting import Holoviews
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.plot.cycling import Line, Look

#: Number of rows of a record above which it is thinned.
_ROWS = 20_000


@checked
def plot_percolation(result: xr.Dataset) -> holoviews.Overlay:
    """Plot the connected share of lithium against the lithium content.

    Parameters
    ----------
    result
        A sweep over numbers by `batteryxr.echem.percolation`.

    Returns
    -------
    holoviews.Overlay
        The largest cluster and the percolating share, with standard errors, and the
        onset of percolation with its error.

    Raises
    ------
    DimensionError
        If the result is no sweep.

    Examples
    --------
    >>> import numpy as np
    >>> found = batteryxr.echem.percolation(np.linspace(0.9, 1.4, 6), size=6, repeats=3)
    >>> plot = batteryxr.echem.plot_percolation(found)
    """
    hv = load_hvplot()
    require_variables(
        result, ["largest_cluster", "percolating_share"], caller="plot_percolation"
    )
    if "li_content" not in result.dims:
        raise DimensionError(
            "plot_percolation needs the dimension 'li_content'; "
            f"found {tuple(result.dims)}. Compute a sweep: "
            "percolation(numpy.linspace(0.8, 1.4, 25))."
        )
    x = dimension(result["li_content"], words="Li per two cations")
    y = dimension(result["largest_cluster"], "share", "Fraction of Li")
    curves = []
    names = ("largest_cluster", "percolating_share")
    for name, colour in zip(names, COLOURS, strict=False):
        points = (
            result["li_content"].values,
            result[name].values,
            result[f"{name}_error"].values,
        )
        label = result[name].attrs["long_name"]
        curve = hv.Curve(points[:2], x, y, label=label)
        curves.append(curve.opts(color=colour))
        bars = hv.ErrorBars(points, x, [y, "error"])
        curves.append(bars.opts(line_color=colour, **BARS))
    onset, error = float(result["onset"]), float(result["onset_error"])
    mark = hv.VLine(onset).opts(color=NEUTRAL, line_dash="dashed", line_width=1)
    band = hv.VSpan(onset - error, onset + error).opts(color=NEUTRAL, alpha=0.2)
    text = hv.Text(onset, 0.97, f"  onset {onset:.3f}", halign="left")
    overlay = hv.Overlay([band, mark, *curves, text])
    return overlay.opts(
        xlabel=x.label,
        ylabel=y.label,
        width=520,
        height=340,
        **ABOVE,
        show_grid=True,
    )


@checked
def plot_comparison(result: xr.Dataset) -> holoviews.Layout:
    """Plot energy and utilisation of materials against their capacity.

    Parameters
    ----------
    result
        A table completed by `batteryxr.echem.compare`.

    Returns
    -------
    holoviews.Layout
        Two panels, one colour for each class. Materials that fail a check are
        hollow. The pointer shows their names.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("LCO", "LiCoO2", 140.0, 3.9), ("LFP", "LiFePO4", 160.0, 3.4)]
    >>> table = pd.DataFrame(
    ...     rows, columns=["material", "formula", "capacity", "voltage"]
    ... )
    >>> plot = batteryxr.echem.plot_comparison(batteryxr.echem.compare(table))
    """
    hv = load_hvplot()
    require_variables(
        result, ["specific_energy", "utilisation"], caller="plot_comparison"
    )
    frame = result.drop_dims("check").to_dataframe().reset_index()
    frame["checked"] = ~result["flag"].any("check").values
    panels = []
    for name in ("specific_energy", "utilisation"):
        axes = [dimension(result["specific_capacity"]), dimension(result[name])]
        groups = [
            (
                group,
                checked,
                hv.Points(
                    rows,
                    axes,
                    ["material", "formula", "mean_voltage"],
                    label=plain(group or "unclassified"),
                ),
            )
            for (group, checked), rows in frame.groupby(["class", "checked"])
        ]
        panels.append(_overlay(hv, groups))
    return hv.Layout(panels).opts(shared_axes=False)


def _overlay(hv: Holoviews, groups: list[tuple[Any, Any, Any]]) -> Any:
    colours = dict(zip(sorted({g for g, _, _ in groups}), COLOURS, strict=False))
    styled = [
        points.opts(
            size=9,
            color=colours.get(group, NEUTRAL),
            fill_alpha=0.8 if checked else 0.0,
            tools=["hover"],
        )
        for group, checked, points in groups
    ]
    return hv.Overlay(styled).opts(
        width=430, height=340, **ABOVE, show_grid=True, title=""
    )


@checked
def plot_lithiation(
    record: xr.Dataset,
    *,
    formula: str | Composition | Lithiation,
    mass: Mass | None = None,
    electrons: Electrons | Mapping[str, float] | None = None,
    redox: Mapping[str, tuple[float, float]] | None = None,
) -> holoviews.Overlay:
    """Plot the voltage against the Li content, and shade the excess over theory.

    Reads twice, and the current three times.

    Parameters
    ----------
    record
        Cycler data on ``record`` with ``voltage`` (V), ``current`` and ``test_time``.
    formula, mass
        As in `batteryxr.echem.li_content`.
    electrons, redox
        Definition of the theory, as in `batteryxr.echem.theoretical_capacity`. Default:
        all of the ion in `formula`; nothing is shaded if it has none.

    Returns
    -------
    holoviews.Overlay
        One curve for each half cycle, with one colour for charges and one for
        discharges, later ones paler; and the region of extra capacity if there is any.

    Raises
    ------
    ArgumentError, VariableError, UnitsError
        As in `batteryxr.echem.li_content`.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> plot = record.echem.plot.lithiation(formula="LiNiO2", mass=7.0)
    """
    hv = load_hvplot()
    require_variables(record, ["voltage"], caller="plot_lithiation")
    lithiation = lithiation_of(formula)
    content = li_content(record, formula=lithiation, mass=mass)
    thin = {"record": slice(None, None, record.sizes["record"] // _ROWS + 1)}
    x = content.isel(thin).values
    voltage = in_units(record["voltage"], "V", caller="plot_lithiation")
    axes = dimension(content), dimension(voltage)
    line = np.stack([x, voltage.isel(thin).values])
    looks = _looks(record, line, thin["record"].step)
    shown = branches(looks, *axes) or [hv.Curve([], *axes)]
    composition, ion = parse(lithiation.formula), lithiation.ion
    if electrons is not None or redox is not None or composition[ion] > 0:
        allowed = electrons_of(composition, ion, electrons, redox)
        allowed /= centres_of(composition, lithiation.per)[0]
        shown += _beyond(hv, x, float(content.attrs["initial_content"]), allowed)
    return hv.Overlay(shown).opts(
        xlabel=axes[0].label,
        ylabel=axes[1].label,
        width=520,
        height=340,
        **ABOVE,
        show_grid=True,
    )


def _looks(record: xr.Dataset, line: np.ndarray, every: int) -> dict[Look, list[Line]]:
    """Return the parts of a thinned line by their branch, and by how early they are."""
    from batteryxr.echem.kernels import parts

    rule = Counting()
    rows = columns(record, caller="plot_lithiation", clock=False, number=rule.number)
    table = half_cycle_table(rows, rule).integers
    looks: dict[Look, list[Line]] = {}
    for place, of in enumerate(table):
        some = slice(-(-of[parts.FIRST] // every), of[parts.LAST] // every + 1)
        side = "charge" if of[parts.DIRECTION] > 0 else "discharge"
        look = side, strength(place, len(table))
        looks.setdefault(look, []).append((line[0, some], line[1, some]))
    return looks


def _beyond(hv: Holoviews, x: np.ndarray, start: float, allowed: float) -> list[Any]:
    """Return shaded regions of contents beyond theory, as seen from the start."""
    known = x[np.isfinite(x)]
    least, most = known.min(initial=start), known.max(initial=start)
    spans = [(start + allowed, most), (least, start - allowed)]
    return [
        hv.VSpan(float(low), float(high)).opts(color=NEUTRAL, alpha=0.2)
        for low, high in spans
        if high > low
    ]
