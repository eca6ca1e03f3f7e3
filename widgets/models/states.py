"""Model of the choice of voltage states, without a screen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    MissingDependencyError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import require_dims
from batteryxr.echem import states as choose_states
from batteryxr.widgets.frames import every_nth
from batteryxr.widgets.models.base import PanelModel, Plan
from batteryxr.widgets.models.naming import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOUR = np.timedelta64(3600, "s")
_DIRECTIONS = ("charge", "discharge")
#: Largest number of rows and columns of a displayed slice.
_PIXELS = 256


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Chosen:
    """Hold the chosen states, and the part of them that fits on a screen.

    Parameters
    ----------
    states
        As in `batteryxr.echem.states`; lazy where the scans are.
    picture
        In memory: numbers (state), curves (state, signal) or slices (state, y, x).
    beside
        Numbers (state) of the same dataset, such as an order parameter.
    """

    states: xr.DataArray | xr.Dataset
    picture: xr.DataArray
    beside: dict[str, xr.DataArray]


class StateModel(PanelModel):
    """Choose voltage states among joined scans, by direction and voltage."""

    choices = ("states", "tolerance", "cycle", "quantity", "slice")
    shown = ("per_drag", "compare")
    nothing = "choose at least one state"

    states: Any = traitlets.List(help="The states: ('charge', 3.5), ...")
    tolerance = traitlets.Float(0.05, min=0.0, help="In V; see `states`.").tag(
        argument="tolerance"
    )
    cycle = traitlets.Int(
        None, allow_none=True, help="The cycle; None: the first."
    ).tag(argument="cycle")
    quantity = traitlets.Unicode(None, allow_none=True, help="Variable looked at.")
    slice = traitlets.Int(None, allow_none=True, help="Slice of a volume.")
    per_drag = traitlets.Int(3, min=1, max=50, help="States that a drag adds.")
    compare = traitlets.Enum(
        ("first", "previous"), "first", help="What differences are taken from."
    )

    def __init__(
        self,
        data: xr.DataArray | xr.Dataset,
        *,
        record: xr.Dataset | None = None,
        quantity: str | None = None,
        name: str | None = None,
    ) -> None:
        require_dims(data, ["scan"], caller="panel")
        missing = [c for c in ("voltage", "time") if c not in data.coords]
        if missing or not {"branch", "direction"} & set(data.coords):
            raise VariableError(
                f"panel needs the coordinates {[*missing, 'branch']} on 'scan'; found "
                f"{sorted(map(str, data.coords))}. Join the scans with the cycler's "
                "record first: `record.echem.join(scans)`."
            )
        self.record = record
        super().__init__(data, accessor="echem.panel", name=name)
        self.quantities = _quantities(data)
        self.voltage = data["voltage"].values.astype(np.float64)
        branch = "branch" if "branch" in data.coords else "direction"
        self.branch = data[branch].values.astype(str)
        self.hours = hours_of(data)
        self.cycles = (
            data["cycle"].values.astype(np.float64)
            if "cycle" in data.coords
            else np.ones(self.voltage.size)
        )
        turned = data.coords.get("crosses_reversal")
        usable = np.isfinite(self.voltage) & np.isin(self.branch, _DIRECTIONS)
        self.usable = usable if turned is None else usable & ~turned.values.astype(bool)
        self.suppose("quantity", _quantity(self.quantities, None))
        self.quantity = _quantity(self.quantities, quantity)
        self.refresh(delay=0.0)

    @traitlets.validate("states")
    def _check_states(self, proposal: Any) -> list[tuple[str, float]]:
        checked = []
        for item in proposal["value"]:
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise traitlets.TraitError(f"{item!r} is not like ('charge', 3.5)")
            direction, voltage = item
            if direction not in _DIRECTIONS:
                raise traitlets.TraitError(f"{direction!r} is not one of {_DIRECTIONS}")
            state = (str(direction), float(voltage))
            if state not in checked:
                checked.append(state)
        return checked

    # actions of the user
    def toggle(self, scan: int) -> None:
        """Choose a scan by its direction and voltage, or drop it again."""
        self._refuse_unusable(scan)
        held = self.chosen_scans()
        if scan in held:
            place = held.index(scan)
            self.states = [s for i, s in enumerate(self.states) if i != place]
            return
        self.choose(states=[*self.states, self._state(scan)], cycle=self._cycle(scan))

    def move(self, state: int, scan: int) -> None:
        """Move a chosen state to another scan."""
        self._refuse_unusable(scan)
        moved = list(self.states)
        moved[state] = self._state(scan)
        self.choose(states=moved, cycle=self._cycle(scan))

    def add_range(
        self, hours: tuple[float, float], voltage: tuple[float, float]
    ) -> None:
        """Add `per_drag` states on each branch inside, evenly spaced in voltage."""
        inside = self.usable & (self.hours >= hours[0]) & (self.hours <= hours[1])
        inside &= (self.voltage >= voltage[0]) & (self.voltage <= voltage[1])
        if not inside.any():
            raise ArgumentError(
                "drag", "an area without scans", "scans on charge or discharge"
            )
        cycle = self.cycle
        if cycle is None or not (inside & (self.cycles == cycle)).any():
            cycle = self._cycle(int(np.flatnonzero(inside)[0]))
        if cycle is not None:
            inside &= self.cycles == cycle
        added: list[tuple[str, float]] = []
        for direction in _DIRECTIONS:
            mine = np.flatnonzero(inside & (self.branch == direction))
            if not mine.size:
                continue
            mine = mine[np.argsort(self.hours[mine])]
            ends = self.voltage[mine[[0, -1]]]
            picked = {
                int(mine[np.abs(self.voltage[mine] - v).argmin()])
                for v in np.linspace(ends[0], ends[1], min(self.per_drag, mine.size))
            }
            added += [
                self._state(k) for k in sorted(picked, key=lambda k: self.hours[k])
            ]
        states = [*self.states, *(s for s in added if s not in self.states)]
        self.choose(states=states, cycle=cycle)

    def chosen_scans(self) -> list[int]:
        """Return the scans that belong to the states, as far as they are known."""
        answer = self.answer
        if answer is None or answer.states.sizes["state"] != len(self.states):
            return []
        return [int(k) for k in answer.states["scan_index"].values]

    # result and code
    @property
    def result(self) -> Any:
        """Return the chosen states, as in `batteryxr.echem.states`."""
        found = super().result
        return found.states

    def plan(self) -> Plan | None:
        """Return how to select the states, and read the part to show."""
        if not self.states:
            return None
        data, states, arguments = self.data, list(self.states), self.arguments()
        quantity, number = self.quantity, self.slice

        def quick() -> Chosen:
            chosen = choose_states(data, states, **arguments)
            looked = chosen if quantity is None else chosen[quantity]
            others = {} if quantity is None else chosen.data_vars
            beside = {str(k): v.compute() for k, v in others.items() if v.ndim == 1}
            beside.pop(str(quantity), None)
            return Chosen(chosen, picture(looked, number), beside)

        def with_order() -> Chosen:
            first = quick()
            chosen = first.states if quantity is None else first.states[quantity]
            assert isinstance(chosen, xr.DataArray)
            order = order_of(chosen)
            return replace(first, beside={**first.beside, **order})

        looked = data if quantity is None else data[quantity]
        crystal = looked.dtype.kind == "c" and looked.ndim >= 4 and len(states) > 1
        return Plan(with_order, quick) if crystal else Plan(quick)

    def write_code(self, data: str) -> str:
        """Return the call of `states`."""
        if not self.states:
            return f"{data}.echem.states([])  # choose at least one state"
        words = [literal(list(self.states))]
        words += [f"{k}={literal(v)}" for k, v in self.arguments().items()]
        return f"{data}.echem.states({', '.join(words)})"

    def _state(self, scan: int) -> tuple[str, float]:
        return str(self.branch[scan]), round(float(self.voltage[scan]), 4)

    def _cycle(self, scan: int) -> int | None:
        numbers = np.unique(self.cycles[np.isfinite(self.cycles)])
        own = self.cycles[scan]
        return int(own) if numbers.size > 1 and np.isfinite(own) else None

    def _refuse_unusable(self, scan: int) -> None:
        if not self.usable[scan]:
            raise ArgumentError(
                "scan",
                scan,
                "a scan on charge or on discharge, without a reversal in it",
            )


def picture(states: xr.DataArray, number: int | None) -> xr.DataArray:
    """Read the displayed part of each state: numbers, a curve, or a slice.

    Parameters
    ----------
    states
        (state, ...); complex values are shown by their phase.
    number
        Number of the slice of a volume; by default the middle one.
    """
    looked = states.transpose("state", ...)
    if looked.ndim == 4:
        dim = looked.dims[1]
        size = looked.sizes[dim]
        at = size // 2 if number is None else min(max(number, 0), size - 1)
        looked = looked.isel({dim: at})
    for dim in looked.dims[1:-2]:
        looked = looked.isel({dim: looked.sizes[dim] // 2})
    if looked.ndim == 3:
        thin = every_nth(looked.shape[1:], _PIXELS)
        looked = looked.isel(dict(zip(looked.dims[1:], thin, strict=True)))
    attrs = looked.attrs
    looked = looked.compute()
    if looked.dtype.kind == "c":
        modulus = abs(looked)
        looked = xr.apply_ufunc(np.angle, looked).where(modulus > 0.2 * modulus.max())
        attrs = {"units": "rad", "long_name": "Phase"}
    looked.attrs = attrs
    return looked


def order_of(volumes: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return the order parameter of a crystal in its states. Reads all of them."""
    from batteryxr.cdi import order_parameter, phase_differences

    try:
        found = order_parameter(phase_differences(volumes))
    except (BatteryxrError, MissingDependencyError) as error:
        words = f"No order parameter: {error}"
        warn_quality(words)
        return {}
    order = found["rms_phase"].isel(component=0, drop=True).compute()
    order.attrs["long_name"] = "Order parameter, per voxel"
    return {"order_parameter": order.rename("order_parameter")}


def _quantities(data: xr.DataArray | xr.Dataset) -> list[str]:
    """Return the variables of a dataset that can be shown; empty for an array."""
    if isinstance(data, xr.DataArray):
        return []
    there = [str(k) for k, v in data.data_vars.items() if "scan" in v.dims]
    if not there:
        raise VariableError("panel needs a variable on 'scan'; the dataset has none.")
    return sorted(there, key=lambda k: -data[k].ndim)


def _quantity(there: list[str], name: str | None) -> str | None:
    if name is not None and name not in there:
        raise ArgumentError("quantity", name, f"a variable on 'scan': {there}")
    return name or (there[0] if there else None)


def hours_of(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """Return hours since the first scan, at mid-exposure."""
    time = data["time"].values
    if np.isnat(time).all():
        return np.arange(time.size, dtype=np.float64)
    hours = (time - np.nanmin(time)) / _HOUR
    if "exposure" in data.coords:
        hours = hours + data["exposure"].values / 7200
    return np.asarray(hours, dtype=np.float64)


def names(states: Sequence[tuple[str, float]]) -> list[str]:
    """Return readable names of states: ``charge 3.5 V``."""
    return [f"{direction} {volts(voltage)}" for direction, voltage in states]


def volts(voltage: float) -> str:
    """Return a voltage as it stands in the name of a state: ``3.5 V``."""
    return f"{f'{voltage:.4f}'.rstrip('0').rstrip('.')} V"
