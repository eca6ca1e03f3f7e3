"""A newcomer's questions lead to the right page, in the search of the built site."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs"
SITE = DOCS / "_build" / "html"
#: What is typed, and what the address of a right first hit contains.
QUESTIONS = {
    "read biologic": ("biologic", "readers", "files.html"),
    "coulombic efficiency": ("coulombic", "echem/cycling"),
    "diffusion coefficient": ("diffusion", "titration"),
    "number of components": ("number-of-components", "how_many_components"),
    "cite": ("cite",),
    "equivalent circuit": ("circuit", "impedance"),
    "time zone": ("concepts", "conventions"),
    "voltage of each scan": ("voltage", "join", "operando"),
    "larger than memory": ("memory", "ptychography_larger"),
    "numba": ("numba", "installation"),
    "rietveld": ("whole-patterns", "comparison"),
    "scherrer": ("crystallites",),
    "baseline subtraction": ("baseline",),
    "renishaw": ("raman",),
    "xrd lattice parameter": ("lattice",),
    "plot several cells": ("several-materials",),
    "retention": ("how-long-they-live",),
    "reference foil": ("foil",),
    "clock offset": ("clock",),
    "waterfall": ("stack-the-curves",),
    # Words in another order, in another form, or beside others.
    "export to excel": ("spreadsheet",),
    "smooth dqdv": ("calculate-dq-dv",),
    "save figure for paper": ("save-a-figure",),
    "normalize xanes": ("normalis",),
    "google colab": ("colab",),
}
ENOUGH = 23


@pytest.fixture(scope="module")
def page():
    sync_api = pytest.importorskip("playwright.sync_api")
    index = SITE / "searchindex.js"
    newest = max(page.stat().st_mtime for page in DOCS.glob("*.md"))
    if not index.exists() or index.stat().st_mtime < newest:
        pytest.skip("no site of these pages: python -m sphinx docs docs/_build/html")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium on this machine: the search is not tried")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        )
        yield browser.new_page()
        browser.close()


def first_hit(page, words):
    """Return the address of the first result, with the heading that it leads to."""
    page.goto(f"{(SITE / 'search.html').as_uri()}?q={quote(words)}")
    page.wait_for_function(
        "() => document.querySelector('#search-results .search-summary')?.textContent"
        ".match(/finished|did not match/)",
        timeout=60_000,
    )
    hit = page.locator("#search-results ul.search li a").first
    if not hit.count():
        return ""
    address = hit.evaluate("a => a.href")
    page.goto(address)
    # A word of the index leads into the section that it stands for.
    heading = page.evaluate(
        "() => document.getElementById(location.hash.slice(1))"
        "?.closest('section[id]')?.id ?? ''"
    )
    return f"{address.replace(SITE.as_uri(), '')} {heading}"


def test_the_first_hit_is_right(page):
    hits = {words: first_hit(page, words).lower() for words in QUESTIONS}
    wrong = {
        words: hit
        for words, hit in hits.items()
        if not any(part in hit for part in QUESTIONS[words])
    }
    assert len(QUESTIONS) - len(wrong) >= ENOUGH, wrong
