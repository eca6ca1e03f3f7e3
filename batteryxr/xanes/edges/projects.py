"""How an Athena project normalised its spectra."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from batteryxr.core.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import xarray as xr

    Limits = tuple[float | None, float | None]


_MEND = "Normalise it in Athena again, or pass the ranges yourself."
#: Coefficients of the post-edge curve that Athena offers.
_ORDERS = (0, 1, 2, 3)


class Normalised(NamedTuple):
    """Parameters by the names of `normalise`; None where nothing is told."""

    e0: float | None
    pre: Limits
    post: Limits
    degree: int | None

    def fill(
        self,
        e0: float | xr.DataArray | None,
        pre: Limits,
        post: Limits,
        degree: int | None,
    ) -> tuple[float | xr.DataArray | None, Limits, Limits, int | None]:
        """Return what was given, and these for what was not."""
        nothing = (None, None)
        return (
            self.e0 if e0 is None else e0,
            self.pre if tuple(pre) == nothing else pre,
            self.post if tuple(post) == nothing else post,
            self.degree if degree is None else degree,
        )


def parameters(like: xr.Dataset | xr.DataTree) -> Normalised:
    """Return the parameters that a spectrum of a project brings along.

    Raises
    ------
    ArgumentError
        If it brings none.
    DataError
        If its step was set by hand, which no range stands for, or its parameters
        cannot be read.
    """
    stored = getattr(like, "attrs", {}).get("athena", "")
    if not stored:
        raise ArgumentError(
            "like",
            type(like).__name__,
            "a spectrum of a project, as read_athena gives it, with the parameters of "
            "its normalisation",
        )
    label = like.attrs.get("label", "this spectrum")
    told = _told(stored, label)
    if told.get("bkg_fixstep", "0") not in ("0", "", "no"):
        raise DataError(
            "like",
            f"the step of {label!r} was set by hand to {told.get('bkg_step')}",
            "Divide by it yourself, or free it in Athena.",
        )

    def number(name: str) -> float | None:
        try:
            value = float(told[name]) if name in told else None
        except (TypeError, ValueError):
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise DataError("like", f"{label!r} has {name} = {told[name]!r}", _MEND)
        return value

    order = number("bkg_nnorm")  # Athena counts coefficients: 3 is a parabola
    if order is not None and order not in _ORDERS:
        raise DataError("like", f"{label!r} has bkg_nnorm = {order:g}", _MEND)
    return Normalised(
        number("bkg_e0"),
        (number("bkg_pre1"), number("bkg_pre2")),
        (number("bkg_nor1"), number("bkg_nor2")),
        None if order is None else max(int(order) - 1, 0),
    )


def _told(stored: str, label: str) -> dict[str, Any]:
    """Return the parameters that an attribute holds."""
    try:
        told = json.loads(stored)
    except (TypeError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise DataError("like", f"the parameters of {label!r} cannot be read", _MEND)
    return told
