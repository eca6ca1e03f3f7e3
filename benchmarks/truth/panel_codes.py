"""Run the code of panels in a fresh interpreter, and compare the results.

    python benchmarks/truth/panel_codes.py [--choices 200] [--seed 0]

Panels are opened as users open them: on variables, selections, variables of datasets,
with masks and patterns that are expressions. Each panel makes random choices. Another
interpreter runs the user's cell and then the code as it stands, and compares the
results.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import linecache
import pickle
import random
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

SERIES = """
import batteryxr
from batteryxr import simulate
cell = simulate.cell_experiment(kind="pdf", seed=3, n_cycles=1, n_scans=24)
record = cell["echem"].to_dataset()
series = record.echem.join(cell["scans"]["pdf"])
both = series.to_dataset(name="pdf")
known = {"first phase": series.isel(scan=0, drop=True)}
"""
MAPS = """
import numpy as np
import xarray
import batteryxr as bx
rng = np.random.default_rng(1)
values = rng.normal(0, 0.1, (3, 20, 24)) + (np.arange(24) > 11)
maps = xarray.Dataset(
    {n: (("y", "x"), v, {"units": "1"}) for n, v in zip(("a", "b", "c"), values)}
)
beam = maps["a"] + 2
"""
STACK = """
import numpy
import xarray
import batteryxr
rng = numpy.random.default_rng(2)
energy = ("energy", numpy.linspace(8320.0, 8400.0, 9), {"units": "eV"})
stack = xarray.DataArray(
    rng.random((9, 16, 20)), dims=("energy", "y", "x"), coords={"energy": energy},
    name="od", attrs={"units": "1"},
)
both = stack.to_dataset()
wave = stack.astype(complex) * numpy.exp(1j * stack)
"""
LOOP = """
import batteryxr
loop = batteryxr.simulate.impedance_loop(n_scans=4)
record = loop["echem"].to_dataset()
spectra = record.echem.join(loop["impedance"].to_dataset())
"""
#: The user's cell, and the expressions that open a panel in it.
PANELS: dict[str, tuple[str, list[str]]] = {
    "components": (
        SERIES,
        [
            "series.nmf.panel()",
            "series.sel(r=slice(2, 12)).nmf.panel(n_components=3)",
            'both["pdf"].nmf.panel(fixed=known)',
            'series.nmf.panel(fixed={"one": series[3] + series[4]})',
            "(series * 2).nmf.panel()",
        ],
    ),
    "states": (
        SERIES,
        [
            "series.echem.panel()",
            "series.isel(scan=slice(2, None)).echem.panel(record=record)",
            "both.echem.panel()",
        ],
    ),
    "clusters": (
        MAPS,
        [
            "maps.xanes.panel()",
            "maps.isel(x=slice(5)).xanes.panel(mask=maps.a.isel(x=slice(5)) > -1)",
            "maps.xanes.panel(weights=beam, mask=maps['b'] < 0.9)",
        ],
    ),
    "stack": (
        STACK,
        [
            "stack.xanes.view()",
            "stack.isel(y=slice(1, None)).xanes.view()",
            "both.xanes.view()",
            "wave.cdi.view()",
            "(2 * wave).isel(energy=0).cdi.view()",
        ],
    ),
    "impedance": (
        LOOP,
        [
            "spectra.echem.impedance_panel(record=record)",
            "spectra.isel(spectrum=slice(1, None)).echem.impedance_panel()",
        ],
    ),
}


def choices(kind: str, panel: Any, draw: random.Random) -> dict[str, Any]:
    """Return a random choice for a panel."""
    if kind == "components":
        return {
            "n_components": draw.randint(2, 4),
            "method": draw.choice(["active-set", "hals"]),
            "shift": draw.choice(["envelope", "minimum"]),
            "seed": draw.randint(0, 3),
            "fixed": panel.fixed
            if draw.random() < 0.6
            else {"end": draw.randint(0, 9)},
        }
    if kind == "states":
        at = draw.sample(range(panel.model.voltage.size), 2)
        usable = [k for k in at if panel.model.usable[k]]
        found = [
            (str(panel.model.branch[k]), float(panel.model.voltage[k])) for k in usable
        ]
        return {"states": found or [], "tolerance": draw.choice([0.02, 0.1 + 0.2])}
    if kind == "clusters":
        return {
            "n_clusters": draw.randint(2, 5),
            "features": draw.sample(panel.model.maps, draw.randint(1, 3)),
            "method": draw.choice(["kmeans", "gaussian_mixture"]),
            "seed": draw.randint(0, 3),
        }
    if kind == "stack":
        sizes = [panel.model.stack.sizes[d] for d in panel.model.sides]
        region = [k for n in sizes for k in sorted(draw.sample(range(n), 2))]
        complex_ = panel.model.array.dtype.kind == "c"
        return {
            "pixel": [draw.randrange(n) for n in sizes],
            "region": region if draw.random() < 0.6 else [],
            "part": draw.choice(["modulus", "phase"]) if complex_ else "real",
        }
    return {
        "spectrum": draw.randrange(panel.model.data.sizes["spectrum"]),
        "circuit": draw.choice(["", "R0-p(R1,CPE1)-W1"]),
        "method": draw.choice(["l_curve", "discrepancy"]),
    }


def value_of(code: str, names: dict[str, Any]) -> Any:
    """Run code, and return the value of its last line."""
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "<code>", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "<code>", "eval"), names)
    exec(compile(ast.Module([last], []), "<code>", "exec"), names)
    assert isinstance(last, ast.Assign)
    assert isinstance(last.targets[0], ast.Name)
    return names[last.targets[0].id]


def opened(setup: str, expression: str, number: int) -> Any:
    """Open a panel in a cell of its own, whose source Python can show."""
    name = f"<cell {number}>"
    text = f"{setup}\npanel = {expression}\n"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), space)
    return space["panel"]


def write(folder: Path, n_choices: int, seed: int) -> None:
    """Open panels, choose, and keep codes and results."""
    draw = random.Random(seed)
    ways = [(k, s, e) for k, (s, es) in PANELS.items() for e in es]
    panels = [(k, s, opened(s, e, i)) for i, (k, s, e) in enumerate(ways)]
    found = []
    for kind, setup, panel in itertools.islice(itertools.cycle(panels), n_choices):
        panel.choose(**choices(kind, panel, draw))
        try:
            result = panel.result
        except Exception as error:  # a choice that the data do not allow
            result = type(error).__name__
        result = getattr(result, "drt", result)
        found.append((kind, setup, panel.code, result))
    (folder / "found").write_bytes(pickle.dumps(found))


def compare(folder: Path) -> int:
    """Run each code after its user's cell, and return how many differ."""
    cells: dict[str, dict[str, Any]] = {}
    wrong = 0
    found = pickle.loads((folder / "found").read_bytes())
    for kind, setup, code, result in found:
        if setup not in cells:
            cells[setup] = {}
            exec(setup, cells[setup])
        try:
            again = value_of(code, dict(cells[setup]))
        except Exception as error:
            again = error if isinstance(result, str) else repr(error)
            again = type(error).__name__ if isinstance(result, str) else again
        same = again == result if isinstance(result, str) else result.identical(again)
        if not same and not isinstance(again, str | Exception):
            same = result.equals(again)
        if not same:
            wrong += 1
            print(f"{kind}: {code}\n    gave {str(again)[:300]}")
    print(f"{len(found)} choices, {wrong} whose code does not give the panel's result")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choices", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.compare:
        sys.exit(compare(options.compare) > 0)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.choices, options.seed)
        again = [sys.executable, __file__, "--compare", folder]
        sys.exit(subprocess.run(again, check=False).returncode)


if __name__ == "__main__":
    main()
