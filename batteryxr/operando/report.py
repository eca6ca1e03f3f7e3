"""Write reports on cycling alone, and on an operando experiment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.model import in_words
from batteryxr.core.plotting import load_hvplot, plain, plainly_labelled
from batteryxr.core.units import written
from batteryxr.export import cite
from batteryxr.operando.page import Report
from batteryxr.operando.sentences import (
    say_cycles,
    say_dqdv,
    say_half_cycles,
    say_phases,
    say_record,
    say_scans,
    say_truth,
)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

#: Width of all figures of a report.
_WIDTH = 900
_HALF_CYCLES = {
    "direction": "Direction",
    "capacity": "Capacity",
    "specific_capacity": "Capacity",
    "energy": "Energy",
    "mean_voltage": "Mean voltage",
    "duration": "Duration",
    "complete": "Complete",
}
_CYCLES = {
    "charge_capacity": "Charge",
    "charge_specific_capacity": "Charge",
    "discharge_capacity": "Discharge",
    "discharge_specific_capacity": "Discharge",
    "coulombic_efficiency": "Coulombic efficiency",
    "energy_efficiency": "Energy efficiency",
    "voltage_hysteresis": "Hysteresis",
    "capacity_retention": "Retention",
}
#: Fractions that are shown in per cent.
_PERCENT = ("coulombic_efficiency", "energy_efficiency", "capacity_retention")
#: Rows of a table, and half cycles of a figure, where there are more of them.
_ROWS, _DRAWN = 40, 20


class Results(Protocol):
    """Hold groups of results for a report, wherever they are stored.

    Parameters
    ----------
    kind
        Group of the scans.
    notes
        Notes that the reader must not miss.
    """

    kind: str
    notes: list[str]

    def read(self, group: str) -> xr.Dataset:
        """Open a group lazily."""
        ...

    def has(self, group: str) -> bool:
        """Tell whether a group is there."""
        ...


def write_page(run: Results, path: str | Path, *, store: str | Path) -> Path:
    """Write the report on a source: on its cycling, and on its scans if there are any.

    Parameters
    ----------
    run
        Groups of results.
    path
        HTML file to write.
    store
        Name of the store as the reader will find it; empty if there is none.
    """
    record = run.read("echem/record")
    with_scans = bool(run.kind) and run.has(f"{run.kind}/scans")
    title = str(record.attrs.get("title") or "")
    if with_scans:
        scans = _series(run.read(f"{run.kind}/scans"))
        page = Report(
            title or "Operando experiment",
            "An operando experiment, from files to phases.",
        )
        page.notes(run.notes)
        page.facts([*_facts(record, store), *_scan_facts(scans)])
        page.heading("Voltage, and the scans on it")
        page.text(say_scans(scans))
        page.figure(record.echem.plot.operando(scans).opts(width=_WIDTH))
    else:
        page = Report(title or "Cycling", "A cell's cycling, from its files.")
        page.notes(run.notes)
        page.facts(_facts(record, store))
        page.heading("Voltage")
        page.text(say_record(record))
        n = run.read("echem/half_cycles").sizes["half_cycle"]
        if n and _known(record.voltage):
            some = [int(place) + 1 for place in _drawn(page, n)]
            mass = run.read("echem/dqdv").attrs.get("mass")
            profile = record.echem.plot.voltage_profile(half_cycles=some, mass=mass)
            page.figure(profile.opts(width=_WIDTH, title=""))  # that of the page
    _cycling(page, run)
    if with_scans:
        page.heading("Scans")
        page.figure(_map(scans, run.read(f"{run.kind}/nmf")[str(scans.dims[-1])]))
        _phases(page, run)
    page.heading("How it was made, and what to cite")
    page.text(
        "Each step with its arguments, and the works behind it, ready for a paper's "
        "methods."
    )
    page.code(str(cite(_made(run))))
    if store:
        named = json.dumps(str(store), ensure_ascii=False)
        page.heading("Go on from here")
        page.code(
            "import batteryxr\n\n"
            f"experiment = batteryxr.open_store({named})\n"
            "experiment  # everything is labelled: dims, units, calls"
        )
    return page.write(path)


def _made(run: Results) -> xr.DataTree:
    """Return all results, whose attributes say how they were made."""
    import xarray as xr

    names = ["echem/half_cycles", "echem/cycles", "echem/dqdv", f"{run.kind}/nmf"]
    return xr.DataTree.from_dict({n: run.read(n) for n in names if run.has(n)})


def _series(dataset: xr.Dataset) -> xr.DataArray:
    arrays = list(dataset.data_vars.values())
    if len(arrays) != 1:
        raise DataError("scans", f"{len(arrays)} variables, expected the one series")
    return arrays[0]


def _facts(record: xr.Dataset, store: str | Path) -> list[tuple[str, object]]:
    if not record.sizes["record"]:
        raise DataError(
            "record",
            "it holds no row, so there is nothing to report",
            "Look whether the file was read whole.",
        )
    seconds = float(record["test_time"][-1] - record["test_time"][0])
    facts: list[tuple[str, object]] = [
        ("Cycler", f"{record.attrs.get('instrument', '')}".strip() or "not told"),
        ("Rows", f"{record.sizes['record']} over {seconds / 3600:.2f} h"),
    ]
    return [("Store", store), *facts] if store else facts


def _scan_facts(scans: xr.DataArray) -> list[tuple[str, object]]:
    joined = int(np.isfinite(scans["voltage"]).sum())
    spread = (scans["voltage_max"] - scans["voltage_min"]).compute() * 1e3
    within = (
        f"median spread {float(spread.median()):.3g} mV, "
        f"largest {float(spread.max()):.3g} mV"
    )
    return [
        ("Scans", f"{scans.sizes['scan']} on {scans.sizes[scans.dims[-1]]} points"),
        ("Joined", f"{joined} of {scans.sizes['scan']}"),
        ("With a reversal of current inside", int(scans["crosses_reversal"].sum())),
        ("Voltage within one scan", within if spread.notnull().any() else "not known"),
        ("Clock", _clock(scans)),
    ]


def _clock(scans: xr.DataArray) -> str:
    clock = json.loads(scans.attrs["clock"])
    error = clock["offset_error"]
    known = "" if error is None else f" ± {error:.2g}"
    return f"{clock['method']}, offset {clock['offset_s']:g}{known} s"


def _cycling(page: Report, run: Results) -> None:
    dqdv = run.read("echem/dqdv").load()
    halves = _per_mass(run.read("echem/half_cycles").load(), dqdv.attrs.get("mass"))
    cycles = run.read("echem/cycles").load() if run.has("echem/cycles") else None
    page.heading("Half cycles and cycles")
    page.text(say_half_cycles(halves) if cycles is None
              else say_cycles(cycles))  # fmt: skip
    _table(page, halves, "half_cycle", _HALF_CYCLES)
    if cycles is not None:
        _table(page, cycles, "cycle", _CYCLES)
        if cycles.sizes["cycle"]:
            page.figure(_wide(cycles.echem.plot.cycles()))
    page.heading("Differential capacity")
    page.text(say_dqdv(dqdv))
    if _known(dqdv["dqdv"]):
        dqdv = dqdv.isel(half_cycle=_drawn(page, dqdv.sizes["half_cycle"]))
        page.figure(dqdv.echem.plot.dqdv().opts(width=_WIDTH))


def _per_mass(halves: xr.Dataset, mass: float | None) -> xr.Dataset:
    """Add specific capacities if the active mass (mg) is known."""
    if mass is None:
        return halves
    specific = 1000.0 * halves["capacity"] / mass
    words = {"units": "mA h g-1", "long_name": "Specific capacity"}
    return halves.assign(specific_capacity=specific.assign_attrs(words))


def _drawn(page: Report, n: int) -> np.ndarray:
    """Return the places of the half cycles to draw, and tell if some are left out."""
    places = _spread(n, _DRAWN, 2)
    if places.size < n:
        page.text(f"Drawn are {places.size} of {n} half cycles, evenly spread.")
    return places


def _spread(n: int, most: int, together: int = 1) -> np.ndarray:
    """Return at most so many of n places, by ones or pairs, from first to last."""
    groups = -(-n // together)
    some = np.unique(np.linspace(0, groups - 1, min(groups, most // together)).round())
    places = (some[:, None] * together + np.arange(together)).ravel().astype(int)
    return places[places < n]


def _known(array: xr.DataArray) -> bool:
    """Tell whether there is a number to draw."""
    return bool(array.notnull().any())


def _table(page: Report, table: xr.Dataset, dim: str, columns: dict[str, str]) -> None:
    """Add a table in the units of its figures: specific values if they are known."""
    present = {
        k: words
        for k, words in columns.items()
        if k in table and _specific(k) not in table
    }
    n = table.sizes[dim]
    rows = [
        [int(table[dim][i]), *(_shown(table[k], i) for k in present)]
        for i in _spread(n, _ROWS, 2 if "half" in dim else 1)
    ]
    if len(rows) < n:
        every = f"{dim.replace('_', ' ')}s"
        page.text(f"The table shows {len(rows)} of {n} {every}, evenly spread.")
    heads = [_head(table[k], words) for k, words in present.items()]
    page.table([in_words(dim), *heads], rows)


def _specific(name: str) -> str:
    """Return the name of a capacity per mass, or nothing for other names."""
    return f"{name.removesuffix('capacity')}specific_capacity" * (
        name.endswith("capacity") and "specific" not in name
    )


def _head(array: xr.DataArray, words: str) -> str:
    if array.name in _PERCENT:
        return f"{words} (%)"
    units = str(array.attrs.get("units", "1"))
    bare = units in ("1", "")
    return words if bare else f"{words} ({written(units).replace(' ', chr(0xA0))})"


def _shown(array: xr.DataArray, i: int) -> object:
    value = array.values[i].item()
    return 100.0 * value if array.name in _PERCENT else value


def _wide(layout: Any) -> Any:
    return layout.map(lambda panel: panel.opts(width=_WIDTH), _panels())


def _panels() -> Any:
    hv = load_hvplot()
    return [hv.Overlay, hv.Scatter, hv.Curve]


def _map(scans: xr.DataArray, part: xr.DataArray) -> Any:
    """Return an image of the scans over the part of the axis that was unmixed."""
    load_hvplot()
    signal = plain(str(scans.dims[-1]))
    numbers = np.arange(1, scans.sizes["scan"] + 1)
    bare = plainly_labelled(scans.reset_coords(drop=True)).assign_coords(scan=numbers)
    bare["scan"].attrs = {"long_name": "Scan"}
    # The image needs even steps, and no more of them than a screen has pixels.
    every = max(1, scans.sizes["scan"] // 500)
    axis = np.linspace(float(part[0]), float(part[-1]), min(500, part.size))
    shown = bare.isel(scan=slice(None, None, every)).compute().interp({signal: axis})
    shown[signal].attrs = bare[signal].attrs
    if shown.attrs.get("units") == "1":
        del shown.attrs["units"]
    return shown.astype("f4").hvplot.image(
        x=signal,
        y="scan",
        cmap="viridis",
        clim=(float(shown.min()), float(shown.max())),
        width=_WIDTH,
        height=320,
    )


def _phases(page: Report, run: Results) -> None:
    pca = run.read(f"{run.kind}/pca").load()
    shares = pca["explained_variance_ratio"].values[:6]
    page.heading("How many components?")
    page.text(
        "Shares of the principal components, largest first. They count what varies; "
        "being orthogonal they turn negative, so they are not phases."
    )
    page.table(
        ["Component", "Share of all variance", "Not explained by so many"],
        [
            [number + 1, float(share), float(1 - shares[: number + 1].sum())]
            for number, share in enumerate(shares)
        ],
    )
    unmixed = run.read(f"{run.kind}/nmf").load()
    page.heading("Phases and their ratios")
    page.text(say_phases(unmixed))
    page.text(
        f"Non-negative factorisation into {unmixed.sizes['component']} components; the "
        f"relative error is {float(unmixed['relative_error']):.3g}, and no "
        f"factorisation of so many can be below {float(unmixed['svd_error']):.3g}. "
        "Where the two agree the residual cannot tell the solution from its rotations: "
        "fix what is known, such as an end member, before reading the ratios."
    )
    if run.has("truth"):
        page.text(say_truth(unmixed, run.read("truth").load()))
    page.figure(unmixed.nmf.plot.components().opts(width=_WIDTH))
    content = unmixed.coords.get("li_content")
    axis = "li_content" if content is not None and _known(content) else "time"
    ratios = unmixed.echem.plot.with_voltage("weights", x=axis)
    page.figure(_wide(ratios))
    page.figure(unmixed.nmf.plot.residual(x=axis).opts(width=_WIDTH))
