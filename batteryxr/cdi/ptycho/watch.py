"""Progress and pictures of a reconstruction, while it runs and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.result import RESIDUAL
from batteryxr.cdi.ptycho.states import ledger_of, look_at
from batteryxr.core.checks import Whole, checked
from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.model import attributes
from batteryxr.core.plotting import LOG_Y, load_hvplot
from batteryxr.core.store import telling

if TYPE_CHECKING:
    import holoviews

    from batteryxr.core.ledger import Ledger
    from batteryxr.core.store import StoreLike


@checked
def ptycho_progress(path: StoreLike, *, energy: Whole | None = None) -> xr.Dataset:
    """Return the progress of a reconstruction in a store; safe while it runs.

    Reads the newest complete state.

    Parameters
    ----------
    path
        Store, as given to `ptycho_energies`.
    energy
        Number of an energy, from 0, whose object and probe to return as well.

    Returns
    -------
    xarray.Dataset
        `iteration` and `amp_residual` along `number`, with the energies in eV; with
        `energy` also `residuals` (pass), `transmission` (row, column) and `probe`
        (probe_mode, probe_row, probe_column). ``attrs["iterations"]`` is the number of
        requested iterations.

    Raises
    ------
    StoreError
        If the store holds no reconstruction.
    ArgumentError
        If there is no state of that energy yet.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=[5440, 5470], size=32)
    >>> stack = scan.cdi.ptycho_energies(store="stack.zarr", iterations=10)
    >>> batteryxr.cdi.ptycho_progress("stack.zarr")["iteration"].values.tolist()
    [10, 10]
    """
    ledger = ledger_of(path)
    with telling(ledger.location, reading=True):
        mark = ledger.mark()
        if mark is None:
            raise StoreError(f"{path} holds no reconstruction of ptycho_energies.")
        n = len(mark["energy"])
        looks = [look_at(ledger, k) for k in range(n)]
        state = {} if energy is None else _state_of(ledger, energy)
    done, residual = np.zeros(n, int), np.full(n, np.nan)
    for k, seen in enumerate(looks):
        if seen is not None:
            done[k], residual[k] = seen.iteration, seen.residuals[-1]
    one: dict[str, Any] = {"units": "1"}
    variables: dict[str, Any] = {
        "iteration": ("number", done, one | {"long_name": "Passes done"}),
        "amp_residual": ("number", residual, one | {"long_name": RESIDUAL}),
    }
    coords = {
        "number": ("number", np.arange(n), one | {"long_name": "Energy number"}),
        "energy": ("number", np.array(mark["energy"]), attributes("energy")),
    }
    progress = xr.Dataset(variables | state, coords=coords)
    progress.attrs["iterations"] = int(mark["settings"]["iterations"])
    return progress


def _state_of(ledger: Ledger, energy: int) -> dict[str, Any]:
    seen = look_at(ledger, energy, "obj", "probe")
    if seen is None:
        raise ArgumentError("energy", energy, "an energy that has a state already")
    obj, probe = seen.arrays["obj"], seen.arrays["probe"]
    modes = ("probe_mode", "probe_row", "probe_column")
    one = {"units": "1"}
    return {
        "residuals": ("pass", seen.residuals, one | {"long_name": RESIDUAL}),
        "transmission": (("row", "column"), obj, one | {"long_name": "Transmission"}),
        "probe": (modes, probe, one | {"long_name": "Probe"}),
    }


@checked
def plot_ptycho(result: xr.Dataset) -> holoviews.Layout:
    """Plot modulus and phase of the object, the probe, and the residual.

    Parameters
    ----------
    result
        Result of `ptycho`, or of ``ptycho_progress(store, energy=k)`` while it runs.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> result = scan.cdi.ptycho(iterations=10)
    >>> plot = result.cdi.plot.ptycho()
    """
    hv = load_hvplot()
    field = result["transmission"].values
    probe = np.abs(result["probe"].values[0])
    errors = result["residuals" if "residuals" in result else "amp_residual"].values

    def image(values: np.ndarray, title: str, colours: str) -> Any:
        rows, columns = values.shape
        # Each picture has its own dimension, so that they do not share a range of
        # colours.
        frame = hv.Image(
            values[::-1], ["Column", "Row"], title, bounds=(0, 0, columns, rows)
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

    curve = hv.Curve((np.arange(1, errors.size + 1), errors), "Pass", RESIDUAL)
    # An axis wider than that of the picture above would push it out of its frame.
    narrow = {"title": f"Residual {RESIDUAL}", "ylabel": ""}
    layout = (
        image(np.abs(field), "|T|", "gray")
        + image(np.angle(field), "arg T (rad)", "coolwarm")
        + image(probe, "|probe|, first mode", "inferno")
        + curve.opts(**narrow, **LOG_Y, frame_width=260)
    )
    return layout.cols(2).opts(shared_axes=False)
