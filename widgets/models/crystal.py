"""Model of a view into a crystal in its voltage states, without a screen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
import xarray as xr

from batteryxr.cdi.bragg.axes import space_axes
from batteryxr.core.errors import VariableError
from batteryxr.core.model import require_dims
from batteryxr.widgets.models.base import PanelModel, Plan
from batteryxr.widgets.models.naming import literal
from batteryxr.widgets.models.states import order_of, volts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Variables that tell where the crystal is, the best first.
_BODIES = ("object", "amplitude", "modulus", "support")
#: Fraction of the largest modulus below which a phase means nothing.
_WEAK = 0.1


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Inside:
    """Hold what is seen of a crystal in one state.

    Parameters
    ----------
    quantity
        The quantity in space; NaN outside of the crystal.
    slices
        Three planes through the chosen place, each normal to one axis.
    surface
        The quantity on the surface, seen along the first axis.
    limits
        Ends of the colour scale, the same for all pictures.
    along
        Numbers along the states, by name.
    sizes
        Name of each domain, and its size along the states (nm3).
    """

    quantity: xr.DataArray
    slices: tuple[np.ndarray, np.ndarray, np.ndarray]
    surface: np.ndarray
    limits: tuple[float, float]
    along: Mapping[str, xr.DataArray] = field(default_factory=dict)
    sizes: Sequence[tuple[str, np.ndarray]] = ()


class CrystalModel(PanelModel):
    """Choose a state of a crystal, a quantity and a place in it."""

    choices = ("quantity", "state", "place", "level")
    nothing = "choose a quantity"

    quantity = traitlets.Unicode("", help="Variable that is looked at.")
    state = traitlets.Int(0, min=0, help="Number of the state, from 0.")
    place: Any = traitlets.List(
        traitlets.Int(), help="Voxel that the three slices pass through."
    )
    level = traitlets.Float(
        0.3, min=0.01, max=0.99, help="Surface, as a fraction of the largest amplitude."
    )

    def __init__(
        self,
        data: xr.DataArray | xr.Dataset,
        domains: xr.Dataset | None = None,
        *,
        name: str | None = None,
    ) -> None:
        require_dims(data, ["state"], caller="panel")
        self.axes = space_axes(data, caller="panel")
        super().__init__(data, accessor="cdi.panel", name=name)
        self.fields = _fields(data, self.axes)
        self.body = _body(self.fields)
        self.domains = domains
        self.n_states = data.sizes["state"]
        self._along: dict[str, xr.DataArray] | None = None
        self._sizes: list[tuple[str, np.ndarray]] = []
        middle = [data.sizes[d] // 2 for d in self.axes]
        self.suppose("quantity", next(iter(self.fields)))
        self.suppose("place", middle)
        self.refresh(delay=0.0)

    @traitlets.validate("quantity")
    def _check_quantity(self, proposal: Any) -> str:
        if proposal["value"] not in self.fields:
            raise traitlets.TraitError(f"The quantities are {list(self.fields)}.")
        return str(proposal["value"])

    @traitlets.validate("state")
    def _check_state(self, proposal: Any) -> int:
        if proposal["value"] >= self.n_states:
            raise traitlets.TraitError(f"There are {self.n_states} states, from 0 on.")
        return int(proposal["value"])

    @traitlets.validate("place")
    def _check_place(self, proposal: Any) -> list[int]:
        place, sizes = list(proposal["value"]), [self.data.sizes[d] for d in self.axes]
        if len(place) != 3 or any(
            not 0 <= i < n for i, n in zip(place, sizes, strict=True)
        ):
            raise traitlets.TraitError(f"{place} is no voxel within {tuple(sizes)}.")
        return place

    def plan(self) -> Plan:
        """Return how to read the state, and the planes that are shown."""
        quantity, body, axes = self.fields[self.quantity], self.body, self.axes
        state, place, level = self.state, tuple(self.place), self.level

        def slices() -> Inside:
            one = quantity.isel(state=state).transpose(*axes).compute()
            where = body.isel(state=state).transpose(*axes).compute()
            return _inside(one, np.nan_to_num(abs(where.values)), place, level)

        def whole() -> Inside:
            return replace(slices(), along=self._numbers(), sizes=self._sizes)

        return Plan(whole, None if self._along is not None else slices)

    @property
    def result(self) -> Any:
        """Return the quantity in the chosen state, in space."""
        _ = super().result  # raises what went wrong
        return self.fields[self.quantity].isel(state=self.state)

    def write_code(self, data: str) -> str:
        """Return the selection of the quantity and the state."""
        if isinstance(self.data, xr.Dataset):
            data = f"{data}[{literal(self.quantity)}]"
        return f"{data}.isel(state={self.state})"

    def labels(self) -> list[str]:
        """Return the names of all states."""
        coords = self.data.coords
        words: list[list[str]] = [[] for _ in range(self.n_states)]
        if "direction" in coords and coords["direction"].dims == ("state",):
            words = [[str(d)] for d in coords["direction"].values]
        if "voltage" in coords and coords["voltage"].dims == ("state",):
            for word, voltage in zip(words, coords["voltage"].values, strict=True):
                word.append(volts(voltage))
        return [" ".join(w) or str(k + 1) for k, w in enumerate(words)]

    def _numbers(self) -> dict[str, xr.DataArray]:
        """Return numbers along the states. Reads all of them, once."""
        if self._along is None:
            found: dict[str, xr.DataArray] = {}
            for name, one in self.fields.items():
                if one.dtype.kind == "c":
                    found |= order_of(one)
                else:
                    found[f"rms {name}"] = _rms(one, self.axes)
            self._sizes = [] if self.domains is None else _sizes(self.domains)
            self._along = found
        return self._along


def _fields(
    data: xr.DataArray | xr.Dataset, axes: tuple[str, ...]
) -> dict[str, xr.DataArray]:
    """Return the variables on states and space, by name; those with fewest last."""
    wanted = {"state", *axes}
    if isinstance(data, xr.DataArray):
        return {str(data.name or "field"): data}
    there = {str(k): v for k, v in data.data_vars.items() if set(v.dims) == wanted}
    there = {k: v for k, v in there.items() if v.dtype.kind in "cf"}
    if not there:
        raise VariableError(
            f"panel needs a variable on {sorted(wanted)}; the dataset has "
            f"{list(map(str, data.data_vars))}."
        )
    return there


def _body(fields: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Return the field that tells where the crystal is."""
    for name in _BODIES:
        if name in fields:
            return fields[name]
    first = next(iter(fields.values()))
    return first if first.dtype.kind == "c" else first.notnull().astype(np.float32)


def _inside(
    field: xr.DataArray, amplitude: np.ndarray, place: tuple[int, ...], level: float
) -> Inside:
    top = float(amplitude.max()) or 1.0
    values = field.values
    attrs = dict(field.attrs)
    if values.dtype.kind == "c":
        values = np.where(amplitude > _WEAK * top, np.angle(values), np.nan)
        attrs |= {"units": "rad", "long_name": "Phase"}
    there = amplitude > level * top
    first = there.argmax(axis=0)
    surface = np.take_along_axis(values, first[None], axis=0)[0]
    surface = np.where(there.any(axis=0), surface, np.nan)
    slices = (values[place[0]], values[:, place[1]], values[:, :, place[2]])
    seen = values[np.isfinite(values) & there]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    if low < 0:
        high = max(-low, high)
        low = -high
    told = field.copy(data=values)
    told.attrs = attrs
    return Inside(told, slices, surface, (low, high if high > low else low + 1.0))


def _rms(field: xr.DataArray, axes: tuple[str, ...]) -> xr.DataArray:
    """Return the rms of a field in each state."""
    power: xr.DataArray = (field.astype(np.float64) ** 2).mean(axes)
    root = (power**0.5).compute()
    label = str(field.attrs.get("long_name", field.name))
    root.attrs = {"units": field.attrs.get("units", "1"), "long_name": f"Rms {label}"}
    return root


def _sizes(domains: xr.Dataset) -> list[tuple[str, np.ndarray]]:
    """Return the name of each domain, and its size along the states (nm3)."""
    from batteryxr.cdi import track_domains

    size = domains["size"].transpose("state", "domain_number").values
    number = np.where(size > 0, domains["domain_number"].values, 0)
    if domains.sizes["state"] > 1:
        chain = track_domains(domains)["chain"]
        number = chain.transpose("state", "domain_number").values
    found = []
    for k in np.unique(number[number > 0]):
        mine = number == k
        total = np.where(mine, size, 0.0).sum(axis=1)
        found.append((f"domain {int(k)}", np.where(mine.any(axis=1), total, np.nan)))
    return found
