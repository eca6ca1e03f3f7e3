"""Give every public function data that it is not made for, and list the bare errors.

    python benchmarks/truth/hostile_data.py [--only NAME] [--seconds 20]

The calls are those of the examples in the docstrings. Their first argument is turned to
text or objects, emptied, cut to one point, filled with NaN, or its dimensions get other
names. Prints what ends in anything but a result or an error of batteryxr, and exits
with 1 if any did. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import doctest
import inspect
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1]))

from _public import public_functions

import batteryxr
from batteryxr.core import checks, provenance
from batteryxr.core.errors import BatteryxrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Data = xr.DataArray | xr.Dataset


def turned(data: Data, change: Callable[[xr.DataArray], xr.DataArray]) -> Data:
    """Return data whose numbers are changed."""
    if isinstance(data, xr.DataArray):
        return change(data)
    numbers = {n: v for n, v in data.data_vars.items() if v.dtype.kind in "fiuc"}
    return data.assign({n: change(v).assign_attrs(v.attrs) for n, v in numbers.items()})


def variants(data: Data) -> Iterator[tuple[str, Data]]:
    """Yield data as no function is made for."""
    yield "objects", turned(data, lambda a: a.astype(object))
    yield "text", turned(data, lambda a: a.astype(str))
    yield "NaN", turned(data, lambda a: a * np.nan)
    yield "other dimensions", data.rename({d: f"other_{d}" for d in data.dims})
    for dim in list(data.dims)[:1]:
        yield "empty", data.isel({dim: slice(0, 0)})
        yield "one", data.isel({dim: slice(0, 1)})


def calls(functions: dict[Any, str]) -> dict[Any, tuple[Any, ...]]:
    """Return the first call of each function in the examples."""
    made: dict[Any, tuple[Any, ...]] = {}
    usual = checks.called

    def noting(function: Any, signature: Any, args: Any, kwargs: Any) -> Any:
        made.setdefault(inspect.unwrap(function), (args, dict(kwargs)))
        return usual(function, signature, args, kwargs)

    for module in (checks, provenance):
        module.called = noting  # type: ignore[attr-defined]
    for function, name in functions.items():
        text = inspect.getdoc(function) or ""
        names = {"batteryxr": batteryxr}
        shown = doctest.DocTestParser().get_doctest(text, names, name, None, None)
        doctest.DocTestRunner(verbose=False).run(shown, out=lambda _: None)
    for module in (checks, provenance):
        module.called = usual  # type: ignore[attr-defined]
    return {f: call for f, call in made.items() if f in functions}


def stop(*_: Any) -> None:
    raise TimeoutError("it takes too long")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a function's name")
    parser.add_argument("--seconds", type=int, default=20, help="limit of a call")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, stop)
    public = public_functions()
    functions = {
        inspect.unwrap(f): name for name, f in public.items() if chosen.only in name
    }
    tried = bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for function, ((first, *others), kwargs) in (
            (f, call) for f, call in calls(functions).items() if call[0]
        ):
            if not isinstance(first, Data):
                continue
            for kind, data in variants(first):
                tried += 1
                signal.alarm(chosen.seconds)
                try:
                    function.__globals__[function.__name__](data, *others, **kwargs)
                except BatteryxrError:
                    pass
                except Exception as error:
                    bad += 1
                    said = str(error).partition("\n")[0][:80]
                    name = f"{function.__module__}.{function.__name__}"
                    print(f"{kind:16s} {name}: {type(error).__name__}: {said}")
                finally:
                    signal.alarm(0)
    print(f"{bad} of {tried} end in an error that names nothing")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
