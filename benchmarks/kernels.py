"""Write which calls of kernels an installation compiles ahead, and show their cost.

    python benchmarks/kernels.py [--add]

Runs the example of every public function, and every engine of ptychography, with
nothing compiled before. It notes each kernel that Python calls with the types of its
arguments: `batteryxr/core/kernels/calls.json`. Run it after a kernel or its arguments
changed, then install, and run it with `--add`: a kernel that was compiled within
another is noted only where the other is there already.
"""

from __future__ import annotations

import argparse
import doctest
import inspect
import json
import os
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from typing import Any

os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()

from _public import public_functions
from numba.core import event, types

from batteryxr.core.kernels import ahead
from batteryxr.core.kernels.precompile import CALLS


class Calls(event.Listener):
    """Note the outermost compilations: kernel, types and CPU seconds."""

    def __init__(self) -> None:
        self._inside: dict[int, list[float]] = defaultdict(list)
        self.noted: dict[str, dict[str, Any]] = defaultdict(dict)
        self.seconds: dict[str, float] = defaultdict(float)

    def on_start(self, happened: Any) -> None:
        """Begin to compile a kernel, perhaps within another."""
        self._inside[threading.get_ident()].append(time.thread_time())

    def on_end(self, happened: Any) -> None:
        """End to compile a kernel."""
        inside = self._inside[threading.get_ident()]
        began = inside.pop()
        kernel = happened.data["dispatcher"].py_func
        if inside or not kernel.__module__.startswith("batteryxr."):
            return
        name = f"{kernel.__module__}:{kernel.__qualname__}"
        kinds = [_written(kind) for kind in happened.data["args"]]
        self.noted[name][json.dumps(kinds)] = kinds
        self.seconds[name] += time.thread_time() - began


def _written(kind: Any) -> Any:
    """Return numba's type as `precompile` reads it."""
    match kind:
        case types.BaseTuple() if hasattr(kind, "instance_class") and hasattr(
            kind, "fields"
        ):
            named = kind.instance_class
            name = f"{named.__module__}:{named.__qualname__}"
            return {"named": name, "of": [_written(part) for part in kind]}
        case types.BaseTuple():
            return {"tuple": [_written(part) for part in kind]}
        case types.Array():
            readonly = {} if kind.mutable else {"readonly": True}
            item = _written(kind.dtype)
            return {"array": item, "ndim": kind.ndim, "layout": kind.layout, **readonly}
        case types.Dispatcher():
            function = kind.dispatcher.py_func
            return {"kernel": f"{function.__module__}:{function.__qualname__}"}
        case types.NumPyRandomGeneratorType():
            return "npy_rng"
    return str(kind)


def run_examples() -> None:
    """Run the examples of all public functions, whatever comes of them."""
    import batteryxr

    os.chdir(tempfile.mkdtemp())
    warnings.simplefilter("ignore")
    runner = doctest.DocTestRunner(verbose=False)
    for name, function in public_functions().items():
        text = inspect.getdoc(inspect.unwrap(function)) or ""
        scope = {"batteryxr": batteryxr}
        example = doctest.DocTestParser().get_doctest(text, scope, name, None, None)
        runner.run(example, out=lambda _: None)


def run_engines() -> None:
    """Run each engine of ptychography on a few frames, of counts and of floats."""
    from batteryxr import simulate
    from batteryxr.cdi import Schedule, ptycho
    from batteryxr.cdi.ptycho.engines import ENGINES

    stack, _truth = simulate.ptychography(energy=[5540.0], positions=6, seed=0)
    scan = stack.isel(energy=0)
    for engine in ENGINES.values():
        moves = Schedule(positions_from=1 if engine().subpixel else None, probe_from=0)
        for frames in (scan["frames"], scan["frames"].astype("float32")):
            light = scan.assign(frames=frames)
            ptycho(light, engine=engine(), iterations=3, schedule=moves, progress=False)


def main() -> None:
    """Note the calls, and print what compiling them costs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--add", action="store_true", help="keep what is listed")
    calls = Calls()
    if parser.parse_args().add:
        for name, signatures in json.loads(CALLS.read_text()).items():
            calls.noted[name] = {json.dumps(kinds): kinds for kinds in signatures}
    else:
        ahead.Compiled.get = lambda *_: None
    event.register("numba:compile", calls)
    run_examples()
    run_engines()
    listed = {k: [v[c] for c in sorted(v)] for k, v in sorted(calls.noted.items())}
    CALLS.write_text(json.dumps(listed, indent=1) + "\n")
    for name, seconds in sorted(calls.seconds.items(), key=lambda pair: -pair[1]):
        print(f"{seconds:7.2f} s  {len(listed[name])} calls  {name}")
    print(f"{sum(calls.seconds.values()):7.2f} s  {len(listed)} kernels")


if __name__ == "__main__":
    main()
