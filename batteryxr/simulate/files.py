"""Write a simulated experiment as the files of a beamtime."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from batteryxr.core.blocks import stream
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.files import require_on_disk
from batteryxr.core.optional import require
from batteryxr.core.progress import bar

#: Joules in an electronvolt.
_JOULE = 1.602176634e-19
#: Pixels that are held at a time.
_HELD = 16_000_000

if TYPE_CHECKING:
    import datetime
    import os

    import xarray as xr


@checked
def write_cell_experiment(
    data: xr.DataTree,
    path: str | os.PathLike[str],
    *,
    format: Literal["mpt", "bdf"] = "mpt",
    timezone: str = "Europe/Paris",
    progress: bool | None = None,
) -> Path:
    """Write a simulated experiment to text files, without its truth.

    Reads once, chunk by chunk. The cycler's file and all scans carry local time and,
    like most real files, do not name their zone.

    Parameters
    ----------
    data
        Result of `cell_experiment`.
    path
        Folder that receives ``cell.mpt`` or ``cell.bdf.csv``, and the folder ``scans``.
    format
        Format of the cycler's file. ``"mpt"``: an EC-Lab text export with decimal
        commas. ``"bdf"``: the Battery Data Format, whose times are UTC.
    timezone
        Time zone of both clocks.
    progress
        Show a bar: True, False, or None (in terminals and notebooks only).

    Returns
    -------
    pathlib.Path
        The folder, with the cycler's file and the scans in it.

    Raises
    ------
    ArgumentError
        If the folder already holds scans, or an argument is unknown.

    Examples
    --------
    >>> import os
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> folder = batteryxr.simulate.write_cell_experiment(cell, "run")
    >>> sorted(os.listdir("run"))
    ['cell.mpt', 'scans']
    """
    writers = {"mpt": _write_mpt, "bdf": _write_bdf}
    zone = zone_of(timezone)
    require_on_disk(path)
    folder = Path(path)
    if (folder / "scans").exists():
        raise ArgumentError("path", str(path), "a folder without 'scans' in it")
    (folder / "scans").mkdir(parents=True)
    writers[format](data["echem"].to_dataset(), folder, zone)
    _write_scans(data["scans"].to_dataset(), folder / "scans", zone, progress)
    return folder


@checked
def write_particles(data: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a simulated study of particles as reconstructions come from a beamtime.

    Reads once, some energies at a time. As codes of ptychography write them: CXI, one
    file for each particle and energy, in SI units, without the truth.

    Parameters
    ----------
    data
        Result of `particles`.
    path
        New or empty folder for a folder of each particle, with ``P1_5420.0eV.cxi`` and
        so on in it.

    Returns
    -------
    pathlib.Path
        The folder that was written.

    Raises
    ------
    ArgumentError
        If there is something in the folder.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=24)
    >>> folder = batteryxr.simulate.write_particles(study, "objects")
    >>> batteryxr.read_stack(folder / "P1").sizes["energy"]
    40
    """
    h5py = require("h5py", extra="io", purpose="writing CXI files")
    folder = new_folder(path)
    objects = data["objects"].to_dataset()["transmission"]
    step = [float(objects[d][1] - objects[d][0]) * 1e-9 for d in ("x", "y")]
    sides = (objects.sizes["x"], objects.sizes["y"])
    together = max(_HELD // (sides[0] * sides[1]), 1)
    for particle in objects["particle"].values:
        (folder / str(particle)).mkdir(parents=True)
        stack = objects.sel(particle=particle)
        blocks = (b for (b,) in stream(stack, dim="energy", block=together))
        frames = itertools.chain.from_iterable(blocks)
        for energy, frame in zip(objects["energy"].values, frames, strict=True):
            name = folder / str(particle) / f"{particle}_{energy:.1f}eV.cxi"
            with h5py.File(name, "w") as file:
                file["cxi_version"] = 160
                image = file.create_group("entry_1/image_1")
                image["data"] = frame.astype(np.complex64)
                image["image_size"] = np.multiply(sides, step)
                source = file.create_group("entry_1/instrument_1/source_1")
                source["energy"] = energy * _JOULE
    return folder


def new_folder(path: str | os.PathLike[str]) -> Path:
    """Return the path of a folder to write to, which is new or empty.

    Raises
    ------
    ArgumentError
        If something is in it, or it is a URL.
    """
    require_on_disk(path)
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise ArgumentError("path", str(path), "an empty or new folder")
    return folder


def zone_of(timezone: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises
    ------
    ArgumentError
        If no such zone exists.
    """
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ArgumentError(
            "timezone", timezone, "a zone such as 'Europe/Paris'"
        ) from error


def _local(time: np.datetime64, zone: datetime.tzinfo) -> datetime.datetime:
    import pandas as pd

    return pd.Timestamp(time, tz="UTC").tz_convert(zone).to_pydatetime(warn=False)


def _write_mpt(record: xr.Dataset, folder: Path, zone: datetime.tzinfo) -> None:
    start = _local(record["time"].values[0], zone)
    mass = _comma(f"{record.attrs['mass']:.3f}")
    columns = _mpt_columns(record)
    header = [
        "Galvanostatic Cycling with Potential Limitation",
        "",
        "Run on channel : 1 (SN 0001)",
        f"Acquisition started on : {start:%m/%d/%Y %H:%M:%S}.{_milliseconds(start)}",
        "Device : simulated",
        f"Electrode material : {record.attrs['formula']}",
        f"Mass of active material : {mass} mg",
        "",
        "\t".join(columns) + "\t",
    ]
    # Two lines come before these.
    top = ["EC-Lab ASCII FILE", f"Nb header lines : {len(header) + 2}", *header]
    line = "\t".join(layout for layout, _ in columns.values()) + "\t"
    values = zip(*(v.tolist() for _, v in columns.values()), strict=True)
    rows = (_comma(line % row) for row in values)
    text = "\r\n".join([*top, *rows, ""])
    (folder / "cell.mpt").write_bytes(text.encode("latin-1"))


def _mpt_columns(record: xr.Dataset) -> dict[str, tuple[str, np.ndarray]]:
    """Return EC-Lab's label and format of each column, and its values."""
    time, step = record["test_time"].values, record["step"].values
    current, capacity = record["current"].values, record["capacity"].values
    before = np.insert(current[:-1], 0, current[0])
    charge = np.diff(time, prepend=time[0]) / 3600 * (current + before) / 2
    changed = np.diff(step, prepend=step[0]) != 0
    none = np.zeros(time.size)
    return {
        "mode": ("%d", np.where(current == 0, 3, 1)),
        "ox/red": ("%d", current >= 0),
        "error": ("%d", none),
        "control changes": ("%d", changed),
        "Ns changes": ("%d", changed),
        "counter inc.": ("%d", none),
        "Ns": ("%d", step),
        "time/s": ("%.15E", time),
        "dq/mA.h": ("%.15E", charge),
        "(Q-Qo)/mA.h": ("%.15E", np.cumsum(charge)),
        "Ewe/V": ("%.7E", record["voltage"].values),
        "Q charge/discharge/mA.h": ("%.15E", capacity * np.sign(current)),
        "half cycle": ("%d", np.cumsum(changed & (current != 0))),
        "<I>/mA": ("%.15E", current),
        "cycle number": ("%.15E", record["cycle"].values),
        "Capacity/mA.h": ("%.15E", capacity),
    }


def _comma(text: str) -> str:
    return text.replace(".", ",")


def _milliseconds(time: datetime.datetime) -> str:
    return f"{time.microsecond // 1000:03d}"


def _write_bdf(record: xr.Dataset, folder: Path, _: datetime.tzinfo) -> None:
    columns = {
        "Test Time / s": record["test_time"].values,
        "Voltage / V": record["voltage"].values,
        "Current / A": record["current"].values * 1e-3,
        "Unix Time / s": record["time"].values.astype("int64") * 1e-9,
        "Cycle Count / 1": record["cycle"].values,
        "Step Count / 1": np.cumsum(np.diff(record["step"].values, prepend=0) != 0),
    }
    np.savetxt(
        folder / "cell.bdf.csv",
        np.stack(list(columns.values()), axis=1),
        fmt=["%.6f", "%.9g", "%.9g", "%.6f", "%d", "%d"],
        delimiter=",",
        header=",".join(columns),
        comments="",
    )


def _write_scans(
    scans: xr.Dataset, folder: Path, zone: datetime.tzinfo, progress: bool | None
) -> None:
    name = "absorption" if "absorption" in scans else "pdf"
    pattern = scans[name]
    (axis,) = set(pattern.dims) - {"scan"}
    labels = {"energy": "energy(eV) absorption", "r": "r(Angstrom) G(r)"}[str(axis)]
    suffix = {"energy": "txt", "r": "gr"}[str(axis)]
    values = scans[axis].values
    width = max(4, len(str(pattern.sizes["scan"])))
    number = 0
    total = pattern.sizes["scan"]
    with bar(None, "Writing scans", total=total, progress=progress) as shown:
        for (block,) in stream(pattern, dim="scan", block=64):
            for curve in block:
                start = _local(scans["time"].values[number], zone)
                middle = float(scans["exposure"][number]) / 2
                written = f"{start:%Y-%m-%d %H:%M:%S}.{_milliseconds(start)}"
                header = (
                    f"#Time at start={written}\n"
                    f"#Time from start (seconds)={middle:.9g}\n"
                    f"# {labels}"
                )
                number += 1
                np.savetxt(
                    folder / f"scan_{number:0{width}d}.{suffix}",
                    np.stack([values, curve], axis=1),
                    fmt=["%.9g", "%.9g"],
                    header=header,
                    comments="",
                )
            shown.update(len(block))
