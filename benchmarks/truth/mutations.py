"""Read damaged files of every format: no hang, no end, no error but our own.

    python benchmarks/truth/mutations.py [--copies 20000] [--seed 2] [--first 0]

Files of every format that is read are written small and sound, damaged as disks, copies
and editors do, also inside gzip and zip, and read in another process. Exits with 1 if
one gave anything but data or an error of batteryxr. 20,000 take about ten minutes.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "io"))

from mutants import hunt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    slowest, wrong = {"seconds": 0.0}, 0
    with tempfile.TemporaryDirectory() as folder:
        for n, told in enumerate(
            hunt(Path(folder), chosen.copies, chosen.seed, chosen.first), 1
        ):
            outcome = told["outcome"]
            known = outcome in ("read", "refused")
            counts[outcome if known else "WRONG"] += 1
            slowest = max(slowest, told, key=lambda t: t["seconds"])
            if not known:
                wrong += 1
                print(f"{told['k']}: {told['what']}: {outcome}"[:300], flush=True)
            if n % 1000 == 0:
                print(n, dict(counts), flush=True)
    print(f"{sum(counts.values())} damaged files: {dict(counts)}; slowest: {slowest}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
