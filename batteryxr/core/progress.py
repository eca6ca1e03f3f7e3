"""Progress bars: tqdm in a terminal or notebook, silent in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


def track(
    items: Iterable[T],
    what: str,
    *,
    total: int | None = None,
    progress: bool | None = None,
) -> Iterator[T]:
    """Yield `items` under a progress bar.

    Parameters
    ----------
    items
        What to walk through.
    what
        Label of the bar, a verb in the present: "Reading patterns".
    total
        Number of items, where `items` has no length.
    progress
        True shows the bar, False hides it; None (default) shows it in a terminal or
        notebook only.
    """
    yield from bar(items, what, total=total, progress=progress)


def bar(
    items: Iterable[Any] | None,
    what: str,
    *,
    total: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Return a tqdm bar to be updated by hand, under the same rule as `track`."""
    from tqdm.auto import tqdm

    hidden = not (_watched() if progress is None else progress)
    return tqdm(items, desc=what, total=total, disable=hidden, leave=False)


def _watched() -> bool:
    in_notebook = "ipykernel" in sys.modules
    return in_notebook or bool(getattr(sys.stderr, "isatty", lambda: False)())
