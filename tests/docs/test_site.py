"""The documentation names what there is, and nothing else; no page is built here."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpydoc")
nbformat = pytest.importorskip("nbformat")

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from builder import (  # noqa: E402  - a package of the site, not of the library
    annotations,
    docstring,
    figures,
    gallery,
    notebooks,
    pages,
    reference,
)
from builder.catalogue import (  # noqa: E402
    TECHNIQUES,
    accessors,
    catalogue,
    entry_of,
    groups,
)

QUESTIONS = (DOCS / "how_do_i.md").read_text("utf-8")
ENTRIES = re.findall(r"^(\S.*\?)\n: ((?:.*\n)+?)(?=\n|\Z)", QUESTIONS, re.MULTILINE)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    return {p.relative_to(folder).as_posix(): p for p in reference.write(folder)}


@pytest.fixture(scope="module")
def directives(written):
    """Signatures by name, as the pages have them."""
    texts = [path.read_text("utf-8") for path in written.values()]
    found = re.findall(r"^\.\. py:\w+:: ([\w.]+)(.*)$", "\n".join(texts), re.MULTILINE)
    assert len(found) == len(dict(found)), "a name stands twice"
    return dict(found)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_method_of_an_accessor_stands_in_the_reference(technique, directives):
    for _, accessor in accessors(technique):
        grouped = [n for names in groups(accessor).values() for n in names]
        assert {n.partition(".")[0] for n in grouped} == dict(accessor.entries()).keys()
        for name in grouped:
            assert f"{technique}.{name}" in directives


def test_every_public_function_stands_in_the_reference():
    documented = {id(inspect.unwrap(e.obj)) for e in catalogue()}
    for home in (*TECHNIQUES, "io", "simulate", "widgets"):
        module = importlib.import_module(f"batteryxr.{home}")
        for name in getattr(module, "__all__", [n for n in dir(module) if n[0] != "_"]):
            obj = getattr(module, name)
            if not inspect.ismodule(obj):
                assert id(inspect.unwrap(obj)) in documented, f"batteryxr.{home}.{name}"


def test_every_name_at_the_top_stands_in_the_reference(directives):
    import batteryxr

    for name in set(batteryxr.__all__) - {"__version__"}:
        if not inspect.ismodule(getattr(batteryxr, name)):
            assert f"batteryxr.{name}" in directives


def test_a_method_shows_its_own_signature_and_docstring(written, directives):
    text = written["echem/cycling.rst"].read_text("utf-8")
    assert directives["echem.cycles"].startswith("(*, electrode, first, mass=None,")
    assert "'cathode' \\| 'anode' \\| 'full'" in text
    assert "Pair half cycles to cycles and compare charge with discharge." in text
    assert ":py:obj:`half_cycles <echem.half_cycles>`" in text


def test_every_name_of_the_reference_can_be_imported():
    for entry in catalogue():
        assert resolve(entry.name) is not None
        if entry.canonical:
            assert resolve(entry.canonical) is not None


def test_every_docstring_says_what_its_function_does():
    for entry in catalogue():
        assert docstring.summary(entry.obj).endswith("."), entry.name
        documented = {
            name.lstrip("*")
            for line in docstring.render(entry)
            if (term := re.match(r"    ``(\S.*?)``(?: : .*)?$", line))
            for name in term[1].split("``, ``")
        }
        taken = set(annotations.parameter_types(entry.obj)) - {"data", "args", "kwargs"}
        if documented:
            assert taken <= documented, entry.name


@pytest.mark.parametrize("question, answer", ENTRIES, ids=[e[0] for e in ENTRIES])
def test_an_answer_names_what_exists(question, answer):
    targets = re.findall(r"\{py:obj\}`([\w.]+)`", answer)
    assert targets, "an answer leads to the reference"
    known = {entry.name for entry in catalogue()}
    assert set(targets) <= known
    called = set()
    for code in re.findall(r"(?<!\})`([^`]+)`", " ".join(answer.split())):
        if re.search(r"\w\(", code):
            called |= {
                ast.unparse(call.func).rpartition(".")[2]
                for call in ast.walk(ast.parse(code))
                if isinstance(call, ast.Call)
            }
            check_keywords(code)
    named = {target.rpartition(".")[2] for target in targets}
    assert not called or called & named, "the call is not what the link leads to"


def check_keywords(code):
    """Hold a call of the answer to the signature of what it calls."""
    for call in ast.walk(ast.parse(code)):
        if not isinstance(call, ast.Call):
            continue
        parts = ast.unparse(call.func).split("(")[-1].split(".")[-2:]
        found = docstring.find(".".join(parts)) or docstring.find(
            ast.unparse(call.func)
        )
        if found is None:
            continue
        taken = inspect.signature(found.obj).parameters
        free = any(p.kind is p.VAR_KEYWORD for p in taken.values())
        for keyword in call.keywords:
            assert free or keyword.arg in taken, f"{found.name}({keyword.arg}=...)"


def test_there_are_answers_enough():
    assert len(ENTRIES) >= 40
    assert len(ENTRIES) == len(re.findall(r"^: ", QUESTIONS, re.MULTILINE))


def test_links_to_tutorials_resolve():
    tutorials = DOCS.parent / "tutorials"
    for page in DOCS.glob("*.md"):
        for name in re.findall(r"\(tutorials/(\S+?\.ipynb)\)", page.read_text("utf-8")):
            assert (tutorials / name).exists(), f"{page.name}: {name}"
    listed = re.findall(r"\((\S+?\.ipynb)\)", (tutorials / "README.md").read_text())
    assert all((tutorials / name).exists() for name in listed)


def test_every_script_of_the_gallery_has_words_a_picture_and_a_figure():
    assert len(gallery.scripts()) >= 12
    for script in gallery.scripts():
        title, text, code = gallery.parts(script)
        assert title
        assert text
        assert gallery.thumbnail(script).stat().st_size < 40_000
        assigned = {
            target.id
            for node in ast.parse(code).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "figure" in assigned


def test_a_figure_is_taken_out_of_a_notebook_without_panel():
    from batteryxr import simulate
    from batteryxr.core.plotting import load_hvplot

    hv = load_hvplot()
    record = simulate.cell_experiment(seed=2, n_scans=5)["echem"].to_dataset()
    plot = record.echem.plot.voltage_profile()
    data, metadata = hv.renderer("bokeh").components(plot)
    assert "Bokeh.Panel" in data["text/html"]
    v4 = nbformat.v4
    cell = v4.new_code_cell(
        "record.echem.plot.voltage_profile()",
        outputs=[
            v4.new_output("display_data", {figures.LOAD: "", "text/html": "load"}),
            v4.new_output("stream", name="stderr", text="10%"),
            v4.new_output("execute_result", data, metadata=metadata),
            v4.new_output("stream", name="stdout", text="kept"),
        ],
    )
    notebook = notebooks.for_page(v4.new_notebook(cells=[cell]))
    figure, text = notebook.cells[0].outputs
    html = figure.data["text/html"]
    assert figures.MARK in html
    assert "panel.models" not in html
    assert "http" not in html
    assert text.text == "kept"


def test_a_figure_that_cannot_be_shown_is_not_left_out_silently():
    with pytest.raises(ValueError, match="no Bokeh document"):
        figures.static("<div>a figure of another kind</div>")


def test_pages_are_written_where_they_changed_and_stale_ones_removed(tmp_path):
    pages.write(tmp_path, {"a.rst": "one", "b/c.rst": "two"}, pattern="*.rst")
    before = (tmp_path / "a.rst").stat().st_mtime_ns
    pages.write(tmp_path, {"a.rst": "one"}, pattern="*.rst")
    assert (tmp_path / "a.rst").stat().st_mtime_ns == before
    assert not (tmp_path / "b/c.rst").exists()


def resolve(name):
    """Return what a name of the reference is: a method of an accessor, or an import."""
    technique, _, rest = name.partition(".")
    if technique in TECHNIQUES:
        known = (
            a
            for _, a in accessors(technique)
            if any(rest in names for names in groups(a).values())
        )
        return entry_of(next(known), rest)
    home, _, short = name.rpartition(".")
    return getattr(importlib.import_module(home), short)
