"""The clock of a store: how long an object has not changed.

Clocks of machines differ, so no machine's own clock is compared with what another one
wrote: the store says when an object was written, and when one that is written now.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batteryxr.core.store.location import sync

if TYPE_CHECKING:
    from batteryxr.core.store.location import Location

#: What file systems of fsspec call the time of the last change.
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")
#: Content of objects whose store tells no times, and when this process first saw it.
_seen: dict[str, tuple[bytes | None, float]] = {}


def silence(location: Location, key: str) -> float:
    """Return for how many seconds an object has not changed.

    Where a store tells no times, or nothing can be written, for as long as this process
    has seen no change.
    """
    probe = f"{key}-clock-{uuid.uuid4().hex}"
    with suppress(OSError):
        location.put(probe, b"now")
        try:
            now, then = _changed(location, probe), _changed(location, key)
        finally:
            location.delete(probe)
        if now is not None and then is not None:
            return now - then
    name, content = f"{location.identity} {key}", location.get(key)
    known, since = _seen.get(name, (None, 0.0))
    if content is None or known != content:
        _seen[name] = content, (since := time.monotonic())
    return time.monotonic() - since


def _changed(location: Location, key: str) -> float | None:
    """Return when an object was written, by the store's clock; None if it is untold."""
    if location.folder is not None:
        return location.path(key).stat().st_mtime
    from zarr.storage import WrapperStore

    store = location.store
    while isinstance(store, WrapperStore):
        store = store._store
    if filesystem := getattr(store, "fs", None):
        path = f"{store.path}/{key}"
        filesystem.invalidate_cache(path)
        about = sync(filesystem._info(path))
        return _seconds(next((about[n] for n in _TIMES if about.get(n)), None))
    if type(store).__name__ == "ObjectStore":  # of obstore
        return _seconds(store.store.head(key)["last_modified"])
    return None


def _seconds(moment: Any) -> float | None:
    """Return a time of any kind in seconds."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if isinstance(moment, datetime):
        return moment.timestamp()
    return float(moment) if isinstance(moment, int | float) else None
