"""Cutting a record into pulses, whatever the blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batteryxr.echem.kernels import pulses
from batteryxr.echem.kernels.record import of_rows, part


def rows(current, file=None, t=None):
    n = len(current)
    t = np.arange(n, dtype=float) if t is None else np.asarray(t, dtype=float)
    file = np.zeros(n, np.int16) if file is None else np.asarray(file, np.int16)
    return of_rows(t * 0.1, np.asarray(current, float), t=t, file=file)


def cut(table, edges=()):
    bounds = [0, *edges, table.i.size]
    blocks = (part(table, i, j) for i, j in itertools.pairwise(bounds))
    return list(pulses.windows(blocks, i_zero=0.1))


def test_rest_current_below_the_threshold_is_rest():
    found = cut(rows([4e-7, -4e-7, 1, 1, 4e-7, -4e-7, 1, 1, 0]))
    assert [(w.first, w.last, w.t.size) for w in found] == [(1, 3, 5), (1, 3, 4)]
    assert found[0].t[0] == 1.0
    assert found[1].t[0] == 5.0


def test_a_change_of_sign_ends_a_pulse():
    found = cut(rows([0, 1, 1, -1, -1, 0]))
    assert [w.last - w.first for w in found] == [2, 2]
    assert found[0].t.size == found[0].last  # no rest
    assert found[1].first == 0  # no row at rest before


def test_a_change_of_file_ends_pulse_and_rest():
    found = cut(rows([0, 1, 1, 1, 0, 0], file=[0, 0, 0, 1, 1, 2]))
    assert [(w.first, w.last, w.t.size) for w in found] == [(1, 3, 3), (0, 1, 2)]


def test_a_record_that_starts_and_ends_under_current():
    found = cut(rows([1, 1, 0, 1]))
    assert [(w.first, w.last) for w in found] == [(0, 2), (1, 2)]


@settings(deadline=None)
@given(
    current=st.lists(st.sampled_from([0.0, 0.0, 1.0, -1.0]), min_size=1, max_size=60),
    data=st.data(),
)
def test_blocks_do_not_matter(current, data):
    n = len(current)
    file = sorted(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    edges = data.draw(st.sets(st.integers(1, n - 1)) if n > 1 else st.just(set()))
    table = rows(current, file)
    whole, pieces = cut(table), cut(table, sorted(edges))
    assert len(whole) == len(pieces)
    for a, b in zip(whole, pieces, strict=True):
        assert (a.first, a.last) == (b.first, b.last)
        for k in range(3):
            np.testing.assert_array_equal(a[k], b[k])
        assert (np.abs(a.i[a.first : a.last]) == 1).all()
        assert (a.i[a.last :] == 0).all()
    assert sum(w.last - w.first for w in whole) == np.count_nonzero(current)


def test_timing_takes_the_row_before_as_the_switch():
    (window,) = cut(rows([0, 2, 2, 2, 0], t=[0, 10, 20, 30, 40]))
    timing = pulses.timing(window)
    assert (timing.on, timing.off, timing.current) == (0, 30, 2)
    assert timing.charge == pytest.approx(60)
    assert timing.charge_error == pytest.approx(20 / np.sqrt(3))


def test_timing_does_not_bridge_long_rests():
    (window,) = cut(rows([0, 2, 2, 2, 0], t=[0, 600, 610, 620, 900]))
    timing = pulses.timing(window)
    assert (timing.on, timing.off) == (600, 620)
    assert timing.charge == pytest.approx(40)
    assert timing.charge_error == 0
