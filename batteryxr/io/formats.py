"""File formats: who reads each, loaded when a file of that kind comes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re
    from collections.abc import Callable


@dataclass(frozen=True)
class Format:
    """A file format: who reads it, and its marks.

    Parameters
    ----------
    module
        Module of `batteryxr.io`; it is imported when `read` is asked for.
    suffixes
        Endings of file names, lower case, longest meaning first.
    signature
        Pattern that the first bytes match, where content tells.
    function
        The module's function that reads it.
    """

    module: str
    suffixes: tuple[str, ...] = ()
    signature: re.Pattern[bytes] | None = None
    function: str = "read"

    @property
    def read(self) -> Callable[..., Any]:
        """The function that reads a file; each kind of file has its own arguments."""
        module = importlib.import_module(f"batteryxr.io.{self.module}")
        read: Callable[..., Any] = getattr(module, self.function)
        return read

    def matches(self, start: bytes) -> bool:
        """Tell whether the first bytes of a file are those of the format."""
        return self.signature is not None and bool(self.signature.match(start))
