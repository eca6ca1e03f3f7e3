"""Numbers of beam and circles by which an object and a geometry are of one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.bragg.consistency.scan import number_of
from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

#: Coordinates of a volume that tell beam and detector, and their units.
OF_BEAM = {
    "energy": "eV",
    "distance": "mm",
    "pixel_size_y": "um",
    "pixel_size_x": "um",
}
#: Differences that are none: of angles (deg), and relative ones of other numbers.
_TURNED, _OTHER = 0.02, 1e-3
_MEND = (
    "Call geometry(...) of the volume that was phased. If its numbers were corrected "
    "later, correct those of the object alike: `.assign_coords(...)`."
)


def numbers_of_file(volume: xr.DataArray, units: Mapping[str, str]) -> dict[str, Any]:
    """Return scalar coordinates of a volume in these units, where it has them."""
    return {
        name: ((), number_of(volume, name, unit), dict(volume[name].attrs, units=unit))
        for name, unit in units.items()
        if name in volume.coords
    }


def require_same_file(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset, mend: str = _MEND
) -> None:
    """Raise where energy, detector or circles differ between data and geometry.

    Raises
    ------
    ArgumentError
        If they do; numbers that only one of them tells are not compared.
    """
    for name, theirs in geometry.coords.items():
        units = str(theirs.attrs.get("units", "1"))
        known = name in OF_BEAM or units == "deg"
        if not known or theirs.size != 1 or name not in data.coords:
            continue
        if data.coords[name].size != 1:
            continue
        mine, there = number_of(data, str(name), units), float(theirs.values.ravel()[0])
        near = _TURNED if units == "deg" else _OTHER * abs(there)
        if not np.abs(mine - there) <= near:
            raise ArgumentError(
                "geometry", f"{name} {there:.6g} {units}", f"{mine:.6g} {units}", mend
            )
