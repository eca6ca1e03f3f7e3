"""What Sphinx and its extensions lack: groups of methods, short names, live figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

TOCTREE = "\n```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n"

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what runs before the sources are read, and what pages need."""
    from builder import names, reference

    source = Path(app.srcdir)
    for path in source.parent.glob("tutorials/*.*[bd]"):  # notebooks and their list
        listed = TOCTREE * (path.suffix == ".md")
        reference.put(
            source / "tutorials" / path.name, path.read_text("utf-8") + listed
        )
    reference.write(source / "reference")
    app.connect("autodoc-process-docstring", names.complete, priority=100)
    app.connect("missing-reference", names.resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
