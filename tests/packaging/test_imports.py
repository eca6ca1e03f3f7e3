"""Importing is quick, and a default install is free of GPL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

HEAVY = ("dask.array", "hvplot", "ipywidgets", "numba", "pint", "scipy", "sklearn",
         "xraydb", "zarr", "periodictable", "anywidget")  # fmt: skip


def _python(code):
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout)


def test_import_loads_nothing_heavy():
    code = (
        "import json, sys, numpy, xarray; before = set(sys.modules); import batteryxr;"
        f"print(json.dumps([m for m in {HEAVY!r} if m in set(sys.modules) - before]))"
    )
    assert _python(code) == []


def test_import_leaves_the_process_as_it_was():
    code = (
        "import json, warnings, zlib; d, f = zlib.decompress, list(warnings.filters);"
        "import numpy, xarray; f = list(warnings.filters); import batteryxr;"
        "print(json.dumps([zlib.decompress is d, list(warnings.filters) == f]))"
    )
    assert _python(code) == [True, True]


def _closure(name, seen):
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    seen[key] = found
    for line in found.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            _closure(requirement.name, seen)


def test_no_gpl_package_in_a_default_install():
    seen = {}
    _closure("batteryxr", seen)
    assert {"xarray", "zarr", "hvplot", "scikit-learn"} <= seen.keys()
    gpl = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
    for name, found in seen.items():
        terms = [
            found.metadata.get("License-Expression") or "",
            *[c for c in found.metadata.get_all("Classifier") or () if "License" in c],
        ]
        stated = found.metadata.get("License") or ""
        if len(stated) < 100:  # longer ones are the text, which may name others
            terms.append(stated)
        assert not any(gpl.search(t) for t in terms), (name, terms)
