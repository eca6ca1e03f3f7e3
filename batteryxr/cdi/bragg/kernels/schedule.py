"""Schedules of phase retrieval, written as in a methods section."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batteryxr.core.errors import ArgumentError

#: Algorithms that a schedule may name.
ALGORITHMS = ("ER", "HIO", "RAAR", "SF", "DM", "ML")
_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z]+)|([-+*()]))")
_BETA = re.compile(r"\(\s*(\d*\.\d+|\d+)\s*\)")


@dataclass(frozen=True)
class Stage:
    """Hold a run of iterations of one algorithm."""

    algorithm: str
    iterations: int
    beta: float


def parse(text: str, beta: float = 0.9) -> tuple[Stage, ...]:
    """Parse ``"200 HIO + 200 RAAR + 100 ER"`` into stages.

    Parameters
    ----------
    text
        Numbers of iterations and algorithms, joined by ``+``. Groups in brackets may be
        repeated, ``"3*(20*ER + 180*HIO) + 20*ER"`` (the ``*`` may be left out). A
        feedback follows the name in brackets, ``"200 HIO(0.75)"``.
    beta
        Feedback where the text gives none.

    Raises
    ------
    ArgumentError
        If the text is no schedule; the message says where, and what is expected.
    """
    parser = _Reader(text, beta)
    stages = parser.total()
    if parser.at < len(text.rstrip()):
        raise parser.error("'+' or the end")
    return tuple(stages)


class _Reader:
    def __init__(self, text: str, beta: float) -> None:
        self.text, self.beta, self.at = text, beta, 0

    def total(self) -> list[Stage]:
        stages = self.term()
        while self._take("+"):
            stages = stages + self.term()
        return stages

    def term(self) -> list[Stage]:
        count = self._number()
        self._take("*")
        if self._take("("):
            inner = self.total()
            if not self._take(")"):
                raise self.error("')'")
            return inner * count
        return [self._stage(count)]

    def _stage(self, count: int) -> Stage:
        token = _TOKEN.match(self.text, self.at)
        name = (token[2] or "").upper() if token else ""
        if token is None or name not in ALGORITHMS:
            raise self.error(f"one of {', '.join(ALGORITHMS)}")
        self.at = token.end()
        beta = _BETA.match(self.text, self.at)
        if beta is None:
            return Stage(name, count, self.beta)
        self.at = beta.end()
        return Stage(name, count, float(beta[1]))

    def _number(self) -> int:
        token = _TOKEN.match(self.text, self.at)
        if token is None or token[1] is None or int(token[1]) == 0:
            raise self.error("a number of iterations > 0")
        self.at = token.end()
        return int(token[1])

    def _take(self, sign: str) -> bool:
        token = _TOKEN.match(self.text, self.at)
        if token is None or token[3] != sign:
            return False
        self.at = token.end()
        return True

    def error(self, expected: str) -> ArgumentError:
        rest = self.text[self.at :].strip()[:12] or "the end"
        return ArgumentError(
            "schedule",
            self.text,
            f"{expected} at character {self.at + 1}, found {rest!r}",
            "Write it like '200 HIO + 200 RAAR + 100 ER'.",
        )
