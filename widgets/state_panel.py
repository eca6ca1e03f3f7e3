"""The panel of voltage states: the voltage curve, with scans to click and drag."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.plotting import BRANCH_COLOURS
from batteryxr.widgets.drawing import curve, image_plot, lines_plot, title_of
from batteryxr.widgets.models.states import StateModel, hours_of, names
from batteryxr.widgets.view import WIDE, Figure, Panel, control, on_front_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

_COLOURS = {side: BRANCH_COLOURS[side] for side in ("charge", "discharge")}
_CURVE_POINTS = 4000
_TAG = re.compile(r"^(charge|discharge)\s+(-?\d+(?:[.,]\d+)?)\s*V?$")


class VoltageStatePanel(Panel, of=StateModel):
    """Choose voltage states by hand, on the voltage curve.

    Click a scan to choose or drop it, drag a chosen one along the curve, or drag over
    an area to add evenly spaced states. The panel shows the chosen scans, their
    differences, and slices of images and volumes. With the keyboard: arrows move along
    the scans, Enter chooses; or type ``charge 3.5``.

    Parameters
    ----------
    data
        A joined series: data on ``scan`` with ``voltage``, ``time`` and ``branch``;
        see `batteryxr.echem.join`.
    states
        Initial states: ``[("charge", 3.5), ("discharge", 3.5)]``.
    record
        Cycler data, to draw the whole voltage curve.
    quantity
        Variable of a dataset to show; by default the one with most dimensions.
    name
        Name of the data in the code; by default their variable in the notebook.
    **choice
        Further choices, as in ``panel.choice``.

    Raises
    ------
    DimensionError, VariableError
        If the scans are not joined.
    """

    model: StateModel

    def __init__(
        self,
        data: xr.DataArray | xr.Dataset,
        *,
        states: Sequence[tuple[str, float]] = (),
        record: xr.Dataset | None = None,
        quantity: str | None = None,
        name: str | None = None,
        **choice: Any,
    ) -> None:
        model = StateModel(data, record=record, quantity=quantity, name=name)
        self.model = model
        self._curve = _voltage_curve(record, data)
        self.figure = Figure()
        self.figure.on_msg(on_front_end(self._of_figure))
        super().__init__(
            model,
            title="Voltage states",
            hint="click a scan, drag a state, or drag over an area",
            controls=self._controls(),
            body=self.figure,
        )
        model.observe(lambda _: self._draw(), ["answer", "compare", "states"])
        if states or choice:
            model.choose(states=list(states), **choice)
        self._draw()

    def _controls(self) -> list[ipywidgets.Widget]:
        model = self.model
        tags = ipywidgets.TagsInput(
            value=names(model.states), allow_duplicates=False, tooltip="charge 3.5"
        )
        tags.layout.min_width = "min(320px, 100%)"
        model.observe(
            lambda change: setattr(tags, "value", names(change["new"])), "states"
        )
        tags.observe(self._of_tags, "value")
        self._tags = tags
        controls: list[ipywidgets.Widget] = [ipywidgets.Label("states"), tags]
        cycles = sorted({int(c) for c in model.cycles[np.isfinite(model.cycles)]})
        if len(cycles) > 1:
            options = [("first that has all", None), *((str(c), c) for c in cycles)]
            cycle = control(model, "cycle", 190, options=options, description="cycle")
            controls.append(cycle)
        tolerance = control(
            model, "tolerance", 160, max=5, step=0.01, description="tolerance (V)"
        )
        drag = control(model, "per_drag", 160, step=1, description="states per drag")
        befores = [("first state", "first"), ("state before", "previous")]
        compare = control(
            model, "compare", 220, options=befores, description="difference from"
        )
        clear = ipywidgets.Button(
            description="Clear", tooltip="Give up all states", layout={"width": "70px"}
        )
        clear.on_click(lambda _: setattr(model, "states", []))
        controls += [clear, tolerance, drag, compare]
        if len(model.quantities) > 1:
            quantity = control(
                model, "quantity", 240, options=model.quantities, description="show"
            )
            controls.append(quantity)
        looked = model.data if model.quantity is None else model.data[model.quantity]
        depth = [d for d in looked.dims if d != "scan"]
        if len(depth) >= 3:
            size = looked.sizes[depth[0]]
            place = ipywidgets.IntSlider(
                value=size // 2, max=size - 1, description=f"slice {depth[0]}",
                continuous_update=False, style=WIDE,
            )  # fmt: skip
            place.observe(lambda c: setattr(model, "slice", c["new"]), "value")
            controls.append(place)
        return controls

    # actions of the user
    def _of_tags(self, change: dict[str, Any]) -> None:
        now = self.model.states
        known = dict(zip(names(now), now, strict=True))
        states = []
        for tag in change["new"]:
            typed = _TAG.match(str(tag).strip().lower().replace(" v", " V"))
            if tag in known:
                states.append(known[tag])
            elif typed:
                states.append((typed[1], float(typed[2].replace(",", "."))))
            else:
                self.model.message = f"{tag!r} is no state: type for example charge 3.5"
                self._tags.value = names(now)
                return
        if states != now:
            self.model.states = states

    def _of_figure(self, content: dict[str, Any]) -> None:
        model = self.model
        try:
            if content["kind"] == "pick":
                model.toggle(self._scan(content["series"], content["index"]))
            elif content["kind"] == "drag":
                to = content["to"]
                model.move(content["index"], self._scan(to["series"], to["index"]))
            elif content["kind"] == "brush":
                model.add_range(tuple(content["x"]), tuple(content["y"]))
        except ArgumentError as error:
            model.message = str(error)

    def _scan(self, series: int, index: int) -> int:
        return int(self._scans_of[series][index])

    # drawing
    def _draw(self) -> None:
        answer = self.model.answer
        plots = [self._voltage_plot()]
        if answer is not None and self.model.chosen_scans():
            plots += _pictures(
                answer.picture, names(self.model.states), self.model.compare
            )
            plots += [
                _numbers(array, answer.states) for array in answer.beside.values()
            ]
        pictures = sum(p["kind"] == "image" for p in plots)
        columns = min(4, max(2, pictures // 2)) if pictures else 2
        self.figure.figure = {"columns": columns, "plots": plots}

    def _voltage_plot(self) -> dict[str, Any]:
        model = self.model
        series = [curve(*self._curve, colour="faint", width=1.2, quiet=True)]
        self._scans_of: dict[int, np.ndarray] = {}
        for direction, colour in _COLOURS.items():
            mine = np.flatnonzero(model.usable & (model.branch == direction))
            mine = mine[np.argsort(model.hours[mine], kind="stable")]
            self._scans_of[len(series)] = mine
            series.append(
                curve(model.hours[mine], model.voltage[mine], name=direction,
                      colour=colour, line=False, points=True, pick=True)
            )  # fmt: skip
        others = np.flatnonzero(~model.usable & np.isfinite(model.voltage))
        if others.size:
            series.append(
                curve(model.hours[others], model.voltage[others], colour="faint",
                      name="rest or reversal", line=False, points=True, quiet=True)
            )  # fmt: skip
        for k, scan in enumerate(model.chosen_scans()):
            series.append(
                curve(model.hours[[scan]], model.voltage[[scan]], colour=k, line=False,
                      points=True, hollow=True, size=7, drag=True, quiet=True,
                      texts=[names(self.model.states)[k]])
            )  # fmt: skip
        return lines_plot(
            "voltage", "Voltage curve and scans", "Time (h)", "Voltage (V)", series,
            wide=True, height=270, pick=True, brush=True,
        )  # fmt: skip


def _voltage_curve(
    record: xr.Dataset | None, data: xr.DataArray | xr.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return hours since the first scan, and voltage, of the cycler if it is given."""
    if record is None:
        hours = hours_of(data)
        order = np.argsort(hours, kind="stable")
        return hours[order], data["voltage"].values[order]
    step = max(1, record.sizes["record"] // _CURVE_POINTS)
    thin = record[["voltage", "time"]].isel(record=slice(None, None, step)).compute()
    begin = np.nanmin(data["time"].values)
    hours = (thin["time"].values - begin) / np.timedelta64(3600, "s")
    return hours, thin["voltage"].values


def _pictures(
    picture: xr.DataArray, labels: list[str], compare: str
) -> list[dict[str, Any]]:
    """Return plots of the states and of their differences."""
    values = picture.values.astype(np.float64)
    reference = values[:1] if compare == "first" else np.roll(values, 1, axis=0)
    difference = values - reference
    difference[0] = 0.0
    if str(picture.attrs.get("units")) == "rad":
        difference = (difference + np.pi) % (2 * np.pi) - np.pi
    word = "first state" if compare == "first" else "state before"
    if picture.ndim == 1:
        return [_bars("states", picture, labels)]
    if picture.ndim == 2:
        return _curves(picture, values, difference, labels, word)
    low, high = np.nanmin(values), np.nanmax(values)
    far = float(np.nanmax(np.abs(difference))) or 1.0
    units = str(picture.attrs.get("units", "1"))
    plots = [
        image_plot(f"state {k}", name, v, low, high, units=units)
        for k, (name, v) in enumerate(zip(labels, values, strict=True))
    ]
    plots += [
        image_plot(
            *(f"difference {k}", f"{name} − {word}", v, -far, far),
            units=units,
            palette="diverge",
        )
        for k, (name, v) in enumerate(zip(labels, difference, strict=True))
        if k
    ]
    return plots


def _curves(
    picture: xr.DataArray,
    values: np.ndarray,
    difference: np.ndarray,
    labels: list[str],
    word: str,
) -> list[dict[str, Any]]:
    x = picture[picture.dims[1]]
    whole = [
        curve(x.values, v, name=name, colour=k)
        for k, (name, v) in enumerate(zip(labels, values, strict=True))
    ]
    away = [
        curve(x.values, v, name=name, colour=k)
        for k, (name, v) in enumerate(zip(labels, difference, strict=True))
        if k
    ]
    axes = (title_of(x), title_of(picture))
    look: dict[str, Any] = {"link": "signal", "legend": True}
    plots = [lines_plot("states", "Chosen scans", *axes, whole, **look)]
    if away:
        title = f"Difference from the {word}"
        plots.append(lines_plot("differences", title, *axes, away, **look))
    return plots


def _numbers(array: xr.DataArray, states: Any) -> dict[str, Any]:
    """Return a plot of one number per state against voltage, by branch."""
    voltage, branch = states["voltage"].values, states["direction"].values
    series = [
        curve(
            voltage[mine],
            array.values[mine],
            name=direction,
            colour=colour,
            points=True,
        )
        for direction, colour in _COLOURS.items()
        if (mine := branch == direction).any()
    ]
    return lines_plot(
        str(array.name), title_of(array), "Voltage (V)", title_of(array), series
    )


def _bars(key: str, array: xr.DataArray, labels: list[str]) -> dict[str, Any]:
    places = np.arange(len(labels), dtype=np.float64)
    series = [curve(places, array.values, colour=0, points=True)]
    return lines_plot(
        key, title_of(array), "State", title_of(array), series, xticks=labels
    )
