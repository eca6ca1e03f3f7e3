"""Collect the warnings of a calculation, from its own thread only.

`warnings.catch_warnings` changes the whole process and must not be used beside the
kernel's thread (before Python 3.14). Here one function shows all warnings: those of a
panel's thread go to the panel, all others to their previous destination.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import BatteryxrWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

_here = threading.local()
_before: Any = None


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect the warnings of this thread about the data, inside the block."""
    _listen()
    _here.messages = []
    try:
        yield _here.messages
    finally:
        _here.messages = None


def _listen() -> None:
    global _before
    if warnings.showwarning is not _show:
        _before = warnings.showwarning
        warnings.showwarning = _show
    always = ("always", None, BatteryxrWarning, None, 0)
    if always not in warnings.filters:  # last: filters of the user come first
        warnings.simplefilter("always", BatteryxrWarning, append=True)


def _show(message: Any, category: type[Warning], *where: Any, **line: Any) -> None:
    messages = getattr(_here, "messages", None)
    if messages is not None and issubclass(category, BatteryxrWarning):
        messages.append(str(message))
    else:
        _before(message, category, *where, **line)
