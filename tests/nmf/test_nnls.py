"""Exact least squares against scipy, and against the conditions of optimality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls as reference

from batteryxr.nmf.kernels import nnls, normal


def problem(seed: int, k: int, q: int = 40):
    rng = np.random.default_rng(seed)
    basis = rng.random((30, k)) + 0.2 * rng.normal(size=(30, k))
    target = rng.normal(size=(30, q)) + basis @ rng.normal(size=(k, q))
    return basis, target, basis.T @ basis, basis.T @ target


@pytest.mark.parametrize("k", [1, 2, 5, 8, 11])
def test_equals_scipy(k):
    basis, target, gram, rhs = problem(k, k)
    expected = np.array([reference(basis, t)[0] for t in target.T]).T
    np.testing.assert_allclose(nnls.solve(gram, rhs), expected, atol=1e-9)


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_trying_all_sets_finds_what_pivoting_finds(closure, k):
    _, _, gram, rhs = problem(k, k)
    tables = nnls.tabulate(gram, closure)
    expected = nnls.solve(gram, rhs, closure=closure)
    w = np.full(k, np.nan)
    for c, best in zip(rhs.T, expected.T, strict=True):
        nnls._try_all(gram, *tables, c.copy(), closure, w)
        np.testing.assert_allclose(w, best, atol=1e-12)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_closure_meets_its_conditions(seed, k):
    _, _, gram, rhs = problem(seed, k, q=12)
    w = nnls.solve(gram, rhs, closure=True)
    assert (w >= 0).all()
    np.testing.assert_allclose(w.sum(axis=0), 1.0, atol=1e-12)
    gradient = gram @ w - rhs
    for g, v in zip(gradient.T, w.T, strict=True):
        level = g[v > 0].mean()
        scale = 1e-8 * (np.abs(g).max() + np.abs(gram).max())
        assert np.abs(g[v > 0] - level).max() <= scale
        assert (g >= level - scale).all()


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("k", [3, 10])
def test_own_gram_for_each_column_gives_the_same(closure, k):
    _, _, gram, rhs = problem(3, k)
    shared = nnls.solve(gram, rhs, closure=closure)
    own = nnls.solve(np.repeat(gram[None], rhs.shape[1], 0), rhs, closure=closure)
    np.testing.assert_allclose(own, shared, atol=1e-9)


@pytest.mark.parametrize("closure", [False, True])
def test_where_pivoting_begins_does_not_matter(closure):
    _, _, gram, rhs = problem(5, 12)
    answer = nnls.solve(gram, rhs, closure=closure)
    rng = np.random.default_rng(0)
    for before in (answer, np.zeros_like(rhs), rng.random(rhs.shape) - 0.5):
        again = nnls.solve(gram, rhs, closure=closure, before=before)
        np.testing.assert_allclose(again, answer, atol=1e-10)


def test_two_equal_components_still_solve():
    basis = np.random.default_rng(0).random((20, 3))
    basis[:, 2] = basis[:, 1]
    target = basis @ np.array([[1.0], [2.0], [0.0]])
    w = nnls.solve(basis.T @ basis, basis.T @ target)
    np.testing.assert_allclose(basis @ w, target, rtol=1e-5)


def test_sweeps_reach_the_exact_answer():
    _, _, gram, rhs = problem(5, 4)
    rows = np.full(rhs.shape, 0.3)
    normal.sweep(gram, rhs, rows, 3000)
    np.testing.assert_allclose(rows, nnls.solve(gram, rhs), atol=1e-6)


def test_smooth_sweeps_minimise_their_objective():
    rng = np.random.default_rng(0)
    gram = np.array([[2.0, 0.4], [0.4, 1.0]])
    rhs = rng.random((2, 30)) + 0.5
    stiffness = np.array([3.0, 0.5])
    rows = np.ones((2, 30))
    normal.sweep_smooth(gram, rhs, rows, stiffness, 4000)
    second = np.diff(np.eye(30), n=2, axis=0)
    gradient = gram @ rows - rhs + stiffness[:, None] * (rows @ second.T @ second)
    assert np.abs(gradient[rows > 0]).max() < 1e-6
    assert (gradient[rows == 0] > -1e-6).all()


def test_grams_are_those_of_each_column():
    rng = np.random.default_rng(1)
    rows, v = rng.random((3, 7)), rng.random((7, 4))
    expected = [rows @ np.diag(v[:, q]) @ rows.T for q in range(4)]
    np.testing.assert_allclose(normal.grams(rows, v), expected, rtol=1e-12)


@pytest.mark.parametrize("k", [3, 11])
@pytest.mark.parametrize("own", [False, True])
def test_components_in_far_smaller_units_are_found_as_well(k, own):
    rng = np.random.default_rng(k)
    basis, wanted = rng.random((40, k)), rng.random((k, 20)) + 0.1
    wanted[1, :5] = 0.0
    unit = 10.0 ** np.linspace(-8, 3, k)
    rhs = (basis * unit).T @ (basis @ wanted)
    gram = (basis * unit).T @ (basis * unit)
    if own:
        gram = np.repeat(gram[None], 20, axis=0)
    found = nnls.solve(gram, rhs, before=rng.random(rhs.shape))
    np.testing.assert_allclose(found * unit[:, None], wanted, rtol=1e-6, atol=1e-7)
