"""Draw the pictures of panels.md: ``python docs/images/panel_pictures.py``.

Each block of code of the page is run in JupyterLab, as the tests of the panels do it,
and what it shows is kept as the picture that follows. Takes Chromium and Playwright.
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
    page.wait_for_timeout(25_000)  # until all is calculated and drawn
    shown = page.locator(".bx-panel").first
    drawn = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    drawn.thumbnail((WIDTH, 2 * WIDTH), Image.Resampling.LANCZOS)
    drawn.quantize(160).save(DOCS / picture, optimize=True)


def main() -> int:
    """Run this file with the fixtures of the tests in JupyterLab."""
    path = ROOT / "tests" / "lab" / "conftest.py"
    spec = importlib.util.spec_from_file_location("lab_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    fixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixtures)
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    return int(pytest.main([*options, __file__], plugins=[fixtures]))


if __name__ == "__main__":
    sys.exit(main())
