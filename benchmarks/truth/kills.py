"""Stores under attack: kills, second writers and damage, as often as the bars ask.

    python benchmarks/truth/kills.py [--kills 100] [--writers 50] [--damages 1000]

With ``--s3`` kills and writers are tried on moto's S3 server on this machine, with
``--url s3://bucket`` on another, which the environment of AWS names.

The cases are those of ``tests/core``. Each line should say that all of them held; there
is one for each ten kills and writers, and each hundred damages.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import xarray as xr

from batteryxr.core.store import open_store, save, verify

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "core"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "core" / "store"))
import conftest
import processes
import test_changes as changes
import test_damage as damages


def kills(path: Path | str, n: int, longest: float) -> int:
    """Kill processes that overwrite; return after how many all was whole."""
    times, held = random.Random(1), 0
    first = changes.dataset(1)
    save(xr.DataTree.from_dict({"/m": first, "/m/n": first}), path)
    fork = processes.forking()
    for held in range(1, n + 1):
        changes.kill_and_look(fork, path, times.uniform(0.0, longest))
        if held % 10 == 0:
            print(f"{path}: kills: {held} of {held} whole", flush=True)
    return held


def writers(path: Path | str, n: int, longest: float) -> collections.Counter[str]:
    """Let two write at any moment; return how often one was refused by name."""
    times, fork = random.Random(2), processes.forking()
    save(changes.dataset(1), path, group="m")
    found: collections.Counter[str] = collections.Counter()
    for k in range(2, 2 * n + 2, 2):
        first = fork(changes._WRITER, path, k)[1]
        time.sleep(times.uniform(0.0, longest))
        second = fork(changes._WRITER, path, k + 1)[1]
        told = [first.recv(), second.recv()]
        done = [k + i for i in (0, 1) if told[i] == "done"]
        refused = [t for t in told if "is being written to by process" in t]
        assert len(done) + len(refused) == 2, told
        assert open_store(path, "m").load().attrs["k"] in done
        assert verify(path) == []
        found["one refused by name" if refused else "one after the other"] += 1
        if k % 20 == 0:
            print(f"{path}: writers: {dict(found)}", flush=True)
    return found


def damage(folder: Path, n: int, seed: int) -> int:
    """Damage finished stores; return how many damages were named, and none read."""
    path, rng, named = damages.finished(folder / "whole.zarr"), random.Random(seed), 0
    before = damages.read_all(path)
    for tried in range(1, n + 1):
        copy = folder / "copy.zarr"
        shutil.copytree(path, copy)
        file, kind = damages.damage(copy, rng)
        if not damages.is_named(copy, file):
            print("not named:", file, kind, verify(copy))
        elif damages.reads_other(copy, before):
            print("silent:", file, kind)
        else:
            named += 1
        shutil.rmtree(copy)
        if tried % 100 == 0:
            print(f"damages: {named} of {tried} named, none read", flush=True)
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=3, help="of the damages")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--url")
    asked = parser.parse_args()
    if asked.s3:
        with conftest.serving() as (port, bucket):
            os.environ |= conftest.settings(port)
            attack(bucket("cells"), asked, longest=4.0)
    elif asked.url:
        attack(asked.url, asked, longest=4.0)
    else:
        with tempfile.TemporaryDirectory() as name:
            attack(name, asked, longest=0.5)
            found = damage(Path(name), asked.damages, asked.seed)
            print(f"damages: {found} of {asked.damages} named, none read")


def attack(place: str, asked: argparse.Namespace, longest: float) -> None:
    """Try kills within so many seconds, and two writers; print what held."""
    whole = kills(f"{place}/kills.zarr", asked.kills, longest)
    print(f"{place}: kills: {whole} of {asked.kills} whole", flush=True)
    found = dict(writers(f"{place}/two.zarr", asked.writers, longest / 3))
    print(f"{place}: writers: {found}", flush=True)


if __name__ == "__main__":
    main()
