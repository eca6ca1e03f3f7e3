"""One writer per store: a lock that names its holder, and is freed by its death."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.core.errors import StoreError
from batteryxr.core.store.location import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.core.store.location import Location

#: Key of the lock.
LOCK = f"{JOURNAL}/lock"
#: Seconds between two signs of life, and without any before a lock counts as left.
BEAT, LEFT = 60.0, 600.0
#: Seconds in which a holder writes its name once it has the lock.
_GRACE = 2.0
#: Locks held by this process, by store: the thread, and the token.
_held: dict[str, tuple[int, str]] = {}
_guard = threading.Lock()


@dataclass(frozen=True)
class Holder:
    """Who writes to a store.

    Parameters
    ----------
    token
        Tells this holding from any other.
    host, pid, born
        The machine, the process, and when the process was started.
    since, seen
        Unix times: when writing began, and the last sign of life.
    """

    token: str
    host: str
    pid: int
    born: str
    since: float
    seen: float

    @classmethod
    def here(cls) -> Holder:
        """Return this process as a new holder."""
        now, pid = time.time(), os.getpid()
        return cls(uuid.uuid4().hex, socket.gethostname(), pid, _born(pid), now, now)

    @classmethod
    def parsed(cls, content: bytes | None) -> Holder | None:
        """Return the holder whom a lock names, if it names one."""
        try:
            return cls(**json.loads(content or b""))
        except (TypeError, ValueError):
            return None

    def content(self) -> bytes:
        """Return what the lock says, with a fresh sign of life."""
        return json.dumps(asdict(self) | {"seen": time.time()}).encode()

    def lives(self) -> bool:
        """Tell whether the holder can still be at work."""
        if self.host != socket.gethostname():
            return time.time() - self.seen < LEFT
        return _born(self.pid) == self.born and _is_running(self.pid)

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


@contextmanager
def locked(location: Location) -> Iterator[str]:
    """Hold a store for writing; yield the token of the holding.

    A thread that holds the store already goes on with the token that it has.

    Raises
    ------
    StoreError
        If somebody else is writing; it names them. If the store can only be read.
    """
    if location.transacts:
        yield uuid.uuid4().hex
        return
    location.require_writable()
    name, thread = location.identity, threading.get_ident()
    with _guard:
        holding = _held.get(name)
    if holding is not None and holding[0] == thread:
        yield holding[1]
        return
    mine = Holder.here()
    file = _take(location, mine)
    with _guard:
        _held[name] = thread, mine.token
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(location, mine, over), daemon=True)
    beating.start()
    try:
        yield mine.token
    finally:
        over.set()
        with _guard:
            _held.pop(name, None)
        _release(location, mine, file)


def is_held(location: Location) -> bool:
    """Tell whether somebody alive writes to a store."""
    holder = Holder.parsed(location.get(LOCK))
    return holder is not None and holder.lives()


def require_held(location: Location, token: str) -> None:
    """Raise if somebody else took the store meanwhile."""
    if location.transacts:
        return
    holder = Holder.parsed(location.get(LOCK))
    if holder is None or holder.token != token:
        who = f" by {holder}" if holder else ""
        raise StoreError(
            f"{location} was taken{who} meanwhile. What was written here does not "
            "count; call again once they have finished."
        )


def _take(location: Location, mine: Holder) -> int | None:
    """Take the lock, or raise; return the open file where the system holds it."""
    if location.folder is not None:
        with suppress(ImportError, NotImplementedError):
            return _take_file(location, mine)
    for _ in range(3):
        if location.put_new(LOCK, mine.content()):
            return None
        holder = _named(location)
        if holder is not None and holder.lives():
            raise _taken(location, holder)
        location.delete(LOCK)  # left by somebody who is gone
    raise _taken(location, _named(location))


def _take_file(location: Location, mine: Holder) -> int:
    import fcntl

    path = location.path(LOCK)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise _taken(location, _named(location)) from None
        except OSError as error:  # a file system without such locks
            os.close(file)
            raise NotImplementedError from error
        if not _is_same(file, path):
            os.close(file)  # deleted by its last holder meanwhile
            continue
        holder = Holder.parsed(os.pread(file, 10_000, 0))
        if holder and holder.host != mine.host and holder.lives():
            os.close(file)
            raise _taken(location, holder)
        content = mine.content()
        os.pwrite(file, content, 0)
        os.ftruncate(file, len(content))
        return file


def _release(location: Location, mine: Holder, file: int | None) -> None:
    holder = Holder.parsed(location.get(LOCK))
    if holder is not None and holder.token == mine.token:
        with suppress(OSError):
            location.delete(LOCK)
    if file is not None:
        os.close(file)


def _beat(location: Location, mine: Holder, over: threading.Event) -> None:
    while not over.wait(BEAT):
        holder = Holder.parsed(location.get(LOCK))
        if holder is None or holder.token != mine.token:
            return
        if location.folder is None:
            location.put(LOCK, mine.content())
        else:
            with suppress(OSError), open(location.folder / LOCK, "r+b") as file:
                file.write(mine.content())
                file.truncate()


def _named(location: Location) -> Holder | None:
    """Return the holder, who may not have written its name yet."""
    end = time.monotonic() + _GRACE
    while time.monotonic() < end:
        if (holder := Holder.parsed(location.get(LOCK))) is not None:
            return holder
        time.sleep(0.01)
    return None


def _taken(location: Location, holder: Holder | None) -> StoreError:
    return StoreError(
        f"{location} is being written to by {holder or 'somebody else'}. Wait until "
        "they have finished, or choose another store."
    )


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _born(pid: int) -> str:
    """Return when a process was started, as Linux tells it; "" elsewhere."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
