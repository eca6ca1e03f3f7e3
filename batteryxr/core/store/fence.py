"""A fence round what is written: after a failure nothing more gets through."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from batteryxr.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds for which a write that has begun is waited for.
_PATIENCE = 60.0


class Fence:
    """What threads pass to write; closed once the change has failed or is made.

    dask answers a failure at once, while other threads still compute. Another process
    gets an open fence of its own.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._open, self._inside = True, 0
        #: Whether another process got one, whom nothing here can stop.
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
        """Let nothing more through, and wait for what is on its way."""
        with self._turn:
            self._open = False
            self._turn.wait_for(lambda: not self._inside, _PATIENCE)


class FencedStore(WrapperStore):  # type: ignore[misc]
    """A store of zarr that is written to through a fence."""

    def __init__(self, store: Any, fence: Fence | None = None) -> None:
        super().__init__(store)
        self.fence = fence or Fence()

    def with_read_only(self, read_only: bool = False) -> Any:
        """Return the store for reading only, or for writing, behind the same fence."""
        return FencedStore(self._store.with_read_only(read_only), self.fence)

    async def set(self, key: str, value: Any) -> None:
        """Write an object."""
        with self.fence.passed():
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """Write an object that is not there yet."""
        with self.fence.passed():
            await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        """Delete an object."""
        with self.fence.passed():
            await super().delete(key)
