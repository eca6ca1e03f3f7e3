"""Files of the Battery Data Format in its three label styles."""

from __future__ import annotations

import numpy as np
import pytest

ROWS = 60
TIME = np.round(np.arange(ROWS) * 0.25, 2)
COLUMNS = {
    "test_time": TIME,
    "voltage": np.round(3.0 + 0.01 * np.arange(ROWS), 6),
    "current": np.round(np.where(np.arange(ROWS) % 20 < 10, 0.000158, -0.0003297), 9),
    "unix_time": np.round(1766393064.885 + TIME, 3),
    "cycle": 1 + np.arange(ROWS) // 30,
    "step": 1 + np.arange(ROWS) // 10,
    "temperature": np.full(ROWS, 26.05375),
}
STYLES = {
    "preferred": [
        "Test Time / s",
        "Voltage / V",
        "Current / A",
        "Unix Time / s",
        "Cycle Count / 1",
        "Step Count / 1",
        "Ambient Temperature / degC",
    ],
    "machine": [
        "test_time_second",
        "voltage_volt",
        "current_ampere",
        "unix_time_second",
        "cycle_count",
        "step_count",
        "ambient_temperature_celsius",
    ],
    "legacy": [
        "test_time_millisecond",
        "voltage_volt",
        "current_ampere",
        "date_time_millisecond",
        "cycle_dimensionless",
        "step_dimensionless",
        "ambient_temperature_celsius",
    ],
}


def table(style):
    columns = dict(zip(STYLES[style], COLUMNS.values(), strict=True))
    return {
        label: np.rint(v * 1000).astype(np.int64) if "milli" in label else v
        for label, v in columns.items()
    }


def write(path, columns):
    """Write csv or parquet with other means than ours."""
    if path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*(v.tolist() for v in columns.values()), strict=True)
        lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path
