"""Find further columns of current: the user says which is the cell's."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.io.cycler.direction import states_of
from batteryxr.io.cycler.labels import Source, choose, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.io.cycler.labels import Column

#: Start of the names under which such columns are read.
_RIVAL = "current?"
#: Words of a column of current, and of one that holds something else about it.
_FLOWS = re.compile(r"current|\bcur\b|\bi\b|\bstrom\b|courant|电流|電流|전류")
_ELSE = re.compile(
    r"set|target|limit|control|max|min|avg|average|mean|std|dev|range|cut|nominal|"
    r"ref|leak|dens|rate|rms|start|end|final|error|noise|aux|discharge|charge|soll"
)
_SAME = 0.01  # of the largest current


def rivals(
    labels: Sequence[str], found: Mapping[str, Source], known: Sequence[Column]
) -> dict[str, Source]:
    """Return the columns besides the one that was found that may hold the current.

    Parameters
    ----------
    labels
        Labels of the file, in order.
    found
        Column of each quantity.
    known
        Labels of the maker.
    """
    taken = {source.index for source in found.values()}
    others: dict[str, Source] = {}
    for index, label in enumerate(labels):
        bare, units = split(label)
        if index in taken or _ELSE.search(bare) or states_of([label])[0] != 0:
            continue
        named = choose((label,), known).get("current")
        if named is None and units and _FLOWS.search(re.sub(r"[\d#_.]+", " ", bare)):
            plain = (f"Current ({units})",)
            named = choose(plain, known).get("current")
        if named is not None:
            other = replace(named, index=index, label=label)
            others[f"{_RIVAL} {index}"] = other
    return others


def without_rivals(
    columns: Mapping[str, np.ndarray], found: Mapping[str, Source]
) -> tuple[dict[str, np.ndarray], dict[str, Source]]:
    """Return the columns without further ones of current, which hold the same.

    Raises
    ------
    ArgumentError
        If one holds another current.
    """
    kept = {n: v for n, v in columns.items() if not n.startswith(_RIVAL)}
    sources = {n: s for n, s in found.items() if not n.startswith(_RIVAL)}
    mine = kept.get("current", np.empty(0))
    for name in columns.keys() - kept.keys():
        other = columns[name]
        known = np.isfinite(mine) & np.isfinite(other)
        if not known.any():
            continue
        most = _SAME * float(np.abs(mine[known]).max(initial=0.0))
        if (np.abs(mine - other)[known] > most).any():
            pair = [found["current"].label.strip(), found[name].label.strip()]
            mend = f"Pass columns={{{pair[0]!r}: 'current'}}, or the other."
            if pair[0] == pair[1]:
                mend = "Leave one of them, or rename one."
            raise ArgumentError(
                "columns",
                None,
                f"which of {pair} is the current of the cell: they differ",
                mend,
            )
    return kept, sources
