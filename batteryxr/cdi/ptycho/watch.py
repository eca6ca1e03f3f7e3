"""Looking into a reconstruction while it runs, and at it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho import store as _ptycho_store
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.model import attributes
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    from pathlib import Path


@checked
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
        `iteration` and `amp_residual` along `number`, with the energies in eV; with
        `energy` also `residuals` (pass), `transmission` (row, column) and `probe`
        (probe_mode, probe_row, probe_column). ``attrs["iterations"]`` is how many
        passes were asked for.

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
    arrays, attrs = claim
    n = int(attrs["mark"]["frames"][1])
    done, residual = np.zeros(n, int), np.full(n, np.nan)
    for k in range(n):
        done[k], found = _ptycho_store.glance(path, k, "misfits")
        if found:
            residual[k] = found[0][-1]
    one: dict[str, Any] = {"units": "1"}
    variables: dict[str, Any] = {
        "iteration": ("number", done, one | {"long_name": "Passes done"}),
        "amp_residual": ("number", residual, one | {"long_name": "Σ(|F| - √I)² / ΣI"}),
    }
    coords = {"number": ("number", np.arange(n), one | {"long_name": "Energy number"})}
    if "energy" in arrays:
        coords["energy"] = ("number", arrays["energy"], attributes("energy"))
    if energy is not None:
        variables |= _state_of(path, energy, n)
    seen = xr.Dataset(variables, coords=coords)
    seen.attrs["iterations"] = int(attrs["mark"]["iterations"])
    return seen


def _state_of(path: str, energy: int, n: int) -> dict[str, Any]:
    found: list[np.ndarray] = []
    if 0 <= energy < n:
        _, found = _ptycho_store.glance(path, energy, "misfits", "obj", "probe")
    if not found:
        raise ArgumentError("energy", energy, "an energy that has a state already")
    misfits, obj, probe = found
    modes = ("probe_mode", "probe_row", "probe_column")
    one = {"units": "1"}
    return {
        "residuals": ("pass", misfits, one | {"long_name": "Σ(|F| - √I)² / ΣI"}),
        "transmission": (("row", "column"), obj, one | {"long_name": "Transmission"}),
        "probe": (modes, probe, one | {"long_name": "Probe"}),
    }


@checked
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
        # A dimension of its own: pictures must not share one range of colours.
        frame = hv.Image(
            values[::-1], ["column", "row"], title, bounds=(0, 0, columns, rows)
        )
        low, high = np.percentile(values, [0.5, 99.5])
        limits = {"clim": (float(low), float(high))} if low < high else {}
        return frame.opts(
            title=title,
            cmap=colours,
            frame_width=260,
            data_aspect=1,
            colorbar=True,
            clabel="",
            **limits,
        )

    curve = hv.Curve(
        (np.arange(1, errors.size + 1), errors), "pass", "Σ(|F| - √I)² / ΣI"
    )
    # An axis wider than that of the picture above would push that out of its frame.
    narrow = {"title": "Residual Σ(|F| - √I)² / ΣI", "ylabel": "", "yformatter": "%.0e"}
    layout = (
        image(np.abs(field), "|T|", "gray")
        + image(np.angle(field), "arg T (rad)", "coolwarm")
        + image(probe, "|probe|, first mode", "inferno")
        + curve.opts(**narrow, logy=True, frame_width=260)
    )
    return layout.cols(2).opts(shared_axes=False)
