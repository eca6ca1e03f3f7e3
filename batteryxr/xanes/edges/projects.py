"""How an Athena project normalised its spectra."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from batteryxr.core.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import xarray as xr

    Limits = tuple[float | None, float | None]


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
        If its step was set by hand, which no range stands for.
    """
    stored = getattr(like, "attrs", {}).get("athena", "")
    if not stored:
        raise ArgumentError(
            "like",
            type(like).__name__,
            "a spectrum of a project, as read_athena gives it, with the parameters of "
            "its normalisation",
        )
    told = json.loads(stored)
    if told.get("bkg_fixstep", "0") not in ("0", "", "no"):
        raise DataError(
            "like",
            f"the step of {like.attrs.get('label', 'this spectrum')!r} was set by hand "
            f"to {told.get('bkg_step')}",
            "Divide by it yourself, or free it in Athena.",
        )

    def number(name: str) -> float | None:
        return float(told[name]) if name in told else None

    order = number("bkg_nnorm")  # Athena counts coefficients: 3 is a parabola
    return Normalised(
        number("bkg_e0"),
        (number("bkg_pre1"), number("bkg_pre2")),
        (number("bkg_nor1"), number("bkg_nor2")),
        None if order is None else max(int(order) - 1, 0),
    )
