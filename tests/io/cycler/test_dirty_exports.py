"""Forty files as people have them: each is read right, refused, or flagged."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler

PART = np.repeat([0, 1, 2, 3, 0], [5, 100, 15, 100, 20])  # 1 charges, 3 discharges
TIME = 60.0 * np.arange(PART.size)
CURRENT = np.select([PART == 1, PART == 3], [1.5, -1.2], 0.0)
UP = np.cumsum(np.where(CURRENT > 0, CURRENT, 0)) / 60
DOWN = np.cumsum(np.where(CURRENT < 0, -CURRENT, 0)) / 60
FILLED = (UP - DOWN) / 2.5
VOLTS = np.round(3 + 0.9 * FILLED + 0.15 * np.tanh(8 * (FILLED - 0.5)), 4)
CAPACITY = np.select([PART == 1, PART == 3], [UP, DOWN], 0.0)
T, V, MA = ("Time (s)", TIME), ("Voltage (V)", VOLTS), ("Current (mA)", CURRENT)
SIZE = ("Current (mA)", np.abs(CURRENT))
WORDS = {
    "en": ("Rest", "CC Chg", "CC DChg"),
    "zh": ("搁置", "恒流充电", "恒流放电"),
    "ko": ("휴지", "충전", "방전"),
    "ja": ("休止", "CC充電", "CC放電"),
    "de": ("Pause", "Ladung", "Entladung"),
    "short de": ("Ruhe", "Lade CC", "Entlade CC"),
    "fr": ("Repos", "Charge", "Décharge"),
    "es": ("Reposo", "Carga", "Descarga"),
    "it": ("Riposo", "Carica", "Scarica"),
    "ru": ("Пауза", "Заряд", "Разряд"),
}


def state(language):
    rest, charge, discharge = WORDS[language]
    return "Status", [{1: charge, 3: discharge}.get(int(p), rest) for p in PART]


def cell(value, decimal):
    if isinstance(value, str):
        return value
    return f"{value:.7f}".rstrip("0").rstrip(".").replace(".", decimal)


def text(*columns, sep=",", dec=".", ends="\n", units=""):
    lines = [sep.join(label for label, _ in columns), *([units] if units else [])]
    lines += [
        sep.join(cell(values[k], dec) for _, values in columns)
        for k in range(PART.size)
    ]
    return ends.join(lines) + ends


def grouped(values, thousands=",", digits=1, decimal="."):
    plain = [f"{v:,.{digits}f}" for v in values]
    return [p.replace(".", "#").replace(",", thousands).replace("#", decimal)
            for p in plain]  # fmt: skip


RIGHT = {
    **{
        f"magnitudes, {name}": (text(T, V, SIZE, state(name)), "utf-8")
        for name in WORDS
    },
    **{
        f"magnitudes, {code}": (text(T, V, SIZE, state(name)), code)
        for name, code in (
            ("zh", "gbk"), ("ko", "euc-kr"), ("ja", "shift_jis"),
            ("fr", "cp1252"), ("ru", "cp1251"),
        )
    },
    "positive discharges, words": (text(T, V, (MA[0], -CURRENT), state("en")), "ascii"),
    "positive discharges, counters": (
        text(T, V, (MA[0], -CURRENT), ("Charge Capacity (mAh)", UP),
             ("Discharge Capacity (mAh)", DOWN)), "ascii"),
    "A": (text(T, V, ("Current (A)", CURRENT / 1e3)), "ascii"),
    "uA": (text(T, V, ("Current (µA)", CURRENT * 1e3)), "utf-8"),
    "other mu": (text(T, V, ("Current (μA)", CURRENT * 1e3)), "utf-8"),
    "reordered": (text(MA, ("Step", PART), V, T), "ascii"),
    "renamed": (text(("U/V", VOLTS), ("I/A", CURRENT / 1e3), ("t/h", TIME / 3600)),
                "ascii"),
    "doubled": (text(T, V, ("Voltage (V)", VOLTS), MA), "ascii"),
    "decimal commas": (text(T, V, MA, sep=";", dec=","), "ascii"),
    "decimal commas in quotes": (
        text(*((n, ['"' + f"{x:.4f}".replace(".", ",") + '"' for x in c])
               for n, c in (T, V, MA))), "ascii"),
    "thousands": (text((T[0], grouped(TIME)), V, MA, sep="\t"), "ascii"),
    "thousands in quotes": (
        text((T[0], [f'"{x}"' for x in grouped(TIME)]), V, MA), "ascii"),
    "bom": (text(T, V, MA), "utf-8-sig"),
    "utf-16": (text(T, V, MA), "utf-16"),
    "carriage returns": (text(T, V, MA, ends="\r"), "ascii"),
    "line ends twice": (text(T, V, MA, ends="\r\r\n"), "ascii"),
    "mixed ends": (text(T, V, MA).replace("\n", "\r\n", 90), "ascii"),
    "units below": (
        text(("Time", TIME / 60), ("Voltage", VOLTS * 1e3), ("Current", CURRENT / 1e3),
             units="[min],[mV],[A]"), "ascii"),
    "per gram beside": (
        text(T, V, ("Current (mA/g)", 200 * CURRENT), MA,
             ("Capacity (mAh/g)", 200 * CAPACITY), ("Capacity (mAh)", CAPACITY)),
        "ascii"),
    "trailing commas": (text(T, V, MA, ("", [""] * PART.size)), "ascii"),
}  # fmt: skip
FLAGGED = {
    "positive discharges, no witness": (
        text(T, V, (MA[0], -CURRENT)), "current_sign"),
    "numbers for states": (
        text(T, V, SIZE, ("Status", [str(p) for p in PART])), "current_sign"),
    "a state that is not known": (
        text(T, V, SIZE, ("Status", ["Charge" if p == 1 else "Purkaus" for p in PART])),
        "current_sign"),
    "commas that may part thousands": (
        text(("Time (min)", TIME / 60),
             ("Voltage (mV)", grouped(1e3 * VOLTS, digits=0)),
             ("Current (uA)", grouped(1e3 * CURRENT, digits=0)), sep="\t"),
        "decimal_sign"),
    "hours without units": (text(("Time", TIME / 3600), V, MA), "time_units"),
    "minutes, and a counter": (
        text(("Time", TIME / 60), V, MA, ("Capacity (mAh)", CAPACITY)), "time_scale"),
    "discharges apart": (
        text(T, V, (MA[0], np.clip(CURRENT, 0, None)),
             ("Discharge Current (mA)", np.clip(-CURRENT, 0, None))), "two_currents"),
    "words below": (text(T, V, MA) + "End of test\nOperator: X\n", "footer"),
    "mV without units": (text(T, ("Voltage", VOLTS * 1e3), MA), "voltage"),
}  # fmt: skip
REFUSED = {
    "numbers that are none below": text(T, V, MA) + "10,abc,3\n",
    "zeros below": text(T, V, MA) + "\0" * 64,
    "current per gram": text(T, V, ("Current (mA/g)", 200 * CURRENT)),
    "current per area": text(T, V, ("Current (mA/cm2)", CURRENT)),
    "current without units": text(T, V, ("Current", CURRENT)),
    "thousands, German": text(
        (T[0], grouped(TIME, ".", 1, ",")), V, MA, sep=";", dec=","
    ),
    "labels again": text(T, V, MA) + "Time (s),Voltage (V),Current (mA)\n0,3.1,1.5\n",
    "doubled": text(T, V, ("Voltage (V)", VOLTS + 0.5), MA),
    "two voltages": text(T, ("Voltage 1 (V)", VOLTS), ("Voltage 2 (V)", VOLTS), MA),
}


def read(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(path)


@pytest.mark.parametrize("name", RIGHT)
def test_read_right(tmp_path, name):
    ds = read(tmp_path / "x.csv", *RIGHT[name])
    np.testing.assert_allclose(ds["current"], CURRENT, atol=1e-6)
    np.testing.assert_allclose(ds["voltage"], VOLTS, atol=1e-6)
    np.testing.assert_allclose(ds["test_time"], TIME, atol=2e-3)
    assert set(ds.attrs["flags"]) <= {"current_sign", "two_columns"}


@pytest.mark.parametrize("name", FLAGGED)
def test_flagged(tmp_path, name):
    content, flag = FLAGGED[name]
    assert flag in read(tmp_path / "x.csv", content).attrs["flags"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    with pytest.raises((FileFormatError, ArgumentError)):
        read(tmp_path / "x.csv", REFUSED[name])


def test_doubled_columns_of_a_workbook_are_told(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    labels = ["Time (s)", "Voltage (V)", "Voltage (V) ", "Current (mA)"]
    for second in (VOLTS, VOLTS + 0.5):
        book = openpyxl.Workbook()
        book.active.append(labels)
        for row in zip(TIME, VOLTS, second, CURRENT, strict=True):
            book.active.append(list(map(float, row)))
        book.save(tmp_path / "x.xlsx")
        if second is not VOLTS:
            with pytest.raises(ArgumentError, match="voltage of the cell"):
                read_cycler(tmp_path / "x.xlsx")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataQualityWarning)
            ds = read_cycler(tmp_path / "x.xlsx")
        np.testing.assert_allclose(ds["voltage"], VOLTS)
        assert ds.attrs["flags"] == ["two_columns"]


def test_counters_in_milliampere_seconds(tmp_path):
    content = text(T, V, MA, ("Capacity (mAs)", 3600 * CAPACITY))
    ds = read(tmp_path / "x.csv", content)
    np.testing.assert_allclose(ds["capacity"], CAPACITY, atol=1e-7)
    assert ds.attrs["flags"] == []
