"""Return one pulse of a titration with its fit."""

from __future__ import annotations

import itertools
from typing import Annotated

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.record import columns
from batteryxr.echem.titration.gitt import cut_pulses
from batteryxr.echem.titration.method import FiniteLength


@recorded
def pulse_fit(
    record: xr.Dataset, *, result: Annotated[xr.Dataset, OwnLabels()], pulse: int
) -> xr.Dataset:
    """Return the rows of one pulse and its rest with the fitted curve.

    Reads once, up to that pulse.

    Parameters
    ----------
    record
        Record that `gitt` analysed.
    result
        Result of ``gitt(method=FiniteLength())`` for it.
    pulse
        Number of the pulse, from 1.

    Returns
    -------
    xarray.Dataset
        On ``record``, the fitted rows (averaged where they are dense), with
        `step_time` since the current was switched on: `voltage`, `fitted_voltage`,
        `voltage_residual` and `rows`, the number of rows averaged.

    Raises
    ------
    ArgumentError
        If there is no such pulse.
    DataError
        If the result is of another method or record, or the pulse has too few rows.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> result = record.echem.gitt()
    >>> curve = record.echem.pulse_fit(result=result, pulse=2)
    """
    method = FiniteLength.from_attrs(result.attrs)
    if pulse not in result["pulse"].values:
        last = int(result["pulse"].values[-1])
        raise ArgumentError("pulse", pulse, f"a pulse from 1 to {last}")
    from batteryxr.echem.kernels.relaxation import shape
    from batteryxr.echem.kernels.relaxation_switches import fit_pulse

    i_zero, tmin = float(result.attrs["i_zero"]), float(result.attrs["tmin"])
    source = columns(record, caller="pulse_fit")
    found = cut_pulses(source, i_zero=i_zero, memory=method.memory)
    one = next(itertools.islice(found, pulse - 1, None), None)
    if one is None:
        raise DataError(
            "record",
            f"has no pulse {pulse}: `result` is of another one",
            "Pass the result of this record.",
        )
    particle = shape(str(result.attrs["geometry"]), method.degree)
    rows, fitted, begin, _ = fit_pulse(one, particle, tmin=tmin)
    if fitted is None:
        raise DataError(
            f"pulse {pulse}", "has too few rows to be fitted", "Choose another pulse."
        )
    model = fitted[4]
    named = {
        "voltage": (rows.v, "V", "Voltage"),
        "current": (rows.i, "mA", "Current"),
        "fitted_voltage": (model, "V", "Fitted voltage"),
        "voltage_residual": (rows.v - model, "V", "Measured minus fitted voltage"),
        "rows": (np.rint(rows.w**2), "1", "Rows averaged"),
    }
    return xr.Dataset(
        {
            key: ("record", value, attributes(key, units=units, long_name=long_name))
            for key, (value, units, long_name) in named.items()
        },
        coords={
            "test_time": ("record", rows.t, attributes("test_time")),
            "step_time": (
                "record",
                rows.t - begin.at,
                attributes("step_time", units="s", long_name="Time in the pulse"),
            ),
            "pulse": ((), pulse, attributes("pulse")),
        },
    )
