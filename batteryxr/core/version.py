"""The version, read from the installed distribution or the checkout."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("batteryxr")
    except PackageNotFoundError:  # a checkout that is not installed
        import tomllib
        from pathlib import Path

        project = Path(__file__).parents[2] / "pyproject.toml"
        if not project.is_file():
            return "unknown"
        return str(tomllib.loads(project.read_text())["project"]["version"])


__version__ = _version()
