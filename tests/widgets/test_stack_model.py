"""The stack viewer: exact profiles, codes, and pictures on their way to the browser."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import batteryxr  # noqa: F401
from batteryxr.core.errors import ArgumentError, DimensionError, VariableError
from batteryxr.widgets import frames
from batteryxr.widgets.models.stack import StackModel


def _model(data, **choice):
    model = StackModel(data, name="stack", accessor="xanes.view")
    if choice:
        model.choose(**choice)
    return model


@pytest.mark.parametrize(
    "choice",
    [
        {"pixel": [3, 4]},
        {"region": [2, 8, 5, 30]},
        {"axis": "x", "pixel": [2, 7]},
        {"axis": "y", "region": [0, 11, 3, 9]},
        {"window": [4, 15, 10, 29]},
    ],
)
def test_the_code_gives_the_result(stack, choice):
    model = _model(stack, **choice)
    scope = {"stack": stack, "np": np, "xr": xr}
    xr.testing.assert_allclose(eval(model.code, scope), model.result)
    assert eval(model.reopen, scope).choice == model.choice


@pytest.mark.parametrize("part", ["modulus", "phase"])
@pytest.mark.parametrize("flat", [True, False])
def test_complex_volumes_and_pictures(part, flat):
    rng = np.random.default_rng(0)
    values = rng.random((6, 7, 8)) * np.exp(1j * rng.random((6, 7, 8)))
    volume = xr.DataArray(values.astype("complex64"), dims=("z", "y", "x"), name="v")
    stack = volume[0] if flat else volume
    scope = {"stack": stack, "np": np, "xr": xr}
    for choice in ({"pixel": [1, 2]}, {"region": [1, 3, 2, 5]}):
        model = _model(stack, part=part, **choice)
        xr.testing.assert_allclose(eval(model.code, scope), model.result)
    with pytest.raises(ArgumentError, match="modulus or phase"):
        model.choose(part="real")


def test_exact_values_read_only_their_chunks(stack):
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    lazy = stack.chunk(energy=4, y=10, x=10)
    lazy = lazy.copy(data=lazy.data.map_blocks(note, dtype=lazy.dtype))
    model = _model(lazy)
    _ = model.result
    read.clear()
    np.testing.assert_array_equal(model.look("energy", 11, 25), stack[:, 11, 25])
    assert sorted(read) == [(0, 1, 2), (1, 1, 2), (2, 1, 2)]


def test_building_reads_nothing(stack, no_compute, monkeypatch):
    lazy = stack.chunk(energy=4)
    monkeypatch.setattr(StackModel, "refresh", lambda *_, **__: None)
    with no_compute():
        lazy.xanes.view()


def test_what_cannot_be_looked_at(stack):
    with pytest.raises(DimensionError, match=r"Choose one: `\.isel\(particle=0\)`"):
        _model(stack.expand_dims(particle=2))
    with pytest.raises(VariableError, match="Choose a variable"):
        _model(xr.Dataset({"a": stack, "b": stack}))
    model = _model(xr.Dataset({"od": stack, "level": ("energy", np.zeros(12))}))
    assert model.code.startswith('stack["od"].isel(')
    with pytest.raises(ArgumentError, match="within"):
        model.choose(pixel=[99, 0]) or model.result
    assert model.status == "failed"
    model.choose(pixel=[1, 0])
    assert model.result.dims == ("energy",)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        (6, 7),
        elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan")),
    )
)
def test_sixteen_bits_are_enough(picture):
    frame = frames.quantised(0, picture)
    holes = ~np.isfinite(picture)
    np.testing.assert_array_equal(frame.numbers == frames.MISSING, holes)
    if holes.all():
        return
    back = frame.base + frame.step * frame.numbers.astype(float)
    shown = ~holes & (picture >= frame.low) & (picture <= frame.high)
    size = max(abs(float(picture[shown].max(initial=0))), frame.high - frame.low)
    assert np.abs(back - picture)[shown].max(initial=0) <= 1e-4 * size + 1e-6


def test_a_range_beyond_single_precision_is_flat():
    picture = np.zeros((6, 7), dtype=np.float32)
    picture[0, 0] = 1e-44
    assert not frames.quantised(0, picture).numbers.any()


def test_a_wild_pixel_spoils_nothing():
    picture = np.random.default_rng(0).normal(0, 1, (300, 300)).astype("float32")
    picture[5, 5] = 1e9
    frame = frames.quantised(0, picture)
    back = frame.base + frame.step * frame.numbers.astype(float)
    assert np.median(np.abs(back - picture)) < 1e-3


@pytest.mark.parametrize("chunks", [None, {"energy": 5}, {"energy": 1, "y": 7}])
def test_all_pictures_come_once_those_around_the_first_before(stack, chunks):
    lazy = stack if chunks is None else stack.chunk(chunks)
    found = list(frames.frames(lazy, "real", 7))
    assert sorted(f.place for f in found) == list(range(12))
    assert 7 in [f.place for f in found][:5]
    for frame in found:
        back = frame.base + frame.step * frame.numbers.astype(float)
        inside = (stack[frame.place].values > frame.low) & (
            stack[frame.place].values < frame.high
        )
        np.testing.assert_allclose(
            back[inside], stack[frame.place].values[inside], atol=1e-3
        )


@pytest.mark.parametrize("chunks", [None, {"energy": 5, "y": 7, "x": 11}])
@pytest.mark.parametrize("axis", ["energy", "x"])
@pytest.mark.parametrize("every", [1, 4])
def test_a_tile_holds_the_pixels_or_their_means(stack, chunks, axis, every):
    stack = stack.copy(data=stack.values)
    stack[5, 4:12] = np.nan
    index, window = 5, [3, 11, 2, 11]
    lazy = stack if chunks is None else stack.chunk(chunks)
    side, found = frames.tile(
        lazy, "real", axis=axis, index=index, window=window, every=every
    )
    assert side == every
    picture = stack.isel({axis: index}).values[3:12, 2:12]
    expected = [
        [np.mean(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in row]
        for row in (
            [picture[r : r + every, c : c + every] for c in range(0, 10, every)]
            for r in range(0, 9, every)
        )
    ]
    back = found.base + found.step * found.numbers.astype(float)
    back[found.numbers == frames.MISSING] = np.nan
    np.testing.assert_allclose(back, expected, atol=1e-3)


def test_the_mean_of_phases_goes_round_the_circle():
    turn = np.pi * np.array([[0.9, -0.9], [0.95, -0.95]])
    picture = xr.DataArray(np.exp(1j * turn)[None], dims=("z", "y", "x"))
    at = {"axis": "z", "index": 0, "window": [0, 1, 0, 1], "every": 2}
    _, found = frames.tile(picture, "phase", **at)
    assert abs(found.base) == pytest.approx(np.pi)
    _, found = frames.tile(picture, "modulus", **at)
    assert found.base == pytest.approx(1.0)


def test_a_tile_reads_its_chunks_and_stays_small(stack, monkeypatch):
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    lazy = stack.chunk(energy=4, y=10, x=10)
    lazy = lazy.copy(data=lazy.data.map_blocks(note, dtype=lazy.dtype, meta=lazy.data))
    at = {"axis": "energy", "index": 6}
    frames.tile(lazy, "real", window=[2, 8, 12, 27], every=1, **at)
    assert sorted(read) == [(1, 0, 1), (1, 0, 2)]
    monkeypatch.setattr(frames, "_TILE", 100)
    side, found = frames.tile(lazy, "real", window=[0, 29, 0, 39], every=1, **at)
    assert side == 4
    assert found.numbers.size <= 100
    rounds = []

    def stop():
        rounds.append(1)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        frames.tile(lazy, "real", window=[0, 29, 0, 39], every=1, check=stop, **at)
    assert rounds == [1]


@pytest.mark.parametrize("chunks", [None, {"energy": 5}, {"energy": 5, "y": 7}])
def test_thinned_pictures_are_every_nth_pixel(stack, chunks, monkeypatch):
    lazy = stack if chunks is None else stack.chunk(chunks)
    monkeypatch.setattr(frames, "BUDGET", 2 * stack.size / 9.0)
    for frame in frames.frames(lazy, "real", 3):
        expected = stack[frame.place, ::3, ::3].values
        back = frame.base + frame.step * frame.numbers.astype(float)
        inside = (expected > frame.low) & (expected < frame.high)
        assert frame.numbers.shape == expected.shape
        np.testing.assert_allclose(back[inside], expected[inside], atol=1e-3)


def test_a_window_outside_the_picture(stack):
    model = _model(stack)
    with pytest.raises(ArgumentError, match="window"):
        model.choose(window=[0, 99, 0, 3])
    model.choose(window=[0, 9, 0, 3])
    model.axis = "x"
    assert model.window == []


def test_large_stacks_are_thinned_to_what_a_browser_holds(monkeypatch, stack):
    assert frames.thinning((40, 1024, 1024)) == 1
    assert frames.thinning((100, 4096, 4096)) == 6
    monkeypatch.setattr(frames, "BUDGET", stack.size)
    found = next(frames.frames(stack, "real", 0))
    assert found.numbers.shape == (15, 20)
