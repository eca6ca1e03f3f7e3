"""The panel of components: their number, the known ones, and their meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from batteryxr.widgets.component_figure import abscissas, plots
from batteryxr.widgets.models.components import SHIFTS, ComponentModel
from batteryxr.widgets.view import WIDE, Figure, Panel, control

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr


class ComponentPanel(Panel, of=ComponentModel):
    """Choose by hand how many components a series or a stack has, and which are known.

    The slider sets their number. Components are fixed to a scan or a file, or kept from
    the last fit while one more is added. Free components are solid, fixed ones dotted.
    Principal components and indicators for each number are shown too.

    Parameters
    ----------
    data
        A series of patterns (scan, r) or a stack (energy, y, x); see `batteryxr.nmf`.
    n_components
        Initial number of components.
    references
        Patterns of known phases by name; each component is labelled with the most
        similar one.
    name
        Name of the data in the code; by default their variable in the notebook.
    **choice
        Further choices, as in ``panel.choice``: ``method``, ``closure``, ``shift``,
        ``fixed``, ``steps``, ``seed``, ``x``.

    Raises
    ------
    DimensionError
        If the data are not a series of patterns.
    """

    model: ComponentModel

    def __init__(
        self,
        data: xr.DataArray,
        *,
        n_components: int | None = None,
        references: Mapping[str, xr.DataArray] | None = None,
        name: str | None = None,
        **choice: Any,
    ) -> None:
        model = ComponentModel(data, references=references, name=name)
        if n_components is not None:
            choice = {**choice, "n_components": n_components}
        if choice:
            model.choose(**choice)
        self.model = model
        self.figure = Figure()
        super().__init__(
            model,
            title="Components",
            hint="how many, and which are known",
            controls=[*self._controls(), self._fixing(), self._keeping()],
            body=self.figure,
        )
        self._told = False
        model.observe(lambda _: setattr(self, "_told", False), list(model.judged_by))
        model.observe(lambda _: self._draw(), ["answer", "judged", "x"])
        model.observe(lambda _: self._renew(), ["answer", "fixed", "steps"])
        self._renew()
        self._draw()

    @property
    def order(self) -> xr.Dataset | None:
        """Return the indicators for each number of components; see `model_order`."""
        return self.model.wait_for_judging()

    def _controls(self) -> list[ipywidgets.Widget]:
        model = self.model
        n = control(model, "n_components", max=model.most, description="n")
        self._n = n
        method = control(model, "method", 170, description="method")
        closure = control(model, "closure", 150, description="ratios add up to 1")
        words = {None: "none", "envelope": "lower envelope", "minimum": "minimum"}
        kinds = [(words[s], s) for s in SHIFTS]
        shift = control(model, "shift", 180, options=kinds, description="shift")
        judge = ipywidgets.Button(
            description="Judge n", layout=_width(90),
            tooltip="Compare numbers of components: held-out error, stability, scree",
        )  # fmt: skip
        judge.on_click(
            lambda _: model.stop_judging() if model.judging else model.judge(delay=0.0)
        )
        said = ipywidgets.Label("")
        model.observe(lambda c: setattr(said, "value", c["new"]), "judging")
        model.observe(
            lambda c: setattr(judge, "description", "Stop" if c["new"] else "Judge n"),
            "judging",
        )
        controls = [n, method, closure, shift]
        if options := abscissas(model):
            if model.x is None:
                model.suppose("x", options[0][1])
            x = control(model, "x", 200, options=options, description="against")
            controls.append(x)
        return [*controls, judge, said]

    def _fixing(self) -> ipywidgets.Widget:
        series = self.model.patterns.series
        scans = [("first scan", 0), ("last scan", -1)] if series else []
        source = ipywidgets.Dropdown(
            options=[*scans, ("file", "file")], description="fix", style=WIDE,
            layout=_width(130),
        )  # fmt: skip
        path = ipywidgets.Text(placeholder="path of a file", layout=_width(200))
        path.layout.display = "none" if series else ""
        name = ipywidgets.Text(placeholder="name of the phase", layout=_width(140))
        button = ipywidgets.Button(
            description="Fix", layout=_width(60), tooltip="Hold this component"
        )
        self._chips = ipywidgets.HBox()

        def show_path(change: dict[str, Any]) -> None:
            path.layout.display = "" if change["new"] == "file" else "none"

        def do() -> None:
            pattern = path.value.strip() if source.value == "file" else source.value
            self.model.fix(name.value or source.label.split()[0], pattern)
            name.value = ""

        source.observe(show_path, "value")
        button.on_click(lambda _: self._try(do))
        return _group(source, path, name, button, self._chips)

    def _keeping(self) -> ipywidgets.Widget:
        self._component = ipywidgets.Dropdown(
            description="keep", style=WIDE, layout=_width(130)
        )
        name = ipywidgets.Text(placeholder="name it", layout=_width(140))
        keep = ipywidgets.Button(
            description="Keep this one and raise n", layout=_width(190),
            tooltip="Hold this component as it is, and look for one more",
        )  # fmt: skip
        self._back = ipywidgets.Button(
            description="Back", layout=_width(70), tooltip="Back to the step before"
        )

        def do() -> None:
            if self.model.status in ("waiting", "working", "preview"):
                self.model.message = (
                    "The fit is under way: keep a component of it then."
                )
                return
            self.model.keep_and_raise(self._component.value, name.value)
            name.value = ""

        keep.on_click(lambda _: self._try(do))
        self._back.on_click(lambda _: self._try(self.model.step_back))
        return _group(self._component, name, keep, self._back)

    def _try(self, action: Callable[[], None]) -> None:
        """Run the action of a button; show errors inside the panel."""
        try:
            action()
        except Exception as error:
            self.model.message = str(error)

    def _renew(self) -> None:
        """Update the controls to the fixed, kept and found components."""
        model = self.model
        self._n.min = max(1, model.least)
        kept = [name for step in model.steps for name in step["keep"]]
        before = [name for step in model.steps for name in step.get("fixed", {})]
        chips: list[ipywidgets.Widget] = [
            ipywidgets.Label(f"{label} (kept)") for label in [*before, *kept]
        ]
        for label in model.fixed:
            chip = ipywidgets.Button(
                description=f"{label} ✕", tooltip=f"Let {label} go free again",
                layout={"width": "auto"},
            )  # fmt: skip
            chip.on_click(lambda _, label=label: model.release(label))
            chips.append(chip)
        self._chips.children = chips
        self._back.disabled = not model.steps
        if model.answer is not None:
            found = model.answer.fit
            free = [
                str(name)
                for name, held in zip(
                    found["component"].values, found["fixed"].values, strict=True
                )
                if not held
            ]
            if list(self._component.options) != free:
                chosen = self._component.value
                self._component.options = free
                wanted = chosen if chosen in free else next(iter(free), None)
                self._component.value = wanted

    def _draw(self) -> None:
        model = self.model
        if model.answer is None:
            self.figure.figure = {"columns": 1, "plots": []}
            return
        self.figure.figure = plots(model)
        exact = model.status != "preview" and model.answer.principal is not None
        if exact and not self._told and model.order is None and model.judged_unasked:
            self._told = True
            model.judge()


def _width(pixels: int) -> dict[str, str]:
    return {"width": f"{pixels}px"}


def _group(*widgets: ipywidgets.Widget) -> ipywidgets.Widget:
    box = ipywidgets.HBox(widgets)
    box.add_class("bx-group")
    return box
