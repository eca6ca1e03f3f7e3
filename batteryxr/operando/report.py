"""The report of an operando experiment: what was read, joined and found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.plotting import load_hvplot
from batteryxr.operando.page import Report

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from batteryxr.operando.pipeline import Run

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
    page.figure(record.echem.plot.operando(scans).opts(width=_WIDTH))
    page.heading("Half cycles and cycles")
    _tables(page, run)
    page.heading("Differential capacity")
    page.figure(run.read("echem/dqdv").echem.plot.dqdv().opts(width=_WIDTH))
    page.heading("Scans")
    page.figure(_map(scans, run.read(f"{run.kind}/nmf")[str(scans.dims[-1])]))
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
        ("Clock", _clock(scans)),
    ]


def _clock(scans: xr.DataArray) -> str:
    clock = json.loads(scans.attrs["clock"])
    error = clock["offset_error"]
    known = "" if error is None else f" ± {error:.2g}"
    return f"{clock['method']}, offset {clock['offset_s']:g}{known} s"


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
        page.figure(run.read("echem/cycles").echem.plot.cycles().opts(width=_WIDTH))


def _map(scans: xr.DataArray, part: xr.DataArray) -> Any:
    """Return an image of the scans over the part of the axis that was unmixed."""
    load_hvplot()
    signal = str(scans.dims[-1])
    numbers = np.arange(1, scans.sizes["scan"] + 1)
    bare = scans.reset_coords(drop=True).assign_coords(scan=numbers)
    bare["scan"].attrs = {"long_name": "Scan", "units": "1"}
    # An image has even steps, and no more of them than a screen.
    every = max(1, scans.sizes["scan"] // 500)
    axis = np.linspace(float(part[0]), float(part[-1]), min(500, part.size))
    shown = bare.isel(scan=slice(None, None, every)).compute().interp({signal: axis})
    shown[signal].attrs = scans[signal].attrs
    return shown.astype("f4").hvplot.image(
        x=signal,
        y="scan",
        cmap="viridis",
        clim=(float(shown.min()), float(shown.max())),
        width=_WIDTH,
        height=320,
    )


def _phases(page: Report, run: Run) -> None:
    pca = run.read(f"{run.kind}/pca").load()
    page.heading("How many components?")
    page.text(
        "Shares of the principal components, largest first. They count what varies; "
        "being orthogonal they turn negative, so they are not phases."
    )
    page.table(
        ["Component", "Share of all variance", "Not explained by so many"],
        [
            [
                number + 1,
                float(share),
                float(1 - pca["explained_variance_ratio"].values[: number + 1].sum()),
            ]
            for number, share in enumerate(pca["explained_variance_ratio"].values[:6])
        ],
    )
    unmixed = run.read(f"{run.kind}/nmf").load()
    page.heading("Phases and their ratios")
    page.text(
        f"Non-negative factorisation into {unmixed.sizes['component']} components; the "
        f"relative error is {float(unmixed['relative_error']):.3g}, and no "
        f"factorisation of so many can be below {float(unmixed['svd_error']):.3g}. "
        "Where the two agree the residual cannot tell the solution from its rotations: "
        "fix what is known, such as an end member, before reading the ratios."
    )
    page.figure(unmixed.nmf.plot.components().opts(width=_WIDTH))
    page.figure(unmixed["weights"].echem.plot.with_voltage(against=_axis(unmixed)))
    page.figure(unmixed.nmf.plot.residual().opts(width=_WIDTH))


def _axis(result: xr.Dataset) -> str:
    return "li_content" if "li_content" in result.coords else "time"
