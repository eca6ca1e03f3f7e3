"""One pulse of a titration beside its fit."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.record import arrays
from batteryxr.echem.titration.gitt import pulse_windows


@recorded
def pulse_fit(record: xr.Dataset, *, result: xr.Dataset, pulse: int) -> xr.Dataset:
    """Return the rows of one pulse and its rest beside the curve fitted to them.

    Reads once, up to that pulse; reads `current` once more where the titration was
    analysed without `i_zero`.

    Parameters
    ----------
    record
        The record that `gitt` analysed.
    result
        What ``gitt(method="finite-length")`` returned for it.
    pulse
        Number of the pulse, from 1.

    Returns
    -------
    xarray.Dataset
        On ``record``, the rows that were fitted (averaged where they lie dense), with
        `step_time` after the current went on: `voltage`, `fitted_voltage`,
        `voltage_residual` and `rows`, the number averaged in each.

    Raises
    ------
    ArgumentError
        If the result is of another method, or has no such pulse.
    """
    options = _options(result)
    if pulse not in result["pulse"].values:
        last = int(result["pulse"].values[-1])
        raise ArgumentError("pulse", pulse, f"a pulse from 1 to {last}")
    from batteryxr.echem.kernels import diffusion, relaxation, rows

    source = arrays(record, caller="pulse_fit")
    found = pulse_windows(source, options["i_zero"], options["history"])
    item = next(itertools.islice(found, pulse - 1, None), None)
    if item is None:
        raise ArgumentError("result", pulse, "the result of gitt for this record")
    window, timing, earlier = item
    on, off, current = (np.array(column) for column in zip(*earlier, strict=True))
    t, v, i, w, _ = rows.fitted_rows(
        window, timing.on, timing.off, tmin=options["tmin"]
    )
    sphere = options["geometry"] == "sphere"
    shape = diffusion.SPHERE if sphere else diffusion.PLANAR
    if t.size < options["degree"] + 6:
        raise ArgumentError("pulse", pulse, "a pulse with enough rows to be fitted")
    model = relaxation.fit(t, v, i, w, on, off, current, shape, options["degree"])[4]
    columns = {
        "voltage": (v, "V", "Voltage"),
        "current": (i, "mA", "Current"),
        "fitted_voltage": (model, "V", "Fitted voltage"),
        "voltage_residual": (v - model, "V", "Measured minus fitted voltage"),
        "rows": (np.rint(w**2), "1", "Rows averaged"),
    }
    return xr.Dataset(
        {
            key: ("record", value, attributes(key, units=units, long_name=long_name))
            for key, (value, units, long_name) in columns.items()
        },
        coords={
            "test_time": ("record", t, attributes("test_time")),
            "step_time": (
                "record",
                t - timing.on,
                attributes("step_time", units="s", long_name="Time in the pulse"),
            ),
            "pulse": ((), pulse, attributes("pulse")),
        },
    )


def _options(result: xr.Dataset) -> dict[str, Any]:
    call = json.loads(result.attrs.get("batteryxr_call", "{}"))
    options: dict[str, Any] = call.get("arguments", {})
    if call.get("method") != "gitt" or options.get("method") != "finite-length":
        raise ArgumentError(
            "result",
            call.get("method", type(result).__name__),
            'the result of gitt(method="finite-length")',
            "Only that method fits a curve.",
        )
    return options
