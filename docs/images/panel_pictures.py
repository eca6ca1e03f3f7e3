"""Draw the pictures of panels.md: ``python docs/images/panel_pictures.py``.

Words after it choose the pictures whose names hold them. Each block of code of the page
is run in JupyterLab, as the tests of the panels do it, and what it shows is kept as the
picture that follows. Takes Chromium and Playwright.
"""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WIDTH = 1100
#: All is up to date, and no work beside it can be stopped.
CALCULATED = """() => [...document.querySelectorAll('.bx-word')].every(
  word => word.textContent === 'up to date') &&
  ![...document.querySelectorAll('.bx-panel button')].some(
    button => button.textContent === 'Stop' && button.offsetParent)"""
PAIRS = re.findall(
    r"```python\n(.*?)```\s+!\[[^\]]*\]\((images/\S+\.png)\)",
    (DOCS / "panels.md").read_text("utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize("code, picture", PAIRS, ids=[p for _, p in PAIRS])
def test_draw(notebook: Any, code: str, picture: str) -> None:
    """Run the code and keep what it shows."""
    from PIL import Image

    page = notebook(code)
    page.set_viewport_size({"width": 1280, "height": 2200})  # all of it is in view
    shown = page.locator(".bx-panel").first
    page.wait_for_function(CALCULATED, timeout=300_000)
    page.wait_for_timeout(5_000)  # until all is drawn
    drawn = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    drawn.thumbnail((WIDTH, 2 * WIDTH), Image.Resampling.LANCZOS)
    drawn.quantize(160).save(DOCS / picture, optimize=True)


def loaded(name: str, path: Path) -> Any:
    """Return a file of fixtures as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Run this file with the fixtures of the tests in JupyterLab."""
    fixtures = [ROOT / "tests" / "conftest.py", ROOT / "tests" / "lab" / "conftest.py"]
    plugins = [loaded(f"fixtures_{k}", path) for k, path in enumerate(fixtures)]
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    names = ["-k", " or ".join(sys.argv[1:])] if sys.argv[1:] else []
    return int(pytest.main([*options, *names, __file__], plugins=plugins))


if __name__ == "__main__":
    sys.exit(main())
