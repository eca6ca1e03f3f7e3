"""Run every public method at four sizes: CPU time and memory grow with the data.

    python benchmarks/growth.py [--part 1/10] [--only fit_edge] [--sizes 4]

Each method's own example is run on data that grow: simulators are asked for more scans,
cycles, pixels or voxels, files and arrays made by hand are repeated. What an example
does before it calls its method is not counted. An exponent is the slope of the
logarithm of CPU seconds, or of the peak of memory, over that of the bytes of what goes
in, between the two largest sizes. Exits with 1 and the names if one is above its bar.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
import tracemalloc
import warnings
from typing import TYPE_CHECKING, NamedTuple

import xarray as xr
from _growing import FACTORS, Call, Example, growing_simulators, methods
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Highest exponents of CPU time and of memory.
CPU_BAR, MEMORY_BAR = 1.15, 1.05
#: Methods that transform what they are given: n log n.
TRANSFORMS = frozenset(
    f"cdi.Cdi.{name}"
    for name in (
        *("retrieve", "retrieve_states", "retrieve_learned", "replicas", "misfit"),
        *("prtf", "fsc", "frc", "resolution", "align", "align_states", "ptycho"),
        *("ptycho_energies", "ptycho_fit", "orientation", "check_ptycho"),
    )
) | {"xanes.Xanes.register"}
#: CPU seconds below which a method's growth is not measured, above which a method is
#: not called again, and above which it gets no larger data.
_LEAST, _PATIENCE, _ENOUGH = 0.03, 0.5, 6.0
#: Bytes of a peak below which memory is not measured.
_LEAST_PEAK = 4e6


class Growth(NamedTuple):
    """Hold what a method took: bytes given, CPU seconds and peak bytes by size."""

    name: str
    given: tuple[float, ...]
    seconds: tuple[float, ...]
    peaks: tuple[float, ...]

    @property
    def cpu(self) -> float:
        """Return the exponent of CPU seconds, 0 below what can be measured."""
        return self._exponent(self.seconds, _LEAST)

    @property
    def memory(self) -> float:
        """Return the exponent of the peak of memory."""
        return self._exponent(self.peaks, _LEAST_PEAK)

    @property
    def theory(self) -> float:
        """Return the exponent that the method's theory adds to one."""
        if self.name not in TRANSFORMS:
            return 0.0
        before, after = (math.log(n / 8) for n in self.given[-2:])
        return math.log(after / before) / self._step()

    def _step(self) -> float:
        """Return the logarithm of the last growth; where none is, of the factor's."""
        return math.log(max(self.given[-1] / self.given[-2], 2.0))

    def _exponent(self, values: tuple[float, ...], least: float) -> float:
        if values[-1] < least:
            return 0.0
        return math.log(values[-1] / max(values[-2], 1e-9)) / self._step()

    def problems(self) -> Iterator[str]:
        """Yield what is above its bar."""
        if self.cpu > CPU_BAR + self.theory:
            yield f"CPU exponent {self.cpu:.2f} above {CPU_BAR + self.theory:.2f}"
        if self.memory > MEMORY_BAR:
            yield f"memory exponent {self.memory:.2f} above {MEMORY_BAR}"


def seconds_of(call: Call, repeats: int) -> float:
    """Return the least CPU seconds of a call."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call.run()
        times.append(time.process_time() - began)
        if times[-1] > _PATIENCE:
            break
    return min(times)


def peak_of(call: Call) -> float:
    """Return the highest number of bytes that Python and NumPy held for a call."""
    tracemalloc.start()
    try:
        call.run()
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def grow(example: Example, factors: Iterable[int] = FACTORS) -> Growth:
    """Run a method on growing data."""
    calls, seconds = [], []
    for factor in factors:
        call = example.call(factor)
        if not calls:
            call.run()  # what is compiled or imported
        calls.append(call)
        seconds.append(seconds_of(call, 3))
        if seconds[-1] > _ENOUGH and len(calls) > 2:
            break
    for _ in range(2):  # a busy machine is given the benefit of the doubt
        found = Growth(example.name, tuple(c.given for c in calls), tuple(seconds), ())
        if found._replace(peaks=(1.0,)).cpu <= CPU_BAR + found.theory:
            break
        for k in (-2, -1):
            seconds[k] = min(seconds[k], seconds_of(calls[k], 4))
    peaks = tuple(peak_of(call) for call in calls[-2:])
    return found._replace(seconds=tuple(seconds), peaks=peaks)


def show(found: Growth) -> str:
    """Return the line of a table."""
    times = " ".join(f"{1e3 * s:9.1f}" for s in found.seconds)
    peaks = " ".join(f"{p / 1e6:8.1f}" for p in found.peaks)
    return (
        f"{found.name:38s} x{found.given[-1] / found.given[0]:5.0f} ms {times:41s}"
        f"{found.cpu:6.2f}  MB {peaks} {found.memory:6.2f}  "
        + "; ".join(found.problems())
    )


def failures(names: Iterable[str], factors: Iterable[int] = FACTORS) -> list[str]:
    """Run methods at growing sizes, print each, and return those above a bar."""
    failed = []
    examples = methods()
    with growing_simulators() as scale, threadpool_limits(1):
        for name in names:
            try:
                found = grow(Example(name, examples[name], scale), factors)
            except Exception as error:
                failed.append(f"{name}: {type(error).__name__}: {str(error)[:160]}")
                print(failed[-1], flush=True)
                continue
            print(show(found), flush=True)
            failed += [f"{name}: {problem}" for problem in found.problems()]
    return failed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", default="1/1", help="such as 3/10")
    parser.add_argument("--only", default="", help="a part of the methods' names")
    parser.add_argument("--sizes", type=int, default=len(FACTORS))
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    names = [n for n in methods() if options.only in n][part - 1 :: parts]
    warnings.simplefilter("ignore")
    os.chdir(tempfile.mkdtemp())
    xr.set_options(keep_attrs="default")
    failed = failures(names, FACTORS[: options.sizes])
    print(f"\n{len(names)} methods, {len(failed)} failures", *failed, sep="\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
