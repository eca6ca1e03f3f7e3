"""Compute non-negative distributions of relaxation times by Tikhonov's method."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batteryxr.echem.impedance.kernels import arc_fits, arcs, linear

#: Trial regularisations, and integration points per step of the grid.
_TRIALS = np.logspace(-8, 3, 34)
_WITHIN = 24
#: Terms beside the distribution: resistance, inductance, and 1/(Q (jω)ⁿ) of what is
#: slower than the range; exponents n among which the data choose.
EXTRA = 3
EXPONENTS = tuple(np.linspace(0.5, 1.0, 6).tolist())
#: Effect of smoothing relative to a second smoothing; its reach in hats.
_FIRST, _NEAR = 4.0, 2
#: Standard deviations of a normal distribution that hold 95 %.
_SD = 1.959964
#: Least height of a top, as a fraction of the largest.
_TOP = 0.1
#: Largest squares of the L-curve, relative to those of the noise.
_CORNER = 1.5
#: Bits of ``drt_flag``, and least number of points of a spectrum.
NOT_CONVERGED, TOO_FEW, MISFIT, UNFINISHED = 1, 2, 4, 8
_LEAST = 6
#: Share of the polarisation that may be slower than the lowest frequency.
_SLOWER = 0.05
#: Variance relative to the noise, and residual, above which there is a misfit.
_LEFT, _LARGE = 4.0, 0.01


class Basis(NamedTuple):
    """Hold the impedance of hat functions along ln(tau), and their roughness.

    Parameters
    ----------
    impedance
        (frequencies, extra and hats).
    rough
        (differences, extra and hats).
    log_tau
        (hats,) where they stand.
    exponent
        n of the term for slower processes; 0: there is no such term.
    """

    impedance: np.ndarray
    rough: np.ndarray
    log_tau: np.ndarray
    exponent: float


class Regularisation(NamedTuple):
    """Set how the regularisation is chosen: by a named method, or as a number."""

    method: str
    given: float


def bases(
    omega: np.ndarray, log_tau: np.ndarray, exponents: tuple[float, ...]
) -> tuple[Basis, ...]:
    """Return bases on an even grid of ln(tau), one for each exponent."""
    step = log_tau[1] - log_tau[0]
    # A hat of area `step`, integrated by the midpoint rule.
    u = (np.arange(2 * _WITHIN) + 0.5) / _WITHIN - 1.0
    weight = (1.0 - np.abs(u)) * step / _WITHIN
    at = np.exp(log_tau[:, None] + step * u)
    hats = np.einsum("w,fkw->fk", weight, 1.0 / (1.0 + 1j * omega[:, None, None] * at))
    s = 1j * omega[:, None]
    n = log_tau.size
    # Second differences; the distribution is zero beyond the grid.
    second = np.diff(np.eye(n + 2), 2, axis=0)[:, 1:-1] / step**1.5
    rough = np.concatenate([np.zeros((len(second), EXTRA)), second], axis=1)
    found = []
    for power in exponents:
        slow = (omega.min() / s) ** power if power else 0.0 * s
        z = np.concatenate([np.ones_like(s), s / omega.max(), slow, hats], axis=1)
        found.append(Basis(z, rough, log_tau, power))
    return tuple(found)


def distributions(
    measured: np.ndarray,
    *,
    grids: tuple[Basis, ...],
    search: Regularisation,
    omega: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return distributions of spectra (..., frequencies).

    The first basis is taken where it fits, and little is slower than the range.
    Elsewhere the evidence chooses between all.

    Returns
    -------
    tuple of numpy.ndarray
        gamma, its lower and upper bound (..., hats); resistance, inductance, and 1/Q
        beside it (..., 3); fitted impedance (..., frequencies); regularisation,
        relative residual, flag, exponent of the term of 1/Q, and whether the most
        likely regularisation had to be taken (...).
    """
    lead = measured.shape[:-1]
    flat = measured.reshape(-1, measured.shape[-1])
    if not len(flat):
        over, one = np.empty((*lead, grids[0].log_tau.size)), np.empty(lead)
        fitted = np.empty(measured.shape, complex)
        flags = one, one, one.astype(np.int8), one, one.astype(np.int8)
        return over, over, over, np.empty((*lead, EXTRA)), fitted, *flags
    columns = _table([_one(z, grids[0], search, omega) for z in flat])
    noise = arc_fits.noise_of(flat, omega)
    odd, open_ = _odd(flat, columns, omega, noise)
    rows = np.flatnonzero(odd | open_) if len(grids) > 1 else np.empty(0, np.int64)
    if rows.size:
        best = [_likeliest(flat[k], grids) for k in rows.tolist()]
        _put(
            columns,
            rows,
            [_one(flat[k], g, search, omega) for k, g in zip(rows, best, strict=True)],
        )
        # Where the first basis fits too, the range does not tell what is below it.
        unsure = ~odd & open_
        odd, open_ = _odd(flat, columns, omega, noise)
        open_ |= unsure
    sharp = np.zeros(len(flat), np.int8)
    if odd.any() and search.method not in ("given", "evidence"):
        # A sharp peak (a capacitor beside a resistor) needs less smoothing.
        rows = np.flatnonzero(odd)
        grid_of = {grid.exponent: grid for grid in grids}
        again = [
            _one(
                flat[k], grid_of[columns[8][k]], Regularisation("evidence", 0.0), omega
            )
            for k in rows.tolist()
        ]
        worse, slow = _odd(flat[rows], _table(again), omega, noise[rows])
        sharp[rows] = ~worse
        _put(columns, rows[~worse], [again[k] for k in np.flatnonzero(~worse)])
        odd[rows], open_[rows] = worse, np.where(worse, open_[rows], slow)
    columns[1:3] = _widened(columns, flat, (omega, noise), grids[0])
    bits = np.where(odd, MISFIT, 0) | np.where(open_ & ~odd, UNFINISHED, 0)
    columns[7] = (columns[7] | bits).astype(np.int8)
    columns[9] = sharp
    return tuple(c.reshape((*lead, *c.shape[1:])) for c in columns)


def _table(rows: list[tuple[np.ndarray | float, ...]]) -> list[np.ndarray]:
    return [np.array(column) for column in zip(*rows, strict=True)]


def _put(
    columns: list[np.ndarray],
    rows: np.ndarray,
    new: list[tuple[np.ndarray | float, ...]],
) -> None:
    """Replace rows of the columns."""
    for column, other in zip(columns, _table(new), strict=bool(new)):
        column[rows] = other


def _odd(
    measured: np.ndarray,
    columns: list[np.ndarray],
    omega: np.ndarray,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell where distributions do not fit, and where much is slower than the range."""
    fitted, rms = columns[4], columns[6]
    with np.errstate(invalid="ignore"):
        relative = (measured - fitted) / np.abs(measured)
        large: np.ndarray = (rms > _LARGE) & (rms**2 / 2 > _LEFT * noise)
    # No chain fits it either.
    return large | linear.systematic(relative, omega=omega), columns[9] > _SLOWER


def _widened(
    columns: list[np.ndarray],
    measured: np.ndarray,
    known: tuple[np.ndarray, np.ndarray],
    grid: Basis,
) -> list[np.ndarray]:
    """Return bounds that also hold arcs that fit the spectrum to its noise.

    Smoothing removes features sharper than the data resolve; the arcs give how high
    these may be.
    """
    gamma, low, high, beside = columns[:4]
    omega, noise = known
    data = arc_fits.NoisySpectra(measured, omega, noise)
    starts = arcs.starts(gamma, grid.log_tau, _TOP)
    terms = np.column_stack([beside, columns[8]])
    slow = arc_fits.BesideArcs(np.nan_to_num(terms), (0.0,), ())
    for row, one in enumerate(arc_fits.fitted(data, starts, slow)):
        if one is not None:
            value, sd = arcs.distribution(one, grid.log_tau)
            low[row] = np.minimum(low[row], value * np.exp(-_SD * sd))
            high[row] = np.maximum(high[row], value * np.exp(np.minimum(_SD * sd, 50)))
    return [low, high]


def _one(
    z: np.ndarray, grid: Basis, search: Regularisation, omega: np.ndarray
) -> tuple[np.ndarray | float, ...]:
    n = grid.log_tau.size
    there = np.isfinite(z)
    lost, none = np.full(n, np.nan), np.full(z.size, np.nan + 0j)
    nothing = lost, lost, lost, np.full(EXTRA, np.nan), none, np.nan, np.nan
    if there.sum() < _LEAST:
        return *nothing, TOO_FEW, grid.exponent, 0.0
    a, b, scale = _weighed(z, grid)
    strength, loose, _ = _strength(a, b, grid, search, scale)
    x = _positive(a, b, grid.rough, strength)
    if np.isnan(x).any():
        return *nothing, NOT_CONVERGED, grid.exponent, 0.0
    left = b - a @ x
    free = max(b.size - _effective(a, grid.rough, strength), 1.0)
    variance = float(left @ left) / free
    # Use a prior no stiffer than the data call for, so the errors are not too small.
    curvature = a.T @ a + min(strength, loose) * grid.rough.T @ grid.rough
    spread = np.linalg.pinv(curvature, hermitian=True)
    sd = _SD * np.sqrt(np.maximum(np.diag(spread)[EXTRA:] * variance, 0.0))
    sd = sd + _smoothed_away(a, grid.rough, strength, x)
    gamma = x[EXTRA:]
    size = omega.min() ** grid.exponent
    beside = np.array([x[0], x[1] / omega.max(), x[2] * size])
    fitted = np.where(there, grid.impedance @ x, np.nan)
    rms = float(np.sqrt(left @ left / there.sum()))
    low, high = np.maximum(gamma - sd, 0.0), gamma + sd
    late = gamma[grid.log_tau > -np.log(omega[there].min())].sum()
    slower = float(late / max(gamma.sum(), 1e-300))
    told = strength * scale**2, rms, 0, grid.exponent, slower
    return gamma, low, high, beside, fitted, *told


def _weighed(z: np.ndarray, grid: Basis) -> tuple[np.ndarray, np.ndarray, float]:
    """Return real equations relative to the modulus, and the largest modulus."""
    there = np.isfinite(z)
    size = np.abs(z[there])
    a, b = grid.impedance[there] / size[:, None], z[there] / size
    real = np.concatenate([a.real, a.imag]), np.concatenate([b.real, b.imag])
    return *real, float(size.max())


def _likeliest(z: np.ndarray, grids: tuple[Basis, ...]) -> Basis:
    """Return the basis with the largest evidence; a term more costs as by BIC."""
    scores = []
    for grid in grids:
        a, b, scale = _weighed(z, grid)
        none = Regularisation("evidence", 0.0)
        evidence = _strength(a, b, grid, none, scale)[2]
        scores.append(evidence - np.log(b.size) * bool(grid.exponent))
    return grids[int(np.argmax(scores))]


def _smoothed_away(
    a: np.ndarray, rough: np.ndarray, strength: float, x: np.ndarray
) -> np.ndarray:
    """Return an upper limit of what smoothing takes from tops and adds beside them.

    A second smoothing changes the estimate by less than the first did.
    """
    gram = a.T @ a
    curvature = gram + strength * rough.T @ rough
    again = np.linalg.pinv(curvature, hermitian=True) @ (gram @ x)
    off = np.pad(np.abs(again - x)[EXTRA:], _NEAR, mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(off, 2 * _NEAR + 1)
    widest: np.ndarray = _FIRST * near.max(axis=-1)
    return widest


def _positive(
    a: np.ndarray, b: np.ndarray, rough: np.ndarray, strength: float
) -> np.ndarray:
    from scipy.optimize import nnls

    whole = np.concatenate([a, np.sqrt(strength) * rough])
    size = np.sqrt((whole**2).sum(axis=0))
    size = np.where(size > 0, size, 1.0)
    right = np.concatenate([b, np.zeros(len(rough))])
    try:
        x, _ = nnls(whole / size, right, maxiter=50 * a.shape[1])
    except RuntimeError:  # no solution for this spectrum; the others go on
        return np.full(a.shape[1], np.nan)
    return np.asarray(x / size)


def _effective(a: np.ndarray, rough: np.ndarray, strength: float) -> float:
    """Return the effective number of parameters of a regularised fit."""
    gram = a.T @ a
    curvature = gram + strength * rough.T @ rough
    return float(np.trace(np.linalg.pinv(curvature, hermitian=True) @ gram))


def _strength(
    a: np.ndarray, b: np.ndarray, grid: Basis, search: Regularisation, scale: float
) -> tuple[float, float, float]:
    """Return the regularisation by a method, the most likely one, and its evidence."""
    trials = _TRIALS / scale**2
    # Project out resistance, inductance and capacitance first. In units of roughness
    # all trials are then diagonal.
    beside, _ = np.linalg.qr(a[:, :EXTRA][:, np.abs(a[:, :EXTRA]).max(axis=0) > 0])
    inner = np.linalg.solve(grid.rough[:, EXTRA:].T, a[:, EXTRA:].T).T
    inner = inner - beside @ (beside.T @ inner)
    rest = b - beside @ (beside.T @ b)
    u, s, _ = np.linalg.svd(inner, full_matrices=False)
    c = u.T @ rest
    out = max(float(rest @ rest - c @ c), 0.0)
    filtered = trials[:, None] / (s**2 + trials[:, None])
    misfit = out + (filtered**2 * c**2).sum(axis=1)
    whole = out + (filtered * c**2).sum(axis=1)
    sizes = (whole - misfit) / trials
    n_data = b.size - beside.shape[1]
    free = n_data - (1.0 - filtered).sum(axis=1)
    evidence = np.log(filtered).sum(axis=1) - n_data * np.log(whole)
    likely = float(trials[int(np.argmax(evidence))])
    most = float((evidence - beside.shape[1] * np.log(whole)).max())
    if search.method == "given":
        return search.given / scale**2, likely, most
    if search.method == "evidence":
        return likely, likely, most
    if search.method == "cross_validation":
        score = misfit / np.maximum(2 * free - n_data, 1e-3) ** 2
        return float(trials[int(np.argmin(score))]), likely, most
    if search.method == "discrepancy":
        # The noise is that of the least regularised fit with freedom left.
        noise = float(np.min(misfit / np.maximum(free, 1.0)))
        enough = np.flatnonzero(misfit <= 1.05 * noise * n_data)
        return float(trials[enough[-1] if enough.size else 0]), likely, most
    # A corner far above the noise belongs to another part of the curve.
    noise = float(np.min(misfit / np.maximum(free, 1.0)))
    near = max(int((misfit <= _CORNER * noise * n_data).sum()), 6)
    x, y = np.log(misfit), np.log(sizes)
    dx, dy = np.gradient(x), np.gradient(y)
    bend = (dx * np.gradient(dy) - dy * np.gradient(dx)) / (
        dx**2 + dy**2 + 1e-12
    ) ** 1.5
    corner = 2 + int(np.argmax(bend[2 : min(near, bend.size - 2)]))
    return float(trials[corner]), likely, most
