"""CPU time and memory grow with the data as `benchmarks/growth.py` measures them."""

from __future__ import annotations

import ast
import warnings

import _growing
import growth
import numpy as np
import pytest

#: Every tenth method.
TENTH = tuple(_growing.methods())[3::10]


@pytest.mark.parametrize("name", sorted(_growing.methods()))
def test_every_method_has_an_example_that_calls_it(name):
    function = _growing.methods()[name]
    example = _growing.Example(name, function, _growing.Scale())
    assert isinstance(example._target(), ast.Call)


def of(seconds, peaks, given=(1e6, 4e6, 16e6)):
    return growth.Growth("xanes.Xanes.none", given, seconds, peaks)


def test_what_grows_too_fast_is_named():
    assert not list(of((0.1, 0.4, 1.6), (1e7, 4e7)).problems())
    assert [p[:3] for p in of((0.1, 0.4, 2.4), (1e7, 4e7)).problems()] == ["CPU"]
    assert [p[:6] for p in of((0.1, 0.4, 1.6), (1e7, 16e7)).problems()] == ["memory"]
    assert not list(of((0.001, 0.004, 0.02), (1e3, 16e4)).problems())  # too short


def test_a_quadratic_method_is_found(monkeypatch):
    monkeypatch.setattr(growth, "_LEAST", 0.003)

    def quadratic(data):
        """Compare all with all.

        Examples
        --------
        >>> import numpy as np
        >>> import xarray as xr
        >>> data = xr.DataArray(np.ones((200, 2)), dims=("scan", "r"))
        >>> data.nmf.quadratic()
        """
        flat = data.values.ravel()
        return np.exp(np.abs(flat[:, None] - flat)).sum()

    with _growing.growing_simulators() as scale:
        example = _growing.Example("nmf.Nmf.quadratic", quadratic, scale)
        found = growth.grow(example, (1, 2, 4))
    assert found.given[-1] == 4 * found.given[0]
    assert found.cpu > 1.5
    assert found.memory > 1.8
    assert len(list(found.problems())) == 2


@pytest.mark.long
def test_a_tenth_of_the_methods_grow_as_they_should(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not growth.failures(TENTH, _growing.FACTORS[:3])
