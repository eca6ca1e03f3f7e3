"""What to cite: the methods behind a result, ready for a paper."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DataError
from batteryxr.core.version import __version__
from batteryxr.export.references import REFERENCES, SOURCES, Publication

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A line of history that a recorded call wrote.
_CALL = re.compile(r"batteryxr (\S+): (\w+)\.(\w+)(\(.*\))$")
#: What JSON and Python write in two ways, and the strings in which it is a word.
_WORDS = re.compile(r'"(?:\\.|[^"\\])*"|\b(?:null|true|false)\b')
_PYTHON = {"null": "None", "true": "True", "false": "False"}
#: Arguments that nobody gave, and data that were given.
_NONE = re.compile(r", \w+=None(?=[,)])")
_NONE_FIRST = re.compile(r"(?<=\()\w+=None(?:, )?")
_DATA = re.compile(r'\{"\$data": "(\w+)", "sizes": \{([^{}]*)\}\}')
_OURS = Publication(
    "The batteryxr developers",
    f"batteryxr {__version__}: battery characterisation on xarray",
    "software", "", "", 2026,
)  # fmt: skip


@dataclass(frozen=True)
class Citation:
    """How a result was made, and the works behind it. Printed, it is methods text.

    Parameters
    ----------
    steps
        The calls in their order, as they can be typed.
    references
        Works to cite, by key.
    """

    steps: tuple[str, ...]
    references: dict[str, Publication]

    def __str__(self) -> str:
        numbers = {key: n for n, key in enumerate(self.references, 1)}
        lines = [
            f"Data were analysed with batteryxr {__version__} [1], built on xarray [2] "
            "and SciPy [3]."
        ]
        lines += [
            f"{n}. {step}{_cited(step, numbers)}"
            for n, step in enumerate(self.steps, 1)
        ]
        lines += ["", "References"]
        lines += [f"[{numbers[k]}] {work}" for k, work in self.references.items()]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def bibtex(self) -> str:
        """Return the works as BibTeX entries."""
        return "\n\n".join(_entry(key, work) for key, work in self.references.items())


@checked
def cite(result: xr.DataArray | xr.Dataset | xr.DataTree) -> Citation:
    """Say how a result was made, and which works to cite for it.

    Parameters
    ----------
    result
        A result of batteryxr, also one read back from a store. A tree is cited whole.

    Returns
    -------
    Citation
        Printed, it is methods text with numbered references; ``.bibtex`` has them for a
        manuscript.

    Raises
    ------
    DataError
        If no call of batteryxr is noted in `result`.

    Notes
    -----
    Steps come from the ``history`` of the result. Inputs that were joined on the way,
    such as a second data set, have a history of their own: cite them as well.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0)
    >>> halves = cell["echem"].to_dataset().echem.half_cycles()
    >>> batteryxr.cite(halves).references["xarray"].year
    2017
    """
    calls = list(dict.fromkeys(_calls(result)))
    if not calls:
        raise DataError(
            "cite",
            "no call of batteryxr is noted in the history of this result",
            "Ask a result of a method, such as record.echem.cycles().",
        )
    keys = dict.fromkeys(("batteryxr", "xarray", "scipy"))
    for call in calls:
        keys |= dict.fromkeys(_sources(call))
    works = {key: REFERENCES.get(key, _OURS) for key in keys}
    return Citation(tuple(calls), works)


def _calls(result: xr.DataArray | xr.Dataset | xr.DataTree) -> Iterator[str]:
    """Yield the calls in a result's history, as they can be read."""
    if isinstance(result, xr.DataTree):
        for node in result.subtree:
            yield from _calls(node.to_dataset())
        return
    for line in str(result.attrs.get("history", "")).splitlines():
        if found := _CALL.search(line):
            _, home, method, arguments = found.groups()
            yield f"{home}.{method}{_typed(arguments)}"


def _typed(arguments: str) -> str:
    """Return arguments as Python has them; None is left out, data are named."""
    text = _DATA.sub(lambda data: f"{data[1]}({data[2]})".replace('"', ""), arguments)
    text = _WORDS.sub(lambda word: _PYTHON.get(word[0], word[0]), text)
    return _NONE_FIRST.sub("", _NONE.sub("", text))


def _sources(step: str) -> list[str]:
    """Return the keys of the works that a step rests on."""
    name, _, arguments = step.partition("(")
    keys: list[str] = []
    for source, works in SOURCES.items():
        method, _, word = source.rstrip(")").partition("(")
        if method == name and (not word or re.search(word, arguments)):
            keys += works
    return keys


def _cited(step: str, numbers: dict[str, int]) -> str:
    found = sorted(numbers[key] for key in _sources(step))
    return f" [{', '.join(map(str, found))}]" if found else ""


def _entry(key: str, work: Publication) -> str:
    kind = "software" if work.journal == "software" else "article"
    fields = {
        "author": " and ".join(work.authors.removesuffix(" et al.").split(", "))
        + (" and others" if work.authors.endswith("et al.") else ""),
        "title": f"{{{work.title}}}",
        "journal": "" if kind == "software" else work.journal,
        "volume": work.volume,
        "pages": work.pages.replace("-", "--"),
        "year": str(work.year),
        "doi": work.doi,
    }
    lines = [f"  {n} = {{{value}}}," for n, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
