"""The panel of a crystal: slices, its surface, and numbers along the states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from batteryxr.core.model import in_words
from batteryxr.widgets.drawing import curve, image_plot, lines_plot, title_of
from batteryxr.widgets.models.crystal import CrystalModel
from batteryxr.widgets.view import WIDE, Figure, Panel, control, on_front_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr


class CrystalPanel(Panel, of=CrystalModel):
    """Look into a crystal in its voltage states.

    Three slices through one voxel, the quantity on the surface, the order parameter or
    the rms of each quantity along the states, and the sizes of domains. Click a state
    on a curve to see the crystal there.

    Parameters
    ----------
    data
        Objects, phases, displacements or strains on ``state`` and three axes of space,
        such as the result of `retrieve_states`.
    domains
        Domains of the same states, from `batteryxr.cdi.domains`.
    name
        Name of the data in the code; by default their variable in the notebook.
    **choice
        Further choices, as in ``panel.choice``: ``quantity``, ``state`` (from 0),
        ``place`` (a voxel) and ``level`` of the surface.

    Raises
    ------
    DimensionError, VariableError
        If there are no states of a crystal.
    """

    model: CrystalModel

    def __init__(
        self,
        data: xr.DataArray | xr.Dataset,
        *,
        domains: xr.Dataset | None = None,
        name: str | None = None,
        **choice: Any,
    ) -> None:
        model = CrystalModel(data, domains, name=name)
        if choice:
            model.choose(**choice)
        self.model = model
        self.figure = Figure()
        self.figure.on_msg(on_front_end(self._of_figure))
        super().__init__(
            model,
            title="Crystal",
            hint="click a state to see the crystal there",
            controls=self._controls(),
            body=self.figure,
        )
        model.observe(lambda _: self._draw(), ["answer"])
        self._draw()

    def _controls(self) -> list[ipywidgets.Widget]:
        model = self.model
        controls = [control(model, "level", 170, step=0.05, description="surface at")]
        names = [(label, k) for k, label in enumerate(model.labels())]
        controls.insert(
            0, control(model, "state", 190, options=names, description="state")
        )
        if len(model.fields) > 1:
            shown = list(model.fields)
            one = control(model, "quantity", 220, options=shown, description="show")
            controls.insert(0, one)
        return [*controls, *(self._slider(k) for k in range(3))]

    def _slider(self, k: int) -> ipywidgets.IntSlider:
        """Return the slider for one coordinate of the place that is shown."""
        model, dim = self.model, self.model.axes[k]
        slider = ipywidgets.IntSlider(
            value=model.place[k], max=model.data.sizes[dim] - 1,
            description=in_words(dim), continuous_update=False, style=WIDE,
            layout={"width": "240px"},
        )  # fmt: skip

        def of_slider(change: dict[str, Any]) -> None:
            model.place = [*model.place[:k], change["new"], *model.place[k + 1 :]]

        slider.observe(of_slider, "value")
        model.observe(lambda c: setattr(slider, "value", c["new"][k]), "place")
        return slider

    def _of_figure(self, content: dict[str, Any]) -> None:
        if content["kind"] == "pick":
            self.model.state = int(content["index"])

    def _draw(self) -> None:
        model, answer = self.model, self.model.answer
        if answer is None:
            self.figure.figure = {"columns": 1, "plots": []}
            return
        low, high = answer.limits
        look: dict[str, Any] = {"units": str(answer.quantity.attrs.get("units", "1"))}
        if low < 0:
            look["palette"] = "diverge"
        label = str(answer.quantity.attrs.get("long_name", model.quantity))
        plots = [
            image_plot(
                f"slice {dim}",
                f"{label}, {in_words(dim)} = {at}",
                plane,
                low,
                high,
                **look,
            )
            for dim, at, plane in zip(
                model.axes, model.place, answer.slices, strict=True
            )
        ]
        seen = f"Surface, seen {in_words(model.axes[0]).lower()}"
        plots.append(image_plot("surface", seen, answer.surface, low, high, **look))
        for name, array in answer.along.items():
            values = array.transpose("state", ...).values.astype(float).reshape(-1)
            plots.append(self._states(name, title_of(array), [("", values)]))
        if answer.sizes:
            sizes = "Size of domains (nm³)"
            plots.append(self._states("domains", sizes, answer.sizes))
        self.figure.figure = {"columns": 4, "plots": plots}

    def _states(
        self, key: str, label: str, lines: Sequence[tuple[str, np.ndarray]]
    ) -> dict[str, Any]:
        at = np.arange(self.model.n_states, dtype=float)
        series = [
            curve(at, values, name=name, colour=k, points=True, pick=True)
            for k, (name, values) in enumerate(lines)
        ]
        here = self.model.state
        series += [
            curve(at[[here]], values[[here]], colour=k, line=False, points=True,
                  hollow=True, size=7, quiet=True)
            for k, (_, values) in enumerate(lines)
        ]  # fmt: skip
        return lines_plot(
            key, label, "State", label, series, pick=True, wide=True, height=200,
            xticks=self.model.labels(), legend=len(lines) > 1,
        )  # fmt: skip
