"""The report of an operando experiment: what was read, joined and found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.plotting import load_hvplot
from batteryxr.report import Report

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from batteryxr.experiment import Run

_WIDTH = 900
_HALF_CYCLES = {
    "direction": "Direction",
    "capacity": "Capacity / mA h",
    "energy": "Energy / mW h",
    "mean_voltage": "Mean voltage / V",
    "duration": "Duration / s",
    "complete": "Complete",
}
_CYCLES = {
    "charge_capacity": "Charge / mA h",
    "discharge_capacity": "Discharge / mA h",
    "coulombic_efficiency": "Coulombic efficiency",
    "energy_efficiency": "Energy efficiency",
    "voltage_hysteresis": "Hysteresis / V",
    "capacity_retention": "Retention",
}


def write_page(run: Run, path: str | Path, *, store: str | Path) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    run
        A finished run.
    path
        HTML file to write.
    store
        Name of the store as the reader will find it.
    """
    record, scans = run.read("echem/record"), _series(run.read(f"{run.kind}/scans"))
    title = str(record.attrs.get("title") or "Operando experiment")
    page = Report(title, "An operando experiment, from files to phases.")
    page.notes(run.notes)
    page.facts(_facts(record, scans, store))
    page.heading("Voltage, and the scans on it")
    page.figure(_voltage(record, scans))
    page.heading("Half cycles and cycles")
    _tables(page, run)
    page.heading("Differential capacity")
    page.figure(run.read("echem/dqdv").echem.plot_dqdv().opts(width=_WIDTH))
    page.heading("Scans")
    page.figure(_map(scans))
    _phases(page, run)
    page.heading("Go on from here")
    page.code(
        "import batteryxr\n\n"
        f'experiment = batteryxr.open_store("{store}")\n'
        f'experiment["{run.kind}/nmf"]  # everything is labelled: dims, units, calls'
    )
    return page.write(path)


def _series(dataset: xr.Dataset) -> xr.DataArray:
    return next(iter(dataset.data_vars.values()))


def _facts(
    record: xr.Dataset, scans: xr.DataArray, store: str | Path
) -> list[tuple[str, object]]:
    seconds = float(record["test_time"][-1] - record["test_time"][0])
    joined = int(np.isfinite(scans["voltage"]).sum())
    odd = int(scans["crosses_reversal"].sum())
    return [
        ("Store", store),
        ("Cycler", f"{record.attrs.get('instrument', '')}".strip() or "not told"),
        ("Rows", f"{record.sizes['record']} over {seconds / 3600:.2f} h"),
        ("Scans", f"{scans.sizes['scan']} on {scans.sizes[scans.dims[-1]]} points"),
        ("Joined", f"{joined} of {scans.sizes['scan']}"),
        ("With a reversal of current inside", odd),
        (
            "Voltage within one scan",
            f"median spread {float(_spread(scans).median()) * 1e3:.3g} mV, "
            f"largest {float(_spread(scans).max()) * 1e3:.3g} mV",
        ),
        ("Clock", scans.attrs.get("clock", "")),
    ]


def _spread(scans: xr.DataArray) -> xr.DataArray:
    return (scans["voltage_max"] - scans["voltage_min"]).compute()


def _tables(page: Report, run: Run) -> None:
    wanted = [("half_cycle", _HALF_CYCLES)]
    if run.has("echem/cycles"):
        wanted.append(("cycle", _CYCLES))
    for dim, columns in wanted:
        table = run.read(f"echem/{dim}s").load()
        present = {k: v for k, v in columns.items() if k in table}
        rows = [
            [int(number), *(table[k].values[i].item() for k in present)]
            for i, number in enumerate(table[dim].values)
        ]
        heading = dim.replace("_", " ").capitalize()
        page.table([heading, *present.values()], rows)
    if run.has("echem/cycles"):
        page.figure(run.read("echem/cycles").echem.plot_cycles().opts(width=_WIDTH))


def _hours(times: xr.DataArray, start: Any) -> np.ndarray:
    return (times.values - start) / np.timedelta64(1, "s") / 3600


def _voltage(record: xr.Dataset, scans: xr.DataArray) -> Any:
    hv = load_hvplot()
    step = max(1, record.sizes["record"] // 20_000)
    shown = record.isel(record=slice(None, None, step)).load()
    start = record["time"].values[0]
    line = hv.Curve(
        (_hours(shown["time"], start), shown["voltage"].values),
        hv.Dimension("hours", label="Time", unit="h"),
        hv.Dimension("voltage", label="Voltage", unit="V"),
    )
    middle = scans["time"] + (scans["exposure"] * 5e8).astype("m8[ns]")
    points = hv.Points(
        (
            _hours(middle, start),
            scans["voltage"].values,
            np.arange(scans.sizes["scan"]),
        ),
        ["hours", "voltage"],
        hv.Dimension("scan", label="Scan"),
    )
    return (
        line.opts(color="#8a97a6", line_width=1)
        * points.opts(color="scan", cmap="viridis", size=5, tools=["hover"])
    ).opts(width=_WIDTH, height=300)


def _map(scans: xr.DataArray) -> Any:
    load_hvplot()
    signal = str(scans.dims[-1])
    bare = scans.reset_coords(drop=True).compute()
    bare = bare.assign_coords(scan=np.arange(scans.sizes["scan"]))
    bare["scan"].attrs["long_name"] = "Scan"
    return bare.hvplot.quadmesh(
        x=signal, y="scan", rasterize=False, cmap="viridis", width=_WIDTH, height=320
    )


def _phases(page: Report, run: Run) -> None:
    page.heading("Principal components")
    page.text(
        "Eigenvalues of the scans. Principal components are orthogonal and turn "
        "negative: they count what varies, they are not phases."
    )
    page.figure(run.read(f"{run.kind}/pca").nmf.plot_scree().opts(width=_WIDTH))
