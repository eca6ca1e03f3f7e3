"""Is the house in order? Each measure as it is now, beside the bar it is held to.

    python benchmarks/house.py [--strict] [--details] [--no-calls] [--no-types]
        [--tests REPORT.xml]

``--strict`` exits with 1 if a bar is missed. ``--details`` names what is above a bar.
``--no-calls`` leaves out the walks (what they count is said in ``_walks.py``),
``--no-types`` the run of mypy. Skipped tests are counted in a report that pytest wrote
with ``--junitxml=REPORT.xml``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from _source import Library, first_lines, public_functions, signatures
from _walks import walks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _source import Function

ROOT = Path(__file__).resolve().parents[1]
#: What a skipped test's reason holds if measured data or PyTorch are what it lacks.
EXCUSED = re.compile(r"data|sample|torch", re.IGNORECASE)


class Row(NamedTuple):
    """One measure; `later` ones are shown and not held to their bar yet."""

    measure: str
    now: str
    bar: str
    ok: bool | None
    details: tuple[str, ...] = ()
    later: bool = False


def at_most(
    measure: str,
    now: float,
    bar: float,
    details: Iterable[object] = (),
    later: bool = False,
) -> Row:
    """Return the row of a number that should be small."""
    names = tuple(str(d) for d in details)
    return Row(measure, f"{now:,}", f"<= {bar:,}", now <= bar, names, later)


def rooms(library: Library) -> Iterator[Row]:
    """Yield what folders and modules tell."""
    folders = library.folders()
    full = {name: n for name, n in folders.items() if n > 20}
    largest = max(folders, key=lambda name: folders[name])
    words = (f"{name}: {n}" for name, n in full.items())
    measure = f"files in the fullest folder ({largest}), kernels apart"
    yield at_most(measure, folders[largest], 20, words)
    twins = library.twins()
    yield at_most("modules _x beside a public twin", len(twins), 0, twins)
    single = [name for name, at in library.callers().items() if len(at) == 1]
    yield at_most("modules with one caller", len(single), 45, single)
    circles = library.circles()
    words = (" <-> ".join(group) for group in circles)
    yield at_most("circles of imports", len(circles), 0, words)
    for package, homes in {
        "zarr": ("batteryxr.core.store", "batteryxr.core.ledger"),
        "dask": ("batteryxr.core.blocks",),
    }.items():
        users = library.users_of(package, homes)
        known = " and ".join(h.removeprefix("batteryxr.") for h in homes)
        yield at_most(f"modules that import {package}, outside {known}",
                      len(users), 0, users)  # fmt: skip


def functions(library: Library) -> Iterator[Row]:
    """Yield what functions, their bodies and their arguments tell."""
    public = public_functions()
    every = library.functions(first_lines(public))

    def over(chosen: list[Function], limit: int, field: str) -> list[str]:
        found = [(getattr(f, field), f) for f in chosen if getattr(f, field) > limit]
        return [f"{f}: {n}" for n, f in sorted(found, key=lambda pair: -pair[0])]

    for who, chosen, limit in (
        ("public", [f for f in every if f.public], 12),
        ("inside", [f for f in every if not f.public], 8),
    ):
        crowds = over(chosen, limit, "parameters")
        most = max(f.parameters for f in chosen)
        measure = f"functions with > {limit} parameters, {who} (most: {most})"
        yield at_most(measure, len(crowds), 0, crowds)
    for what, chosen, limit in (
        ("kernels apart", [f for f in every if not f.kernel], 60),
        ("of kernels", [f for f in every if f.kernel], 80),
    ):
        longest = max(f.body for f in chosen)
        yield at_most(f"longest Python body, {what}", longest, limit,
                      over(chosen, limit, "body"))  # fmt: skip
    keywords, firsts, n = signatures(public)
    yield at_most(f"distinct keywords over {n} public functions", len(keywords), 230)
    yield at_most("distinct names of the first argument", len(firsts), 14,
                  [", ".join(sorted(firsts))])  # fmt: skip


def names(library: Library) -> Iterator[Row]:
    """Yield what stands twice, and what has one home."""
    classes = library.classes()
    words = (f"{name}: {', '.join(at)}" for name, at in classes.items())
    yield at_most("homonymous classes", len(classes), 4, words)
    warn = library.calls("warnings.warn", outside="batteryxr.core")
    yield at_most("warnings.warn outside core", len(warn), 0, warn)
    palettes = library.palettes()
    yield at_most("palettes for charge and discharge", len(palettes), 1, palettes)
    yield at_most("lines that stand elsewhere in runs of >= 6", library.duplicates(),
                  120)  # fmt: skip
    dangling = library.phrases("As for `")
    yield at_most('docs that send away ("As for `x`")', len(dangling), 10, dangling)
    yield at_most("lines of the documentation generator", library.generator_lines(),
                  350, later=True)  # fmt: skip


def ways() -> Iterator[Row]:
    """Yield the walks of data through public calls."""
    for name, walk in walks():
        most = 18 if name.endswith(".cdi.ptycho") else 15
        measure, bar = f"walk {name}: places / returns", f"<= {most} / <= 4"
        if isinstance(walk, Exception):
            yield Row(measure, f"{type(walk).__name__}", bar, False, (str(walk),))
            continue
        ok = len(walk.places) <= most and walk.returns <= 4
        places = tuple(f"{file}: {function}" for file, function in walk.places)
        now = f"{len(walk.places)} / {walk.returns}"
        yield Row(f"{measure} ({walk.rooms} files, {walk.anew} anew)", now, bar, ok,
                  places)  # fmt: skip


def types() -> Iterator[Row]:
    """Yield the share of expressions that mypy knows the type of."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mypy", "--any-exprs-report", folder]
        command += ["--cache-dir", f"{folder}/cache"]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        report = Path(folder, "any-exprs.txt")
        text = report.read_text() if report.exists() else ""
    found = re.search(r"^\s*Total\s+(\d+)\s+(\d+)", text, re.MULTILINE)
    if found is None:
        yield Row("expressions whose type mypy knows", "no report", ">= 92 %", False)
        return
    share = 100 - 100 * int(found[1]) / int(found[2])
    yield Row("expressions whose type mypy knows", f"{share:.1f} %", ">= 92 %",
              share >= 92)  # fmt: skip


def tests(report: Path | None) -> Iterator[Row]:
    """Yield what a run of the tests tells."""
    measure = "tests skipped for neither data nor torch"
    if report is None:
        yield Row(measure, "no report", "<= 15", None)
        return
    cases = list(ElementTree.parse(report).iter("testcase"))
    reasons = [s.get("message") or "" for c in cases for s in c.iter("skipped")]
    other = [reason for reason in reasons if not EXCUSED.search(reason)]
    yield at_most(f"{measure} (of {len(reasons)})", len(other), 15, other)
    bad = (c for c in cases if any(c.find(k) is not None for k in ("failure", "error")))
    failed = [c.get("name") for c in bad]
    yield at_most(f"tests failed (of {len(cases)})", len(failed), 0, failed)


def show(row: Row, details: bool) -> None:
    """Print one row, and what it counted where it is above its bar."""
    said = {True: "yes", False: "NO", None: "?"}[row.ok]
    word = "later" if row.later and not row.ok else said
    print(f"{row.measure:85s} | {row.now:>9s} | {row.bar:>13s} | {word}", flush=True)
    if details and row.ok is False:
        for detail in row.details:
            print(f"      {detail}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--details", action="store_true")
    parser.add_argument("--no-calls", action="store_true")
    parser.add_argument("--no-types", action="store_true")
    parser.add_argument("--tests", type=Path, metavar="REPORT.xml")
    chosen = parser.parse_args()
    library = Library()
    parts = [rooms(library), functions(library), names(library)]
    parts += [] if chosen.no_calls else [ways()]
    parts += [] if chosen.no_types else [types()]
    parts.append(tests(chosen.tests))
    print(f"{'measure':85s} | {'now':>9s} | {'bar':>13s} | ok?")
    missed = 0
    for row in (row for part in parts for row in part):
        show(row, chosen.details)
        missed += row.ok is False and not row.later
    print(f"\n{missed} missed")
    return int(chosen.strict and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
