"""Stores under attack: kills, second writers and damage, as often as the bars ask.

    python benchmarks/truth/kills.py [--kills 100] [--writers 50] [--damages 1000]

With ``--s3`` kills and writers are tried on an S3 server on this machine as well.

The cases are those of ``tests/core``. Each line should say that all of them held.
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

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "core"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "core" / "store"))
import conftest
import test_changes as changes
import test_damage as damages


def kills(path: Path | str, n: int, longest: float) -> int:
    """Kill processes that overwrite; return after how many all was whole."""
    times, held = random.Random(1), 0
    first = changes.dataset(1)
    save(xr.DataTree.from_dict({"/m": first, "/m/n": first}), path)
    fork = conftest.forking()
    for _ in range(n):
        changes.kill_and_look(fork, path, times.uniform(0.0, longest))
        held += 1
    return held


def writers(path: Path | str, n: int, longest: float) -> collections.Counter[str]:
    """Let two write at any moment; return how often one was refused by name."""
    times, fork = random.Random(2), conftest.forking()
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
    return found


def damage(folder: Path, n: int) -> int:
    """Damage finished stores; return how many damages were named."""
    path, rng, named = damages.finished(folder / "whole.zarr"), random.Random(3), 0
    for _ in range(n):
        copy = folder / "copy.zarr"
        shutil.copytree(path, copy)
        file, kind = damages.damage(copy, rng)
        if damages.is_named(copy, file):
            named += 1
        else:
            print("not named:", file, kind, verify(copy))
        shutil.rmtree(copy)
    return named


def server() -> str:
    """Start an S3 server in this process; return the URL of a bucket."""
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer(port=0)
    started.start()
    host, port = started.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import boto3

    boto3.client("s3").create_bucket(Bucket="cells")
    return "s3://cells"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--s3", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # On the server a change takes some ten times as long.
        places: dict[Path | str, float] = {server(): 4.0} if asked.s3 else {}
        for place, longest in ({folder: 0.5} | places).items():
            whole = kills(f"{place}/kills.zarr", asked.kills, longest)
            print(f"{place}: kills: {whole} of {asked.kills} whole", flush=True)
            found = dict(writers(f"{place}/two.zarr", asked.writers, longest / 3))
            print(f"{place}: writers: {found}", flush=True)
        print(f"damages: {damage(folder, asked.damages)} of {asked.damages} named")


if __name__ == "__main__":
    main()
