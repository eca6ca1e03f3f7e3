"""Sphinx configuration: ``python -m sphinx -W -n docs docs/_build/html``.

Tutorials are shown with the pictures that are kept in them (``docs/images`` has the
command that draws them), so nothing of them runs here. Scripts of the gallery run once
each time they change: sphinx-gallery keeps what they gave in ``docs/gallery``. Nothing
is fetched from the internet, neither by the build nor by the pages.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

import bokeh
import sphinx_autosummary_accessors

sys.path.insert(0, str(Path(__file__).parent))
BOKEH = Path(bokeh.__file__).parent

project = "batteryxr"
author = "The batteryxr developers"
copyright = f"2026, {author}"
release = version = installed("batteryxr")
language = "en-GB"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_autosummary_accessors",
    "sphinx_gallery.gen_gallery",
    "myst_nb",
    "builder",
]
exclude_patterns = [
    *("_build", "images", "builder", "examples", "tutorials/colab.md"),
    *(f"gallery/**.{kind}" for kind in ("ipynb", "py", "json", "zip", "md5")),
]
templates_path = [str(sphinx_autosummary_accessors.templates_path)]

# Docstrings name things between single backticks; builder.names finds what they mean,
# and writes the types beside the arguments.
default_role = "py:obj"
autodoc_typehints = "none"
autodoc_default_options = {"member-order": "bysource"}
autosummary_generate = False
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "image_scrapers": ("builder.figures.scraper",),
    "reset_modules": (),
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,
    "capture_repr": (),
}
nitpicky = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_function_parentheses = False

# Notebooks come with their outputs, see above; no widget is shown.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "batteryxr"
html_static_path = ["_static", str(BOKEH / "server/static/js/bokeh.min.js")]
html_css_files = ["site.css"]
html_js_files = [("sections.js", {"defer": "defer"})]
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
