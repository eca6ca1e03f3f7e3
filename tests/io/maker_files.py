"""Files as makers' programs export them, in the dialects of their computers."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cycler_files import Run

_EPOCH = datetime(1, 1, 1)


def maccor(run: Run, *, prefix: str = "", days: bool = True) -> str:
    """Maccor text: magnitudes, a state letter, times with days, US dates."""

    def time(seconds: float) -> str:
        day, rest = divmod(seconds, 86_400)
        text = f"{int(rest // 3600):02d}:{int(rest % 3600 // 60):02d}:{rest % 60:05.2f}"
        return f"{int(day)}d {text}" if days else f"{seconds:.3f}"

    milli = 1.0 if prefix else 1e-3
    head = (
        "Today's Date\t03/12/2024\tDate of Test:\t03/05/2024\tFilename:\tC:\\run.041\t"
        "Procedure:\tcycle.000\tComment/Barcode:\tcell 7\n"
        f"Rec#\tCyc#\tStep\tTestTime\tStepTime\t{prefix}Amp-hr\t{prefix}Watt-hr\t"
        f"{prefix}Amps\tVolts\tState\tES\tDPt Time\n"
    )
    return head + "".join(
        f"{k + 1}\t{run.cycle[k]}\t{run.step[k]}\t{time(run.time[k])}\t"
        f"{time(since(run, k))}\t{run.capacity[k] * milli:.11f}\t0.0\t"
        f"{abs(run.current[k]) * milli:.9f}\t{run.voltage[k]:.6f}\t{run.state[k]}\t1\t"
        f"{run.stamps[k]:%m/%d/%Y %H:%M:%S}\n"
        for k in range(len(run.time))
    )


def since(run: Run, row: int) -> float:
    """Seconds since the step of a row began: at the last row of the step before."""
    first = int((run.step == run.step[row]).argmax())
    return float(run.time[row] - run.time[max(first - 1, 0)])


def nested(run: Run, *, separator: str = ",", total: bool = True) -> str:
    """Neware's report: a row for a cycle, for each of its steps, for each record."""
    s = separator
    times = f"Time{s}Total Time" if total else "Time(H:M:S:ms)"
    lines = [
        s.join(["Cycle Index", "Chg. Cap.(Ah)", "DChg. Cap.(Ah)"]),
        s.join(["", "Step Index", "Step Number", "Step Type", "Step Time"]),
        s.join(["", "", "DataPoint", times, "Current(A)", "Voltage(V)", "Date"]),
    ]
    words = {0.0: "Rest", 1.5: "CC Chg", -1.5: "CC DChg"}
    for k in range(len(run.time)):
        if k == 0 or run.cycle[k] != run.cycle[k - 1]:
            lines.append(s.join([str(run.cycle[k]), "0.1", "0.2"]))
        if k == 0 or run.step[k] != run.step[k - 1]:
            word = words[float(run.current[k])]
            lines.append(s.join(["", str(run.step[k]), "9", word, "00:10:00"]))
        time = clock(since(run, k))
        time = f"{time}{s}{clock(run.time[k])}" if total else f"{time}:000"
        cells = ["", "", str(k + 1), time, f"{run.current[k] / 1e3:.9f}"]
        stamp = f"{run.stamps[k]:%Y-%m-%d %H:%M:%S}"
        lines.append(s.join([*cells, f"{run.voltage[k]:.5f}", stamp]))
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """Hours, minutes, seconds."""
    hours, rest = divmod(round(float(seconds)), 3600)
    return f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"


def chinese(run: Run) -> str:
    """Neware's export of a Chinese computer."""
    words = {0.0: "搁置", 1.5: "恒流充电", -1.5: "恒流放电"}
    return (
        "数据序号,循环号,工步号,工步类型,时间,总时间,电流(mA),电压(V),绝对时间\n"
        + "".join(
            f"{k + 1},{run.cycle[k]},{run.step[k]},{words[float(run.current[k])]},"
            f"{clock(since(run, k))},{clock(run.time[k])},{abs(run.current[k])},"
            f"{run.voltage[k]},{run.stamps[k]:%Y-%m-%d %H:%M:%S}\n"
            for k in range(len(run.time))
        )
    )


def novonix(run: Run) -> str:
    """Novonix csv whose lines stand in quotes, after blocks of words."""
    rows = "".join(
        f'"{run.stamps[k]:%Y-%m-%d %I:%M:%S %p},{run.cycle[k]},0,'
        f"{run.time[k] / 3600:.9f},{since(run, k) / 3600:.9f},"
        f'{run.current[k] / 1e3:.9f},{run.voltage[k]},0.0,-9999,{run.step[k]}"\n'
        for k in range(len(run.time))
    )
    return (
        "[Summary]\nNovonix HPC data file\nCell: a, b\n[End Summary]\n[Data]\n"
        '"Date and Time,Cycle Number,Step Type,Run Time (h),Step Time (h),Current (A),'
        'Potential (V),Capacity (Ah),Temperature (°C),Step Number"\n' + rows
    )


def bitrode(run: Run) -> str:
    """Bitrode csv: each label in quotes with its units after a comma."""
    return (
        '"Total Time, S","Cycle","Loop Counter #1","Step","Step Time, S","Current, A",'
        '"Voltage, V","Amp-Hours","Mode"\n'
        + "".join(
            f"{run.time[k]},{run.cycle[k]},0,{run.step[k]},{since(run, k)},"
            f"{run.current[k] / 1e3:.9f},{run.voltage[k]},0.0,CHRG\n"
            for k in range(len(run.time))
        )
    )


def ivium(run: Run) -> str:
    """Ivium text: a start, labels, and a column more than these."""
    return f"{run.stamps[0]:%d/%m/%Y %H:%M:%S}\ntime/s  I/A   E/V\n" + "".join(
        f"  {run.time[k]:.4f}   {run.current[k] / 1e3:.9E}  {run.voltage[k]:.5f}"
        f"  {run.voltage[k]:.5f}\n"
        for k in range(len(run.time))
    )


def gamry(
    run: Run,
    *,
    tag: str = "PWR800_CHARGE",
    parts: int = 1,
    rows: Sequence[int] | None = None,
) -> str:
    """Gamry text: settings, curves in tables, a setting after them."""
    chosen = list(range(len(run.time))) if rows is None else list(rows)
    cut = [chosen[len(chosen) * p // parts : len(chosen) * (p + 1) // parts]
           for p in range(parts)]  # fmt: skip
    start = run.stamps[0]
    text = (
        f"EXPLAIN\nTAG\t{tag}\nTITLE\tLABEL\tCharge\tTest &Identifier\n"
        f"DATE\tLABEL\t{start:%m/%d/%Y}\tDate\nTIME\tLABEL\t{start:%H:%M:%S}\tTime\n"
        "NOTES\tNOTES\t1\t&Notes...\n\t\nCAPACITY\tQUANT\t1.0E+001\tCapacity (A-hr)\n"
        "OCVCURVE\tTABLE\t1\n\tPt\tT\tVf\tVm\tAch\n\t#\ts\tV vs. Ref.\tV\tV\n"
        "\t0\t0.5\t3.000\t0\t0\n"
    )
    for number, part in enumerate(cut, 1):
        text += f"CURVE{number if parts > 1 else ''}\tTABLE\t{len(part)}\n"
        text += "\tPt\tT\tVf\tIm\tVu\tPwr\tSig\tAch\tTemp\tIERange\tOver\n"
        text += "\t#\ts\tV vs. Ref.\tA\tV\tW\tV\tV\tdeg C\t#\tbits\n"
        text += "".join(
            f"\t{k}\t{run.time[k]:.5f}\t{run.voltage[k]:.5E}\t"
            f"{run.current[k] / 1e3:.8E}\t0\t0\t0\t0\t-3.27597E+002\t10\t..........a\n"
            for k in part
        )
    return text + "STARTTIMEOFFSET\tQUANT\t16.83167\tStart Time Offset (s)\n"


def pstrace(run: Run, *, measurements: int = 1) -> str:
    """PSTrace csv: an own pair of columns for each curve."""
    head, units = [], []
    for number in range(measurements):
        mark = f" [{number + 1}]" if measurements > 1 else ""
        head += [f"Chronopotentiometry: CP E vs t{mark}", ""]
        head += [f"Chronopotentiometry: CP i vs t{mark}", ""]
        units += ["s", "V", "s", "µA"]
    late = [1000.0 * number for number in range(measurements)]
    lines = [
        "Date and time:,2024-03-06 09:00:00",
        "Notes:",
        "," * (len(head) - 1),
        ",".join(head),
        ",".join(["Date and time measurement:", f"{run.stamps[0]}"] * (len(head) // 2)),
        ",".join(units),
    ]
    for k in range(len(run.time)):
        cells = [
            f"{run.time[k] + t},{run.voltage[k]},{run.time[k] + t},"
            f"{run.current[k] * 1e3:.6f}"
            for t in late
        ]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def session(run: Run, *, upper: bool = False, current: bool = True) -> str:
    """A PalmSens session of one measurement: JSON, values in objects."""

    def array(kind: str, unit: tuple[str, str], what: str, values: list[float]) -> dict:
        return {
            "type": f"PalmSens.Data.{kind}",
            "arraytype": 0,
            "description": what,
            "unit": {"type": f"PalmSens.Units.{unit[0]}", "s": unit[1]},
            "datavalues": [{"v": value} for value in values],
        }

    arrays = [
        array("DataArrayTime", ("Time", "s"), "time", list(map(float, run.time))),
        array("DataArrayPotentials", ("Volt", "V"), "potential",
              list(map(float, run.voltage))),
    ]  # fmt: skip
    if current:
        micro = [float(i) * 1e3 for i in run.current]
        arrays.append(
            array("DataArrayCurrents", ("MicroAmpere", "A"), "current", micro)
        )
    ticks = (run.stamps[0] - _EPOCH) // timedelta(microseconds=1) * 10
    whole = {
        "type": "PalmSens.DataFiles.SessionFile",
        "measurements": [
            {"title": "CP", "timestamp": ticks, "dataset": {"values": arrays}}
        ],
    }
    text = json.dumps(whole)
    for key in ("type", "measurements", "dataset", "values", "datavalues", "unit"):
        text = text.replace(f'"{key}"', f'"{key.title()}"') if upper else text
    return text


def table(run: Run, channel: float = 0.0) -> list[list[object]]:
    """Arbin's labels and rows, as cells of a workbook."""
    labels = ["Date_Time", "Test_Time(s)", "Cycle_Index", "Voltage(V)", "Current(A)"]
    return [
        labels,
        *(
            [
                run.stamps[k],
                float(run.time[k]),
                int(run.cycle[k]),
                float(run.voltage[k]) + channel,
                float(run.current[k]) / 1e3,
            ]
            for k in range(len(run.time))
        ),
    ]


def old_workbook(path: Path, run: Run) -> Path:
    """Write an Arbin workbook of before 2007: an information sheet and one of rows."""
    import xlwt

    book = xlwt.Workbook()
    style = xlwt.easyxf(num_format_str="YYYY-MM-DD HH:MM:SS")
    book.add_sheet("Info").write(0, 0, "TEST REPORT")
    sheet = book.add_sheet("Channel_1-003")
    for k, row in enumerate(table(run)):
        for j, cell in enumerate(row):
            sheet.write(k, j, cell, *([style] if isinstance(cell, datetime) else []))
    book.save(str(path))
    return path


#: Name of the file -> what is in it.
WRITERS: dict[str, Callable[[Run], str]] = {
    "maccor.041": maccor,
    "maccor_milli.txt": lambda run: maccor(run, prefix="m", days=False),
    "nested.csv": nested,
    "nested_tab.txt": lambda run: nested(run, separator="\t", total=False),
    "chinese.csv": chinese,
    "novonix.csv": novonix,
    "bitrode.csv": bitrode,
    "ivium.txt": ivium,
    "gamry.DTA": gamry,
    "gamry_curves.DTA": lambda run: gamry(run, parts=3),
    "pstrace.csv": pstrace,
    "session.pssession": session,
}


def write(path: Path, text: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    """Write text as a computer of some country does."""
    path.write_bytes(text.replace("\n", end).encode(encoding))
    return path
