"""Stores with snapshots, such as icechunk's: a change is one snapshot."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import StoreError
from batteryxr.core.store.location import BRANCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.core.store.location import Location


@contextmanager
def snapshot(location: Location, message: str) -> Iterator[Location]:
    """Yield the location to write to; the block becomes one snapshot, or none.

    Stores without snapshots are yielded unchanged.

    Raises
    ------
    StoreError
        If the session is read-only, holds foreign changes, or another change of the
        same data came first.
    """
    if not location.transacts:
        yield location
        return
    session = _session(location)
    try:
        yield replace(location, store=session.store)
        _commit(location, session, message)
    finally:
        if not session.read_only:  # it failed
            session.discard_changes()


def require_repository(location: Location) -> None:
    """Raise where only one snapshot is possible, but long work needs many.

    Raises
    ------
    StoreError
        If the location is the store of one session.
    """
    if location.transacts and location.repository is None:
        raise StoreError(
            f"{location} is the store of one session, which ends with one snapshot. "
            "Long work keeps many: pass the icechunk Repository itself."
        )


def _session(location: Location) -> Any:
    if location.repository is not None:
        return location.repository.writable_session(BRANCH)
    session = location.store.session
    if session.read_only or location.store.read_only:
        raise StoreError(
            f"{location}: its session only reads, or was committed already. Pass the "
            "icechunk Repository itself, or the store of a new writable session."
        )
    if session.has_uncommitted_changes:
        raise StoreError(
            f"{location}: its session holds changes that are not committed. Commit or "
            "discard them first: what is saved is a snapshot of its own."
        )
    return session


def _commit(location: Location, session: Any, message: str) -> None:
    from icechunk import (
        BasicConflictSolver,
        ConflictError,
        IcechunkError,
        RebaseFailedError,
    )

    if not session.has_uncommitted_changes:
        return
    try:
        session.commit(f"batteryxr: {message}", rebase_with=BasicConflictSolver())
    except (ConflictError, RebaseFailedError) as error:
        raise StoreError(
            f"{location} was changed by somebody else meanwhile. What was written here "
            "does not count; call again."
        ) from error
    except IcechunkError as error:
        raise StoreError(f"{location}: no snapshot could be made. {error}") from error
