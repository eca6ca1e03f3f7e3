"""Build batteryxr, with its kernels compiled ahead where that is possible."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

_HERE = Path(__file__).resolve().parent
_SCRIPT = _HERE / "batteryxr" / "core" / "kernels" / "precompile.py"
#: Whether kernels are compiled ahead; BATTERYXR_AHEAD=0 leaves them to the first call.
_AHEAD = (
    os.environ.get("BATTERYXR_AHEAD", "1") != "0"
    and importlib.util.find_spec("numba") is not None
)


class BuildModules(build_py):
    """Copy the modules, and compile the kernels beside them."""

    def run(self) -> None:
        """Build; a kernel that does not compile here is compiled when first called."""
        super().run()
        if not _AHEAD:
            return
        kept = _HERE / "batteryxr" / "compiled"
        folder = kept
        if not self.editable_mode:
            folder = Path(self.build_lib).resolve() / "batteryxr" / "compiled"
            if kept.is_dir():
                shutil.copytree(kept, folder, dirs_exist_ok=True)
        try:
            subprocess.run([sys.executable, _SCRIPT, folder], check=True, cwd=_HERE)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"Kernels are compiled when they are first called, not now: {error}")


class ForOneMachine(Distribution):
    """Name the machine in the wheel: compiled code is for one kind."""

    def has_ext_modules(self) -> bool:
        """Tell whether there is compiled code."""
        return _AHEAD


setup(cmdclass={"build_py": BuildModules}, distclass=ForOneMachine)
