"""Describe file formats: their marks, and the reader that is imported when needed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re
    from collections.abc import Callable


@dataclass(frozen=True)
class Format:
    """Describe a file format: its marks and its reader.

    Parameters
    ----------
    module
        Module of `batteryxr.io`, imported on first use of `read`.
    suffixes
        Endings of file names, in lower case.
    signature
        Pattern that the first bytes match, if the content identifies the format.
    function
        Name of the module's function that reads the format.
    """

    module: str
    suffixes: tuple[str, ...] = ()
    signature: re.Pattern[bytes] | None = None
    function: str = "read"

    @property
    def read(self) -> Callable[..., Any]:
        """Return the function that reads a file; its arguments depend on the format."""
        module = importlib.import_module(f"batteryxr.io.{self.module}")
        read: Callable[..., Any] = getattr(module, self.function)
        return read

    def matches(self, start: bytes) -> bool:
        """Tell whether the first bytes of a file match the format."""
        return self.signature is not None and bool(self.signature.match(start))
