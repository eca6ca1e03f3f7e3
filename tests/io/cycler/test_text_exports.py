from __future__ import annotations

import warnings

import cycler_files
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    FileFormatError,
)
from batteryxr.io import read_cycler

RUN = cycler_files.run(rows=6)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("arbin.csv", "Arbin"),
        ("maccor.txt", "Maccor"),
        ("landt.csv", "Landt"),
        ("novonix.csv", "Novonix"),
        ("basytec.txt", "Basytec"),
        ("digatron.csv", "Digatron"),
        ("pec.csv", "PEC"),
        ("neware.csv", "Neware"),
    ],
)
def test_the_maker_is_told(tmp_path, name, maker):
    ds = quiet(cycler_files.WRITERS[name](tmp_path / name, RUN))
    assert ds.attrs["instrument"] == maker


def test_magnitude_of_the_current_gets_its_sign(tmp_path):
    path = cycler_files.maccor(tmp_path / "run.txt", RUN)
    assert "-" not in path.read_text().split("DPt Time")[1].replace("\n", "")[:300]
    ds = quiet(path)
    np.testing.assert_allclose(ds["current"], RUN.current, atol=1e-7)
    assert "from 'State'" in ds.attrs["header"]


def test_a_signed_current_keeps_its_sign(tmp_path):
    path = cycler_files.maccor(tmp_path / "run.txt", RUN)
    lines = path.read_text().splitlines()
    for k in range(2, len(lines)):
        cells = lines[k].split("\t")
        if cells[9] == "D":
            cells[7] = f"-{cells[7]}"
        lines[k] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n")
    np.testing.assert_allclose(quiet(path)["current"], RUN.current, atol=1e-7)


@pytest.mark.parametrize(
    "word", ["D", "Dchg", "CC DChg", "CC_DChg", "Discharge", "DCH", "恒流放电"]
)
def test_words_for_discharge(tmp_path, word):
    path = table(
        tmp_path / "x.csv",
        "time (s),voltage (V),current (mA),status\n"
        f"0,3,1,CC Chg\n1,3,1,Charge\n2,3,1,{word}\n3,3,0,Rest\n4,3,1,C\n5,3,1,CHA\n"
        "6,3,1,Hold_charge\n",
    )
    assert quiet(path)["current"].values.tolist() == [1, 1, -1, 0, 1, 1, 1]


def test_labels_that_no_map_knows(tmp_path):
    path = table(
        tmp_path / "x.csv",
        "when [min];Spannung [mV];Strom [uA];Druck\n0;3000;1000;1\n1;3100;-1000;2\n",
    )
    with pytest.raises(FileFormatError, match="columns="):
        read_cycler(path)
    names = {
        "when [min]": "test_time",
        "Spannung [mV]": "voltage",
        "Strom [uA]": "current",
        "Druck": "pressure",
    }
    ds = quiet(path, columns=names)
    np.testing.assert_allclose(ds["test_time"], [0, 60])
    np.testing.assert_allclose(ds["voltage"], [3.0, 3.1])
    np.testing.assert_allclose(ds["current"], [1, -1])
    assert ds["pressure"].values.tolist() == [1, 2]
    assert ds["pressure"].attrs["units"] == "1"


def test_a_current_without_units_is_refused(tmp_path):
    path = table(tmp_path / "x.csv", "time (s),voltage (V),current\n0,3,1\n1,3,1\n")
    with pytest.raises(FileFormatError, match=r"line 1: the labels.*'Current \(mA\)'"):
        read_cycler(path)


def test_times_from_dates_alone(tmp_path):
    path = table(
        tmp_path / "x.csv",
        "Date Time;Voltage (V);Current (mA)\n"
        "2024-03-05 23:59:50;3,5;1,5\n2024-03-06 00:00:20;3,6;1,5\n",
    )
    ds = quiet(path, timezone="UTC")
    assert ds["test_time"].values.tolist() == [0, 30]
    assert ds["time"].values[1] == np.datetime64("2024-03-06T00:00:20")
    assert ds["voltage"].values.tolist() == [3.5, 3.6]


def test_dates_that_carry_their_offset_need_no_zone(tmp_path):
    path = table(
        tmp_path / "x.csv",
        "Date Time,Time (s),Voltage (V),Current (mA)\n"
        "2024-03-05T23:59:50+01:00,0,3.5,1\n2024-03-06T00:00:20+01:00,30,3.6,1\n",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = read_cycler(path)
    assert ds["time"].values[0] == np.datetime64("2024-03-05T22:59:50")


def test_an_ambiguous_date_is_flagged_not_guessed(tmp_path):
    path = table(
        tmp_path / "x.csv",
        "Date,Time (s),Voltage (V),Current (mA)\n"
        "03/05/2024 12:00:00,0,3.5,1\n03/05/2024 12:00:30,30,3.6,1\n",
    )
    with pytest.warns(DataQualityWarning, match="dayfirst"):
        ds = read_cycler(path)
    assert np.isnat(ds["time"]).all()
    day = quiet(path, timezone="UTC", dayfirst=True)["time"].values[0]
    assert day == np.datetime64("2024-05-03T12:00:00")


def test_encodings_and_line_ends(tmp_path):
    text = "time (s)\tvoltage (V)\tcurrent (µA)\ttemperature (°C)\n"
    text += "0\t3\t1\t25\n1\t3\t1\t25\n"
    plain = quiet(table(tmp_path / "plain.txt", text))
    for name, encoding, end in [
        ("latin.txt", "latin-1", "\r\n"),
        ("wide.txt", "utf-16", "\n"),
        ("mark.txt", "utf-8-sig", "\r\n"),
        ("mac.txt", "utf-8", "\r"),
    ]:
        path = tmp_path / name
        path.write_bytes(text.replace("\n", end).encode(encoding))
        ds = quiet(path)
        for key in ("test_time", "voltage", "current", "temperature"):
            np.testing.assert_array_equal(ds[key], plain[key])


def test_quoted_cells(tmp_path):
    path = table(
        tmp_path / "x.csv",
        'time (s),voltage (V),current (mA),note\n0,"3.5",1,"a, b"\n1,3.6,1,"c"\n',
    )
    assert quiet(path)["voltage"].values.tolist() == [3.5, 3.6]
    path.write_text(path.read_text() + '2,3.6,1,"c",9,9\n')
    with pytest.raises(FileFormatError, match="line 4: 6 cells under 4 labels"):
        read_cycler(path)


def test_a_row_far_below_is_named(tmp_path):
    rows = [f"{k},3.5,1" for k in range(30_000)]  # several parts of the file
    label = "time (s),voltage (V),current (mA)"
    for row, wrong in ((25_000, "25000,3.5"), (29_999, "29999,3.5,1,1")):
        text = "\n".join([label, *rows[:row], wrong, *rows[row + 1 :], ""])
        cells = wrong.count(",") + 1
        with pytest.raises(FileFormatError, match=f"line {row + 2}: {cells} cells"):
            read_cycler(table(tmp_path / "long.csv", text))
    plain = quiet(table(tmp_path / "long.csv", "\n".join([label, *rows])))
    assert plain["test_time"].values[-1] == 29_999


def test_what_is_missing_is_flagged(tmp_path):
    path = table(
        tmp_path / "x.csv",
        "time (s),voltage (V),current (mA)\n0,3.5,1\n1,,1\n2,-,1\n3,3.6,1\n",
    )
    ds = quiet(path)
    assert ds.attrs["flags"] == ["missing_values"]
    assert "2 rows without voltage" in ds.attrs["flag_notes"][0]


NUMBER = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: float(f"{x:.9g}"))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=30),
    separator=st.sampled_from([",", ";", "\t"]),
    decimal=st.sampled_from([".", ","]),
    order=st.permutations([0, 1, 2, 3]),
    end=st.sampled_from(["\n", "\r\n"]),
    tail=st.booleans(),
    preamble=st.sampled_from(["", "a remark\n\nwith: things, in; it\n"]),
)
@example(  # a current so small that it divides as nothing does
    rows=[(0.0, 1.0), (0.0, 2.2e-309)],
    separator=",",
    decimal=".",
    order=[0, 1, 2, 3],
    end="\n",
    tail=False,
    preamble="",
)
def test_numbers_survive_any_layout(
    tmp_path, rows, separator, decimal, order, end, tail, preamble
):
    if separator == ",":
        decimal = "."
    labels = ["time (s)", "voltage (V)", "current (mA)", "cycle"]
    lines = [[str(float(k)), repr(v), repr(i), str(k)] for k, (v, i) in enumerate(rows)]
    text = [labels] + [[c.replace(".", decimal) for c in line] for line in lines]
    body = end.join(
        separator.join(row[k] for k in order) + (separator if tail else "")
        for row in text
    )
    path = tmp_path / "any.csv"
    path.write_bytes((preamble.replace("\n", end) + body + end).encode())
    ds = quiet(path)
    np.testing.assert_array_equal(ds["voltage"], [v for v, _ in rows])
    np.testing.assert_array_equal(ds["current"], [i for _, i in rows])
    np.testing.assert_array_equal(ds["test_time"], np.arange(len(rows)))


@pytest.mark.parametrize("interleaved", [False, True])
def test_channels_of_a_text_file_are_not_mixed(tmp_path, interleaved):
    rows = [
        f"1-{channel},{60 * k},{3 + 0.01 * k + 0.1 * channel:.3f},1.0,C_CC"
        for channel in (1, 2)
        for k in range(20)
    ]
    if interleaved:
        rows.sort(key=lambda row: float(row.split(",")[1]))
    labels = "Channel,TestTime/Sec.,Voltage/V,Current/mA,State"
    path = table(tmp_path / "x.csv", "\n".join([labels, *rows, ""]))
    with pytest.raises(ArgumentError, match=r"which are \['1-1', '1-2'\]"):
        quiet(path)
    ds = quiet(path, test=2)
    assert ds.sizes["record"] == 20
    np.testing.assert_allclose(ds.voltage, 3.2 + 0.01 * np.arange(20))


@pytest.mark.parametrize("label", ["Unix Time (s)", "Time Stamp", "Date/Time"])
def test_a_clock_and_words_beside_labels_of_a_maker_are_read(tmp_path, label):
    # "Test Time (s)" is Arbin's; the columns that were added are nobody's.
    began = 1_740_000_000

    def stamp(k):
        seconds = began + 60 * k + 7200 * (k > 9)
        if label.startswith("Unix"):
            return str(seconds)
        return str(np.datetime64(seconds, "s")).replace("T", " ")

    rows = [
        f"{60 * k},{3.5 - 0.01 * k:.3f},1.0,{stamp(k)},Discharge" for k in range(20)
    ]
    labels = f"Test Time (s),Voltage (V),Current (mA),{label},Mode"
    path = table(tmp_path / "x.csv", "\n".join([labels, *rows, ""]))
    ds = quiet(path, timezone="UTC")
    assert (ds.current == -1).all()
    wall = (ds.time.values - np.datetime64(began, "s")) / np.timedelta64(1, "s")
    np.testing.assert_allclose(wall, 60 * np.arange(20) + 7200 * (np.arange(20) > 9))


@pytest.mark.parametrize(
    ("labels", "encoding"),
    [
        ("Aika [h];Jännite [mV];Virta [A]", "utf-8"),
        ("Czas(s);Napięcie(mV);Prąd(mA)", "utf-8"),
    ],
)
def test_labels_in_any_language_are_told(tmp_path, labels, encoding):
    path = tmp_path / "run.csv"
    rows = "".join(f"{k},5;34{k}0,25;1,0\n" for k in range(9))
    path.write_bytes(f"{labels}\n{rows}".encode(encoding))
    with pytest.raises(FileFormatError, match="test_time and voltage") as caught:
        quiet(path)
    assert all(label in str(caught.value) for label in labels.split(";"))


def _hms(seconds):
    return f"{int(seconds) // 3600:02d}:{int(seconds) % 3600 // 60:02d}:00.0"


@pytest.mark.parametrize(
    ("label", "written", "clock"),
    [
        ("Total Time (Decimal Hours)", lambda t: f"{t / 3600:.9f}", "Real Time"),
        ("Total_Time_Decimal_Hours", lambda t: f"{t / 3600:.9f}", "Real_Time"),
        ("Total_Time_Hours_in_hh_mm_ss_xxx", _hms, "Real_Time"),
        ("Total Time (h)", _hms, "Zeitstempel"),
        ("Run Time (min)", lambda t: f"{t / 60:.9f}", "Logged at"),
    ],
)
def test_units_of_a_time_and_its_clock_by_what_the_cells_hold(
    tmp_path, label, written, clock
):
    rows = [
        f"{written(t)},{v},{i},{s:%Y-%m-%d %H:%M:%S},2024-03-05 14:00:00"
        for t, v, i, s in zip(
            RUN.time, RUN.voltage, RUN.current, RUN.stamps, strict=True
        )
    ]
    head = f"{label},Potential (V),Current (mA),{clock},Position_Start_Time"
    path = tmp_path / "run.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    ds = read_cycler(path, timezone="UTC")
    np.testing.assert_allclose(ds["test_time"], RUN.time, atol=1e-4)
    assert ds["time"].values[-1] == np.datetime64(RUN.stamps[-1], "ns")
    assert ds.attrs["flags"] == []


def test_a_time_without_units_is_not_dropped_untold(tmp_path):
    rows = [
        f"{t / 60},1,0,{v},{i},{s:%Y-%m-%d %H:%M:%S}"
        for t, v, i, s in zip(
            RUN.time, RUN.voltage, RUN.current, RUN.stamps, strict=True
        )
    ]
    head = "Total Time,Cycle,Loop Counter #1,Voltage (V),Current (mA),Date/Time"
    path = tmp_path / "run.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    with pytest.warns(DataQualityWarning, match="'Total Time' says no units"):
        ds = read_cycler(path, timezone="UTC")
    assert "time_units" in ds.attrs["flags"]
    said = {"Total Time": "test_time (min)"}
    ds = read_cycler(path, timezone="UTC", columns=said)
    np.testing.assert_allclose(ds["test_time"], RUN.time, atol=1e-4)
    assert ds.attrs["flags"] == []


@pytest.mark.parametrize("current", ["1e300", "1.7e308", "5e-324"])
def test_no_size_of_a_number_stops_the_reading(tmp_path, current):
    """Sums and quotients of such numbers overflow inside the checks, unseen."""
    rows = [f"{k},3.{k % 7},{current if k % 3 else -1.0}" for k in range(20)]
    rows[9] = f"3,3.5,{current}"  # time runs backward, as where rows are summed up
    path = table(
        tmp_path / "x.csv", "\n".join(["time (s),voltage (V),current (mA)", *rows])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ds = quiet(path)
    # What no cell has is the mark of a missing reading, and is said to be.
    mark = "marks" in ds.attrs["flags"]
    assert mark == (float(current) > 1)
    assert np.isnan(ds["current"][1]) if mark else ds["current"][1] == float(current)


@pytest.mark.parametrize(
    ("labels", "words", "encoding"),
    [
        ("Zeit [h];Zellspannung [mV];Strom [A];Datum;Uhrzeit;Zustand",
         ("Laden", "Pause", "Entladen"), "cp1252"),
        ("Temps (h);Tension (mV);Courant (A);Date;Heure;État",
         ("Charge", "Repos", "Décharge"), "utf-8"),
        ("시간(h);전압(mV);전류(A);날짜;시각;상태", ("충전", "휴지", "방전"), "cp949"),
        ("Время, ч;Напряжение, мВ;Ток, А;Дата;Время;Режим",
         ("Заряд", "Пауза", "Разряд"), "cp1251"),
        ("経過時間(h);電圧(mV);電流(A);日付;時刻;状態",
         ("充電", "休止", "放電"), "cp932"),
    ],
)  # fmt: skip
def test_labels_of_many_languages_with_the_day_and_its_time_apart(
    tmp_path, labels, words, encoding
):
    began = np.datetime64("2024-03-05T23:50:15")
    lines = [labels.replace("Режим", "Mode")]
    for k in range(30):
        pause = 7200 * (k > 14)
        day, hour = str(began + 60 * k + pause).split("T")
        cells = [f"{k / 60:.9f}", f"{3400 + 10 * min(k, 29 - k)}", f"{(k != 14) / 10}"]
        cells += [day, hour, words[(k > 13) + (k > 14)]]
        lines.append(";".join(cells).replace(".", ","))
    path = tmp_path / "run.csv"
    path.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    ds = quiet(path, timezone="UTC")
    late = (ds.time.values - began) / np.timedelta64(1, "s")
    rows = np.arange(30)
    np.testing.assert_allclose(late, 60 * rows + 7200 * (rows > 14), atol=1e-5)
    np.testing.assert_allclose(ds.current, 100.0 * np.sign(14 - rows))
    np.testing.assert_allclose(ds.voltage[:3], [3.4, 3.41, 3.42])
    assert ds.attrs["flags"] == ["pauses"]


def test_a_folder_of_steps_with_codes_for_their_states(tmp_path):
    began = np.datetime64("2024-03-05T10:00:15")
    labels = (
        "Date,Time,PassTime[Sec],Voltage[V],Current[mA],,Temp1[Deg],Condition,Cycle"
    )
    for step, code in enumerate((1, 3, 2)):
        lines = ["0,0,1,0,0,0,0", "", "", labels]
        for k in range(20):
            day, hour = str(began + 1000 * step + 10 * k).replace("-", "/").split("T")
            volts = (3.0 + 0.01 * k, 3.2, 3.2 - 0.01 * k)[step]
            flow = 1.5 * (code < 3)
            lines.append(f"{day},{hour},{10 * k},+{volts:.4f},{flow},,+23.1,{code},1")
        (tmp_path / f"{step + 1:06d}").write_text("\r\n".join([*lines, ""]))
    (tmp_path / "CAPACITY.LOG").write_text("Date,Time\n")
    ds = quiet(tmp_path, timezone="UTC")
    np.testing.assert_allclose(ds.current, np.repeat([1.5, 0.0, -1.5], 20))
    late = (ds.time.values - began) / np.timedelta64(1, "s")
    expected = [1000 * step + 10 * k for step in range(3) for k in range(20)]
    np.testing.assert_allclose(late, expected)
    assert ds.attrs["instrument"] == "Toyo"
