"""Looking into a reconstruction while it runs, and at it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi import _ptycho_store
from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    from pathlib import Path


def ptycho_progress(store: str | Path, *, energy: int | None = None) -> xr.Dataset:
    """Return how far a reconstruction in a store is; safe while it runs.

    Reads the newest state that is whole.

    Parameters
    ----------
    store
        As given to `ptycho_energies`.
    energy
        Number of an energy, from 0, whose object and probe to return as well.

    Returns
    -------
    xarray.Dataset
        `iteration` and `amp_residual` along `number`; with `energy` also `residuals`
        (pass), `transmission` (row, column) and `probe` (probe_mode, probe_row,
        probe_column).

    Raises
    ------
    StoreError
        If nobody ever began there.
    ArgumentError
        If there is no state of that energy yet.
    """
    path = str(store)
    claim = _ptycho_store.read(path, "claim")
    if claim is None:
        raise StoreError(f"{path} holds no reconstruction of ptycho_energies.")
    n = int(claim[1]["mark"]["frames"][1])
    done, residual = np.zeros(n, int), np.full(n, np.nan)
    chosen = None
    for k in range(n):
        found = _ptycho_store.load_state(path, k, lambda a: a)
        if found is None:
            continue
        done[k] = found[0].iteration
        residual[k] = found[1][-1]
        if k == energy:
            chosen = found
    one: dict[str, Any] = {"units": "1"}
    variables: dict[str, Any] = {
        "iteration": ("number", done, one | {"long_name": "Passes done"}),
        "amp_residual": ("number", residual, one | {"long_name": "Σ(|F| - √I)² / ΣI"}),
    }
    coords = {"number": ("number", np.arange(n), one | {"long_name": "Energy number"})}
    if energy is not None:
        if chosen is None:
            raise ArgumentError("energy", energy, "an energy that has a state already")
        state, misfits = chosen
        variables["residuals"] = ("pass", misfits, one | {"long_name": "Residual"})
        variables["transmission"] = (
            ("row", "column"),
            state.obj,
            one | {"long_name": "Transmission"},
        )
        variables["probe"] = (
            ("probe_mode", "probe_row", "probe_column"),
            state.probe,
            one | {"long_name": "Probe"},
        )
    return xr.Dataset(variables, coords=coords)


def plot_ptycho(result: xr.Dataset) -> Any:
    """Plot modulus and phase of the object, the probe, and the residual.

    Parameters
    ----------
    result
        Of `ptycho`, or of ``ptycho_progress(store, energy=k)`` while it runs.

    Returns
    -------
    holoviews.Layout
    """
    hv = load_hvplot()
    field = result["transmission"].values
    probe = np.abs(result["probe"].values[0])
    errors = result["residuals" if "residuals" in result else "amp_residual"].values

    def image(values: np.ndarray, title: str, colours: str) -> Any:
        rows, columns = values.shape
        frame = hv.Image(
            values[::-1], bounds=(0, 0, columns, rows), kdims=["column", "row"]
        )
        return frame.opts(
            title=title, cmap=colours, frame_width=260, data_aspect=1, colorbar=True
        )

    curve = hv.Curve(
        (np.arange(1, errors.size + 1), errors), "pass", "Σ(|F| - √I)² / ΣI"
    )
    return (
        image(np.abs(field), "|T|", "gray")
        + image(np.angle(field), "arg T (rad)", "twilight")
        + image(probe, "|probe|, first mode", "inferno")
        + curve.opts(title="Residual", logy=True, frame_width=260)
    ).cols(2)
