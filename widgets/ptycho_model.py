"""A reconstruction that runs elsewhere, looked at from here; without a screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from batteryxr.cdi import ptycho_progress
from batteryxr.core.errors import StoreError
from batteryxr.widgets.model import PanelModel, Plan, literal

if TYPE_CHECKING:
    import asyncio

    import xarray as xr

    from batteryxr.core.store import StoreLike


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Seen:
    """What a look into the store showed.

    Parameters
    ----------
    progress
        See `ptycho_progress`; with the object of one energy where there is any.
    number
        Of that energy; None where none has a state yet.
    """

    progress: xr.Dataset
    number: int | None

    @property
    def share(self) -> float:
        """Passes done over passes asked for."""
        done = self.progress["iteration"].values
        return float(done.sum() / (done.size * self.progress.attrs["iterations"]))


class PtychoModel(PanelModel):
    """A store of `ptycho_energies`, read again and again while passes are missing."""

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
        super().__init__(str(store), accessor="", name=literal(str(store)))
        self.refresh(delay=0.0)

    def plan(self) -> Plan:
        """Return how to look into the store."""
        path, energy = self._store, self.energy
        return Plan(lambda: self._look(path, energy))

    def write_code(self, data: str) -> str:
        """Return the code that draws what is seen."""
        number = self._number if self.energy is None else self.energy
        if number is None:
            return f"ptycho_progress({data})"
        return f"plot_ptycho(ptycho_progress({data}, energy={number}))"

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
        """Say what went wrong; a store that is not there yet is looked for again."""
        super().fail(error)
        if isinstance(error, StoreError):
            self.note = "waits for the reconstruction to begin"
            self._again()

    def cancel(self) -> None:
        """Look no more until a choice changes."""
        if self._timer is not None:
            self._timer.cancel()
        super().cancel()
        self.note = "change a choice to look again"

    def _again(self) -> None:
        loop = self._work._loop
        if loop is None or loop.is_closed():
            return  # in a script nobody looks on; `refresh` looks once more
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
        self.reopen = f"PtychoPanel({literal(self.data)}{words})"
