"""The checkout, the wheel and the import names agree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
TOP_LEVEL = ("accessors", "batteryxr", "tests", "tutorials", "widgets")

PROBE = """
import importlib.util, json, sys
import xarray as xr
import batteryxr, batteryxr.accessors.echem, batteryxr.widgets
for name in ("accessors", "tutorials", "widgets", "tests", "core"):
    assert importlib.util.find_spec(name) is None, name
ds = xr.Dataset({"voltage": ("record", [3.0])})
assert type(ds.echem).__module__ == "batteryxr.accessors.echem"
from importlib.resources import files
names = {file.name for file in files("batteryxr.tutorials").iterdir()}
assert "01_labelled_lazy_data.ipynb" in names, names
print(json.dumps([batteryxr.__file__, batteryxr.accessors.__file__]))
"""


def test_the_card_is_kept():
    for name in (*TOP_LEVEL, "pyproject.toml", "README.md"):
        assert (ROOT / name).exists(), name


def test_every_package_folder_is_declared():
    found = set()
    for package, folder in SETUPTOOLS["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            if any(p.is_symlink() for p in init.parents):
                continue
            rest = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *rest)))
    assert found == set(SETUPTOOLS["packages"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from the tracked files alone, with what is installed here.

    `.ci/run` builds one in an environment of its own, with compiled kernels.
    """
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("setuptools before 77 does not read our pyproject.toml")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignore = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "*.zarr"
    )
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignore)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    environment = os.environ | {"BATTERYXR_AHEAD": "0"}
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=source, env=environment, check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_batteryxr_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"batteryxr"}
    tracked = subprocess.run(
        ["git", "ls-files", "batteryxr", "accessors", "tutorials", "widgets"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    for file in tracked:
        inside = file if file.startswith("batteryxr/") else f"batteryxr/{file}"
        if file.endswith((".py", ".js", ".css", ".ipynb", "py.typed")):
            assert inside in names, file


def test_the_wheel_imports_alone(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = f"import sys; sys.path.insert(0, {str(site)!r}){PROBE}"
    run = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.count(str(site)) == 2


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_the_checkout_imports_alike(where, tmp_path):
    """A plain checkout on the path, as pytest, mypy and python -m see it."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("batteryxr", "accessors", "tutorials", "widgets"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    probe = PROBE
    if where == "root":  # there the folders themselves are importable, as anywhere
        probe = PROBE.replace(
            '("accessors", "tutorials", "widgets", "tests", "core")', '("core",)'
        )
    cwd = checkout if where == "root" else tmp_path
    path = str(checkout)
    if where == "elsewhere":
        (tmp_path / "only").mkdir()
        (tmp_path / "only" / "batteryxr").symlink_to(checkout / "batteryxr")
        path = str(tmp_path / "only")
    run = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.count(str(tmp_path)) == 2
