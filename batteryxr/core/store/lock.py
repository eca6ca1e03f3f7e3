"""One writer per store: a lock that names its holder and ends with the process.

Clocks of machines differ, so no machine's own clock is compared with what another one
wrote: the store says when a lock was written, and when an object that is written now.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from batteryxr.core.errors import StoreError
from batteryxr.core.store.files import open_inside
from batteryxr.core.store.location import JOURNAL, sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.core.store.location import Location

#: Key of the lock.
LOCK = f"{JOURNAL}/lock"
#: Seconds between two signs of life, and without any before a lock counts as abandoned.
BEAT, LEFT = 60.0, 600.0
#: Seconds in which a holder writes its name once it has the lock.
_GRACE = 2.0
#: Seconds between two attempts to take a lock.
_TURN = 0.05
#: Locks held by this process, by store: the thread, and the token.
_held: dict[str, tuple[int, str]] = {}
#: Tokens of locks that this process holds or requests.
_ours: set[str] = set()
_guard = threading.Lock()
#: What file systems of fsspec call the time of the last change.
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")
#: Content of objects whose store tells no times, and when this process first saw it.
_seen: dict[str, tuple[bytes | None, float]] = {}


@dataclass(frozen=True)
class Holder:
    """Hold the process that writes to a store.

    Parameters
    ----------
    token
        Unique token of this holding.
    host, pid, born
        Machine, process, and start time of the process.
    since, seen
        Unix times by that machine's clock: begin of writing, and last sign of life.
    machine
        Mark of the machine: names of hosts are given more than once.
    """

    token: str
    host: str
    pid: int
    born: str
    since: float
    seen: float
    machine: str = ""

    @classmethod
    def here(cls) -> Holder:
        """Return this process as a new holder."""
        now, pid = time.time(), os.getpid()
        host, token = socket.gethostname(), uuid.uuid4().hex
        return cls(token, host, pid, _born(pid), now, now, _machine())

    @classmethod
    def parsed(cls, content: bytes | None) -> Holder | None:
        """Return the holder named in a lock, if any."""
        try:
            said = json.loads(content or b"")
            return cls(**{f.name: said[f.name] for f in fields(cls) if f.name in said})
        except (TypeError, ValueError, RecursionError):
            return None

    def content(self) -> bytes:
        """Return the content of the lock, with a fresh sign of life."""
        return json.dumps(asdict(self) | {"seen": time.time()}).encode()

    @property
    def is_here(self) -> bool:
        """Tell whether the process runs, or ran, on this machine."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


class _Lock(NamedTuple):
    location: Location
    key: str


@contextmanager
def locked(
    location: Location, ledger: str | None = None, *, patience: float = 0.0
) -> Iterator[str]:
    """Hold a store for writing; yield the token of the lock.

    A thread that already holds the store keeps its token.

    Parameters
    ----------
    location
        The store.
    ledger
        Hold only this group of pieces, even while another process holds the store.
    patience
        Longest wait, in seconds, until the store is free.

    Raises
    ------
    StoreError
        If another process is writing, which is named; or if the store is read-only.
    """
    if location.transacts:
        yield uuid.uuid4().hex
        return
    location.require_writable()
    lock = _Lock(location, LOCK if ledger is None else _key_of(ledger))
    name, thread = f"{location.identity} {lock.key}", threading.get_ident()
    with _guard:
        holding = _held.get(name)
    if holding is not None and holding[0] == thread:
        yield holding[1]
        return
    mine = Holder.here()
    _ours.add(mine.token)
    fresh = _missing_folders(location)
    try:
        file = _take_in_turn(lock, mine, patience)
        with _guard:
            _held[name] = thread, mine.token
        over = threading.Event()
        beating = threading.Thread(target=_beat, args=(lock, mine, over), daemon=True)
        beating.start()
        try:
            yield mine.token
        finally:
            over.set()
            with _guard:
                _held.pop(name, None)
            _release(lock, mine, file)
    finally:
        _ours.discard(mine.token)
        with suppress(OSError):  # something is in it
            for path in fresh:
                path.rmdir()


def is_held(location: Location) -> bool:
    """Return whether a living process writes to a store."""
    holder = Holder.parsed(location.get(LOCK))
    return holder is not None and _lives(_Lock(location, LOCK), holder)


def require_held(location: Location, token: str) -> None:
    """Raise if another process took the store meanwhile."""
    if location.transacts:
        return
    holder = Holder.parsed(location.get(LOCK))
    if holder is None or holder.token != token:
        who = f" by {holder}" if holder else ""
        raise StoreError(
            f"{location} was taken{who} meanwhile. What was written here does not "
            "count; call again once they have finished."
        )


def _missing_folders(location: Location) -> list[Path]:
    """Return the folders that must be made for a lock, inner ones first."""
    if location.folder is None:
        return []
    journal = location.folder / JOURNAL
    return [p for p in (journal, *journal.parents) if not p.exists()]


def _lives(lock: _Lock, holder: Holder) -> bool:
    """Return whether a holder may still be at work."""
    if not holder.is_here:
        return silence(lock.location, lock.key) < LEFT
    if holder.pid == os.getpid():  # a server may not have let it go
        return holder.token in _ours
    return _born(holder.pid) == holder.born and _is_running(holder.pid)


def _key_of(ledger: str) -> str:
    return f"{LOCK}-{hashlib.sha256(ledger.encode()).hexdigest()[:32]}"


def _take_in_turn(lock: _Lock, mine: Holder, patience: float) -> int | None:
    """Take a lock as soon as it is free, or raise the error of the last attempt."""
    end = time.monotonic() + patience
    while True:
        try:
            return _take(lock, mine)
        except StoreError:
            if time.monotonic() > end:
                raise
        time.sleep(_TURN)


def _take(lock: _Lock, mine: Holder) -> int | None:
    """Take the lock, or raise; return the open file if the system holds the lock."""
    if lock.location.folder is not None:
        with suppress(ImportError, NotImplementedError):
            return _take_file(lock, mine)
    for _ in range(5):
        if lock.location.put_new(lock.key, mine.content()):
            return None
        holder = _named(lock)
        if holder is not None and _lives(lock, holder):
            raise _taken(lock, holder)
        left = _own(
            lock, lock.location.get(lock.key)
        )  # a holder that has ended let it go before
        if left is not None and Holder.parsed(left) == holder:
            lock.location.delete(lock.key)  # left by a dead process
    raise _taken(lock, _named(lock))


def _own(lock: _Lock, content: bytes | None) -> bytes | None:
    """Return the content of a lock; raise if it is a file of somebody else.

    A lock that was being written when its machine lost power may be cut, or all zeros.
    """
    if content and content.strip(b"\0") and content[:9] != b'{"token":'[: len(content)]:
        raise StoreError(
            f"{lock.location}: {lock.key} is no lock of batteryxr's. Move it away to "
            "write to this store."
        )
    return content


def _take_file(lock: _Lock, mine: Holder) -> int:
    import fcntl

    assert lock.location.folder is not None
    path = lock.location.path(lock.key)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_inside(lock.location.folder, lock.key, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            if (holder := _named(lock)) is None and not path.exists():
                continue  # its holder has finished
            raise _taken(lock, holder) from None
        except OSError as error:  # a file system without such locks
            os.close(file)
            raise NotImplementedError from error
        if not _is_same(file, path):
            os.close(file)  # deleted by its last holder meanwhile
            continue
        try:
            holder = Holder.parsed(_own(lock, os.pread(file, 10_000, 0)))
        except StoreError:
            os.close(file)
            raise
        if holder and not holder.is_here and _lives(lock, holder):
            os.close(file)
            raise _taken(lock, holder)
        content = mine.content()
        try:
            if os.pwrite(file, content, 0) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(file, len(content))
        except OSError:  # a full disk: leave nothing
            path.unlink(missing_ok=True)
            os.close(file)
            raise
        return file


def _release(lock: _Lock, mine: Holder, file: int | None) -> None:
    holder = Holder.parsed(lock.location.get(lock.key))
    if holder is not None and holder.token == mine.token:
        with suppress(OSError):
            lock.location.delete(lock.key)
    if file is not None:
        os.close(file)


def _beat(lock: _Lock, mine: Holder, over: threading.Event) -> None:
    while not over.wait(BEAT):
        holder = Holder.parsed(lock.location.get(lock.key))
        if holder is None or holder.token != mine.token:
            return
        if lock.location.folder is None:
            lock.location.put(lock.key, mine.content())
        else:
            with (
                suppress(OSError),
                open(lock.location.folder / lock.key, "r+b") as file,
            ):
                file.write(mine.content())
                file.truncate()


def _named(lock: _Lock) -> Holder | None:
    """Return the holder, if any; wait a moment for its name to be written."""
    end = time.monotonic() + _GRACE
    while time.monotonic() < end:
        if (content := lock.location.get(lock.key)) is None:
            return None
        if (holder := Holder.parsed(content)) is not None:
            return holder
        time.sleep(0.01)
    return None


def _taken(lock: _Lock, holder: Holder | None) -> StoreError:
    return StoreError(
        f"{lock.location} is being written to by {holder or 'somebody else'}. Wait "
        "until they have finished, or choose another store."
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


@cache
def _machine() -> str:
    """Return a mark of this machine, and of what holds its numbers of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{uuid.getnode():x}"


def _born(pid: int) -> str:
    """Return the start time of a process as given by Linux; "" elsewhere.

    Also "" for one that has ended, and that its parent has not taken note of yet.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *numbers = text.rpartition(")")[2].split()
    return "" if state in "ZX" else numbers[18]


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
