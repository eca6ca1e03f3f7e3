"""The panel of a running reconstruction: object, probe and error as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import traitlets

from batteryxr.widgets.drawing import curve, image_plot, lines_plot
from batteryxr.widgets.ptycho_model import PtychoModel
from batteryxr.widgets.view import Figure, Panel

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.core.store import StoreLike

#: Pixels of a picture along a side, at most.
_PIXELS = 400
_NEWEST = ("the one that moved", None)


class PtychoPanel(Panel):
    """Watch `ptycho_energies` or ``batteryxr ptycho`` while it runs, or afterwards.

    Reads the states in the store every few seconds, beside the kernel, until all
    passes are done; the reconstruction runs in a terminal, another notebook, or a
    thread of this one. Modulus and phase of the object, the probe, the residual of
    each pass, and how far every energy is.

    Parameters
    ----------
    store
        As given to `ptycho_energies`; it need not be there yet.
    **choice
        ``energy``: number of an energy, from 0, to stay with. ``every``: seconds
        between two looks.
    """

    energy = traitlets.Int(None, allow_none=True)
    every = traitlets.Float(3.0)

    def __init__(self, store: StoreLike, **choice: Any) -> None:
        model = PtychoModel(store)
        self.model = model
        self.figure = Figure()
        super().__init__(
            model,
            title="Ptychography <small>object, probe and error while it runs</small>",
            controls=self._controls(),
            body=self.figure,
        )
        model.observe(lambda _: self._draw(), "answer")
        if choice:
            model.choose(**choice)
        self._draw()

    def _controls(self) -> list[ipywidgets.Widget]:
        wide = {"description_width": "initial"}
        self._energies = ipywidgets.Dropdown(
            options=[_NEWEST], description="energy", style=wide,
            layout={"width": "240px"},
        )  # fmt: skip
        traitlets.link((self.model, "energy"), (self._energies, "value"))
        every = ipywidgets.BoundedFloatText(
            min=0.1, max=3600, step=1, description="look every (s)", style=wide,
            layout={"width": "160px"},
        )  # fmt: skip
        traitlets.link((self.model, "every"), (every, "value"))
        return [self._energies, every]

    def _draw(self) -> None:
        seen = self.model.answer
        if seen is None:
            self.figure.figure = {"columns": 3, "plots": []}
            return
        progress = seen.progress
        self._name_energies(progress)
        plots = []
        if seen.number is not None:
            plots = [*_pictures(progress), _residuals(progress, seen.number)]
        self.figure.figure = {"columns": 3, "plots": [*plots, *_passes(progress)]}

    def _name_energies(self, progress: xr.Dataset) -> None:
        names = [_name(progress, k) for k in range(progress.sizes["number"])]
        options = [_NEWEST, *((name, k) for k, name in enumerate(names))]
        if len(self._energies.options) != len(options):
            chosen = self.model.energy
            self._energies.options = options
            self._energies.value = chosen


def _name(progress: xr.Dataset, k: int) -> str:
    if "energy" in progress.coords:
        return f"{float(progress.energy[k]):.2f} eV"
    return f"number {k}"


def _pictures(progress: xr.Dataset) -> list[dict[str, Any]]:
    probe = np.abs(progress["probe"].values[0])
    edge = probe.shape[0] // 4  # where little light falls, and noise would set scales
    field = progress["transmission"].values[edge:-edge, edge:-edge]
    field = _thin(field * np.exp(-1j * np.angle(field.mean())))
    modulus, phase = np.abs(field), np.angle(field)
    low, high = np.percentile(modulus, (1, 99))
    least, most = np.percentile(phase, (0.5, 99.5))
    wraps = most - least > 5.0
    ends, palette = ((-np.pi, np.pi), "phase") if wraps else ((least, most), "viridis")
    probe = _thin(probe)
    return [
        image_plot("modulus", "|T|", modulus, low, high, palette="grey"),
        image_plot("phase", "arg T", phase, *ends, units="rad", palette=palette),
        image_plot("probe", "|probe|, first mode", probe, 0.0, float(probe.max())),
    ]


def _thin(image: np.ndarray) -> np.ndarray:
    step = -(-max(image.shape) // _PIXELS)
    return image[::step, ::step]


def _residuals(progress: xr.Dataset, k: int) -> dict[str, Any]:
    residuals = progress["residuals"].values
    drawn = curve(np.arange(1.0, residuals.size + 1), residuals)
    title = f"Residual at {_name(progress, k)}"
    return lines_plot(
        "residual", title, "Pass", "Σ(|F| - √I)² / ΣI", [drawn], ylog=True
    )


def _passes(progress: xr.Dataset) -> list[dict[str, Any]]:
    has = "energy" in progress.coords
    x = progress["energy" if has else "number"].values
    label = "Energy (eV)" if has else "Energy number"
    began = progress["iteration"].values > 0
    look: dict[str, Any] = {"line": False, "points": True}
    plots = [
        lines_plot("passes", "Passes done", label, "Passes",
                   [curve(x, progress["iteration"].values, **look)])
    ]  # fmt: skip
    if began.any():
        last = progress["amp_residual"].values[began]
        plots.append(
            lines_plot("residuals", "Residual so far", label, "Σ(|F| - √I)² / ΣI",
                       [curve(x[began], last, colour=1, **look)])
        )  # fmt: skip
    return plots
