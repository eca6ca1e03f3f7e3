"""Model of a view into a stack or a volume, without a screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError, VariableError
from batteryxr.widgets.models.base import PanelModel, Plan
from batteryxr.widgets.models.naming import keywords, literal

#: Parts of a complex array that can be shown.
PARTS = ("real", "modulus", "phase")


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Profiles:
    """Hold exact profiles along the axis of a stack: of a pixel, and of a region."""

    pixel: xr.DataArray
    region: xr.DataArray | None
    spread: xr.DataArray | None


class StackModel(PanelModel):
    """Choose a picture of a stack, and the profile of a pixel or a region."""

    choices = ("axis", "pixel", "region", "part")
    shown = ("index", "window")

    axis = traitlets.Unicode(help="The dimension that pictures are stacked along.")
    index = traitlets.Int(0, min=0, help="Number of the picture.")
    pixel: Any = traitlets.List(traitlets.Int(), help="Row and column.")
    region: Any = traitlets.List(
        traitlets.Int(), help="First and last row, first and last column; or empty."
    )
    window: Any = traitlets.List(
        traitlets.Int(), help="Part of the picture that is seen, as `region`; or all."
    )
    part = traitlets.Enum(PARTS, "real", help="What of a complex number is looked at.")

    def __init__(
        self, data: xr.DataArray | xr.Dataset, *, name: str | None, accessor: str
    ) -> None:
        array = one_array(data)
        if array.ndim not in (2, 3):
            raise DimensionError(
                f"view needs a picture, a stack or a volume; found {array.dims}. "
                f"Choose one: `.isel({array.dims[0]}=0)`."
            )
        if 0 in array.shape:
            raise DimensionError(f"view needs data; found {dict(array.sizes)}.")
        super().__init__(data, accessor=accessor, name=name)
        self.array = array
        self.flat = array.ndim == 2
        stacked = array.expand_dims("picture") if self.flat else array
        #: (pictures, rows, columns) as stored.
        self.stack: xr.DataArray = stacked
        usual: dict[str, Any] = {
            "axis": str(stacked.dims[0]),
            "pixel": [n // 2 for n in stacked.shape[1:]],
            "part": "modulus" if array.dtype.kind == "c" else "real",
            "index": stacked.shape[0] // 2 if stacked.shape[0] > 1 else 0,
        }
        for key, value in usual.items():
            self.suppose(key, value)
        self.refresh(delay=0.0)

    @traitlets.validate("axis")
    def _check_axis(self, proposal: Any) -> str:
        dims = [str(d) for d in self.stack.dims]
        if proposal["value"] not in dims:
            raise traitlets.TraitError(f"The dimensions are {dims}.")
        return str(proposal["value"])

    @traitlets.validate("window")
    def _check_window(self, proposal: Any) -> list[int]:
        if proposal["value"]:
            self._slices("window", proposal["value"])
        return list(proposal["value"])

    @traitlets.validate("part")
    def _check_part(self, proposal: Any) -> str:
        if (proposal["value"] == "real") == (self.array.dtype.kind == "c"):
            raise traitlets.TraitError(
                "Complex arrays are looked at by modulus or phase, others by 'real'."
            )
        return str(proposal["value"])

    @traitlets.observe("axis")
    def _stay_inside(self, _: Any) -> None:
        """Keep the pixel inside the picture, and drop a region that is not inside."""
        if not hasattr(self, "stack"):
            return
        self.window = []
        sizes = [self.stack.sizes[d] for d in self.sides]
        self.pixel = [min(i, n - 1) for i, n in zip(self.pixel, sizes, strict=False)]
        rows, columns = self.region[:2], self.region[2:]
        if any(i >= sizes[0] for i in rows) or any(i >= sizes[1] for i in columns):
            self.region = []
        self.index = min(self.index, self.stack.sizes[self.axis] - 1)

    @property
    def sides(self) -> tuple[str, str]:
        """Return the dimensions of a picture: rows, columns."""
        first, second = (str(d) for d in self.stack.dims if d != self.axis)
        return first, second

    def look(self, axis: str, row: int, column: int) -> np.ndarray:
        """Return the exact profile of one pixel. Reads only its chunks."""
        sides = [str(d) for d in self.stack.dims if d != axis]
        at = dict(zip(sides, (row, column), strict=True))
        return np.asarray(self._seen(self._along(at)).values, dtype=np.float64)

    def plan(self) -> Plan | None:
        """Return how to read the profiles of the pixel and of the region."""
        pixel, region = self._pixel(), self._region()
        along, seen, plain = self._along, self._seen, self._plain
        over, part = self._over(), self.part

        def exact() -> Profiles:
            one = seen(along(pixel)).compute()
            if region is None:
                return Profiles(one, None, None)
            inside = along(region)
            mean = seen(inside, over).compute()
            spread = plain(inside).std(over).compute() if part != "phase" else None
            return Profiles(one, mean, spread)

        return Plan(exact)

    @property
    def result(self) -> Any:
        """Return the exact profile of the region, or else of the pixel."""
        found = super().result
        return found.pixel if found.region is None else found.region

    def write_code(self, data: str) -> str:
        """Return the selection that gives the profile."""
        if isinstance(self.data, xr.Dataset):
            data = f"{data}[{literal(self.array.name)}]"
        region = self._region()
        at: dict[str, Any] = self._pixel() if region is None else region
        if self.flat and region is None:
            at = {self.sides[0]: self.pixel[0]}
        words = keywords({k: _index(v) for k, v in at.items()})
        selected = f"{data}.isel({words})"
        over = "" if region is None else f".mean({literal(self._over())})"
        if self.part == "modulus":
            return f"abs({selected}){over}"
        if self.part == "phase":
            return f"xr.apply_ufunc(np.angle, {selected}{over})"
        return f"{selected}{over}"

    def _over(self) -> list[str]:
        return [self.sides[0]] if self.flat else list(self.sides)

    def _pixel(self) -> dict[str, Any]:
        return self._checked("pixel", self.pixel, 2)

    def _region(self) -> dict[str, Any] | None:
        return self._slices("region", self.region) if self.region else None

    def _slices(self, name: str, place: list[int]) -> dict[str, Any]:
        self._checked(name, place, 4)
        rows, columns = place[:2], place[2:]
        if rows[0] > rows[1] or columns[0] > columns[1]:
            raise ArgumentError(name, place, "first before last")
        return {
            side: slice(a, b + 1)
            for side, (a, b) in zip(self.sides, (rows, columns), strict=True)
        }

    def _checked(self, name: str, place: list[int], length: int) -> dict[str, Any]:
        sizes = [self.stack.sizes[d] for d in self.sides]
        limits = sizes if length == 2 else [n for n in sizes for _ in range(2)]
        inside = len(place) == length and all(
            0 <= i < n for i, n in zip(place, limits, strict=True)
        )
        if not inside:
            words = "[row, column]" if length == 2 else "[row, row, column, column]"
            raise ArgumentError(name, place, f"{words} within {tuple(sizes)}")
        return dict(zip(self.sides, place, strict=False))

    def _along(self, at: dict[str, Any]) -> xr.DataArray:
        if not self.flat:
            return self.array.isel(at)
        row = self.sides[0]
        wanted = at if isinstance(at[row], slice) else {row: at[row]}
        return self.array.isel(wanted)

    def _plain(self, array: xr.DataArray) -> xr.DataArray:
        return abs(array) if self.part == "modulus" else array

    def _seen(self, array: xr.DataArray, over: Any = ()) -> xr.DataArray:
        if self.part == "phase":
            mean = array.mean(over) if over else array
            return xr.apply_ufunc(np.angle, mean, dask="allowed")
        plain = self._plain(array)
        return plain.mean(over) if over else plain


def one_array(data: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the array, or the only variable of a dataset that is a stack."""
    if isinstance(data, xr.DataArray):
        return data
    stacks = [str(k) for k, v in data.data_vars.items() if v.ndim >= 3]
    stacks = stacks or [str(k) for k, v in data.data_vars.items() if v.ndim == 2]
    if len(stacks) != 1:
        raise VariableError(
            f"view needs one stack; the dataset has {stacks or 'none'}. "
            "Choose a variable: `ds['optical_density'].xanes.view()`."
        )
    return data[stacks[0]]


def _index(place: Any) -> str:
    if isinstance(place, slice):
        return f"slice({place.start}, {place.stop})"
    return str(place)
