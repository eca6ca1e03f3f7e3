"""A kernel on disk is used while its sources stand, those of other files too."""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import batteryxr
from batteryxr.core.kernels import ahead, compiling, cores, precompile

ROOT = Path(batteryxr.__file__).parent

RULES = """
from typing import NamedTuple
from batteryxr.core.kernels.compiling import njit

class {name}(NamedTuple):
    least: float

@njit(cache=True)
def above(value, rule):
    return value - rule.least + {more}
"""
KERNEL = """
from batteryxr.core.kernels.compiling import njit
from batteryxr.rules import above

@njit(cache=True)
def twice(value, rule):
    return 2.0 * above(value, rule)
"""
#: Imports the package anew for each text of its rules.
CALL = """
import json, pathlib, sys
for text in json.loads(sys.argv[1]):
    for name in [n for n in sys.modules if n.partition(".")[0] == "batteryxr"]:
        del sys.modules[name]
    import batteryxr
    (pathlib.Path(batteryxr.__file__).parent / "rules.py").write_text(text)
    from batteryxr import kernel, rules
    rule = getattr(rules, "Rule", None) or rules.Limit
    hits = kernel.twice.stats.cache_hits
    print(kernel.twice(5.0, rule(1.0)), sum(hits.values()))
"""


@pytest.fixture
def package(tmp_path):
    """Return a package of our name, with nothing in it but what compiles kernels."""
    home = tmp_path / "batteryxr"
    inner = home / "core" / "kernels"
    inner.mkdir(parents=True)
    for folder in (home, home / "core", inner):
        (folder / "__init__.py").touch()
    for module in (compiling, ahead, cores, precompile):
        shutil.copy(module.__file__, inner)
    (home / "kernel.py").write_text(KERNEL)
    return home


def test_what_a_kernel_calls_and_is_passed_may_change(package):
    first = RULES.format(name="Rule", more=0.0)
    texts = [first, first, RULES.format(name="Limit", more=3.0)]
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALL, json.dumps(texts)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8.0", "0", "8.0", "1", "14.0", "0"]


#: A loop hands a number on that began as a literal.
LOOP = """
import warnings
from batteryxr.core.kernels.compiling import njit

@njit(cache=True)
def one_more(value):
    return value + 1

@njit(cache=True)
def count(n):
    value = 0
    for _ in range(n):
        value = one_more(value)
    return value
"""
READ_ONLY = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from batteryxr import loop
    print(loop.count(3), len(loop.one_more.signatures), len(told))
print(told[0].message if told else "", told[0].filename if told else "")
"""


@pytest.mark.parametrize("shut", [False, True])
def test_one_signature_and_one_warning_where_nothing_can_be_kept(package, shut):
    (package / "loop.py").write_text(LOOP)
    shutil.copy(ROOT / "core" / "errors.py", package / "core")
    environment = os.environ | {
        "PYTHONPATH": str(package.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    if shut:  # a file where numba wants its folder: also root cannot write there
        (package / "__pycache__").touch()
        environment |= {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ_ONLY],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["3", "1", str(int(shut))]
    assert ("NUMBA_CACHE_DIR" in done.stdout) == shut


#: Calls a kernel where numba keeps nothing, and tells how often it found code.
FIRST_CALL = """
from batteryxr import kernel, rules
print(kernel.twice(5.0, rules.Rule(1.0)), sum(kernel.twice.stats.cache_hits.values()))
"""


def test_an_installation_compiles_ahead(package):
    (package / "rules.py").write_text(RULES.format(name="Rule", more=0.0))
    rule = {"named": "batteryxr.rules:Rule", "of": ["float64"]}
    calls = {"batteryxr.kernel:twice": [["float64", rule]]}
    script = package / "core" / "kernels" / "precompile.py"
    script.with_name("calls.json").write_text(json.dumps(calls))
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    environment["NUMBA_CACHE_DIR"] = str(package.parent / "kept")

    def run(*command):
        done = subprocess.run(
            [sys.executable, "-P", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert run(str(script), str(package / "compiled"))[0] == "1"
    assert run("-c", FIRST_CALL) == ["8.0", "1"]
    (package / "rules.py").write_text(RULES.format(name="Rule", more=3.0))
    assert run("-c", FIRST_CALL) == ["14.0", "0"]


def sealed(folder, version="2"):
    files = ahead.SealedFiles(str(folder), "kernel", None)
    files._version = version
    return files


DAMAGES = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "changed": lambda whole: whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:],
    "another": lambda whole: b"no compiled code",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_damaged_code_is_as_good_as_absent(tmp_path, damage, ending):
    sealed(tmp_path).save(("float64",), {"code": bytes(99)})
    assert sealed(tmp_path).load(("float64",)) == {"code": bytes(99)}
    assert sealed(tmp_path, "3").load(("float64",)) is None
    (file,) = tmp_path.glob(f"*.{ending}")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert sealed(tmp_path).load(("float64",)) is None
    sealed(tmp_path).save(("float64",), "new")
    assert sealed(tmp_path).load(("float64",)) == "new"


def test_code_that_cannot_be_read_is_as_good_as_absent(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "kernel.nbi").mkdir()
    for folder in (tmp_path, tmp_path / "file", tmp_path / "none"):
        assert sealed(folder).load(("float64",)) is None


def test_the_calls_that_are_compiled_ahead_are_those_of_today():
    for name, signatures in json.loads(precompile.CALLS.read_text()).items():
        kernel = precompile.found(name)
        arguments = inspect.signature(kernel.py_func).parameters
        for signature in signatures:
            assert len(signature) == len(arguments), name
            for kind in map(precompile.kind, signature):
                named = getattr(kind, "instance_class", None)
                if hasattr(named, "_fields"):
                    assert len(kind) == len(named._fields), (name, named)


def test_which_files_count(tmp_path):
    (tmp_path / "a").mkdir()
    texts = {
        "top.py": "from batteryxr.a import (\n    deep,\n    other,\n)\nimport numpy\n",
        "a/__init__.py": "",
        "a/deep.py": "if True:\n    from batteryxr.types import Row\n",
        "types.py": "Row = int\n",
        "stranger.py": "",
    }
    before = {}
    for changed in (None, *texts):
        compiling._text.cache_clear()
        compiling._imports.cache_clear()
        for name, text in texts.items():
            (tmp_path / name).write_text(text + "# new\n" * (name == changed))
        before[changed] = compiling.sources(str(tmp_path / "top.py"), tmp_path)
    assert before["stranger.py"] == before[None]
    assert len(set(before.values())) == len(texts)


def test_all_kernels_are_kept_this_way():
    for path in ROOT.rglob("*.py"):
        if path.name in ("compiling.py", "ahead.py", "precompile.py"):
            continue
        if "numba" not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                names = {name.name for name in node.names}
                assert "numba" not in {module.partition(".")[0], *names}, path


#: Kernels of rare calls, and such as compile in a moment.
RARE = {"unit_area", "_sweep_all", "_sweep_each", "_power", "_misfit"}


def is_kernel(node):
    decorators = getattr(node, "decorator_list", ())
    return any("njit" in ast.unparse(one) for one in decorators)


def used_outside(node):
    """Yield the names and attributes that are read in what is no kernel."""
    if is_kernel(node):
        return
    if isinstance(node, ast.Name):
        yield node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield f"{node.value.id}.{node.attr}"
    for child in ast.iter_child_nodes(node):
        yield from used_outside(child)


def test_kernels_that_python_calls_are_compiled_ahead():
    texts = {
        ".".join(("batteryxr", *path.relative_to(ROOT).with_suffix("").parts)): text
        for path in ROOT.rglob("*.py")
        if "kernels" in (text := path.read_text())
    }
    trees = {module: ast.parse(text) for module, text in texts.items()}
    kernels = {
        (module, node.name)
        for module, tree in trees.items()
        for node in tree.body
        if is_kernel(node)
    }
    listed = {tuple(k.split(":")) for k in json.loads(precompile.CALLS.read_text())}
    for module, tree in trees.items():
        known = {name: (own, name) for own, name in kernels if own == module}
        for node in ast.walk(tree):
            for one in node.names if isinstance(node, ast.ImportFrom) else ():
                whole, name = f"{node.module}.{one.name}", one.asname or one.name
                if whole in trees:
                    inside = {n for own, n in kernels if own == whole}
                    known |= {f"{name}.{inner}": (whole, inner) for inner in inside}
                if (node.module, one.name) in kernels:
                    known[name] = (node.module, one.name)
        called = {known[text] for text in used_outside(tree) if text in known}
        missing = {kernel for kernel in called - listed if kernel[1] not in RARE}
        assert not missing, module
