"""What a calculation warns of, taken from its own thread alone.

`warnings.catch_warnings` changes the whole process and must not be used beside the
kernel's thread (before Python 3.14). Here one function shows all warnings: those of a
panel's thread go to the panel, all others where they went before.
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
    """Collect what this thread warns of about the data, inside the block."""
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
    if always not in warnings.filters:  # last: whoever has rules of his own keeps them
        warnings.simplefilter("always", BatteryxrWarning, append=True)


def _show(message: Any, category: type[Warning], *where: Any, **line: Any) -> None:
    messages = getattr(_here, "messages", None)
    if messages is not None and issubclass(category, BatteryxrWarning):
        messages.append(str(message))
    else:
        _before(message, category, *where, **line)
