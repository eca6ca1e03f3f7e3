"""A fence around writes: after a failure no further write gets through."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from batteryxr.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Longest wait, in seconds, for a write that has begun.
_PATIENCE = 60.0


class Fence:
    """Let threads pass to write until the change has failed or is made.

    dask reports a failure at once, while other threads still compute. Another process
    gets its own open fence.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._open, self._inside = True, 0
        #: Whether another process got a fence, which cannot be closed from here.
        self.travelled = False

    def __reduce__(self) -> tuple[type[Fence], tuple[()]]:
        self.travelled = True
        return Fence, ()

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Let one write through, or raise."""
        with self._turn:
            if not self._open:
                raise StoreError("the change was given up: nothing more is written.")
            self._inside += 1
        try:
            yield
        finally:
            with self._turn:
                self._inside -= 1
                self._turn.notify_all()

    def close(self) -> None:
        """Let no further write through, and wait for writes that have begun."""
        with self._turn:
            self._open = False
            self._turn.wait_for(lambda: not self._inside, _PATIENCE)


class FencedStore(WrapperStore):  # type: ignore[misc]
    """Hold a zarr store whose writes pass a fence."""

    def __init__(self, store: Any, fence: Fence | None = None) -> None:
        super().__init__(store)
        self.fence = fence or Fence()

    def with_read_only(self, read_only: bool = False) -> Any:
        """Return the store, read-only or writable, behind the same fence."""
        return FencedStore(self._store.with_read_only(read_only), self.fence)

    async def set(self, key: str, value: Any) -> None:
        """Write an object."""
        with self.fence.passed():
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """Write an object unless it exists."""
        with self.fence.passed():
            await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        """Delete an object."""
        with self.fence.passed():
            await super().delete(key)
