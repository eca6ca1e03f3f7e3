"""What functions on complex objects share: their axes, and walking through many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    from collections.abc import Callable

#: Axes of the measurement, those of real space that belong to them, and of the
#: laboratory.
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
LABORATORY = ("z", "y", "x")


def axes_of(obj: xr.DataArray) -> tuple[str, ...]:
    """Return the three axes of an object: the laboratory's if it has them."""
    return LABORATORY if set(LABORATORY) <= set(obj.dims) else OBJECT


def each(kernel: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Return a kernel of one object that walks through leading axes."""

    def walked(*arrays: np.ndarray, **kwargs: Any) -> Any:
        def one(*parts: np.ndarray) -> Any:
            return kernel(*parts, **kwargs)

        return np.vectorize(one, signature=signature)(*arrays)

    return walked


def object_of(obj: xr.DataArray | xr.Dataset, caller: str) -> xr.DataArray:
    """Return the object of a result, or the object that was given."""
    if isinstance(obj, xr.Dataset):
        require_variables(obj, ["object"], caller=caller)
        return obj["object"]
    return obj


def plain(array: xr.DataArray, axes: tuple[str, ...]) -> xr.DataArray:
    """Leave only the labels along which arrays are matched."""
    lead = [d for d in array.dims if d not in axes]
    keep = {d for d in lead if d in array.coords}
    return array.drop_vars(set(array.coords) - keep)
