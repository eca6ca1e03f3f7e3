"""Every public function has an example that runs as it stands."""

from __future__ import annotations

import doctest
import functools
import inspect
import re
import warnings

import _public
import pytest
import xarray as xr

import batteryxr

#: Simulators, which many examples call alike: each result is made once.
SHARED = [n for n in batteryxr.simulate.__all__ if n.islower() and n[:5] != "write"]
#: Sizes where an example asks for none.
SMALL = {"cell_experiment": {"n_scans": 40}}
#: What reads or writes files: a folder is of one example, and its lines are run anew.
FILES = re.compile(r"write_|read_|save|open_store|store=|report|operando\(")
#: What examples need beyond the test extra.
EXTRAS = {"cdi.Cdi.retrieve_learned": "torch"}


#: An accessor's method and its function are one.
_ONE = {inspect.unwrap(f): name for name, f in _public.public_functions().items()}
FUNCTIONS = {name: function for function, name in _ONE.items()}


def remembering(simulate):
    """Return a simulator that hands out copies of what it has made before."""
    made, small = {}, SMALL.get(simulate.__name__, {})

    @functools.wraps(simulate)
    def call(**options):
        options = small | options
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = simulate(**options)
        results = made[key]
        if isinstance(results, tuple):
            return tuple(result.copy() for result in results)
        return results.copy()

    return call


@pytest.fixture(scope="module", autouse=True)
def made_once():
    with pytest.MonkeyPatch.context() as patch:
        for name in SHARED:
            simulate = getattr(batteryxr.simulate, name)
            patch.setattr(batteryxr.simulate, name, remembering(simulate))
        yield


@pytest.fixture(scope="module")
def begun():
    """Return what examples hold after their first lines: many begin alike."""
    return {}


def example(name):
    text = inspect.getdoc(FUNCTIONS[name])
    return doctest.DocTestParser().get_doctest(
        text, {"batteryxr": batteryxr}, name, None, None
    )


def copied(names):
    """Return what an example may change without changing it for others."""
    kinds = (xr.DataArray, xr.Dataset, xr.DataTree)
    return {n: v.copy() if isinstance(v, kinds) else v for n, v in names.items()}


def run(shown, begun):
    """Run the lines of an example, the first ones only if no other has run them."""
    told, runner = [], doctest.DocTestRunner(verbose=False)
    lines = [(one.source, one.want) for one in shown.examples]
    keys = [tuple(lines[: n + 1]) for n in range(len(lines))]
    done = max((n for n, key in enumerate(keys[:-1]) if key in begun), default=-1)
    names = copied(begun[keys[done]]) if done >= 0 else shown.globs
    for number in range(done + 1, len(lines)):
        line = doctest.DocTest(
            [shown.examples[number]], names, shown.name, None, None, shown.docstring
        )
        names = line.globs
        runner.run(line, out=told.append, clear_globs=False)
        if FILES.search("".join(source for source, _ in keys[number])) is None:
            begun[keys[number]] = copied(names)
    assert not runner.failures, "".join(told)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_example_runs_as_it_stands(name, begun, tmp_path, monkeypatch):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    monkeypatch.chdir(tmp_path)
    shown = example(name)
    assert shown.examples, f"{name} has no example"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(shown, begun)
    skipped = [e for e in shown.examples if e.options.get(doctest.SKIP)]
    assert len(skipped) < len(shown.examples), f"{name}: nothing is run"
