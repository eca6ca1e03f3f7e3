from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime, timedelta

import cycler_files
import maker_files
import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler

RUN = cycler_files.run(rows=6)
START = np.datetime64("2024-03-05T14:30:15")


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def same(ds, run=RUN):
    np.testing.assert_allclose(ds["test_time"], run.time, atol=1e-3)
    np.testing.assert_allclose(ds["voltage"], run.voltage, atol=1e-5)
    np.testing.assert_allclose(ds["current"], run.current, atol=1e-6)
    for name in ("cycle", "step"):
        if name in ds:
            np.testing.assert_array_equal(ds[name], getattr(run, name))


@pytest.mark.parametrize("name", sorted(maker_files.WRITERS))
def test_each_maker_tells_the_run(tmp_path, name):
    text = maker_files.WRITERS[name](RUN)
    ds = quiet(maker_files.write(tmp_path / name, text), timezone="UTC", dayfirst=False)
    same(ds)
    extra = ["unlabelled"] if name == "ivium.txt" else []
    assert ds.attrs["flags"] == extra
    assert "temperature" not in ds  # -9999 and -327.6 degC are no temperatures
    if name != "bitrode.csv" and name != "ivium.txt":
        late = ds["time"].values[0] - START
        assert abs(late) < np.timedelta64(10, "ms")  # of hours with 9 digits
    if "step_time" in ds:
        expected = [maker_files.since(RUN, k) for k in range(len(RUN.time))]
        np.testing.assert_allclose(ds["step_time"], expected, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "encoding", "end"),
    [
        ("chinese.csv", "gbk", "\r\n"),
        ("chinese.csv", "utf-8-sig", "\r\n"),
        ("chinese.csv", "utf-16", "\n"),
        ("novonix.csv", "cp1252", "\r\n"),
        ("novonix.csv", "utf-8-sig", "\r\n"),
        ("nested.csv", "utf-8-sig", "\r\n"),
        ("pstrace.csv", "utf-16", "\r\n"),
        ("pstrace.csv", "utf-8-sig", "\r\n"),
        ("session.pssession", "utf-16", "\n"),
        ("gamry.DTA", "latin-1", "\r\n"),
        ("ivium.txt", "latin-1", "\r\n"),
    ],
)
def test_computers_of_many_countries(tmp_path, name, encoding, end):
    text = maker_files.WRITERS[name](RUN)
    same(quiet(maker_files.write(tmp_path / name, text, encoding, end)))


@pytest.mark.parametrize(
    "name", ["maccor.041", "maccor_milli.txt", "nested_tab.txt", "gamry.DTA"]
)
def test_decimal_commas(tmp_path, name):
    text = maker_files.WRITERS[name](RUN)
    head, mark, rows = text.rpartition({"g": "bits\n", "m": "DPt Time\n"}.get(
        name[0], "Date\n"))  # fmt: skip
    path = maker_files.write(tmp_path / name, head + mark + rows.replace(".", ","))
    same(quiet(path))


@pytest.mark.parametrize("name", sorted(set(maker_files.WRITERS) - {
    "session.pssession", "pstrace.csv"}))  # fmt: skip
def test_a_row_that_was_not_finished_is_left_out(tmp_path, name):
    text = maker_files.WRITERS[name](RUN)
    if name.startswith("gamry"):
        text = text[: text.rindex("STARTTIME")]
    cut = text.rstrip("\n")[: -len(text.rstrip("\n").rpartition("\n")[2]) // 2]
    path = maker_files.write(tmp_path / name, cut)
    ds = quiet(path)
    assert ds.sizes["record"] in (len(RUN.time) - 1, len(RUN.time))
    n = len(RUN.time) - 1
    np.testing.assert_allclose(ds["voltage"][:n], RUN.voltage[:n], atol=1e-5)
    assert "cut" in ds.attrs["flags"]


def test_cells_in_quotes_and_behind_signs(tmp_path):
    lines = maker_files.nested(RUN).splitlines()
    text = "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in lines)
    same(quiet(maker_files.write(tmp_path / "x.csv", text + "\n", end="\r\n")))
    text = re.sub(r"(\d+d [\d:.]+)", r'="\1"', maker_files.maccor(RUN))
    same(quiet(maker_files.write(tmp_path / "x.txt", text)))


def test_a_table_is_known_whatever_its_file_is_called(tmp_path):
    texts = {"a": maker_files.maccor, "b.xyz": maker_files.nested}
    for name, write in (texts | {"c.001x": maker_files.chinese}).items():
        text = write(RUN)
        same(quiet(maker_files.write(tmp_path / name, text)))
    path = maker_files.write(tmp_path / "letter", "Dear V, how is the voltage?\n" * 9)
    with pytest.raises(ArgumentError, match="ends in one of"):
        read_cycler(path)


def test_one_maker_does_not_lend_its_units_to_another(tmp_path):
    text = maker_files.bitrode(RUN)
    for unit in ("S", "A", "V"):
        text = text.replace(f', {unit}"', '"')
    path = maker_files.write(tmp_path / "x.csv", text)
    with pytest.raises(FileFormatError, match="current not found"):
        read_cycler(path)
    names = {"Total Time": "test_time (s)", "Current": "current (A)"}
    same(quiet(path, columns=names | {"Voltage": "voltage (V)"}))


def test_an_index_without_a_label_is_no_nested_report(tmp_path):
    text = "step, cycle\n,time (s),voltage (V),current (mA)\n0,0,3,1\n1,60,3.1,1\n"
    ds = quiet(maker_files.write(tmp_path / "x.csv", text))
    assert ds["voltage"].values.tolist() == [3.0, 3.1]


def test_a_damaged_row_of_a_nested_report_is_named_by_its_line(tmp_path):
    lines = maker_files.nested(RUN).split("\n")
    number = next(k for k, line in enumerate(lines) if line.startswith(",,9,"))
    lines[number] = lines[number].replace("0.0015", "0.0x15")
    path = maker_files.write(tmp_path / "x.csv", "\n".join(lines))
    with pytest.raises(FileFormatError, match=f"line {number + 1}: '0.0x15"):
        read_cycler(path)


@pytest.mark.parametrize(
    "labels",
    [
        "Time (s);WE(1).Current (A);WE(1).Potential (V);Q",
        "Time [s];Current [A];Terminal voltage [V];Q",
        "Elapsed Time (s);Current (A);Working Electrode (V);Cumulative Charge (mAh)",
    ],
)
def test_tables_of_programs_without_a_reader_of_their_own(tmp_path, labels):
    rows = zip(RUN.time, RUN.current / 1e3, RUN.voltage, strict=True)
    text = "".join(f"{t};{i:.7f};{v};{k}\n" for k, (t, i, v) in enumerate(rows))
    ds = quiet(maker_files.write(tmp_path / "x.txt", f"{labels}\n{text}"))
    same(ds)
    assert ("capacity" in ds) == ("Charge" in labels)


def test_thousands_are_grouped_by_commas_only_where_a_point_is_the_decimal_sign(
    tmp_path,
):
    text = maker_files.maccor(RUN).replace("\t1\t1\t", '\t"1,001"\t1\t')
    ds = quiet(maker_files.write(tmp_path / "x.txt", text))
    assert ds["cycle"].values[0] == 1001
    head = "time (s)\tvoltage (V)\tcurrent (mA)\n"
    text = head + '0\t3\t"1,001"\n1\t3\t"1,002"\n'
    with pytest.raises(FileFormatError, match=r"not a number"):
        read_cycler(maker_files.write(tmp_path / "y.txt", text + "2\t3\t1,003.5\n"))


def test_a_discharge_of_gamry_is_one(tmp_path):
    down = np.flatnonzero(RUN.current < 0)[:6]
    text = maker_files.gamry(RUN, tag="PWR800_DISCHARGE", rows=down)
    text = text.replace("\t-1.5", "\t1.5")
    ds = quiet(maker_files.write(tmp_path / "d.dta", text), dayfirst=False)
    np.testing.assert_allclose(ds["current"], -1.5)


def test_curves_of_gamry_whose_time_begins_anew_follow_on(tmp_path):
    lines = ["EXPLAIN", "TAG\tCHRONOP", "DATE\tLABEL\t2026-03-14\tDate"]
    lines += ["TIME\tLABEL\t10:00:00\tTime"]
    for number, current in enumerate((1e-3, -1e-3, 1e-3), start=1):
        rows = [
            f"\t{k}\t{10.0 * k}\t{3.5 + 300 * current + k * current}\t{current}"
            for k in range(121)
        ]
        lines += [f"CURVE{number}\tTABLE\t121", "\tPt\tT\tVf\tIm"]
        lines += ["\t#\ts\tV vs. Ref.\tA", *rows]
    path = tmp_path / "anew.DTA"
    path.write_text("\n".join(lines) + "\n")
    with pytest.warns(DataQualityWarning, match="anew in CURVE2, CURVE3"):
        record = read_cycler(path, timezone="UTC")
    assert record.attrs["flags"] == ["unknown_gap"]
    passed = record.echem.half_cycles().capacity
    np.testing.assert_allclose(passed, np.full(3, 1200 / 3600), rtol=1e-9)


def test_an_open_circuit_of_gamry_has_no_current(tmp_path):
    text = maker_files.gamry(RUN, tag="CORPOT")
    text = text[: text.index("CURVE\t", text.index("OCVCURVE") + 4)]
    ds = quiet(maker_files.write(tmp_path / "o.dta", text), dayfirst=False)
    assert ds["current"].values.tolist() == [0.0]


def test_an_ambiguous_date_of_gamry_is_flagged(tmp_path):
    path = maker_files.write(tmp_path / "x.DTA", maker_files.gamry(RUN))
    with pytest.warns(DataQualityWarning, match="dayfirst|no start"):
        ds = read_cycler(path, timezone="UTC")
    assert np.isnat(ds["time"]).all()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "eis.DTA",
            "EXPLAIN\nTAG\tEISPOT\nZCURVE\tTABLE\n\tPt\tTime\tFreq\tZreal\n"
            "\t#\ts\tHz\tohm\n\t0\t1\t1000\t2\n",
            "impedance spectrum.*ZCURVE",
        ),
        ("empty.DTA", "EXPLAIN\nTAG\tCV\nDATE\tLABEL\t1/2/2024\tDate\n", "no curve"),
        ("eis.txt", "Freq (Hz)\tZreal (ohm)\tZimag (ohm)\tE (V)\n1\t2\t3\t4\n",
         "impedance spectrum"),
        ("odd.csv", "time (s),voltage (V),Strom,Vol\n0,3,1,2\n1,3,1,2\n",
         r"labels \['time \(s\)'.*current not found.*'current \(units\)'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name, text, message):
    with pytest.raises(FileFormatError, match=message):
        read_cycler(maker_files.write(tmp_path / name, text))


def test_a_datafile_of_ivium_says_how_to_get_at_its_data(tmp_path):
    path = maker_files.write(tmp_path / "x.idf", "Ivium\nprimary_data\n3\n")
    with pytest.raises(ArgumentError, match="as text in IviumSoft"):
        read_cycler(path)


def test_measurements_of_palmsens_are_not_mixed(tmp_path):
    text = maker_files.pstrace(RUN, measurements=2)
    path = maker_files.write(tmp_path / "x.csv", text, "utf-16")
    with pytest.raises(ArgumentError, match=r"1: .*CP E vs t \[1\].*2: "):
        quiet(path)
    np.testing.assert_allclose(quiet(path, test=2)["test_time"], RUN.time)


def test_a_session_of_palmsens_in_either_spelling(tmp_path):
    text = maker_files.session(RUN, upper=True)
    same(quiet(maker_files.write(tmp_path / "x.pssession", text, "utf-16")))
    cut = maker_files.write(tmp_path / "y.pssession", text[:-40], "utf-16")
    with pytest.raises(FileFormatError, match="no whole PalmSens session"):
        read_cycler(cut)
    bare = maker_files.session(RUN, current=False)
    with pytest.raises(FileFormatError, match="Record the current too"):
        read_cycler(maker_files.write(tmp_path / "z.pssession", bare))


def test_units_go_with_the_name_where_the_label_has_none(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("zeit,spannung (mV),strom\n0,3000,1\n1,3100,1\n")
    names = {"zeit": "test_time (min)", "spannung (mV)": "voltage"}
    ds = quiet(path, columns=names | {"strom": "current (A)"})
    assert ds["current"].values.tolist() == [1000, 1000]
    assert ds["test_time"].values.tolist() == [0, 60]
    with pytest.raises(ArgumentError, match=r"\{'strom': 'current \(mA\)'\}"):
        quiet(path, columns=names | {"strom": "current"})
    with pytest.raises(ArgumentError, match=r"behind the name"):
        quiet(path, columns=names | {"strom": "current (Ampère)"})


@pytest.mark.parametrize("as_days", [False, True])
def test_a_workbook_whose_dates_count_from_1904(tmp_path, as_days):
    openpyxl = pytest.importorskip("openpyxl")
    begun = datetime(2024, 3, 5, 14, 30, 15)
    book = openpyxl.Workbook()
    book.epoch = datetime(1904, 1, 1)
    sheet = book.active
    sheet.append(["Test Time", "Date Time", "Voltage (V)", "Current (mA)"])
    for k, hours in enumerate((0, 20, 40), 2):
        stamp = begun + timedelta(hours=hours)
        days = (stamp - book.epoch) / timedelta(days=1)
        sheet.append([hours / 24, days if as_days else stamp, 3.5, 1.0])
        sheet.cell(k, 1).number_format = "h:mm:ss"  # shows 16:00:00 for 40 hours
    book.save(tmp_path / "x.xlsx")
    ds = quiet(tmp_path / "x.xlsx", timezone="UTC")
    np.testing.assert_allclose(ds["test_time"], [0, 72_000, 144_000], atol=1e-3)
    np.testing.assert_array_equal(
        ds["time"], START + (np.array([0, 72_000, 144_000]) * 10**9).astype("m8[ns]")
    )


def test_an_old_workbook(tmp_path):
    pytest.importorskip("xlwt")
    maker_files.old_workbook(tmp_path / "x.xls", RUN)
    ds = quiet(tmp_path / "x.xls", timezone="UTC")
    same(ds)
    assert ds["time"].values[-1] == START + np.timedelta64(int(RUN.time[-1]), "s")
    damaged = (tmp_path / "x.xls").read_bytes()[:3000]
    (tmp_path / "y.xls").write_bytes(damaged)
    with pytest.raises(FileFormatError, match="no workbook that xlrd opens"):
        read_cycler(tmp_path / "y.xls")


def test_times_of_workbooks_are_durations(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    xlwt = pytest.importorskip("xlwt")
    seconds = [0.0, 1.0, 3600.0, 86_400 * 1.5, 86_400 * 61.25]
    book, old = openpyxl.Workbook(), xlwt.Workbook()
    sheet, old_sheet = book.active, old.add_sheet("record")
    styles = [xlwt.easyxf(num_format_str=f) for f in ("hh:mm:ss", "[h]:mm:ss")]
    for number, form in enumerate(["hh:mm:ss", "[h]:mm:ss"]):
        labels = ["DataPoint", "Total Time", "Current(mA)", "Voltage(V)"]
        sheet.append(labels)
        for k, label in enumerate(labels):
            old_sheet.write(0, k, label)
        for k, value in enumerate(seconds, 1):
            sheet.append([k, value / 86_400, 1.0, 3.0])
            sheet.cell(k + 1, 2).number_format = form
            for j, cell in enumerate([k, value / 86_400, 1.0, 3.0]):
                style = [styles[number]] if j == 1 else []
                old_sheet.write(k, j, cell, *style)
        book.save(tmp_path / "x.xlsx")
        old.save(str(tmp_path / "x.xls"))
        for name in ("x.xlsx", "x.xls"):
            ds = quiet(tmp_path / name)
            np.testing.assert_allclose(ds["test_time"], seconds, atol=1e-3)
        book = openpyxl.Workbook()
        old = xlwt.Workbook()
        sheet, old_sheet = book.active, old.add_sheet("record")


def test_text_and_new_workbooks_under_the_old_name(tmp_path):
    text = maker_files.nested(RUN, separator="\t")
    same(quiet(maker_files.write(tmp_path / "text.xls", text, "utf-16")))
    cycler_files.workbook(tmp_path / "x.xlsx", RUN)
    (tmp_path / "x.xlsx").rename(tmp_path / "new.xls")
    same(quiet(tmp_path / "new.xls"))


@pytest.mark.parametrize("title", ["Channel_{}_1", "Channel_1-{:03d}"])
def test_channels_of_a_workbook_are_not_mixed(tmp_path, title):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for channel in (3, 11):
        sheet = book.create_sheet(title.format(channel))
        for row in maker_files.table(RUN, channel):
            sheet.append(row)
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(ArgumentError, match=r"channels of x.xlsx, which are \[3, 11\]"):
        quiet(tmp_path / "x.xlsx")
    ds = quiet(tmp_path / "x.xlsx", test=11)
    np.testing.assert_allclose(ds["voltage"], RUN.voltage + 11)


def test_a_nested_report_in_a_workbook(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "record"
    for line in maker_files.nested(RUN).splitlines():
        book.active.append([cell or None for cell in line.split(",")])
    book.save(tmp_path / "x.xlsx")
    same(quiet(tmp_path / "x.xlsx"))


@pytest.mark.parametrize("maker", ["arbin", "landt", "chinese", "own"])
def test_parquet_of_other_makers(tmp_path, maker):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    stamps = [s.replace(tzinfo=UTC) for s in RUN.stamps]
    amperes = RUN.current / 1e3
    columns = {
        "arbin": {"Data_Point": RUN.step, "Test_Time": RUN.time, "DateTime": stamps,
                  "Current": amperes, "Voltage": RUN.voltage},
        "landt": {"channel_index": RUN.step, "date_time_iso_string": stamps,
                  "TestTime/Sec.": RUN.time, "Voltage/mV": RUN.voltage * 1e3,
                  "Current/mA": RUN.current},
        "chinese": {"电压(V)": RUN.voltage, "电流(mA)": RUN.current, "绝对时间": stamps,
                    "总时间": list(map(maker_files.clock, RUN.time))},
        "own": {"elapsed": RUN.time.astype("timedelta64[s]"), "U": RUN.voltage,
                "I": amperes, "when": stamps},
    }[maker]  # fmt: skip
    table = pyarrow.table({name: pyarrow.array(v) for name, v in columns.items()})
    parquet.write_table(table, tmp_path / "x.parquet")
    names = {"elapsed": "test_time (s)", "U": "voltage (V)", "I": "current (A)"}
    ds = quiet(
        tmp_path / "x.parquet", columns=names | {"when": "clock"}
        if maker == "own" else None
    )  # fmt: skip
    same(ds)
    assert ds["time"].values[0] == START  # UTC: no zone is needed
    if maker == "own":
        with pytest.raises(FileFormatError, match=r"elapsed.*columns="):
            quiet(tmp_path / "x.parquet")


def test_a_number_of_pstrace_that_is_cut_is_told(tmp_path):
    text = maker_files.pstrace(RUN)
    path = maker_files.write(tmp_path / "p.csv", text)
    assert quiet(path).attrs["flags"] == []
    path.write_text(text[:-10])
    assert quiet(path).attrs["flags"] == ["cut"]
