"""Writes one known run as each cycler would: every reader has the same truth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

START = datetime(2024, 3, 5, 14, 30, 15)


@dataclass(frozen=True)
class Run:
    """Rest, charge, discharge, charge, discharge at constant current."""

    time: np.ndarray  # s
    voltage: np.ndarray  # V
    current: np.ndarray  # mA, + charges
    charge: np.ndarray  # mA h, never reset
    discharge: np.ndarray
    cycle: np.ndarray
    step: np.ndarray

    @property
    def capacity(self) -> np.ndarray:
        """Magnitude of charge since the step began, mA h."""
        total = self.charge + self.discharge
        starts = np.flatnonzero(np.diff(self.step, prepend=-1))
        base = np.repeat(total[starts], np.diff([*starts, len(total)]))
        return total - base

    @property
    def state(self) -> list[str]:
        """One word for each row."""
        return ["R" if i == 0 else "C" if i > 0 else "D" for i in self.current]

    @property
    def stamps(self) -> list[datetime]:
        """Local clock of each row, from `START`."""
        return [START + timedelta(seconds=float(t)) for t in self.time]


def half_cycles(ds: xr.Dataset) -> list[float]:
    """Return the charge of each half cycle (mA h) by the plain rule, file by file."""
    found = []
    for _, part in ds.groupby("file"):
        current, time = part["current"].values, part["test_time"].values
        sign = np.sign(np.where(np.abs(current) < 1e-4, 0, current))
        last = np.maximum.accumulate(np.where(sign != 0, np.arange(sign.size), 0))
        edges = [0, *(np.flatnonzero(np.diff(sign[last])) + 1), sign.size]
        for a, b in itertools.pairwise(edges):
            passed = 0.5 * (current[a + 1 : b] + current[a : b - 1])
            charge = float((passed * np.diff(time[a:b])).sum()) / 3600
            if abs(charge) > 1e-3:
                found.append(charge)
    return found


def run(rows: int = 40, interval: float = 60.0, current: float = 1.5) -> Run:
    """Return a run of five steps of `rows` rows."""
    signs = np.repeat([0.0, 1.0, -1.0, 1.0, -1.0], rows)
    time = interval * np.arange(signs.size)
    flow = np.round(current * signs, 6)
    passed = flow * interval / 3600
    ramp = np.tile(np.linspace(0, 1, rows), 5)
    base = np.where(signs > 0, 3.0 + ramp, np.where(signs < 0, 4.0 - ramp, 3.0))
    return Run(
        time=time,
        voltage=np.round(base, 5),
        current=flow,
        charge=np.round(np.cumsum(np.maximum(passed, 0)), 8),
        discharge=np.round(np.cumsum(np.maximum(-passed, 0)), 8),
        cycle=np.repeat([1, 1, 1, 2, 2], rows),
        step=np.repeat([1, 2, 3, 4, 5], rows),
    )


def mpt(path: Path, data: Run, *, comma: bool = True, template: bool = False) -> Path:
    """Write EC-Lab text: latin-1, CRLF, a tab at the end of each line."""
    mass = "7000.000" if template else "12.340"
    molar = "90.930" if template else "83.462"
    header = [
        "EC-Lab ASCII FILE",
        "Nb header lines : 14                          ",
        "",
        "Galvanostatic Cycling with Potential Limitation",
        "",
        "Run on channel : 6 (SN 6042)",
        f"Acquisition started on : {START:%m/%d/%Y %H:%M:%S}.250",
        "Device : VMP3 (SN 0198)",
        "Electrode surface area : 1.000 cm²",
        f"Mass of active material : {mass} mg",
        f"Molecular weight of active material (at x = 0) : {molar} g/mol",
        f"Acquisition started at : xo = {'0.900' if template else '1.200'}",
        "",
        "mode\tNs\ttime/s\tEwe/V\t<I>/mA\tCapacity/mA.h\tEnergy charge/W.h\t"
        "cycle number\t",
    ]
    rows = [
        f"1\t{s}\t{t:.15E}\t{v:.7E}\t{i:.15E}\t{q:.15E}\t{c * 3.5e-3:.15E}\t{n:.15E}\t"
        for s, t, v, i, q, c, n in zip(
            data.step,
            data.time,
            data.voltage,
            data.current,
            data.capacity,
            data.charge,
            data.cycle,
            strict=True,
        )
    ]
    if comma:
        head = [header[0], header[1], *(h.replace(".", ",") for h in header[2:-1])]
        head[6] = header[6]
        header = [*head, header[-1]]
        rows = [row.replace(".", ",") for row in rows]
    text = "\r\n".join(header + rows) + "\r\n"
    path.write_bytes(text.encode("latin-1"))
    return path


def arbin(path: Path, data: Run) -> Path:
    """Write an Arbin csv: amperes, counters never reset."""
    lines = [
        "Data_Point,Date_Time,Test_Time(s),Step_Time(s),Step_Index,Cycle_Index,"
        "Current(A),Voltage(V),Charge_Capacity(Ah),Discharge_Capacity(Ah)"
    ]
    lines += [
        f"{k + 1},{stamp:%m/%d/%Y %H:%M:%S},{t:.4f},{t:.4f},{s},{n},"
        f"{i / 1e3:.9f},{v:.5f},{c / 1e3:.11f},{d / 1e3:.11f}"
        for k, (stamp, t, s, n, i, v, c, d) in enumerate(
            zip(
                data.stamps,
                data.time,
                data.step,
                data.cycle,
                data.current,
                data.voltage,
                data.charge,
                data.discharge,
                strict=True,
            )
        )
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def maccor(path: Path, data: Run) -> Path:
    """Write Maccor text: minutes, magnitude of the current, a state letter."""
    lines = [
        f"Today's Date {START:%m/%d/%Y}  Date of Test:\t{START:%m/%d/%Y}\t Filename:",
        "Rec#\tCyc#\tStep\tTest (Min)\tStep (Min)\tAmp-hr\tWatt-hr\tAmps\tVolts\tState"
        "\tES\tDPt Time",
    ]
    lines += [
        f"{k + 1}\t{n}\t{s}\t{t / 60:.4f}\t0.0\t{q / 1e3:.11f}\t0.0\t"
        f"{abs(i) / 1e3:.10f}\t{v:.8f}\t{word}\t1\t{stamp:%m/%d/%Y %I:%M:%S %p}"
        for k, (n, s, t, q, i, v, word, stamp) in enumerate(
            zip(
                data.cycle,
                data.step,
                data.time,
                data.capacity,
                data.current,
                data.voltage,
                data.state,
                data.stamps,
                strict=True,
            )
        )
    ]
    path.write_text("\r\n".join(lines) + "\r\n", newline="")
    return path


def landt(path: Path, data: Run) -> Path:
    """Write a Landt csv: units after an underscore."""
    return _simple(
        path,
        data,
        "channel_index,date_time_iso_string,test_time_s,cycle_index,step_index,"
        "voltage_V,current_A,charge_capacity_mAh,discharge_capacity_mAh",
        lambda k, d: (
            f"1,{d.stamps[k]:%Y-%m-%d %H:%M:%S},{d.time[k]},{d.cycle[k]},{d.step[k]},"
            f"{d.voltage[k]},{d.current[k] / 1e3:.9f},{d.charge[k]},{d.discharge[k]}"
        ),
    )


def novonix(path: Path, data: Run) -> Path:
    """Write a Novonix csv: hours, under a preamble."""
    return _simple(
        path,
        data,
        "[Summary]\nNovonix UHPC\n[End Summary]\n[Data]\n"
        "Date and Time,Cycle Number,Step Type,Run Time (h),Step Time (h),Current (A),"
        "Potential (V),Capacity (Ah),Temperature (°C),Step Number",
        lambda k, d: (
            f"{d.stamps[k]:%Y-%m-%d %H:%M:%S},{d.cycle[k]},1,{d.time[k] / 3600:.9f},0,"
            f"{d.current[k] / 1e3:.9f},{d.voltage[k]},{d.capacity[k] / 1e3:.11f},25.1,"
            f"{d.step[k]}"
        ),
    )


def basytec(path: Path, data: Run) -> Path:
    """Write a Basytec text: blanks between cells, a date of two words."""
    return _simple(
        path,
        data,
        "~Resultfile from Basytec Battery Test System\n"
        f"~Start of Test: {START:%d.%m.%Y %H:%M:%S}\n~\n"
        "~Time[h] DataSet DateTime t-Step[h] Line Command U[V] I[A] Ah-Step[Ah] T1[°C]",
        lambda k, d: (
            f"{d.time[k] / 3600:.9f} {k} {d.stamps[k]:%d.%m.%Y %H:%M:%S} 0 {d.step[k]} "
            f"x {d.voltage[k]} {d.current[k] / 1e3:.9f} {d.capacity[k] / 1e3:.11f} 25.1"
        ),
    )


def digatron(path: Path, data: Run) -> Path:
    """Write a Digatron csv: semicolons, decimal commas, units in a second line."""
    return _simple(
        path,
        data,
        "Step;Status;Prog Time;Step Time;Cycle;Voltage;Current;AhCha;AhDch\n"
        ";;[s];[s];;[V];[A];[Ah];[Ah]",
        lambda k, d: (
            f"{d.step[k]};CHA;{d.time[k]};0,0;{d.cycle[k]};{d.voltage[k]};"
            f"{d.current[k] / 1e3:.9f};{d.charge[k] / 1e3:.11f};"
            f"{d.discharge[k] / 1e3:.11f}"
        ).replace(".", ","),
    )


def pec(path: Path, data: Run) -> Path:
    """Write a PEC csv: millivolts, under comment lines."""
    return _simple(
        path,
        data,
        f"#TESTREGIME NAME: x\n#START: {START}\n"
        "Step,Cycle,Total_Time_Seconds,Voltage (mV),Current (mA),"
        "Charge_Capacity (mAh),Discharge_Capacity (mAh),Real_Time",
        lambda k, d: (
            f"{d.step[k]},{d.cycle[k]},{d.time[k]},{d.voltage[k] * 1e3:.3f},"
            f"{d.current[k]},{d.charge[k]},{d.discharge[k]},"
            f"{d.stamps[k]:%Y-%m-%d %H:%M:%S}"
        ),
    )


def neware(path: Path, data: Run) -> Path:
    """Write a Neware csv: times as hours, minutes, seconds."""

    def clock(seconds: float) -> str:
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"

    return _simple(
        path,
        data,
        "DataPoint,Cycle Index,Step Index,Step Type,Time,Total Time,Current(mA),"
        "Voltage(V),Capacity(Ah),Chg. Cap.(Ah),DChg. Cap.(Ah),Date",
        lambda k, d: (
            f"{k + 1},{d.cycle[k]},{d.step[k]},CC Chg,0:00:00,{clock(d.time[k])},"
            f"{d.current[k]},{d.voltage[k]},{d.capacity[k] / 1e3:.11f},"
            f"{d.charge[k] / 1e3:.11f},{d.discharge[k] / 1e3:.11f},"
            f"{d.stamps[k]:%Y-%m-%d %H:%M:%S}"
        ),
    )


def bdf(path: Path, data: Run) -> Path:
    """Write Battery Data Format, preferred labels, with the UTC clock."""
    return _simple(
        path,
        data,
        "Test Time / s,Voltage / V,Current / A,Unix Time / s,Cycle Count / 1,"
        "Charging Capacity / Ah,Discharging Capacity / Ah",
        lambda k, d: (
            f"{d.time[k]},{d.voltage[k]},{d.current[k] / 1e3:.9f},"
            f"{1709645415 + d.time[k]},{d.cycle[k]},{d.charge[k] / 1e3:.11f},"
            f"{d.discharge[k] / 1e3:.11f}"
        ),
    )


def generic(path: Path, data: Run) -> Path:
    """Write a table as a scientist would by hand."""
    return _simple(
        path,
        data,
        "time (s),voltage (V),current (uA)",
        lambda k, d: f"{d.time[k]},{d.voltage[k]},{d.current[k] * 1e3:.4f}",
    )


def workbook(path: Path, data: Run) -> Path:
    """Write an Arbin workbook: an information sheet and two of rows."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Global_Info"
    book.active.append(["TEST REPORT"])
    half = len(data.time) // 2
    for title, part in (
        ("Channel_1_1", range(half)),
        (
            "Channel_1_2",
            range(half, len(data.time)),
        ),
    ):
        sheet = book.create_sheet(title)
        labels = "Date_Time,Test_Time(s),Step_Index,Cycle_Index,Voltage(V),Current(A),"
        labels += "Charge_Capacity(Ah),Discharge_Capacity(Ah)"
        sheet.append(labels.split(","))
        for k in part:
            sheet.append(
                [
                    data.stamps[k],
                    float(data.time[k]),
                    int(data.step[k]),
                    int(data.cycle[k]),
                    float(data.voltage[k]),
                    float(data.current[k]) / 1e3,
                    float(data.charge[k]) / 1e3,
                    float(data.discharge[k]) / 1e3,
                ]
            )
    book.save(path)
    return path


def _simple(path: Path, data: Run, labels: str, row: Callable[[int, Run], str]) -> Path:
    lines = [labels] + [row(k, data) for k in range(len(data.time))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


#: Name of the file -> writer, for every format that can be written here.
WRITERS: dict[str, Callable[[Path, Run], Path]] = {
    "comma.mpt": mpt,
    "point.mpt": lambda path, data: mpt(path, data, comma=False),
    "arbin.csv": arbin,
    "maccor.txt": maccor,
    "landt.csv": landt,
    "novonix.csv": novonix,
    "basytec.txt": basytec,
    "digatron.csv": digatron,
    "pec.csv": pec,
    "neware.csv": neware,
    "run.bdf.csv": bdf,
    "generic.csv": generic,
    "arbin.xlsx": workbook,
}
