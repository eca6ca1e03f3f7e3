"""How much is read of one file, and from where: one home for what the user allows."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import ArgumentError, FileFormatError

if TYPE_CHECKING:
    from contextvars import Token
    from pathlib import Path

#: Bytes that are read whole, packed or not, where the user allows no other number.
WHOLE = 1_000_000_000
#: Bytes of one frame, and of one array that is read beside frames.
FRAME = 2_000_000_000
ARRAY = 256_000_000
#: What is packed a hundred times smaller is suspicious once it is so large.
SUSPICIOUS = 64_000_000
RATIO = 100


@dataclass(frozen=True)
class Limits:
    """What readers may open inside a ``with`` block.

    Parameters
    ----------
    max_bytes
        Bytes of a file that is read whole, of what a packed one unpacks to, of one
        frame, and of an array that is read at once. None: 1 GB, 1 GB, 2 GB, 256 MB,
        and nothing large that is packed more than a hundredfold.
    outside
        Whether HDF5 files may link to files outside their own folder.

    Examples
    --------
    >>> with batteryxr.io.Limits(max_bytes=8_000_000_000):
    ...     record = read_cycler("ten_years.csv")
    """

    max_bytes: int | None = None
    outside: bool = False
    _entered: list[Token[Any]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuse what is no number of bytes."""
        n = self.max_bytes
        if n is not None and (isinstance(n, bool) or not n >= 1):
            raise ArgumentError("max_bytes", n, "a number of bytes, or None")

    def __enter__(self) -> Limits:
        """Make these the limits until the block ends."""
        self._entered.append(_LIMITS.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        """Go back to the limits before."""
        _LIMITS.reset(self._entered.pop())


_USUAL = Limits()
_LIMITS: ContextVar[Limits] = ContextVar("limits", default=_USUAL)


def current() -> Limits:
    """Return the limits that hold here."""
    return _LIMITS.get()


def most(usual: int) -> int:
    """Return the number of bytes allowed where `usual` is without the user's word."""
    allowed = current().max_bytes
    return usual if allowed is None else int(allowed)


def refuse_larger(path: Path, size: float, usual: int, what: str = "the file") -> None:
    """Raise where `what` in a file has more bytes than allowed.

    Raises
    ------
    FileFormatError
        Saying how large it is, and how to allow that.
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
    """Raise where `packed` bytes unpack to a size that only a trap has.

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
