"""The documentation names what there is, and nothing else; no page is built here."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpydoc")

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from builder import names, reference  # noqa: E402  - a package of the site

QUESTIONS = (DOCS / "how_do_i.md").read_text("utf-8")
ENTRIES = re.findall(
    r"^### (.*\?)\n\n((?:.+\n)+?)(?=\n|\Z)", QUESTIONS, flags=re.MULTILINE
)
PAGES = [p for p in DOCS.glob("*.md") if p.name not in ("changelog.md",)]
EXAMPLES = sorted((DOCS / "examples").rglob("[0-9]*.py"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the pages of the reference: those that are written, and those kept."""
    folder = tmp_path_factory.mktemp("reference")
    reference.write(folder)
    kept = {p.name: p.read_text("utf-8") for p in (DOCS / "reference").glob("*.rst")}
    return kept | {
        p.relative_to(folder).as_posix(): p.read_text("utf-8")
        for p in folder.rglob("*.rst")
    }


@pytest.fixture(scope="module")
def documented(written):
    """Return every full name that has a directive of its own, or its whole module."""
    found: list[str] = []
    for page, text in written.items():
        for kind, name in re.findall(
            r"^\.\. (auto\w+|py:method):: ([\w.]+)", text, re.M
        ):
            if kind == "automodule":
                module = importlib.import_module(name)
                members = ":imported-members:" in text
                found += [f"{name}.{n}" for n in public(module)] if members else []
            elif kind in ("autoaccessormethod", "py:method"):
                found.append(f"xarray.{name}")
            elif kind != "autosummary":
                found.append(name)
        assert page
    assert len(found) == len(set(found)), "a name stands twice"
    return set(found)


def public(module):
    """Return the public names of a module, modules apart."""
    listed = getattr(module, "__all__", [n for n in dir(module) if n[0] != "_"])
    return [n for n in listed if not inspect.ismodule(getattr(module, n))]


def known():
    """Return what may be named: methods as they are typed, and full names."""
    return {m.name.split(".", 2)[2]: m.function for m in every_method()}


def every_method():
    return [m for t in reference.TECHNIQUES for m in reference.methods(t)]


def resolve(name):
    """Return what a name of a page is: a method of an accessor, or an import."""
    if name in known():
        return known()[name]
    home, _, short = name.rpartition(".")
    return getattr(importlib.import_module(home), short)


@pytest.mark.parametrize("technique", reference.TECHNIQUES)
def test_every_method_of_an_accessor_stands_in_the_reference(technique, documented):
    import xarray as xr

    names_ = {m.name.split(".", 3)[3] for m in reference.methods(technique)}
    for kind in (xr.DataArray, xr.Dataset):
        if accessor := getattr(kind, technique, None):
            assert dict(accessor.all_entries()).keys() <= {
                n.partition(".")[0] for n in names_
            }
    for one in reference.methods(technique):
        assert one.heading, f"{one.name} stands under no heading"
        assert one.name in documented


def test_every_public_function_stands_in_the_reference(documented):
    objects = {id(inspect.unwrap(m.function)) for m in every_method()}
    objects |= {
        id(inspect.unwrap(resolve(n))) for n in documented if n.startswith("batteryxr.")
    }
    for home in (*reference.TECHNIQUES, "io", "simulate", "export", "widgets"):
        module = importlib.import_module(f"batteryxr.{home}")
        for name in public(module):
            obj = getattr(module, name)
            assert id(inspect.unwrap(obj)) in objects, f"batteryxr.{home}.{name}"


def test_every_name_at_the_top_stands_in_the_reference(documented):
    import batteryxr

    ends = {n.rpartition(".")[2] for n in documented}
    for name in set(batteryxr.__all__) - {"__version__"}:
        if not inspect.ismodule(getattr(batteryxr, name)):
            assert name in ends


def test_types_are_those_that_are_checked():
    from batteryxr.echem import cycles
    from batteryxr.xanes import edge_energy

    assert names.types(cycles)["electrode"] == "'cathode' | 'anode' | 'full'"
    assert names.types(cycles)["record"] == "Dataset"
    lines = [
        "Edge.",
        "",
        "Parameters",
        "----------",
        "spectra",
        "    Of |mu|.",
        "fraction",
    ]
    names.complete(
        None, "method", "xarray.Dataset.xanes.edge_energy", edge_energy, {}, lines
    )
    assert lines[4] == "spectra : the Dataset itself"
    assert lines[5] == r"    Of \|mu\|."
    assert lines[6].startswith("fraction : float")


def test_every_docstring_says_what_its_function_does():
    from numpydoc.docscrape import NumpyDocString

    for one in every_method():
        if not inspect.isfunction(one.function):
            continue  # a panel: its class says it
        parsed = NumpyDocString(inspect.getdoc(one.function) or "")
        assert " ".join(parsed["Summary"]).endswith("."), one.name
        said = {n.lstrip("*") for p in parsed["Parameters"] for n in p.name.split(", ")}
        taken = set(inspect.signature(one.function).parameters)
        if said:
            assert taken - {"data", "args", "kwargs"} <= said, one.name


@pytest.mark.parametrize("question, answer", ENTRIES, ids=[e[0] for e in ENTRIES])
def test_an_answer_names_what_exists(question, answer):
    targets = re.findall(r"\{py:obj\}`([\w.]+)`", answer)
    assert targets, "an answer leads to the reference"
    for target in targets:
        assert resolve(target) is not None
    called = set()
    for code in re.findall(r"(?<!\})`([^`]+)`", " ".join(answer.split())):
        if re.search(r"\w\(", code):
            called |= {
                ast.unparse(call.func).rpartition(".")[2]
                for call in ast.walk(ast.parse(code))
                if isinstance(call, ast.Call)
            }
            check_keywords(code, targets)
    named = {target.rpartition(".")[2] for target in targets}
    assert not called or called & named, "the call is not what the link leads to"


def check_keywords(code, targets):
    """Hold a call of the answer to the signature of what it calls."""
    ends = {target.rpartition(".")[2]: target for target in targets}
    for call in ast.walk(ast.parse(code)):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func).split("(")[-1].rpartition(".")[2]
        if name not in ends or not callable(found := resolve(ends[name])):
            continue
        taken = inspect.signature(found).parameters
        free = any(p.kind is p.VAR_KEYWORD for p in taken.values())
        for keyword in call.keywords:
            assert free or keyword.arg in taken, f"{name}({keyword.arg}=...)"


def test_there_are_answers_enough():
    assert len(ENTRIES) >= 150
    assert len(ENTRIES) == len(re.findall(r"^### ", QUESTIONS, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_names_what_exists(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\{py:obj\}`([\w.]+)`", text):
        assert resolve(target) is not None
    for name in re.findall(r"\((?:tutorials/)(\S+?\.ipynb)\)", text):
        assert (DOCS.parent / "tutorials" / name).exists(), name
    for name in re.findall(r"\((\w+\.md)(?:#[\w-]+)?\)", text):
        assert (DOCS / name).exists(), name


def test_every_page_is_in_a_list():
    listed = (DOCS / "index.md").read_text("utf-8")
    for page in DOCS.glob("*.md"):
        assert page.stem == "index" or f"\n{page.stem}\n" in listed, page.name


def test_every_example_has_words_a_picture_and_a_figure():
    assert len(EXAMPLES) >= 12
    for script in EXAMPLES:
        tree = ast.parse(script.read_text("utf-8"))
        title, line, *text = (ast.get_docstring(tree) or "").splitlines()
        assert line == "=" * len(title), script.name
        assert any(text), script.name
        picture = DOCS / "examples" / "thumbnails" / f"{script.stem}.png"
        assert picture.stat().st_size < 40_000
        assert f'"examples/thumbnails/{picture.name}"' in script.read_text("utf-8")
        assigned = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        assert "figure" in assigned


def test_a_figure_of_an_example_needs_no_internet():
    from builder.figures import scraper

    from batteryxr import simulate

    record = simulate.cell_experiment(seed=2, n_scans=5)["echem"].to_dataset()
    held = {"figure": record.echem.plot.voltage_profile()}
    script = {"example_globals": held, "target_file": "/docs/gallery/papers/a.py"}
    text = scraper(None, script, {"src_dir": "/docs"})
    assert "http" not in text
    assert 'src="../../_static/bokeh.min.js"' in text
    assert not held, "the figure is shown once"
    assert scraper(None, script, {}) == ""
    item = re.search(r"embed_item\((\{.*\})\);</script>", text)[1]
    assert json.loads(item)["target_id"] in text


def test_pages_are_written_where_they_changed(tmp_path):
    page = tmp_path / "a" / "b.rst"
    reference.put(page, "one")
    before = page.stat().st_mtime_ns
    reference.put(page, "one")
    assert page.stat().st_mtime_ns == before
