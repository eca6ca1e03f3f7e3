"""Integrate current or power between rows, beside what the cycler counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Counters of charge: each direction, and their sum.
CHARGES = ("charge_capacity", "discharge_capacity"), "capacity"


def charge_flow(
    columns: Mapping[str, np.ndarray], current: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the charge (mA h) that passed and that was counted between rows.

    The counted charge is at most 0 where a counter was reset.

    Parameters
    ----------
    columns
        Columns of a table.
    current
        Magnitude of the current (mA); None: of the table's.
    """
    flow = np.abs(columns["current"]) if current is None else current
    return flow_of(columns, flow, *CHARGES)


def flow_of(
    columns: Mapping[str, np.ndarray],
    flow: np.ndarray,
    separate: Sequence[str],
    common: str,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the integral of a flow between rows, and the growth of its counters.

    None without counters; `separate` ones are preferred to a `common` one.
    """
    counted = [np.abs(columns[name]) for name in separate if name in columns]
    if not counted and common in columns:
        counted = [np.abs(columns[common])]
    if not counted:
        return None
    steps = np.diff(columns["test_time"])
    passed = 0.5 * (flow[1:] + flow[:-1]) * steps / 3600
    return passed, np.max([np.diff(c) for c in counted], axis=0)
