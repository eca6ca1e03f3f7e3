"""Limits of what is simulated: a mistyped size is refused before any work."""

from __future__ import annotations

from typing import Any

from batteryxr.core.errors import ArgumentError
from batteryxr.core.units import readable_bytes

#: Most numbers that are made at once, 16 GB of them.
_MOST = 2_000_000_000


def require_modest(argument: str, value: Any, numbers: int, most: int = _MOST) -> None:
    """Raise where an argument asks for more numbers than anybody simulates.

    Raises
    ------
    ArgumentError
        With the predicted size, if `numbers` is above `most`.
    """
    if numbers > most:
        raise ArgumentError(
            argument,
            value,
            f"at most {most:,} numbers at once",
            f"It asks for {numbers:,}, {readable_bytes(8 * numbers)}.",
        )
