"""The measures of the house, each a row of its table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, NamedTuple

from _public import first_lines, public_functions, signatures
from _walks import walks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from _source import Function, Library
    from _typed import Mypy

#: What a skipped test's reason holds if measured data or PyTorch are what it lacks.
EXCUSED = re.compile(r"data|sample|torch", re.IGNORECASE)


class Row(NamedTuple):
    """One measure; one for `later` is shown and not held to its bar yet."""

    name: str
    measure: str
    now: str
    bar: str
    ok: bool | None
    offenders: tuple[str, ...] = ()
    later: bool = False


def at_most(
    name: str, measure: str, now: float, bar: float, offenders: Iterable[object] = ()
) -> Row:
    """Return the row of a number that should be small."""
    listed = tuple(str(each) for each in offenders)
    return Row(name, measure, f"{now:,}", f"<= {bar:,}", now <= bar, listed)


def none_of(name: str, measure: str, offenders: list[str]) -> Row:
    """Return the row of what should not be."""
    return at_most(name, measure, len(offenders), 0, offenders)


def rooms(library: Library) -> Iterator[Row]:
    """Yield what folders and modules tell."""
    folders = library.folders()
    largest = max(folders, key=lambda folder: folders[folder])
    yield at_most(
        "files",
        f"files in the fullest folder ({largest})",
        folders[largest],
        20,
        (f"{name}: {n}" for name, n in folders.items() if n > 20),
    )
    yield none_of("twins", "modules _x beside a public x", library.twins())
    single = library.single_caller()
    yield at_most(
        "one-caller",
        "modules that one module alone imports",
        len(single),
        45,
        (f"{module} <- {caller}" for module, caller in sorted(single.items())),
    )
    circles = [" <-> ".join(group) for group in library.circles()]
    yield none_of("circles", "circles of imports, those for types too", circles)
    yield at_most(
        "resumable",
        "mechanisms of resumability",
        len(library.resumable()),
        1,
        library.resumable(),
    )
    for package, homes in {
        "zarr": ("batteryxr.core.store", "batteryxr.core.ledger"),
        "dask": ("batteryxr.core.blocks",),
    }.items():
        known = " and ".join(h.removeprefix("batteryxr.") for h in homes)
        users = library.users_of(package, homes)
        yield none_of(package, f"modules that import {package}, outside {known}", users)


def functions(library: Library) -> Iterator[Row]:
    """Yield what functions, their bodies and their arguments tell."""
    public = public_functions()
    every = library.functions(first_lines(public))

    def over(chosen: list[Function], limit: int, field: str) -> list[str]:
        found = [(getattr(f, field), f) for f in chosen if getattr(f, field) > limit]
        return [f"{f}: {n}" for n, f in sorted(found, key=lambda pair: -pair[0])]

    crowds = over(every, 10, "parameters")
    many = sum(f.public and f.parameters > 10 for f in every)
    now = f"{many} + {len(crowds) - many}"
    yield Row("arguments", "functions with > 10 parameters, public + inside", now, "-",
              None, tuple(crowds))  # fmt: skip
    for who, limit in (("public", 12), ("inside", 8)):
        chosen = [f for f in every if f.public == (who == "public")]
        most = max(f.parameters for f in chosen)
        measure = f"functions with > {limit} parameters, {who} (most: {most})"
        crowds = over(chosen, limit, "parameters")
        yield none_of(f"{who}-arguments", measure, crowds)
    for name, limit in (("body", 60), ("kernel-body", 80)):
        chosen = [f for f in every if f.kernel == (name == "kernel-body")]
        which = "of kernels" if name == "kernel-body" else "kernels apart"
        longest = max(f.body for f in chosen)
        long = over(chosen, limit, "body")
        yield at_most(name, f"lines of the longest body, {which}", longest, limit, long)
    keywords, firsts, n = signatures(public)
    measure = f"distinct keywords over {n} public functions"
    yield at_most("keywords", measure, len(keywords), 230, _used(keywords))
    measure = "distinct names of the first argument"
    yield at_most("first-arguments", measure, len(firsts), 14, _used(firsts))


def _used(places: dict[str, list[str]]) -> list[str]:
    """Return the names with few users first, who can most easily do without."""
    order = sorted(places.items(), key=lambda item: (len(item[1]), item[0]))
    return [f"{name}: {', '.join(sorted(at)[:8])}" for name, at in order]


def names(library: Library) -> Iterator[Row]:
    """Yield what stands twice, and what has one home."""
    classes = library.classes()
    words = (f"{name}: {', '.join(at)}" for name, at in sorted(classes.items()))
    yield at_most("classes", "names that several classes have", len(classes), 4, words)
    warn = [
        place
        for name in ("warnings.warn", "warnings.warn_explicit")
        for place in library.calls(name, outside="batteryxr.core")
    ]
    yield none_of("warnings", "warnings.warn outside core", warn)
    colours = library.palettes()
    yield at_most("palettes", "palettes for charge and discharge", len(colours), 1,
                  colours)  # fmt: skip
    repeated, lines = library.duplicates()
    yield at_most("duplicates", "lines that stand elsewhere in runs of >= 6", lines,
                  120, repeated)  # fmt: skip
    dangling = library.phrases("As for `")
    yield at_most("as-for", 'docs that send away ("As for `x`")', len(dangling), 10,
                  dangling)  # fmt: skip
    lines = library.generator_lines()
    yield at_most("docs", "lines of the documentation generator", lines, 350)
    lines = library.script_lines()
    yield at_most("docs-script", "lines of JavaScript of the documentation", lines, 30)


def ways() -> Iterator[Row]:
    """Yield the walks of data through public calls."""
    for way, walk in walks():
        name = "walk-" + way.rpartition(" ")[2].rpartition(".")[2]
        most = 18 if name == "walk-ptycho" else 15
        bar = f"<= {most} / <= 4"
        if isinstance(walk, Exception):
            kind = type(walk).__name__
            yield Row(name, f"{way}: places / returns", kind, bar, False, (str(walk),))
            continue
        ok = len(walk.places) <= most and walk.returns <= 4
        measure = f"{way}: places / returns ({walk.rooms} files, {walk.anew} anew)"
        now = f"{len(walk.places)} / {walk.returns}"
        places = tuple(f"{file}: {function}" for file, function in walk.places)
        yield Row(name, measure, now, bar, ok, places)


def types(running: Mypy) -> Iterator[Row]:
    """Yield the share of expressions that mypy knows the type of."""
    name, measure, bar = "types", "expressions whose type mypy knows", ">= 92 %"
    found = running.untyped()
    if not found:
        yield Row(name, measure, "no report", bar, False)
        return
    *modules, (_, some, whole) = found
    share = 100 - 100 * some / whole
    worst = sorted(modules, key=lambda module: -module[1])
    listed = tuple(f"{module}: {some} of {whole}" for module, some, whole in worst)
    yield Row(name, measure, f"{share:.1f} %", bar, share >= 92, listed)


def tests(report: Path | None) -> Iterator[Row]:
    """Yield what a run of the tests tells."""
    measure = "tests skipped for neither data nor torch"
    if report is None:
        yield Row("skipped", measure, "no report", "<= 15", None)
        return
    cases = list(ElementTree.parse(report).iter("testcase"))
    reasons = [s.get("message") or "" for c in cases for s in c.iter("skipped")]
    other = [reason for reason in reasons if not EXCUSED.search(reason)]
    yield at_most("skipped", f"{measure} (of {len(reasons)})", len(other), 15, other)
    bad = (c for c in cases if any(c.find(k) is not None for k in ("failure", "error")))
    failed = [f"{c.get('classname')}.{c.get('name')}" for c in bad]
    yield none_of("failed", f"tests failed (of {len(cases)})", failed)
