"""Define the methods of analysing titration pulses, with their options."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from batteryxr.core.checks import Bounds, Whole, check_fields
from batteryxr.core.errors import DataError
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from collections.abc import Mapping


@replayable
@dataclass(frozen=True)
class FiniteLength:
    """Fit pulse and rest with the exact solution of diffusion in a particle.

    Parameters
    ----------
    degree
        Degree of the equilibrium curve within one pulse, 1 to 6.
    memory
        Number of earlier pulses whose relaxation is included.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """

    degree: Annotated[int, Bounds(low=1, high=6)] = 3
    memory: Whole = 12

    def __post_init__(self) -> None:
        check_fields(self)

    def to_attrs(self) -> dict[str, Any]:
        """Return the method and its options as attributes of a result."""
        return {"method": "finite-length"} | asdict(self)

    @classmethod
    def from_attrs(cls, attrs: Mapping[Any, Any]) -> FiniteLength:
        """Return the options stored with a result of `gitt`.

        Raises
        ------
        DataError
            If the result is of another method, or not of `gitt`.
        """
        if attrs.get("method") != "finite-length" or "memory" not in attrs:
            raise DataError(
                "result",
                f"is not of gitt(method=FiniteLength()); its method is "
                f"{attrs.get('method')!r}",
                "Only that method fits a curve.",
            )
        return cls(int(attrs["degree"]), int(attrs["memory"]))


@replayable
@dataclass(frozen=True)
class WeppnerHuggins:
    """Compute time constants from the ratio of the steady to the transient slope.

    Parameters
    ----------
    steady
        Source of the steady slope. ``"rest"``: the last voltages of the rests before
        and after. ``"gradient"``: central differences of the first voltages of
        successive pulses over pulse time.

    Raises
    ------
    ArgumentError
        If `steady` is neither.
    """

    steady: Literal["rest", "gradient"] = "rest"

    def __post_init__(self) -> None:
        check_fields(self)

    def to_attrs(self) -> dict[str, Any]:
        """Return the method and its options as attributes of a result."""
        return {"method": "weppner-huggins"} | asdict(self)
