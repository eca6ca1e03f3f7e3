"""The panel of a running reconstruction: object, probe and error as they change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from batteryxr.cdi import ptycho_progress
from batteryxr.core.errors import StoreError
from batteryxr.widgets.drawing import curve, image_plot, lines_plot
from batteryxr.widgets.models.base import PanelModel, Plan
from batteryxr.widgets.models.naming import literal
from batteryxr.widgets.view import Figure, Panel, control

if TYPE_CHECKING:
    import asyncio

    import ipywidgets
    import xarray as xr

    from batteryxr.core.store import StoreLike

#: Largest number of pixels along a side of a picture.
_PIXELS = 400
_NEWEST = ("the one that moved", None)


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Seen:
    """Hold the content of the store at one moment.

    Parameters
    ----------
    progress
        See `ptycho_progress`; with the object of one energy, if there is any.
    number
        Number of that energy; None if no energy has a state yet.
    """

    progress: xr.Dataset
    number: int | None

    @property
    def share(self) -> float:
        """Return the fraction of the requested passes that is done."""
        done = self.progress["iteration"].values
        return float(done.sum() / (done.size * self.progress.attrs["iterations"]))


class PtychoModel(PanelModel):
    """Read a store of `ptycho_energies` repeatedly, while passes are missing."""

    choices = ("energy",)
    shown = ("every",)

    energy = traitlets.Int(
        None, allow_none=True, help="Number of an energy; None: the one that moved."
    )
    every = traitlets.Float(3.0, min=0.1, help="Seconds between two looks.")

    def __init__(self, store: StoreLike) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._before: np.ndarray | None = None
        self._number: int | None = None
        self._store = store
        named = isinstance(store, str | Path) and not hasattr(store, "protocol")
        name = literal(str(store)) if named else None
        super().__init__(store, accessor="", name=name)
        self.refresh(delay=0.0)

    def plan(self) -> Plan:
        """Return how to read the store."""
        path, energy = self._store, self.energy
        return Plan(lambda: self._look(path, energy))

    def write_code(self, data: str) -> str:
        """Return the code that draws the display."""
        number = self._number if self.energy is None else self.energy
        if number is None:
            return f"batteryxr.cdi.ptycho_progress({data})"
        seen = f"batteryxr.cdi.ptycho_progress({data}, energy={number})"
        return f"batteryxr.cdi.plot_ptycho({seen})"

    def _look(self, path: StoreLike, energy: int | None) -> Seen:
        progress = ptycho_progress(path)
        done = progress["iteration"].values
        if energy is None:
            moved = done - (0 if self._before is None else self._before)
            stays = self._number is not None and not moved.any()
            energy = self._number if stays else int(np.argmax(moved))
        if energy is None or not done[min(energy, done.size - 1)]:
            return Seen(progress, None)
        return Seen(ptycho_progress(path, energy=energy), energy)

    def _show(self, answer: Seen, *, preview: bool, message: str = "") -> None:
        self._before = answer.progress["iteration"].values
        self._number = answer.number
        super()._show(answer, preview=preview, message=message)
        done, share = int(self._before.sum()), answer.share
        of = self._before.size * answer.progress.attrs["iterations"]
        self.note = f"{done} of {of} passes" if share < 1 else "all passes done"
        self.progress = share if share < 1 else -1.0
        self._write()
        if share < 1:
            self._again()

    def fail(self, error: Exception) -> None:
        """Show an error; keep looking for a store that does not exist yet."""
        super().fail(error)
        if isinstance(error, StoreError):
            self.note = "waits for the reconstruction to begin"
            self._again()

    def cancel(self) -> None:
        """Stop reading until a choice changes."""
        if self._timer is not None:
            self._timer.cancel()
        super().cancel()
        self.note = "change a choice to look again"

    def _again(self) -> None:
        loop = self._work._loop
        if loop is None or loop.is_closed():
            return  # a script has no display; `refresh` reads once more
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(self.every, self.refresh, 0.0)

    def _write(self) -> None:
        super()._write()
        words = "".join(
            f", {name}={literal(value)}"
            for name, value in self.choice.items()
            if value != self.usual(name)
        )
        store = self._name or self.called(self.data)
        self.reopen = f"PtychoPanel({store}{words})"


class PtychoPanel(Panel, of=PtychoModel):
    """Watch `ptycho_energies` or ``batteryxr ptycho`` while it runs, or afterwards.

    Reads the states in the store every few seconds, in the background, until all
    passes are done. The reconstruction runs in a terminal, another notebook, or a
    thread of this one. The panel shows modulus and phase of the object, the probe, the
    residual of each pass, and the progress of all energies.

    Parameters
    ----------
    store
        As passed to `ptycho_energies`; it need not exist yet.
    **choice
        ``energy``: number of the energy to show, from 0. ``every``: seconds between
        two readings.
    """

    def __init__(self, store: StoreLike, **choice: Any) -> None:
        model = PtychoModel(store)
        self.model = model
        self.figure = Figure()
        super().__init__(
            model,
            title="Ptychography",
            hint="object, probe and error while it runs",
            controls=self._controls(),
            body=self.figure,
        )
        model.observe(lambda _: self._draw(), "answer")
        if choice:
            model.choose(**choice)
        self._draw()

    def _controls(self) -> list[ipywidgets.Widget]:
        self._energies = control(
            self.model, "energy", 240, options=[_NEWEST], description="energy"
        )
        every = control(self.model, "every", 160, step=1, description="look every (s)")
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
    edge = probe.shape[0] // 4  # little light falls there, and noise would set scales
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
