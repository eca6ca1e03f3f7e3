"""JavaScript of the panels: node's own tests, and the text that a notebook loads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from batteryxr.widgets.view import bundle

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "widgets" / "static"
ENTRIES = ("viewer.js", "figure.js", "foot.js")
#: Lines of the longest module.
MOST = 150


@pytest.fixture(scope="module")
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: JavaScript is tried in the browser only")
    return found


def _run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_parts_that_need_no_screen(node):
    files = sorted(map(str, (ROOT / "tests/widgets/javascript").glob("*.test.js")))
    ran = _run(node, "--test", *files)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    assert int(re.search(r"pass (\d+)", ran.stdout)[1]) >= 20


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_widget_is_one_module_without_imports(entry, node, tmp_path):
    text = bundle(entry)
    assert not re.findall(r"^import|^export (?!default)", text, re.MULTILINE)
    assert text.count("export default") == 1
    one = tmp_path / "widget.mjs"  # a name that two modules declare is an error here
    one.write_text(text, encoding="utf-8")
    ask = f"import({str(one)!r}).then((m) => console.log(typeof m.default.render))"
    ran = _run(node, "--eval", ask)
    assert ran.stdout.strip() == "function", ran.stderr


def test_modules_are_small_and_all_are_used():
    modules = {p.name: p.read_text("utf-8") for p in STATIC.glob("*.js")}
    assert max(len(text.splitlines()) for text in modules.values()) <= MOST
    loaded = "\n".join(bundle(entry) for entry in ENTRIES)
    for name, text in modules.items():
        first = text.splitlines()[0]
        assert first.startswith("// "), name
        assert first in loaded, f"{name} is loaded by no widget"
