"""Writes a run with pauses as each cycler would: test time stands still in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import cycler_files
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Row before which test time stood still -> seconds.
PAUSES = {37: 5400.0, 90: 43.0, 130: 93_784.0}


@dataclass(frozen=True)
class Paused(cycler_files.Run):
    """A run whose wall clock is not its test time."""

    wall: np.ndarray  # s since `begun`
    begun: datetime

    @cached_property
    def stamps(self) -> list[datetime]:
        """Local clock of each row."""
        return [self.begun + timedelta(seconds=float(s)) for s in self.wall]

    @property
    def truth(self) -> np.ndarray:
        """Local clock of each row, as numbers."""
        return np.array(self.stamps, "M8[us]")


def paused(
    pauses: dict[int, float] | None = None,
    *,
    drift: float = 120e-6,
    begun: datetime = cycler_files.START,
    rows: int = 30,
    interval: float = 47.3,
) -> Paused:
    """Return a run with pauses, and a wall clock that runs faster by `drift`."""
    plain = cycler_files.run(rows=rows, interval=interval)
    stood = np.zeros(plain.time.size)
    for row, seconds in (PAUSES if pauses is None else pauses).items():
        stood[row] = seconds
    wall = plain.time * (1 + drift) + np.cumsum(stood)
    return Paused(**vars(plain), wall=np.round(wall, 6), begun=begun)


def digatron(path: Path, data: cycler_files.Run) -> Path:
    """Write a Digatron csv with the time stamp of each row."""
    return cycler_files._simple(
        path,
        data,
        "Step;Status;Time Stamp;Prog Time;Cycle;Voltage;Current;AhCha;AhDch\n"
        ";;;[s];;[V];[A];[Ah];[Ah]",
        lambda k, d: (
            f"{d.step[k]};{ {'R': 'PAU', 'C': 'CHA', 'D': 'DCH'}[d.state[k]] };"
            f"{d.stamps[k]:%d-%m-%Y %H:%M:%S};"
            + (
                f"{d.time[k]:.3f};{d.cycle[k]};{d.voltage[k]};"
                f"{d.current[k] / 1e3:.9f};{d.charge[k] / 1e3:.11f};"
                f"{d.discharge[k] / 1e3:.11f}"
            ).replace(".", ",")
        ),
    )


def by_hand(path: Path, data: cycler_files.Run, style: str, end: str = "\n") -> Path:
    """Write a table with a column of dates in any style."""
    lines = ["Date Time;Time (s);Voltage (V);Current (mA)"]
    lines += [
        f"{stamp.strftime(style)};{t:.3f};{v};{i}"
        for stamp, t, v, i in zip(
            data.stamps, data.time, data.voltage, data.current, strict=True
        )
    ]
    path.write_bytes((end.join(lines) + end).encode())
    return path


def chinese(path: Path, data: cycler_files.Run, encoding: str = "gbk") -> Path:
    """Write Neware's Chinese export: magnitudes, and the direction in words."""
    words = {"R": "静置", "C": "恒流充电", "D": "恒流放电"}

    def span(seconds: float) -> str:
        hours, rest = divmod(seconds, 3600)
        return f"{hours:02.0f}:{rest // 60:02.0f}:{rest % 60:06.3f}"

    lines = [
        "数据序号,循环号,工步号,工步类型,总时间,电流(mA),电压(V),容量(mAh),绝对时间"
    ]
    lines += [
        f"{k + 1},{data.cycle[k]},{data.step[k]},{words[data.state[k]]},"
        f"{span(data.time[k])},{abs(data.current[k])},{data.voltage[k]},"
        f"{data.capacity[k]:.6f},{data.stamps[k]:%Y-%m-%d %H:%M:%S}"
        for k in range(len(data.time))
    ]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


def unix(path: Path, data: cycler_files.Run) -> Path:
    """Write an Arbin csv whose DateTime holds Unix seconds."""
    lines = [
        "Data_Point,Test_Time,DateTime,Step_Index,Cycle_Index,Current,Voltage,"
        "Charge_Capacity,Discharge_Capacity"
    ]
    lines += [
        f"{k + 1},{data.time[k]:.3f},"
        f"{(data.stamps[k] - datetime(1970, 1, 1)).total_seconds():.2f},"
        f"{data.step[k]},{data.cycle[k]},{data.current[k] / 1e3:.9f},"
        f"{data.voltage[k]},{data.charge[k] / 1e3:.9f},{data.discharge[k] / 1e3:.9f}"
        for k in range(len(data.time))
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def bdf(path: Path, data: cycler_files.Run) -> Path:
    """Write Battery Data Format with the Unix time of each row."""
    lines = ["Test Time / s,Voltage / V,Current / A,Unix Time / s"]
    lines += [
        f"{data.time[k]:.3f},{data.voltage[k]},{data.current[k] / 1e3:.9f},"
        f"{(data.stamps[k] - datetime(1970, 1, 1)).total_seconds():.3f}"
        for k in range(len(data.time))
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def bdf_dates(path: Path, data: cycler_files.Run) -> Path:
    """Write Battery Data Format with the date of each row, as text or in parquet."""
    labels = ["Test Time / s", "Voltage / V", "Current / A", "Date Time"]
    current = data.current / 1e3
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [data.time, data.voltage, current, data.stamps]
        pq.write_table(pa.table(dict(zip(labels, columns, strict=True))), path)
        return path
    lines = [",".join(labels)]
    lines += [
        f"{t:.3f},{v},{i:.9f},{stamp:%Y-%m-%dT%H:%M:%S}"
        for t, v, i, stamp in zip(
            data.time, data.voltage, current, data.stamps, strict=True
        )
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def nda(path: Path, data: cycler_files.Run, version: int = 29) -> Path:
    """Write a Neware .nda, whose rows hold a date (29) or Unix seconds (8)."""
    head = bytearray(b"NEWARE".ljust(2048, b"\0"))
    head[14] = version
    begins = np.flatnonzero(np.diff(data.step, prepend=-1))
    since = data.time - np.repeat(data.time[begins], np.diff([*begins, data.time.size]))
    rows = bytearray()
    for k, stamp in enumerate(data.stamps):
        state = {"R": 4, "C": 1, "D": 2}[data.state[k]]
        volts, amps = round(data.voltage[k] * 1e4), round(data.current[k] * 1e3)
        if version == 29:
            date = [*stamp.timetuple()[:6]]
            about = [85, 0, k + 1, data.cycle[k] - 1, data.step[k], state, data.step[k]]
            charges = [round(c[k] * 3.6e6) for c in (data.charge, data.discharge)]
            values = [*about, round(since[k] * 1e3), volts, amps, *charges, 0, 0, *date]
            rows += struct.pack("<BBIIHBBQii8x4qHBBBBBxi4x", *values, 10)
        else:
            about = [0, k + 1, data.cycle[k], data.step[k], state, round(since[k])]
            seconds = (stamp - datetime(1970, 1, 1)) // timedelta(seconds=1)
            values = [*about, volts, amps, 0, 0, seconds]
            rows += struct.pack("<BIIBBIii8xqqQ4x", *values)
    struct.pack_into("<II", head, 64, len(head), len(rows))
    path.write_bytes(bytes(head + rows))
    return path


#: Name of the file -> writer, for every format whose rows can carry a clock.
WRITERS: dict[str, Callable[[Path, cycler_files.Run], Path]] = {
    name: cycler_files.WRITERS[name]
    for name in (
        "arbin.csv",
        "maccor.txt",
        "landt.csv",
        "novonix.csv",
        "basytec.txt",
        "pec.csv",
        "arbin.xlsx",
    )
} | {
    "digatron.csv": digatron,
    "neware.csv": chinese,
    "unix.csv": unix,
    "run.bdf.csv": bdf,
    "dates.bdf.csv": bdf_dates,
    "dates.bdf.parquet": bdf_dates,
    "hand.csv": lambda path, data: by_hand(path, data, "%Y-%m-%dT%H:%M:%S.%f"),
}
