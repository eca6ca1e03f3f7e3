from __future__ import annotations

import warnings

import cycler_files
import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler
from batteryxr.io.cycler.eclab.derived import current_from_charge

RUN = cycler_files.run()
ROCK = (
    "lno-operando/cycler/220726cell4operandoxas_C06.mpt",
    "lno-operando/cycler/220726cell4operandoxascontinuation_C06.mpt",
)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


@pytest.mark.parametrize(
    ("name", "rows", "local", "utc"),
    [
        (ROCK[0], 6333, "2022-07-26T22:38:30.190", "2022-07-26T20:38:30.190"),
        (ROCK[1], 1402, "2022-07-28T13:31:45.341", "2022-07-28T11:31:45.341"),
    ],
)
def test_beamline_export(measured, name, rows, local, utc):
    path = measured(name)
    with pytest.warns(DataQualityWarning) as caught:
        ds = read_cycler(path)
    texts = [str(w.message) for w in caught]
    assert ["timezone=" in t for t in texts].count(True) == 1
    assert any("EC-Lab template default" in t for t in texts)
    assert ds.sizes["record"] == rows
    assert ds.attrs["start_local"] == [local]
    assert np.isnat(ds["time"]).all()
    assert ds.attrs["flags"] == ["template_mass"]
    zoned = quiet(path, timezone="Europe/Paris")
    assert zoned["time"].values[0] == np.datetime64(utc)


def test_beamline_run_in_two_files(measured):
    paths = [measured(name) for name in ROCK]
    ds = quiet(paths[::-1], timezone="Europe/Paris")
    assert np.bincount(ds["file"]).tolist() == [6333, 1402]
    assert ds.attrs["gap_s"] == pytest.approx([26.506], abs=1e-3)
    charges = cycler_files.half_cycles(ds)
    known = [1.614460, -1.321105, 1.433563, -1.296293, 0.4095791]
    known += [0.9960456, -1.246538, 1.175878]
    np.testing.assert_allclose(charges[: len(known)], known, rtol=2e-3)
    last = ds["time"].values[6332]
    assert abs(last - np.datetime64("2022-07-28T11:31:18.835")) < np.timedelta64(
        1, "ms"
    )


def test_independent_reading_of_the_rows(measured):
    """Every number equals what Python's own float makes of the text."""
    path = measured(ROCK[1])
    text = path.read_bytes().decode("latin-1").splitlines()
    count = int(text[1].split(":")[1])
    labels = text[count - 1].split("\t")
    rows = [line.replace(",", ".").split("\t") for line in text[count:]]
    ds = quiet(path)
    for name, label in {
        "test_time": "time/s",
        "voltage": "Ewe/V",
        "current": "<I>/mA",
        "capacity": "Capacity/mA.h",
    }.items():
        expected = [float(row[labels.index(label)]) for row in rows]
        np.testing.assert_allclose(ds[name], expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("comma", [True, False])
def test_locale_and_column_order(tmp_path, comma):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN, comma=comma)
    plain = quiet(path)
    lines = path.read_bytes().split(b"\r\n")
    order = [3, 0, 5, 2, 4, 1, 7, 6]
    turned = [
        b"\t".join([*(line.split(b"\t")[k] for k in order), b""])
        for line in lines[13:-1]
    ]
    path.write_bytes(b"\r\n".join(lines[:13] + turned) + b"\r\n")
    for name, variable in quiet(path).variables.items():
        np.testing.assert_array_equal(variable.values, plain[name].values)


def test_dates(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN)
    assert quiet(path).attrs["start_local"] == ["2024-03-05T14:30:15.250"]
    turned = quiet(path, dayfirst=True)
    assert turned.attrs["start_local"] == ["2024-05-03T14:30:15.250"]
    path.write_bytes(path.read_bytes().replace(b"03/05/2024", b"25/03/2024"))
    assert quiet(path).attrs["start_local"] == ["2024-03-25T14:30:15.250"]


def test_times_exported_as_dates(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN, comma=False)
    lines = path.read_bytes().split(b"\r\n")
    for k, stamp in enumerate(RUN.stamps):
        cells = lines[14 + k].split(b"\t")
        cells[2] = f"{stamp:%m/%d/%Y %H:%M:%S.%f}".encode()
        lines[14 + k] = b"\t".join(cells)
    path.write_bytes(b"\r\n".join(lines))
    ds = quiet(path)
    np.testing.assert_allclose(ds["test_time"], RUN.time, atol=1e-5)
    assert ds.attrs["start_local"] == ["2024-03-05T14:30:15.000"]


def test_template_mass_is_flagged_and_a_real_one_is_not(tmp_path):
    default = cycler_files.mpt(tmp_path / "default.mpt", RUN, template=True)
    real = cycler_files.mpt(tmp_path / "real.mpt", RUN)
    assert quiet(default).attrs["flags"] == ["template_mass"]
    assert quiet(real).attrs["flags"] == []


def test_current_from_the_charge_between_rows(tmp_path):
    passed = np.diff(RUN.charge - RUN.discharge, prepend=0)
    np.testing.assert_allclose(
        current_from_charge(RUN.time, passed)[1:], RUN.current[1:], atol=1e-5
    )
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN, comma=False)
    lines = path.read_text(encoding="latin-1").splitlines()
    lines[13] = lines[13].replace("<I>/mA", "dq/mA.h")
    for k, charge in enumerate(passed):
        cells = lines[14 + k].split("\t")
        cells[4] = f"{charge:.15E}"
        lines[14 + k] = "\t".join(cells)
    path.write_text("\r\n".join(lines) + "\r\n", encoding="latin-1", newline="")
    ds = quiet(path)
    assert ds["current"].attrs["source_label"] == "dq/mA.h"
    np.testing.assert_allclose(ds["current"][1:], RUN.current[1:], atol=1e-5)


def test_open_circuit_has_no_current(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN)
    raw = path.read_bytes().replace(b"<I>/mA", b"x")
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"line 14: no column for current.*'x'"):
        read_cycler(path)
    technique = b"Galvanostatic Cycling with Potential Limitation"
    path.write_bytes(raw.replace(technique, b"Open Circuit Voltage"))
    ds = quiet(path)
    assert not ds["current"].any()
    assert ds["current"].attrs["source_label"] == "none: open circuit"


def spoil(path, line, change):
    lines = path.read_bytes().split(b"\r\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_bytes(b"\r\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b"\t", b" ", 1), "cells under"),
        (lambda text: text + b"1\t", "cells under"),
        (lambda text: text.replace(b"E", b"X"), "is not a number"),
        (lambda text: text.replace(b",", b"."), "is not a number"),
        (lambda text: b"", "cells under"),
    ],
)
def test_damaged_rows_are_named(tmp_path, change, message):
    path = spoil(cycler_files.mpt(tmp_path / "run.mpt", RUN), 77, change)
    with pytest.raises(FileFormatError, match=rf"run\.mpt, line 77: .*{message}"):
        read_cycler(path)


def test_damaged_headers_are_named(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN)
    raw = path.read_bytes()
    path.write_bytes(raw[:300])
    with pytest.raises(FileFormatError, match="announces 14"):
        read_cycler(path)
    path.write_bytes(raw[: raw.index(b"cycle number\t") + 15])
    with pytest.raises(FileFormatError, match="no data rows"):
        read_cycler(path)
    path.write_bytes(raw.replace(b"Ewe/V", b"Abc/V"))
    with pytest.raises(FileFormatError, match=r"no column for voltage.*columns="):
        read_cycler(path)
    assert "voltage" in quiet(path.with_name("run.mpt"), columns={"Abc/V": "voltage"})


def test_the_net_charge_of_a_step_tells_what_flowed_before_a_pause(tmp_path):
    # EC-Lab's time goes on while the cell is paused under current; its charge does not.
    head = ["EC-Lab ASCII FILE", "Nb header lines : 3"]
    labels = "time/s\tEwe/V\tI/mA\t(Q-Qo)/mA.h"
    path = tmp_path / "paused.mpt"
    for start, pause in ((0.5, 1800), (0.17, 120)):
        time = np.arange(60) * 10.0 + pause * (np.arange(60) >= 30)
        rows = [
            f"{t}\t{4 - k / 100}\t-1\t{start - k / 360}" for k, t in enumerate(time)
        ]
        path.write_text("\n".join([*head, labels, *rows]) + "\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataQualityWarning)
            found = read_cycler(path).echem.half_cycles()
        np.testing.assert_allclose(found.capacity, 59 / 360, rtol=2e-4)
        # A charge that falls on is no counter that begins anew.
        np.testing.assert_allclose(found.counter_capacity, 59 / 360, rtol=2e-4)
        assert not int(found.flag[0]) & 256


@pytest.mark.parametrize(
    ("start", "name", "more", "flags"),
    [
        ("03/10/2026", "run", "", []),
        ("03.10.2026", "260310_run", "", []),
        ("03.10.2026", "run", "Modify on : 03.26.2026 10:00", []),
        ("03.10.2026", "run", "", ["date_order"]),
        ("10/03/2026", "run_2026-03-10", "", ["date_order"]),
        ("10/03/2026", "run", "\tFile : 260310_run.mpr", ["date_order"]),
        ("10.03.2026", "run", "Modify on : 26.03.2026 10:00", ["date_order"]),
    ],
)
def test_the_month_leads_unless_another_date_says_otherwise(
    tmp_path, start, name, more, flags
):
    head = f"Acquisition started on : {start} 08:00:00.000\nHost : 10.1.1.100\n{more}"
    rows = "".join(f"{k}\t{3 + k / 100}\t1\n" for k in range(20))
    path = tmp_path / f"{name}.mpt"
    path.write_text(
        f"EC-Lab ASCII FILE\nNb header lines : 6\n{head}\ntime/s\tEwe/V\tI/mA\n{rows}"
    )
    found = quiet(path, timezone="UTC")
    assert found.time.values[0] == np.datetime64("2026-03-10T08:00")
    assert found.attrs["flags"] == flags


def test_dates_of_rows_show_their_order_at_midnight(tmp_path):
    # Month first, the second row would come a month after the first.
    days = ["10/03/2026 23:59:50", "11/03/2026 00:00:00", "11/03/2026 00:00:10"]
    rows = "".join(f"{day}\t{3 + k / 100}\t1\n" for k, day in enumerate(days))
    path = tmp_path / "run.mpt"
    path.write_text(
        f"EC-Lab ASCII FILE\nNb header lines : 3\ntime/s\tEwe/V\tI/mA\n{rows}"
    )
    found = quiet(path, timezone="UTC")
    assert found.time.values[0] == np.datetime64("2026-03-10T23:59:50")
    np.testing.assert_allclose(found.test_time, [0, 10, 20])
