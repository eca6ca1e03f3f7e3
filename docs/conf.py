"""Sphinx configuration: ``python -m sphinx -W -n docs docs/_build/html``.

Tutorials are shown with their outputs. ``tests/tutorials`` keeps a copy of each
notebook that it has run in ``docs/_build/executed``; a copy that has the cells of the
notebook as it is now is shown, any other is run by the build. So the tests come first
where time counts. Pages of the gallery are kept likewise while their script is the
same; ``rm -r docs/_build docs/gallery/*.ipynb`` makes everything anew.

Nothing is fetched from the internet, neither by the build nor by the pages.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "batteryxr"
author = "The batteryxr developers"
copyright = f"2026, {author}"
release = version = installed("batteryxr")
language = "en-GB"

extensions = ["myst_nb", "builder"]
exclude_patterns = ["_build", "images", "builder"]
nitpicky = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_function_parentheses = False

# Notebooks come with their outputs, see above; no widget is shown.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "batteryxr"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#005a8c",
        "color-brand-content": "#00659e",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb8e6",
        "color-brand-content": "#6cb8e6",
    },
}
pygments_style = "friendly"
pygments_dark_style = "one-dark"
