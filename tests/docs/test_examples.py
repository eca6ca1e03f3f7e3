"""Every public function has an example that runs as it stands."""

from __future__ import annotations

import doctest
import functools
import inspect
import warnings

import _public
import pytest

import batteryxr

#: Simulators, which many examples call alike: each result is made once.
SHARED = [n for n in batteryxr.simulate.__all__ if n.islower() and n[:5] != "write"]
#: What examples need beyond the test extra.
EXTRAS = {"cdi.Cdi.retrieve_learned": "torch"}


#: An accessor's method and its function are one.
_ONE = {inspect.unwrap(f): name for name, f in _public.public_functions().items()}
FUNCTIONS = {name: function for function, name in _ONE.items()}


def remembering(simulate):
    """Return a simulator that hands out copies of what it has made before."""
    made = {}

    @functools.wraps(simulate)
    def call(**options):
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


def example(name):
    text = inspect.getdoc(FUNCTIONS[name])
    return doctest.DocTestParser().get_doctest(
        text, {"batteryxr": batteryxr}, name, None, None
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_example_runs_as_it_stands(name, tmp_path, monkeypatch):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    monkeypatch.chdir(tmp_path)
    shown = example(name)
    assert shown.examples, f"{name} has no example"
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(shown, out=told.append)
    assert not runner.failures, "".join(told)
    skipped = [e for e in shown.examples if e.options.get(doctest.SKIP)]
    assert len(skipped) < len(shown.examples), f"{name}: nothing is run"
