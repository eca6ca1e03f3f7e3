"""Studies of many cells: known capacities, lives by hand, broken files named."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from batteryxr import replay
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.core.progress import watched
from batteryxr.operando import cells

if TYPE_CHECKING:
    from pathlib import Path

#: Bits of the flag of a cell.
UNREADABLE, WARNED, LIVES, UNCONFIRMED, RECOVERS, OTHER = 1, 2, 16, 32, 64, 128
DAY = pd.Timestamp("2026-03-01T08:00:00Z")


def rows_of(capacities, current=1.0, charge=1.0):
    """Return time (s), V and mA of cycles of these discharge capacities (mA h)."""
    currents = np.broadcast_to(current, len(capacities))
    t, v, i, now = [], [], [], 0.0
    for capacity, amps in zip(capacities, currents, strict=True):
        for sign, q in ((1.0, charge), (-1.0, capacity)):
            time = np.linspace(0, 3600 * q / amps, 25)
            t.append(now + time)
            v.append(3 + (np.linspace(0, 1, 25) if sign > 0 else np.linspace(1, 0, 25)))
            i.append(np.full(25, sign * amps))
            now += time[-1] + 1.0
    return np.concatenate(t), np.concatenate(v), np.concatenate(i)


def record(capacities, **how):
    t, v, i = rows_of(capacities, **how)
    return xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )


def written(path: Path, capacities, **how) -> Path:
    t, v, i = rows_of(capacities, **how)
    pd.DataFrame(
        {
            "Test Time / s": t,
            "Voltage / V": v,
            "Current / A": i * 1e-3,
            "Unix Time / s": DAY.timestamp() + t,
        }
    ).to_csv(path, index=False)
    return path


def study(data, **how):
    return cells(data, electrode="cathode", first="charge", **how)


def test_capacities_groups_and_lives_of_files(tmp_path):
    fade = {"A1": np.linspace(1.0, 0.7, 13), "A2": np.linspace(0.98, 0.9, 9)}
    table = pd.DataFrame(
        {
            "cell": ["A1", "A2", "B1"],
            "path": [
                written(tmp_path / f"{name}.bdf.csv", fade.get(name, [0.5, 0.45]))
                for name in ("A1", "A2", "B1")
            ],
            "mass": [2.0, 4.0, 2.5],
            "group": ["coated", "coated", "bare"],
            "salt": ["LiPF6", "LiPF6", "LiFSI"],
        }
    )
    found = study(table)
    assert dict(found.sizes) == {"cell": 3, "cycle": 13, "group": 2}
    for name, of in fade.items():
        np.testing.assert_allclose(
            found.discharge_capacity.sel(cell=name)[: len(of)], of, rtol=1e-3
        )
    assert found.n_cycles.values.tolist() == [13, 9, 2]
    assert np.isnan(found.discharge_capacity.sel(cell="B1")[2:]).all()
    assert found.charge_time_start.sel(cell="A1", cycle=1) == DAY.to_datetime64()
    assert found.salt.values.tolist() == ["LiPF6", "LiPF6", "LiFSI"]
    # 1.0 - 0.025 n: below 0.8 from the tenth cycle on.
    assert found.life.values[0] == 10
    assert np.isnan(found.life.values[1:]).all()
    assert (found.flag.values & LIVES > 0).tolist() == [False, True, True]
    coated = found.sel(group="coated")
    each = np.array([fade["A1"][:9] / 2.0, fade["A2"] / 4.0]) * 1000
    np.testing.assert_allclose(
        coated.discharge_specific_capacity_mean[:9], each.mean(0), rtol=1e-3
    )
    np.testing.assert_allclose(
        coated.discharge_specific_capacity_sd[:9], each.std(0, ddof=1), rtol=1e-3
    )
    assert coated.discharge_specific_capacity_n.values.tolist() == [2] * 9 + [1] * 4
    assert np.isnan(coated.life_mean)  # one of two lives on
    assert coated.life_n == 1
    assert "A1.bdf.csv" in str(found.source_files.values[0])
    assert str(tmp_path) not in str(found.attrs)


@pytest.mark.parametrize(
    "left, life, flag",
    [
        ([1.0, 0.9, 0.79, 0.78, 0.77], 3, 0),
        ([1.0, 0.9, 0.79, 0.78], 3, UNCONFIRMED),
        ([1.0, 0.6, 0.6, 0.95, 0.9, 0.79, 0.7, 0.6], 6, 0),
        ([1.0, 0.9, 0.79, 0.78, 0.77, 0.85], 3, RECOVERS),
        ([1.0, 0.95, 0.9], None, LIVES),
    ],
)
def test_what_ends_a_life(left, life, flag):
    found = study({"one": record([*left, 0.99 * left[-1]][:-1])})
    assert found.flag.item() == flag
    assert (None if np.isnan(found.life) else found.life.item()) == life


def test_a_life_told_at_another_current_is_flagged():
    how = {"current": [1, 1, 1, 3, 3, 3, 3]}
    found = study({"one": record([1, 0.99, 0.98, 0.7, 0.7, 0.7, 0.69], **how)})
    assert found.life.item() == 4
    assert found.flag.item() == OTHER
    again = study(
        {"one": record([1, 0.99, 0.98, 0.7, 0.7, 0.7, 0.69], **how)}, reference=4
    )
    assert np.isnan(again.life)
    assert again.reference_cycle.item() == 4


def test_one_broken_file_is_named_and_the_others_are_done(tmp_path):
    good = written(tmp_path / "good.bdf.csv", [1.0, 0.9])
    (tmp_path / "broken.ndax").write_bytes(b"PK\x03\x04 and no more")
    table = [
        {"cell": "good", "path": good},
        {"cell": "broken", "path": tmp_path / "broken.ndax"},
        {"cell": "gone", "path": tmp_path / "gone.mpt"},
    ]
    with pytest.warns(DataQualityWarning, match=r"2 of 3 .*broken.*gone"):
        found = study(table)
    assert found.flag.values.tolist()[1:] == [UNREADABLE | 4, UNREADABLE | 4]
    assert "gone.mpt" in str(found.note.values[2])
    np.testing.assert_allclose(found.discharge_capacity[0], [1.0, 0.9], rtol=1e-3)
    assert np.isnan(found.discharge_capacity[1:]).all()
    with pytest.raises(DataError, match="no cell can be read"):
        study(table[1:])


def test_warnings_of_readers_stand_in_the_notes(tmp_path):
    path = tmp_path / "local.csv"
    t, v, i = rows_of([1.0, 0.9])
    stamps = DAY.tz_localize(None) + pd.to_timedelta(t, "s")
    frame = {"Test_Time(s)": t, "Date_Time": stamps.strftime("%Y-%m-%d %H:%M:%S.%f")}
    frame |= {"Current(A)": i * 1e-3, "Voltage(V)": v}
    pd.DataFrame(frame).to_csv(path, index=False)
    with pytest.warns(DataQualityWarning) as said:
        found = study([path, {"path": record([1.0, 0.9]), "cell": "other"}])
    assert sum("Pass timezone" in str(w.message) for w in said) == 1
    assert (found.flag.values & WARNED > 0).tolist() == [True, False]
    assert "Pass timezone" in str(found.note.values[0])
    zoned = study([{"path": path, "timezone": "UTC"}])
    assert not zoned.flag.values & WARNED
    assert zoned.charge_time_start[0, 0] == DAY.to_datetime64()


def test_a_csv_names_files_beside_it(tmp_path):
    written(tmp_path / "x.bdf.csv", [1.0, 0.9])
    (tmp_path / "cells.csv").write_text("path; mass; group\nx.bdf.csv; 2,5; a\n")
    with pytest.raises(ArgumentError, match=r"mass='2,5'.*'x'"):
        study(tmp_path / "cells.csv")
    (tmp_path / "cells.csv").write_text("path,mass,group\nx.bdf.csv,2.5,a\n")
    found = study(tmp_path / "cells.csv")
    assert found.cell.values.tolist() == ["x"]
    np.testing.assert_allclose(found.discharge_specific_capacity[0, 0], 400, rtol=1e-3)


def test_tables_that_cannot_be_meant():
    one = record([1.0, 0.9])
    with pytest.raises(ArgumentError, match="names of cells that differ"):
        study([{"cell": "a", "path": one}, {"cell": "a", "path": one}])
    with pytest.raises(ArgumentError, match="at least one cell"):
        study([])
    with pytest.raises(ArgumentError, match="'path' in each row"):
        study([{"cell": "a", "file": "a.mpt"}])
    with pytest.raises(ArgumentError, match=r"mass=-1.*cell 'a'"):
        study([{"cell": "a", "path": one, "mass": -1}])
    with pytest.warns(DataQualityWarning, match="was 'mass' meant"):
        study([{"cell": "a", "path": one, "masss": 3}])


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    table = {
        name: written(tmp_path / f"{name}.bdf.csv", [1.0, 0.9, 0.85])
        for name in ("a", "b", "c")
    }

    class Stopped(Exception):
        pass

    def stop(what, done, total):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped), watched(stop):
        study(table, store=tmp_path / "study.zarr")
    whole = study(table)
    # What is done is not read again, whenever its file was written.
    os.utime(table["a"], ns=(0, 0))
    done = {name: table[name] for name in ("a", "b")}
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["batteryxr.operando.cells"], "read_cycler", None)
        found = study(done, store=tmp_path / "study.zarr")
    xr.testing.assert_equal(found, study(done))
    # A file that is new is, also one of the size and time of the former one.
    kept, text = table["a"].stat(), table["a"].read_bytes()
    other = text.translate(bytes.maketrans(b"56", b"65"))
    assert other != text
    table["a"].write_bytes(other)
    os.utime(table["a"], ns=(kept.st_atime_ns, kept.st_mtime_ns))
    found = study(table, store=tmp_path / "study.zarr")
    xr.testing.assert_equal(found, study(table))
    assert not found.equals(whole)
    written(table["c"], [2.0, 1.9])
    assert study(table, store=tmp_path / "study.zarr").n_cycles.values.tolist()[2] == 2


@pytest.mark.skipif(os.name == "nt", reason="times of changes are not told")
def test_a_file_is_looked_through_once_while_it_stays_the_same(tmp_path, monkeypatch):
    module = sys.modules["batteryxr.operando.cells"]
    looked, digest = [], module.hashlib.file_digest
    monkeypatch.setattr(
        module.hashlib, "file_digest", lambda *a: looked.append(1) or digest(*a)
    )
    path = tmp_path / "a.csv"
    path.write_bytes(b"one")
    assert module._digest(path) == module._digest(path)
    assert len(looked) == 2  # just written: it may change within the clock's step
    monkeypatch.setattr(module, "_STEP_NS", 0)
    first, kept = module._digest(path), path.stat()
    assert module._digest(path) == first
    assert len(looked) == 3
    path.write_bytes(b"two")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert module._digest(path) != first


def test_a_study_is_called_again_and_plotted(tmp_path):
    table = {f"c{k}": record(np.linspace(1, 0.7, 8) - 0.01 * k) for k in range(3)}
    found = study(table)
    assert "c1" not in found.attrs["batteryxr_call"]
    xr.testing.assert_equal(replay(found, table), found)
    shown = found.echem.plot.cells()
    assert len(shown) == 2
    assert "cells" in dir(found.echem.plot)
