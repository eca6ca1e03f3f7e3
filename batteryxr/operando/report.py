"""Write reports on cycling alone, and on an operando experiment.

Results are described in sentences made from their numbers.
"""

from __future__ import annotations

import json
from itertools import permutations
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.plotting import load_hvplot, plain, plainly_labelled
from batteryxr.core.units import written
from batteryxr.export import cite
from batteryxr.operando.page import Report

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
#: Most components that are matched with a truth, since all their orders are tried.
_MATCHED = 6


class Results(Protocol):
    """Groups of results for a report, wherever they are stored.

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
        if run.read("echem/half_cycles").sizes["half_cycle"] and _known(record.voltage):
            page.figure(record.echem.plot.voltage_profile().opts(width=_WIDTH))
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
        page.heading("Go on from here")
        page.code(
            "import batteryxr\n\n"
            f'experiment = batteryxr.open_store("{store}")\n'
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
        raise DataError("record", "it holds no row, so there is nothing to report")
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
    halves = run.read("echem/half_cycles").load()
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
    dqdv = run.read("echem/dqdv").load()
    page.text(say_dqdv(dqdv))
    if _known(dqdv["dqdv"]):
        page.figure(dqdv.echem.plot.dqdv().opts(width=_WIDTH))


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
    rows = [
        [int(number), *(_shown(table[k], i) for k in present)]
        for i, number in enumerate(table[dim].values)
    ]
    heads = [_head(table[k], words) for k, words in present.items()]
    page.table([dim.replace("_", " ").capitalize(), *heads], rows)


def _specific(name: str) -> str:
    """Return the name of a capacity per mass, or nothing for other names."""
    return f"{name.removesuffix('capacity')}specific_capacity" * (
        name.endswith("capacity") and "specific" not in name
    )


def _head(array: xr.DataArray, words: str) -> str:
    if array.name in _PERCENT:
        return f"{words} (%)"
    units = str(array.attrs.get("units", "1"))
    return words if units in ("1", "") else f"{words} ({written(units)})"


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
    bare["scan"].attrs = {"long_name": "Scan", "units": "1"}
    # The image needs even steps, and no more of them than a screen has pixels.
    every = max(1, scans.sizes["scan"] // 500)
    axis = np.linspace(float(part[0]), float(part[-1]), min(500, part.size))
    shown = bare.isel(scan=slice(None, None, every)).compute().interp({signal: axis})
    shown[signal].attrs = bare[signal].attrs
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
    ratios = unmixed["weights"].echem.plot.with_voltage(x=axis)
    page.figure(_wide(ratios))
    page.figure(unmixed.nmf.plot.residual(x=axis).opts(width=_WIDTH))


def say_record(record: xr.Dataset) -> str:
    """Describe how long a cell was cycled, and between which voltages."""
    time, volts = record["test_time"], record["voltage"]
    hours = float(time.max() - time.min()) / 3600
    low, high = float(volts.min()), float(volts.max())
    if low != low:
        return f"The record spans {hours:.3g} h; no voltage in it is known."
    text = f"In {hours:.3g} h the voltage went between {low:.3f} and {high:.3f} V"
    unknown = int(volts.isnull().sum())
    return f"{text}; that of {unknown} rows is not known." if unknown else f"{text}."


def say_scans(scans: xr.DataArray) -> str:
    """Describe the voltages of the scans, and reversals of current within scans."""
    volts = scans["voltage"].values
    known = volts[np.isfinite(volts)]
    if not known.size:
        return "No scan lies within the cycler's record."
    odd = int(scans["crosses_reversal"].sum())
    ends = f"{known.min():.3f} and {known.max():.3f} V"
    inside = {0: "none spans", 1: "one spans"}.get(odd, f"{odd} span")
    return (
        f"{known.size} of {volts.size} scans were taken between {ends}; {inside} a "
        "reversal of the current."
    )


def say_half_cycles(table: xr.Dataset) -> str:
    """Describe the first half cycle, and give the number of half cycles."""
    number = table.sizes["half_cycle"]
    if not number:
        return "No half cycle was found in the record."
    name = "specific_capacity" if "specific_capacity" in table else "capacity"
    units = written(str(table[name].attrs.get("units", "")))
    first = table.isel(half_cycle=0)
    passed = f"a {first['direction'].item()}, passed {float(first[name]):.4g} {units}."
    if number == 1:
        return f"One half cycle, {passed}"
    return f"{number} half cycles; the first, {passed}"


def say_cycles(table: xr.Dataset) -> str:
    """Describe the first whole cycle, and the capacity that the last one retains."""
    whole = table.isel(cycle=table["complete"].values.astype(bool))
    if not whole.sizes["cycle"]:
        return "No cycle is whole, so there is no efficiency."
    specific = "discharge_specific_capacity" in whole
    name = f"{'specific_' if specific else ''}capacity"
    units = written(str(whole[f"discharge_{name}"].attrs.get("units", "")))
    first, last = whole.isel(cycle=0), whole.isel(cycle=-1)
    number = int(first["cycle"])
    text = (
        f"Cycle {number} charges {float(first[f'charge_{name}']):.4g} and discharges "
        f"{float(first[f'discharge_{name}']):.4g} {units}, a Coulombic efficiency of "
        f"{100 * float(first['coulombic_efficiency']):.1f} %"
    )
    if whole.sizes["cycle"] == 1:
        return f"{text}."
    left = 100 * float(last["capacity_retention"])
    return (
        f"{text}; cycle {int(last['cycle'])}, the last whole one, retains {left:.1f} % "
        "of the capacity."
    )


def say_dqdv(result: xr.Dataset) -> str:
    """Describe the largest dQ/dV peaks of the first charge and discharge."""
    places = {}
    for row in range(result.sizes["half_cycle"]):
        one = result.isel(half_cycle=row)
        side = str(one["direction"].item())
        values = one["dqdv"].values
        if side not in places and np.isfinite(values).any():
            places[side] = float(one["voltage"].values[np.nanargmax(values)])
    if not places:
        return "No half cycle is long enough for a dQ/dV."
    told = " and ".join(f"{v:.3f} V on {side}" for side, v in places.items())
    if len(places) == 1:
        return f"dQ/dV is largest at {told}."
    apart = abs(places["charge"] - places["discharge"]) * 1e3
    return f"dQ/dV is largest at {told}, {apart:.0f} mV apart."


def say_phases(result: xr.Dataset) -> str:
    """Describe how the ratios change from the first scan that has some to the last."""
    weights = result["weights"].transpose("scan", "component").dropna("scan")
    if not weights.sizes["scan"]:
        return "The ratios of no scan are known."
    told = [
        f"{name} from {weights.values[0, i]:.2f} to {weights.values[-1, i]:.2f}"
        for i, name in enumerate(map(str, result["component"].values))
    ]
    return f"From the first scan to the last the ratios go: {'; '.join(told)}."


def say_truth(result: xr.Dataset, truth: xr.Dataset) -> str:
    """Describe the error of the ratios against the truth, in the best-fitting order."""
    if "ratios" not in truth:
        return "The truth of this simulation lies in the group /truth."
    true = truth["ratios"].transpose("scan", ...).values
    found = result["weights"].transpose("scan", "component").values
    if true.shape[1] > _MATCHED or found.shape != true.shape:
        return (
            f"In truth there are {true.shape[1]} phases, so these "
            f"{found.shape[1]} components cannot all be right."
        )
    orders = permutations(range(true.shape[1]))
    error = min(float(np.sqrt(np.nanmean((found[:, o] - true) ** 2))) for o in orders)
    return (
        f"This experiment is simulated: the ratios differ from its truth by "
        f"{error:.3f} on average (root mean square)."
    )
