"""Choose voltage states: scans by direction and voltage, or by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import (
    ArgumentError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import VoltageWidth
    from batteryxr.core.checks import Count

Scans = TypeVar("Scans", xr.DataArray, xr.Dataset)
Choice = tuple[str, float] | tuple[int, str, float]

_DIRECTIONS = ("charge", "discharge")


@recorded
def states(
    data: Scans,
    choose: Sequence[Choice],
    *,
    by: str = "voltage",
    tolerance: VoltageWidth = 0.05,
    n: Count | None = 1,
    combine: Literal["mean", "sum"] | None = None,
    cycle: int | None = None,
) -> Scans:
    """Choose scans at given voltages on charge and on discharge.

    *Lazy*: reads the coordinates of ``scan``, but not the data.

    Parameters
    ----------
    data
        Any data on ``scan`` with the coordinates ``voltage`` and ``branch`` (or
        ``direction``), as from `join`.
    choose
        States in the order of the result: ``("charge", 3.5)`` by voltage, or
        ``(4, "charge", 3.5)`` by number. The voltage is the applied one and labels the
        result. With ``by="voltage"`` the nearest scan of the branch is taken.
    by
        "voltage", or a coordinate with the number of each scan's state, such as
        "state_number". By number, an applied voltage may come twice, and the cell may
        have relaxed away from it.
    tolerance
        Largest difference (V) between applied and measured voltage. Ignored by
        number.
    n
        Scans per state: the nearest (by number, the first); None takes all.
    combine
        "mean" or "sum" of the scans of a state. None keeps each scan, on ``repeat``
        if `n` is not 1.
    cycle
        Cycle to choose from. Default: the first with a scan for every state.

    Returns
    -------
    same type as `data`
        On ``state`` in place of ``scan``, with the coordinates ``direction``,
        ``voltage`` (applied), ``measured_voltage`` (mean over the exposure),
        ``scan_index``, ``scan_count`` and ``ocv_during_scan``. The last tells whether
        the cell rested all through the exposure, as after a hold that was switched
        off. For several scans the coordinates are means, or the first value if they
        are not numbers.

    Raises
    ------
    ArgumentError
        If a state has no scan within the tolerance (the message names the nearest),
        a state is given twice, or there are fewer than `n` scans.
    DimensionError, VariableError
        If the scans lack the labels.

    Warns
    -----
    DataQualityWarning
        If no single cycle has all states, so that they come from several.

    Notes
    -----
    Scans in which the current reverses belong to no state. A rest belongs to the
    branch before it: after a hold at 4 V on charge, open circuit is on the charge
    branch. Serban et al., Commun. Chem. (2024), use six states: charge 2.5, 3, 3.5,
    4 V and discharge 3.5, 3 V.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> cycling = cell["echem"].to_dataset()
    >>> scans = cycling.echem.join(
    ...     cell["scans"].to_dataset(), formula="LiNiO2", mass=7.0
    ... )
    >>> chosen = [("charge", 3.7), ("charge", 4.1), ("discharge", 3.6)]
    >>> states = scans.echem.states(chosen, tolerance=0.1)
    >>> states["direction"].values.tolist()
    ['charge', 'charge', 'discharge']
    """
    require_dims(data, ["scan"], caller="states")
    wanted = _choices(choose, by)
    if by == "voltage":
        applied = [float(w[-1]) for w in choose]
        bounds.check("voltage", applied, argument="choose")
        groups = _of_voltage(data, wanted, tolerance, n, cycle)
    else:
        groups = [_of_number(data, w, n, by) for w in wanted]
    return _label(_gather(data, groups, n, combine), data, wanted, groups)


def _choices(choose: Sequence[Choice], by: str) -> list[tuple[int, str, float]]:
    """Return (number, direction, voltage) of each state; by voltage the number is 0."""
    size, form = (2, "('charge', 3.5)") if by == "voltage" else (3, "(1, 'charge', 3)")
    wanted: list[tuple[int, str, float]] = []
    for item in choose:
        ok = isinstance(item, tuple | list) and len(item) == size
        if not ok or item[-2] not in _DIRECTIONS:
            raise ArgumentError(
                "choose",
                item,
                f"states such as {form}, with 'charge' or 'discharge'",
            )
        first = 0 if by == "voltage" else int(item[0])
        wanted.append((first, str(item[-2]), float(item[-1])))
    if not wanted:
        raise ArgumentError("choose", choose, "at least one state")
    if len(set(wanted)) < len(wanted):
        twice = next(w for w in wanted if wanted.count(w) > 1)
        raise ArgumentError(
            "choose",
            twice[3 - size :],
            "each state once",
            "Where an applied voltage repeats, choose by number: by='state_number'.",
        )
    return wanted


def _coordinate(scans: xr.DataArray | xr.Dataset, *names: str) -> np.ndarray:
    for name in names:
        if name in scans.coords and scans[name].dims == ("scan",):
            return scans[name].values
    raise VariableError(
        f"states needs the coordinate {names[0]!r} on 'scan'; found "
        f"{sorted(map(str, scans.coords))}. Join the scans with the cycler's record "
        "first: `record.echem.join(scans)`."
    )


def _of_number(
    scans: xr.DataArray | xr.Dataset,
    wanted: tuple[int, str, float],
    n: int | None,
    number: str,
) -> np.ndarray:
    if number not in scans.coords:
        raise VariableError(
            f"states(by={number!r}) needs this coordinate on 'scan'. Add it: "
            f'`scans.assign_coords({number}=("scan", numbers))`, or name yours.'
        )
    numbers = scans[number].values
    found = np.flatnonzero(numbers == wanted[0])
    if not found.size or (n is not None and found.size < n):
        there = sorted({x.item() for x in np.unique(numbers)})
        raise ArgumentError(
            "choose",
            wanted,
            f"{n or 1} scans with {number} {wanted[0]}; there are {found.size}",
            f"Numbers in the series: {there}.",
        )
    return found if n is None else found[:n]


def _of_voltage(
    scans: xr.DataArray | xr.Dataset,
    wanted: list[tuple[int, str, float]],
    tolerance: float,
    n: int | None,
    cycle: int | None,
) -> list[np.ndarray]:
    voltage = _coordinate(scans, "voltage").astype(np.float64)
    branch = _coordinate(scans, "branch", "direction").astype(str)
    usable = np.isfinite(voltage)
    if "crosses_reversal" in scans.coords:
        usable &= ~scans["crosses_reversal"].values.astype(bool)
    cycles = (
        _coordinate(scans, "cycle").astype(np.float64)
        if "cycle" in scans.coords
        else np.ones(voltage.size)
    )

    def chosen(among: np.ndarray) -> list[np.ndarray | None]:
        found: list[np.ndarray | None] = []
        for _, direction, applied in wanted:
            mine = np.flatnonzero(among & (branch == direction))
            off = np.abs(voltage[mine] - applied)
            near = mine[np.argsort(off, kind="stable")][: (off <= tolerance).sum()]
            enough = near.size >= (n or 1)
            found.append(np.sort(near if n is None else near[:n]) if enough else None)
        return found

    present = np.unique(cycles[usable & np.isfinite(cycles)])
    if cycle is not None:
        if cycle not in present:
            numbers = [int(c) for c in present]
            raise ArgumentError("cycle", cycle, f"one of {numbers}")
        usable &= cycles == cycle
    elif present.size > 1:
        for one in present:
            groups = chosen(usable & (cycles == one))
            if all(g is not None for g in groups):
                return [g for g in groups if g is not None]
    groups = chosen(usable)
    if None in [None if g is None else 0 for g in groups]:
        k = next(k for k, g in enumerate(groups) if g is None)
        raise _none_near(wanted[k], usable, voltage, branch, tolerance, n)
    several = {c for g in groups if g is not None for c in cycles[g].tolist()}
    if cycle is None and len(several) > 1:
        warn_quality(
            "no single cycle has a scan for every state: they come from cycles "
            f"{sorted(int(c) for c in several if c == c)}. Pass cycle= or a larger "
            "tolerance=."
        )
    return [g for g in groups if g is not None]


def _none_near(
    wanted: tuple[int, str, float],
    usable: np.ndarray,
    voltage: np.ndarray,
    branch: np.ndarray,
    tolerance: float,
    n: int | None,
) -> ArgumentError:
    _, direction, applied = wanted
    mine = usable & (branch == direction)
    needed = f"{n} scans" if n and n > 1 else "a scan"
    expected = f"a state with {needed} within tolerance={tolerance:g} V"
    if not mine.any():
        there = sorted(set(branch[usable]) & set(_DIRECTIONS))
        mend = f"No scan is on the {direction} branch; there are {there}."
        return ArgumentError("choose", (direction, applied), expected, mend)
    off = np.abs(voltage - applied)
    nearest = np.flatnonzero(mine)[np.argmin(off[mine])]
    return ArgumentError(
        "choose",
        (direction, applied),
        expected,
        f"{(off[mine] <= tolerance).sum()} are; the nearest on {direction} is scan "
        f"{nearest} at {voltage[nearest]:.4f} V, {off[nearest] * 1e3:.1f} mV away.",
    )


def _gather(
    scans: Scans,
    groups: list[np.ndarray],
    n: int | None,
    combine: str | None,
) -> Scans:
    """Gather the scans of each state, without reading them."""
    if n == 1:
        first = np.concatenate(groups)
        return scans.isel(scan=xr.DataArray(first, dims="state"))
    if combine is None:
        sizes = sorted({g.size for g in groups})
        if len(sizes) > 1:
            raise ArgumentError(
                "n",
                n,
                f"states of equal size; they have {[g.size for g in groups]} scans",
                "Pass combine='mean', or a number of scans.",
            )
        table = xr.DataArray(np.stack(groups), dims=("state", "repeat"))
        return scans.isel(scan=table)
    on_scan = [name for name, c in scans.coords.items() if "scan" in c.dims]
    bare = scans.drop_vars(on_scan)
    parts = [
        getattr(bare.isel(scan=g), combine)("scan", keep_attrs=True, skipna=False)
        for g in groups
    ]
    combined = xr.concat(
        parts, "state", coords="minimal", compat="equals", combine_attrs="override"
    )
    return combined.assign_coords({n: _combined(scans[n], groups) for n in on_scan})


def _combined(coord: xr.DataArray, groups: list[np.ndarray]) -> xr.Variable:
    """Return the mean of each group, or its first value if a mean has no meaning."""
    variable = coord.variable
    if variable.ndim > 1 or variable.dtype.kind not in "fM":
        return variable.isel(scan=xr.Variable("state", [g[0] for g in groups]))
    means = [variable.isel(scan=g).mean().values for g in groups]
    return xr.Variable("state", np.stack(means), variable.attrs)


def _label(
    result: Scans,
    scans: Scans,
    wanted: list[tuple[int, str, float]],
    groups: list[np.ndarray],
) -> Scans:
    made = {
        "direction": (np.array([w[1] for w in wanted], dtype="U9"), "1", "Direction"),
        "voltage": (np.array([w[2] for w in wanted]), "V", "Applied voltage"),
        "scan_index": ([g[0] for g in groups], "1", "Number of the first scan, from 0"),
        "scan_count": ([g.size for g in groups], "1", "Scans of the state"),
    }
    if "direction" in scans.coords:
        rest = scans["direction"].values == "rest"
        made["ocv_during_scan"] = (
            [bool(rest[g].all()) for g in groups],
            "1",
            "Whether the cell rested during the scan",
        )
    coords = {
        name: ("state", np.asarray(values), {"units": units, "long_name": words})
        for name, (values, units, words) in made.items()
    }
    measured = result.coords.get("voltage")
    labelled = result.drop_vars(["direction", "voltage"], errors="ignore")
    labelled = labelled.assign_coords(coords)
    if measured is None:
        return labelled
    kept = measured.variable.copy(deep=False)
    kept.attrs = {"units": "V", "long_name": "Voltage, mean over the exposure"}
    return labelled.assign_coords(measured_voltage=kept)
