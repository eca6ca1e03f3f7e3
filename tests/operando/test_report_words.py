"""What a report says is true for odd cells too, and it opens offline."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import DataError
from batteryxr.core.plotting import load_hvplot
from batteryxr.operando import Conventions, report_cycling, sentences
from batteryxr.operando.page import Report


def _cycles(complete, **others):
    n = len(complete)
    columns = {
        "charge_capacity": np.full(n, 2.0),
        "discharge_capacity": np.linspace(1.8, 0.1, n),
        "coulombic_efficiency": np.where(complete, 0.9, np.nan),
        "capacity_retention": np.where(complete, 0.95, np.nan),
    } | others
    table = xr.Dataset({k: ("cycle", v) for k, v in columns.items()})
    table["complete"] = ("cycle", complete)
    for side in ("charge", "discharge"):
        table[f"{side}_capacity"].attrs["units"] = "mA h"
    return table.assign_coords(cycle=np.arange(1, n + 1))


def test_cycles_that_were_cut_off_are_not_compared():
    text = sentences.say_cycles(_cycles([False, True, True, False]))
    assert text.startswith("Cycle 2 charges 2 and discharges 1.233 mA h, ")
    assert "90.0 %; cycle 3, the last whole one, retains 95.0 %" in text
    one = sentences.say_cycles(_cycles([False, True, False]))
    assert one.endswith("efficiency of 90.0 %.")
    assert sentences.say_cycles(_cycles([False])).startswith("No cycle is whole")


def test_what_is_not_known_is_said_in_words():
    record = xr.Dataset(
        {"voltage": ("record", [3.0, np.nan, 4.0])},
        {"test_time": ("record", [0.0, 1800.0, 3600.0])},
    )
    text = sentences.say_record(record)
    assert text.startswith("In 1 h the voltage went between 3.000 and 4.000 V")
    assert text.endswith("that of 1 rows is not known.")
    assert "no voltage" in sentences.say_record(record * np.nan)
    weights = [[np.nan, np.nan], [0.75, 0.25], [0.5, 0.5], [np.nan, np.nan]]
    found = xr.Dataset(
        {"weights": (("scan", "component"), weights)}, {"component": ["A", "B"]}
    )
    assert "A from 0.75 to 0.50; B from 0.25 to 0.50" in sentences.say_phases(found)
    truth = xr.Dataset({"ratios": (("scan", "phase"), np.full((4, 2), 0.5))})
    assert "by 0.177 on" in sentences.say_truth(found, truth)
    none = found.isel(scan=[0])
    assert sentences.say_phases(none) == "The ratios of no scan are known."


@pytest.mark.parametrize("what", ["current", "voltage"])
def test_a_cell_that_did_nothing_has_a_report(tmp_path, what):
    cell = batteryxr.simulate.cell_experiment(seed=0)
    record = cell["echem"].to_dataset().isel(record=slice(0, 50))
    record[what] = record[what] * (0 if what == "current" else np.nan)
    known = Conventions(electrode="cathode", first="charge")
    path = report_cycling(record, tmp_path / "a.html", conventions=known)
    text = path.read_text()
    assert "No cycle is whole" in text
    assert "nan" not in re.sub(r"<style.*?</style>", "", text, flags=re.S)
    assert "echem.cycles(electrode=&quot;cathode&quot;" in text  # all is cited
    with pytest.raises(DataError, match="no row"):
        report_cycling(record.isel(record=[]), tmp_path / "b.html")


def test_a_page_asks_for_no_other_file(tmp_path):
    page = Report("title")
    page.figure(load_hvplot().Curve([1, 2, 3]))
    text = page.write(tmp_path / "a.html").read_text()
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[^>]*>", text)
    assert "Bokeh" in text


def test_a_long_life_fits_on_a_page(tmp_path):
    hours = np.arange(0.0, 400.0, 0.25)
    current = np.where(hours % 2 < 1, 1.0, -1.0)
    record = xr.Dataset(
        {
            "voltage": ("record", 3.5 + 0.3 * np.sin(np.pi * hours)),
            "current": ("record", current, {"units": "mA"}),
        },
        {"test_time": ("record", 3600 * hours, {"units": "s"})},
    )
    record["voltage"].attrs["units"] = "V"
    known = Conventions(electrode="cathode", first="charge", mass=2.0)
    text = report_cycling(record, tmp_path / "a.html", conventions=known).read_text()
    assert "Drawn are 20 of 400 half cycles, evenly spread." in text
    assert "The table shows 40 of 400 half cycles, evenly spread." in text
    assert "The table shows 40 of 200 cycles, evenly spread." in text
    head, *rows = text.split("</table>")[1].split("<tr>")[1:]
    assert "Capacity (mA\xa0h\xa0g⁻¹)" in head
    numbers = [int(re.search(r">(\d+)<", row)[1]) for row in rows]
    assert numbers[:2] == [1, 2]
    assert numbers[-1] == 400
    assert "<td>yes</td>" in rows[0]
    assert len(record.echem.plot.voltage_profile()) == 42


@pytest.mark.parametrize("place", [3.4, 3.7, 4.0])
def test_a_curve_that_rises_to_its_end_has_no_peak_there(place):
    volts = np.linspace(3.4, 4.0, 61)
    curves = [np.exp(-(((volts - at) / 0.1) ** 2)) for at in (3.7, place)]
    made = xr.Dataset(
        {"dqdv": (("half_cycle", "voltage"), curves)},
        {"voltage": volts, "direction": ("half_cycle", ["charge", "discharge"])},
    )
    said = sentences.say_dqdv(made)
    assert f"3.700 V on charge and {place:.3f} V on discharge" in said
    assert ("end of its range" in said) == (place != 3.7)
    assert ("apart" in said) == (place == 3.7)
