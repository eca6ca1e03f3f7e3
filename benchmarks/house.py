"""Is the house in order? Each measure as it is now, beside the bar it is held to.

    python benchmarks/house.py [--strict] [--json] [--quick] [--list NAME]
        [--tests REPORT.xml]

``--list NAME`` prints what is counted under the names that hold NAME, such as
``public-arguments``, ``circles`` or ``walk-ptycho``. ``--strict`` exits with 1 if a bar
is missed. ``--quick`` leaves out the walks (`_walks.py` says what they count) and mypy.
Skipped tests are counted in a report that pytest wrote with ``--junitxml=REPORT.xml``.
The whole takes about two minutes on two cores, the first time two more to compile.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _measures import functions, names, rooms, tests, types, ways
from _source import Library
from _typed import start_mypy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _measures import Row

WORDS = {True: "yes", False: "NO", None: "-"}


def measure(wanted: str, quick: bool, report: Path | None) -> Iterator[Row]:
    """Yield all measures, or the quick ones and `wanted`; mypy runs beside the rest."""
    library = Library()
    running = start_mypy() if wanted in "types" and not quick else None
    yield from rooms(library)
    yield from functions(library)
    yield from names(library)
    if (not wanted or "walk" in wanted) and not quick:
        yield from ways()
    if running is not None:
        yield from types(running)
    yield from tests(report)


def show(row: Row) -> None:
    """Print one line of the table."""
    said = "later" if row.later and not row.ok else WORDS[row.ok]
    line = f"{row.name:20s} | {row.measure:76s} | {row.now:>11s} | {row.bar:>13s}"
    print(f"{line} | {said}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", metavar="NAME")
    parser.add_argument("--tests", type=Path, metavar="REPORT.xml")
    chosen = parser.parse_args()
    rows = measure(chosen.list or "", chosen.quick, chosen.tests)
    if not chosen.json and chosen.list is None:
        print(f"{'name':20s} | {'measure':76s} | {'now':>11s} | {'bar':>13s} | ok?")
    missed, found = 0, []
    for row in rows:
        missed += row.ok is False and not row.later
        if chosen.json:
            found.append(row._asdict())
        elif chosen.list is None:
            show(row)
        elif chosen.list in row.name:
            found.append(row._asdict())
            print(f"{row.name}: {row.measure}: {row.now} (bar {row.bar})")
            print("".join(f"    {each}\n" for each in row.offenders), end="")
    if chosen.json:
        print(json.dumps(found, indent=1))
    elif chosen.list is None:
        print(f"\n{missed} missed")
    elif not found:
        print(f"no measure's name holds {chosen.list!r}", file=sys.stderr)
        return 2
    return int(chosen.strict and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
