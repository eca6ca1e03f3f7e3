"""Count the expressions whose type mypy knows."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Mypy(NamedTuple):
    """A run of mypy, and the folder for its report."""

    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]

    def untyped(self) -> list[tuple[str, int, int]]:
        """Wait; return module, expressions of type Any, and expressions in all."""
        self.process.wait()
        report = Path(self.folder.name, "any-exprs.txt")
        text = report.read_text() if report.exists() else ""
        self.folder.cleanup()
        lines = re.findall(r"^\s*([\w.]+)\s+(\d+)\s+(\d+)\s", text, re.MULTILINE)
        return [(name, int(some), int(whole)) for name, some, whole in lines]


def start_mypy() -> Mypy:
    """Start mypy on the library, with a cache of its own."""
    folder = tempfile.TemporaryDirectory()
    command = [sys.executable, "-m", "mypy", "--any-exprs-report", folder.name]
    command += ["--cache-dir", str(Path(folder.name, "cache"))]
    quiet = subprocess.DEVNULL
    return Mypy(subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet), folder)
