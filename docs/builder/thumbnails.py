"""Draw the small pictures of the gallery: ``python -m builder.thumbnails`` in docs.

They are kept in git, so that the gallery shows what it has before a script has run,
and a build needs no browser. Takes Chromium, Playwright and Pillow (Bokeh needs it).
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from builder import DOCS, figures, gallery

#: Pixels; twice what the page shows, for fine screens.
WIDTH, HEIGHT = 480, 320


def main(*names: str) -> None:
    """Draw the pictures of the scripts whose names contain any of these, or of all."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        for script in gallery.scripts():
            if names and not any(name in script.name for name in names):
                continue
            figure = gallery.figure_of(script)
            figure.toolbar_location = None
            _save(_screenshot(page, figure), gallery.thumbnail(script))
            print(gallery.thumbnail(script).name, flush=True)
        browser.close()


def _screenshot(page: Any, figure: Any) -> bytes:
    import bokeh

    page.set_content(figures.embedded(figure))
    script = Path(bokeh.__file__).parent / "server/static/js" / figures.SCRIPTS[0]
    page.add_script_tag(path=script)
    page.add_script_tag(path=DOCS / "_static" / figures.SCRIPTS[1])
    page.wait_for_timeout(1000)
    return bytes(page.locator(f".{figures.MARK}").screenshot())


def _save(picture: bytes, path: Path) -> None:
    from PIL import Image, ImageChops, ImageOps

    drawn = Image.open(io.BytesIO(picture)).convert("RGB")
    white = Image.new("RGB", drawn.size, "white")
    drawn = drawn.crop(ImageChops.difference(drawn, white).getbbox())
    drawn.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    drawn = ImageOps.expand(drawn, 8, "white")
    drawn.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
