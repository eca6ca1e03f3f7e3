"""List the installed versions, for a bug report."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from batteryxr.core.version import __version__


def show_versions() -> None:
    """Print the versions of Python, the system, and all that batteryxr uses.

    Paste the output into a bug report. Packages of extras that are not installed are
    listed last.

    Examples
    --------
    >>> batteryxr.show_versions()  # doctest: +ELLIPSIS
    batteryxr        ...
    """
    needed, optional = _packages()
    print(f"{'batteryxr':<17}{__version__}")
    print(
        f"{'Python':<17}{sys.version.split()[0]} ({platform.python_implementation()})"
    )
    print(f"{'system':<17}{platform.platform()}, {os.cpu_count()} processors")
    found = {name: _version(name) for name in (*needed, *optional)}
    width = max(17, *(len(name) + 2 for name in found))
    for name, number in found.items():
        if number:
            print(f"{name:<{width}}{number}")
    if missing := [n for n in needed if not found[n]]:
        print(f"MISSING, though needed: {', '.join(missing)}")
    if missing := [n for n in optional if not found[n]]:
        print(f"not installed: {', '.join(missing)}")


def _packages() -> tuple[list[str], list[str]]:
    """Return the names of required packages, and of those of the extras."""
    import re

    needed, optional = [], []
    for line in requires("batteryxr") or []:
        name = re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0]
        if name == "batteryxr" or "extra == 'docs'" in line.replace('"', "'"):
            continue
        if "extra ==" not in line:
            needed.append(name)
        elif "extra == 'test'" not in line.replace('"', "'"):
            optional.append(name)
    return sorted(set(needed)), sorted(set(optional) - set(needed))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
