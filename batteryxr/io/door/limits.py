"""Limits on how much is read of one file, and from where; the user may change them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batteryxr.core.checks import Count, check_fields
from batteryxr.core.errors import FileFormatError

if TYPE_CHECKING:
    from contextvars import Token
    from pathlib import Path

#: Most bytes of a file that is read whole, packed or not, unless the user allows more.
WHOLE = 1_000_000_000
#: Most bytes of one frame, and of one array that is read beside frames.
FRAME = 2_000_000_000
ARRAY = 256_000_000
#: Data of this size that were packed a hundredfold are suspicious.
SUSPICIOUS = 64_000_000
RATIO = 100


@dataclass(frozen=True)
class Limits:
    """Set what readers may open inside a ``with`` block.

    Parameters
    ----------
    max_bytes
        Limit in bytes for a file that is read whole, for what a packed file unpacks
        to, for one frame, and for an array read at once. None: in this order 1 GB,
        1 GB, 2 GB, 256 MB, and nothing large that is packed more than a hundredfold.
    outside
        Whether HDF5 files may link to files outside their own folder.

    Examples
    --------
    >>> with batteryxr.io.Limits(max_bytes=8_000_000_000):
    ...     record = read_cycler("ten_years.csv")
    """

    max_bytes: Count | None = None
    outside: bool = False
    _entered: list[Token[Any]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Raise if the limit is not a number of bytes."""
        check_fields(self)

    def __enter__(self) -> Limits:
        """Set these limits until the block ends."""
        self._entered.append(_LIMITS.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the limits from before the block."""
        _LIMITS.reset(self._entered.pop())


_USUAL = Limits()
_LIMITS: ContextVar[Limits] = ContextVar("limits", default=_USUAL)


def current() -> Limits:
    """Return the limits in force."""
    return _LIMITS.get()


def most(usual: int) -> int:
    """Return the number of bytes the user allows, or `usual` if nothing was set."""
    allowed = current().max_bytes
    return usual if allowed is None else int(allowed)


def refuse_larger(path: Path, size: float, usual: int, what: str = "the file") -> None:
    """Raise if `what` in a file has more bytes than allowed.

    Raises
    ------
    FileFormatError
        If it is too large; the message gives its size and how to allow it.
    """
    limit = most(usual)
    if size > limit:
        raise FileFormatError(
            path,
            f"{what} has {size:,.0f} bytes, more than the {limit:,} that are read at "
            "once. If it is meant to be so large, read it inside "
            f"`with batteryxr.io.Limits(max_bytes={size:.0f}):`.",
        )


def refuse_bomb(path: Path, packed: int, size: float, what: str = "the file") -> None:
    """Raise if `packed` bytes unpack to more than any measurement would.

    Raises
    ------
    FileFormatError
        If it is larger than allowed, or large and packed a hundredfold.
    """
    refuse_larger(path, size, WHOLE, f"{what}, unpacked,")
    allowed = current().max_bytes is not None
    if not allowed and size > SUSPICIOUS and size > RATIO * max(packed, 1):
        raise FileFormatError(
            path,
            f"{what} unpacks from {packed:,} to {size:,.0f} bytes or more, as no "
            "measurement does. If it is sound, read it inside "
            f"`with batteryxr.io.Limits(max_bytes={WHOLE}):`.",
        )
