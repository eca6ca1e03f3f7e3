"""Laziness: the same result for every chunking, and nothing computed early."""

from __future__ import annotations

import math
import sys
import types

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.core.blocks import apply, merged, pick, running_sum, stream
from batteryxr.core.errors import ChunkingError, DataQualityWarning, warn_quality


def _mean_and_top(spectra, *, power):
    return (spectra**power).mean(axis=-1), spectra[..., -2:]


def _run(stack):
    return apply(
        _mean_and_top,
        stack,
        core_dims=[["energy"]],
        output_dims=[[], ["top"]],
        output_sizes={"top": 2},
        dtypes=[float, float],
        caller="test",
        power=2,
    )


@pytest.fixture
def stack():
    values = np.random.default_rng(0).normal(size=(7, 5, 6))
    return xr.DataArray(
        values,
        dims=("energy", "y", "x"),
        coords={"x": np.arange(6.0), "voltage": ("y", np.arange(5.0))},
    )


@pytest.mark.parametrize(
    "chunks", [{"y": 5, "x": 6}, {"y": 2, "x": 3}, {"y": 1, "x": 4}]
)
def test_lazy_equals_eager(stack, chunks, no_compute):
    eager = _run(stack)
    assert all(isinstance(a.data, np.ndarray) for a in eager)
    with no_compute():
        lazy = _run(stack.chunk(energy=-1, **chunks))
    for a, b in zip(lazy, eager, strict=True):
        assert a.chunks is not None
        xr.testing.assert_identical(a.compute(), b)
        assert "voltage" in a.coords


def test_a_lazy_call_writes_no_tasks_down(stack):
    lazy = _run(stack.chunk(energy=-1, y=1, x=1))
    layers = {name: each for a in lazy for name, each in a.data.dask.layers.items()}
    source = max(layers, key=lambda name: name.startswith("xarray"))
    del layers[source]
    assert len(layers) == 4  # axes exchanged, kernel, and two results
    assert all(type(each).__name__ == "Blockwise" for each in layers.values())


def test_entries_are_picked_with_gaps(stack):
    columns = stack.rename(energy="column").transpose("y", "x", "column")
    for array in (columns, columns.chunk(y=2, x=3)):
        found = pick(array, [2, -1, 0], "peak")
        assert found.dims == ("peak", "y", "x")
        np.testing.assert_array_equal(found[2], columns[..., 0])
        assert np.isnan(found[1]).all()
        assert pick(array, 3, dtype=np.float32).dtype == np.float32


def test_arrays_of_another_process_give_the_same_last_digits():
    """They begin at any byte; products of such arrays have other last digits."""
    rng = np.random.default_rng(0)
    held = rng.random((3, 2901))
    moved = np.empty(held.nbytes + 3, np.uint8)[3:].view(float).reshape(held.shape)
    moved[:] = held
    assert not moved.flags.aligned

    def gram(rows, *, parts):
        return rows @ parts.T + parts @ parts.T

    def of(parts, rows):
        lazy = xr.DataArray(da.from_array(rows), dims=("row", "x"))
        options = {"core_dims": [["row", "x"]], "output_dims": [["row", "part"]]}
        options |= {"output_sizes": {"part": 3}, "dtypes": [float]}
        return apply(gram, lazy, parts=parts, caller="test", **options).values

    assert np.array_equal(of(moved, moved), of(held, held))


def test_split_core_dimension_is_refused(stack):
    with pytest.raises(ChunkingError, match="test needs 'energy' in one chunk"):
        _run(stack.chunk(energy=3))


@given(
    size=st.integers(1, 40),
    cuts=st.sets(st.integers(1, 39)),
    block=st.integers(1, 50),
    lazy=st.booleans(),
)
def test_stream_gives_every_row_once_in_order(size, cuts, block, lazy):
    a = xr.DataArray(np.arange(size), dims="record")
    b = xr.DataArray(np.arange(2 * size).reshape(2, size), dims=("x", "record"))
    if lazy:
        edges = [0, *sorted(c for c in cuts if c < size), size]
        a = a.chunk(record=tuple(int(n) for n in np.diff(edges)))
    pieces = list(stream(a, b, dim="record", block=block))
    assert max(len(p[0]) for p in pieces) <= block
    np.testing.assert_array_equal(np.concatenate([p[0] for p in pieces]), a.values)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in pieces]), b.values.T)


def test_stream_does_not_copy_numpy():
    values = np.arange(10.0)
    (piece,) = stream(xr.DataArray(values, dims="record"), dim="record")
    assert np.shares_memory(piece[0], values)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_running_sum_is_the_sum(n):
    values = np.random.default_rng(0).standard_normal((n, 6, 4))
    lazy = da.from_array(values, chunks=(1, 4, 4))
    total = running_sum(lazy)
    assert total.chunks == ((4, 2), (4,))
    np.testing.assert_allclose(total, values.sum(axis=0))


def _doubtful(values):
    warn_quality("some are odd")
    return values


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_a_warning_from_inside_dask_is_at_the_line_that_computes(stack, scheduler):
    # As if the library's own.
    space = {"__name__": "batteryxr.made", "warn_quality": warn_quality}
    inside = types.FunctionType(_doubtful.__code__, space)
    lazy = xr.apply_ufunc(
        inside, stack.chunk(y=2), dask="parallelized", output_dtypes=[float]
    )
    with pytest.warns(DataQualityWarning) as told:
        here = (lazy.compute(scheduler=scheduler), sys._getframe().f_lineno)[1]
    assert {(w.filename, w.lineno) for w in told} == {(__file__, here)}


def test_what_was_passed_keeps_its_attributes():
    """The units of one input's axis are the result's, and not another input's."""
    told = xr.DataArray(np.ones(3), {"x": ("x", np.arange(3), {"units": "nm"})}, "x")
    plain = xr.DataArray(np.ones(3), {"x": np.arange(3)}, "x")
    options = {"core_dims": [[], []], "dtypes": [float], "output_dims": [[]]}
    both = apply(np.add, plain, told, caller="sum", **options)
    both["x"].attrs["long_name"] = "Position"
    assert both["x"].attrs == {"units": "nm", "long_name": "Position"}
    assert told["x"].attrs == {"units": "nm"}
    assert not plain["x"].attrs


@pytest.mark.parametrize("shape", [(40, 40), (24, 64), (8, 8), (9, 33)])
def test_results_of_small_chunks_are_merged_with_neighbours(shape):
    values = np.arange(np.prod(shape) * 3.0).reshape(*shape, 3)
    array = xr.DataArray(values, dims=("y", "x", "column"))
    fewer = merged(array.chunk(y=8, x=8), "column")
    n_before = math.prod(math.ceil(n / 8) for n in shape)
    assert fewer.data.npartitions <= max(1, math.ceil(n_before / 4))
    assert fewer.chunks[2] == (3,)
    xr.testing.assert_identical(fewer.compute(), array)
    assert merged(array, "column") is array


def test_results_of_large_chunks_are_not_merged():
    data = da.zeros((2048, 4096), chunks=(1024, 4096))
    array = xr.DataArray(data, dims=("y", "column"))
    assert merged(array, "column").chunks == array.chunks


def test_one_array_keeps_the_labels_that_xarray_would():
    array = xr.DataArray(
        np.arange(24.0).reshape(2, 4, 3),
        dims=("scan", "energy", "x"),
        coords={
            "scan": ("scan", [3, 5], {"units": "1"}),
            "energy": np.arange(4.0),
            "time": ("scan", [0.5, 1.5]),
            "both": (("x", "energy"), np.ones((3, 4))),
            "place": "cell",
        },
        name="absorption",
    )

    def kernel(rows):
        return rows.mean(axis=-1), rows[..., ::-1]

    outputs = [[], ["energy"]]
    ours = apply(
        kernel,
        array,
        core_dims=[["energy"]],
        output_dims=outputs,
        dtypes=[float, float],
        caller="mean",
    )
    theirs = xr.apply_ufunc(
        kernel, array, input_core_dims=[["energy"]], output_core_dims=outputs
    )
    for own, other in zip(ours, theirs, strict=True):
        other.coords["scan"].attrs["units"] = "1"
        xr.testing.assert_identical(own, other)
        assert own.name == "absorption"
        assert own.indexes.keys() == other.indexes.keys()
