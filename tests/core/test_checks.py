"""Kinds of arguments: what passes, what does not, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.checks import (
    Count,
    Finite,
    Fraction,
    NonNegative,
    Pair,
    Positive,
    Whole,
    check,
    check_fields,
    checked,
    fits,
)
from batteryxr.core.errors import ArgumentError, DataError

ARRAY = xr.DataArray(np.arange(3.0), dims="scan")
OBJECTS = xr.DataArray(np.array([1, 2.5, ARRAY], dtype=object), dims="scan")

#: Text beside what is missing, as pandas leaves it.
TEXT = [
    xr.DataArray(np.array([first, "a"], dtype=object), dims="scan")
    for first in (None, float("nan"))
]


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (int, [3, np.int64(3)], [3.0, True, "3", None, np.float64(3)]),
        (float, [3, 3.5, np.float32(1)], [True, "3", None, float("nan"), 1j, [1.0]]),
        (bool, [True, np.bool_(False)], [0, 1, "yes", None]),
        (str, ["a"], [b"a", 1, None, ["a"]]),
        (Count, [1, 7], [0, -1, 1.5, True]),
        (Whole, [0, 7], [-1, 0.0]),
        (Positive, [1e-9, 3], [0, -1.0, float("nan"), float("inf")]),
        (NonNegative, [0, 2.5], [-1e-9]),
        (Finite, [-3.5, 0], [float("inf"), -float("inf"), float("nan"), "1"]),
        (Fraction, [0, 1, 0.5], [1.01, -0.1, "half"]),
        (Pair, [(1, 2), [3.0, 4.5], np.array([1, 2])], [(2, 1), (1,), (1, 2, 3), 5]),
        (int | None, [None, 2], ["2", 2.5]),
        (Literal["a", "b"], ["a"], ["c", "A", 1, None]),
        (Literal[1, 2], [1], [True, 1.0, "1"]),
        (Sequence[str], [["a"], ("a", "b"), []], ["abc", [1], None, {"a": 1}]),
        (str | Sequence[str], ["abc", ["a"]], [[1], 1]),
        (Sequence[float], [[1, 2.5], np.arange(3)], [["a"], 3.0, [None]]),
        (tuple[float, ...], [(), [1, 2]], [1, ["a"]]),
        (Mapping[str, float], [{}, {"a": 1}], [{"a": "b"}, {1: 1}, [("a", 1)]]),
        (np.ndarray, [np.arange(3), [1, 2]], [np.array(["a"]), OBJECTS.values, "a"]),
        (
            xr.DataArray,
            [ARRAY, *TEXT],
            [OBJECTS, ARRAY.values, ARRAY.to_dataset(name="a")],
        ),
        (xr.Dataset, [ARRAY.to_dataset(name="a")], [OBJECTS.to_dataset(name="a"), 1]),
        (str | Path, ["a", Path("a")], [1, b"a"]),
        (Any, [1, None, object()], []),
    ],
)
def test_what_fits(kind, right, wrong):
    assert [v for v in right if not fits(v, kind)] == []
    assert [v for v in wrong if fits(v, kind)] == []


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (2.5, Count, "n=2.5: expected a whole number >= 1."),
        (float("inf"), Finite, "n=inf: expected a number that is finite."),
        (-1, Fraction, "n=-1: expected a number from 0 to 1."),
        ("x", int | None, "n='x': expected a whole number or None."),
        ("Cathode", Literal["cathode", "anode"], "Did you mean 'cathode'?"),
        (3, Sequence[int], "expected a sequence of whole numbers."),
        ((2, 1), Pair, "n=(2, 1): expected 2 numbers that rise."),
        (ARRAY, int, "n=<DataArray (scan: 3) float64>: expected a whole number."),
        (OBJECTS, xr.DataArray, "is of dtype object: convert it"),
        (xr.Dataset({"a": ARRAY}), xr.DataArray, "Choose one of its variables: ['a']."),
        (np.zeros(50), int, "n=<ndarray (50,) float64>"),
    ],
)
def test_what_is_told(value, kind, words):
    with pytest.raises(ArgumentError) as told:
        check("n", value, kind)
    assert words in str(told.value)


@checked
def act(
    data: xr.DataArray, /, n: Count = 1, *names: str, tol: float = 0.1, **more: int
):
    """Stand for a public function."""
    return n, tol, names, more


def test_a_call_is_checked_before_it_runs():
    assert act(ARRAY, 2, "a", tol=1, x=3) == (2, 1, ("a",), {"x": 3})
    for args, kwargs, name in (
        ((1,), {}, "data"),
        ((ARRAY, 0), {}, "n"),
        ((ARRAY, 1, 5), {}, "names"),
        ((ARRAY,), {"tol": "a"}, "tol"),
        ((ARRAY,), {"x": 0.5}, "x"),
    ):
        with pytest.raises(ArgumentError, match=f"^{name}="):
            act(*args, **kwargs)
    with pytest.raises(TypeError, match="act"):
        act()


def test_fields_are_checked():
    @dataclass(frozen=True)
    class Settings:
        n: Count = 3
        method: Literal["a", "b"] = "a"

        def __post_init__(self) -> None:
            check_fields(self)

    Settings(4)
    with pytest.raises(ArgumentError, match="method='c'"):
        Settings(method="c")


@checked
def whitened(data: xr.DataArray) -> float:
    """Return the largest of the data's factors: it has no check of its own."""
    return float(np.linalg.svd(data.transpose(..., "energy").values)[1].max())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d.astype(str), "text or objects"),
        (lambda d: d.isel(scan=slice(0, 0)), "no point along 'scan'"),
        (lambda d: d * np.nan, "no number, NaN everywhere"),
        (lambda d: d.rename(energy="eV"), r"they have \['scan', 'eV'\] alone"),
    ],
)
def test_failures_over_data_are_explained(change, what):
    data = xr.DataArray(np.eye(3), dims=("scan", "energy"))
    assert whitened(data) == 1
    with pytest.raises(DataError, match=f"{what}.*whitened fails over it") as told:
        whitened(change(data))
    assert told.value.__cause__ is not None


def test_failures_over_sound_data_stay_as_they_are():
    @checked
    def broken(data: xr.DataArray) -> float:
        return {}["a mistake of ours"]

    with pytest.raises(KeyError, match="a mistake of ours"):
        broken(xr.DataArray([1.0], dims="scan"))
