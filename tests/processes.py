"""Processes of their own for tests, forked from one that has imported all."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: What the first process imports, once for all: the library, and workers of clusters.
PRELOAD = ["dask.array", "distributed", "batteryxr.core.store.reading"]


def server() -> Any:
    """Return the context in which processes are there within 50 ms."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def forking() -> Callable[..., Any]:
    """Return a function that runs code in another process.

    The code finds its arguments as `argv`, and `say`, what it calls to be heard: the
    second thing returned receives it.
    """
    context = server()

    def start(code: str, *argv: Any) -> tuple[Any, Any]:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=exec, args=(code, {"argv": argv, "say": theirs.send}), daemon=True
        )
        process.start()
        theirs.close()
        return process, ours

    return start


#: Imports what notebooks do, and forks a kernel for each that asks.
_KERNELS = """
import json, os, signal, socket, sys, threading
import hvplot.xarray, ipykernel.kernelapp, numba, sklearn.cluster, zarr
import batteryxr.accessors, batteryxr.widgets
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    asker, _ = listener.accept()
    if os.fork():
        asker.close()
        continue
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder, environment, connection = json.loads(asker.makefile().readline())
    environment.pop("JPY_PARENT_PID", None)  # that of the one who asked
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=lambda: (asker.recv(1), os._exit(0)), daemon=True).start()
    ipykernel.kernelapp.launch_new_instance(argv=["-f", connection])
    os._exit(0)
"""
#: Stands for a kernel to whoever starts one: lives as long, and takes it along.
_ASKER = """
import json, os, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
asker = socket.socket(socket.AF_UNIX)
asker.connect(sys.argv[1])
asked = [os.getcwd(), dict(os.environ), sys.argv[2]]
asker.sendall(json.dumps(asked).encode() + b"\\n")
asker.recv(1)
"""


@contextmanager
def kernels(folder: Path) -> Iterator[Path]:
    """Yield what JUPYTER_PATH has to be for kernels that have imported all already.

    The path of the folder is short: a socket's may have about 100 letters.
    """
    place = str(folder / "socket")
    argv = [sys.executable, "-ISc", _ASKER, place, "{connection_file}"]
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(
        json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"})
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _KERNELS, place], stdin=pipe, stdout=pipe
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        yield folder
        assert parent.stdin is not None
        parent.stdin.close()
