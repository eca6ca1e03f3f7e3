"""What Sphinx needs beyond its own: reference, tutorials, gallery, live figures.

All pages that this writes are made from the library and kept out of git.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: The folder of the site's sources, and that of the repository.
DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what runs before the sources are read, and what pages need."""
    from builder import figures

    app.connect("builder-inited", _write_pages)
    app.connect("html-page-context", figures.add_scripts)
    app.connect("build-finished", figures.copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(app: Sphinx) -> None:
    from sphinx.util import logging

    from builder import gallery, reference, tutorials

    say = logging.getLogger(__name__).info
    with ThreadPoolExecutor(1) as beside:  # notebooks run in processes of their own
        notebooks = beside.submit(tutorials.write, DOCS / "tutorials", say=say)
        reference.write(DOCS / "reference")
        gallery.write(DOCS / "gallery", say=say)
        notebooks.result()
