"""Titration: the finite-length fit against scipy, Weppner-Huggins against ampworks.

    python benchmarks/gitt.py [--repeats 5] [--ampworks PYTHON]

Both fits have the same model and the same rows: scipy's ``curve_fit`` takes all
parameters as nonlinear and starts from the values that Weppner and Huggins' ratio
gives. ampworks runs in the environment whose interpreter is given, since it pins
other versions; both get the same million rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import curve_fit

from batteryxr import simulate
from batteryxr.echem import WeppnerHuggins, gitt
from batteryxr.simulate.titration import surface_excess

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

THERE = """
import json, sys, time
import ampworks, numpy, pandas
t, v, i = numpy.load(sys.argv[1])
data = ampworks.Dataset(pandas.DataFrame({"Seconds": t, "Volts": v, "Amps": i * 1e-3}))
took = []
for _ in range(int(sys.argv[2])):
    start = time.process_time()
    found = ampworks.gitt.extract_params(data, 1e-6, tmin=1, tmax=60)
    took.append(time.process_time() - start)
found = found.sort_values("SOC")
print(json.dumps({"s": min(took), "d": found["Ds"].tolist()}))
"""


def best(function: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        took.append(time.process_time() - start)
    return min(took)


def with_scipy(record: xr.Dataset) -> np.ndarray:
    t, v, i = (record[n].values for n in ("test_time", "voltage", "current"))
    on = i != 0
    starts = np.flatnonzero(on & ~np.r_[False, on[:-1]])
    stops = np.flatnonzero(on & ~np.r_[on[1:], False])
    ends = np.r_[starts[1:], t.size]
    taus = []
    for a, b, end in zip(starts, stops, ends, strict=True):
        rows = np.r_[a - 1 : end]
        begin, stop = t[a - 1], t[b]
        since, after = t[rows] - begin, t[rows] - stop
        used = (rows < a) | ((since >= 1) & (after <= 0)) | (after >= 1)
        since, after, current = since[used], after[used], i[rows][used]
        pulse, level = stop - begin, i[a]

        def model(_, log_tau, r, e, c1, c2, c3):
            tau = np.exp(log_tau)
            excess = surface_excess(since / tau) - surface_excess(after / tau)  # noqa: B023
            z = (np.clip(since, 0, pulse) + tau * excess) / pulse  # noqa: B023
            return e + z * (c1 + z * (c2 + z * c3)) + current * r  # noqa: B023

        step = v[end - 1] - v[a - 1]
        guess = [np.log(2e4), (v[a] - v[a - 1]) / level, v[a - 1], step, 0.0, 0.0]
        found, _ = curve_fit(model, since, v[rows][used], guess)
        taus.append(np.exp(found[0]))
    return np.array(taus)


def report(name: str, ours: float, other: float | None, note: str) -> None:
    compared = (
        f"{other * 1e3:12.1f}{other / ours:9.1f}" if other else f"{'-':>12}{'-':>9}"
    )
    print(f"{name:38}{ours * 1e3:12.1f}{compared}  {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ampworks", help="interpreter of an environment with it")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    record, truth = simulate.gitt()
    found = gitt(record)  # compiles
    ours = best(lambda: gitt(record), options.repeats)
    other = best(lambda: with_scipy(record), 1)
    spread = [
        float(np.std(tau / truth["tau"].values))
        for tau in (found["tau"].values, with_scipy(record))
    ]
    print(f"CPU time, best of {options.repeats}")
    print(f"{'':38}{'batteryxr/ms':>12}{'other/ms':>12}{'ratio':>9}")
    note = f"scipy curve_fit; scatter of tau {spread[0]:.2%}, {spread[1]:.2%}"
    report(f"finite length, {record.sizes['record']} rows", ours, other, note)

    long, _ = simulate.gitt(
        protocol=simulate.Titration(
            n_pulses=121, current=0.02, pulse=660.0, rest=8100.0, interval=0.0824
        ),
        electrode=simulate.Electrode(tau=4e3),
    )
    options_wh = {"method": WeppnerHuggins("gradient"), "radius": 1000.0}
    whole = gitt(long, **options_wh)
    ours = best(lambda: gitt(long, **options_wh), options.repeats)
    rows = f"{long.sizes['record']} rows"
    arrays = np.stack([long[n].values for n in ("test_time", "voltage", "current")])
    seconds, note = None, "ampworks skipped: pass --ampworks PYTHON"
    if options.ampworks:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.npy"
            np.save(path, arrays)
            run = subprocess.run(
                [options.ampworks, "-c", THERE, str(path), str(options.repeats)],
                capture_output=True,
                text=True,
                check=False,
            )
        if run.returncode:
            print(run.stderr, file=sys.stderr)
            note = "ampworks failed"
        else:
            answer = json.loads(run.stdout.splitlines()[-1])
            seconds = answer["s"]
            apart = whole["diffusion_coefficient"].values / answer["d"] - 1
            note = f"ampworks; largest relative difference {np.abs(apart).max():.0e}"
    report(f"Weppner-Huggins, {rows}", ours, seconds, note)
    start = time.process_time()
    arrays.sum()
    share = (time.process_time() - start) / ours
    print(f"{'':38}reading the three columns once takes {share:.0%} of it")
    ours = best(lambda: gitt(long), 1)
    report(f"finite length, {rows}", ours, None, "")


if __name__ == "__main__":
    main()
