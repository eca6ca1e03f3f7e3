"""History of the choices in a panel, for undo and redo."""

from __future__ import annotations

import time
from typing import Any

#: Changes of one and the same choice within these seconds are one: a slider in motion.
TOGETHER = 0.7
#: Number of choices that are kept.
KEPT = 200


class History:
    """Hold the choices that were made, and the place of the present one."""

    def __init__(self) -> None:
        self._choices: list[dict[str, Any]] = []
        self._at = -1
        self._last: tuple[set[str], float] = (set(), 0.0)

    @property
    def ways(self) -> tuple[bool, bool]:
        """Tell whether there is a choice before the present one, and one after it."""
        return self._at > 0, self._at < len(self._choices) - 1

    def add(self, choice: dict[str, Any]) -> None:
        """Make a choice the present one; the choices that were undone are dropped."""
        before = self._choices[self._at] if self._choices else {}
        changed = {n for n, v in choice.items() if not _same(v, before.get(n, _NONE))}
        if not changed:
            return
        names, now = self._last[0], time.monotonic()
        moving = changed == names and now - self._last[1] < TOGETHER
        moving = moving and len(changed) == 1 and self._at == len(self._choices) - 1
        self._last = changed, now
        del self._choices[self._at + (0 if moving else 1) :]
        self._choices = [*self._choices, choice][-KEPT:]
        self._at = len(self._choices) - 1

    def amend(self, name: str, value: Any) -> None:
        """Give the present choice a value that it should have had from the start."""
        if self._choices:
            self._choices[self._at] = self._choices[self._at] | {name: value}

    def settle(self) -> None:
        """Keep the present choice, whatever changes next."""
        self._last = (set(), 0.0)

    def back(self) -> dict[str, Any] | None:
        """Return the choice before the present one, which it becomes."""
        return self._go(-1)

    def forth(self) -> dict[str, Any] | None:
        """Return the choice after the present one, which it becomes."""
        return self._go(1)

    def _go(self, step: int) -> dict[str, Any] | None:
        at = self._at + step
        if not 0 <= at < len(self._choices):
            return None
        self._at = at
        self.settle()
        return self._choices[at]


_NONE = object()


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same; arrays are if they are one object."""
    try:
        return one is other or bool(one == other)
    except ValueError:
        return False
