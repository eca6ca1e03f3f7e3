"""Optional libraries: imported when called, with a plain sentence when missing."""

from __future__ import annotations

import importlib
from typing import Any

from batteryxr.core.errors import MissingDependencyError


def require(module: str, *, extra: str | None, purpose: str, package: str = "") -> Any:
    """Import and return an optional module.

    Parameters
    ----------
    module
        Name to import.
    extra
        The extra of batteryxr that brings it; None for what the user installs
        separately (a GPL library, for example).
    purpose
        What needs it, such as ``"reading Neware .ndax files"``.
    package
        Name to install, if it differs from `module`.

    Raises
    ------
    MissingDependencyError
        With the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        wanted = f"'batteryxr[{extra}]'" if extra else (package or module)
        raise MissingDependencyError(
            f"{purpose} needs {package or module}, which is not installed. "
            f"Install it with: pip install {wanted}"
        ) from error
