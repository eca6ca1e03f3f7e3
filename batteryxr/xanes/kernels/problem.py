"""Define the named arrays that the fit kernels pass on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints

#: Options of numba for functions called by other kernels only: without the Python
#: wrapper, which unpacks named tuples and is longer than most of these functions.
INNER: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
#: Kinds of components. Edges come first, then peaks, then the baseline.
ERF, ARCTAN, LORENTZIAN, GAUSSIAN, PSEUDO_VOIGT, POLYNOMIAL = range(6)
FIRST_PEAK = LORENTZIAN
#: When further starts are tried.
NEVER, DOUBTFUL, ALWAYS = 0, 1, 2


class Axis(NamedTuple):
    """Hold energies, and energies scaled to about [-1, 1] (baseline), (m,) each."""

    x: np.ndarray
    scaled: Floats


class Model(NamedTuple):
    """Hold the terms of a model, and the bounds of its n parameters.

    Attributes
    ----------
    kinds, offsets : (k,) int64
        Kind of each component, and the index of its first parameter.
    low, high : (n,) float64
        Bounds; equal ones fix a parameter.
    linear : (n,) bool
        Whether a parameter scales with the data.
    constant, jump : int
        Index of the baseline's constant and of the edge jump, -1 for none.
    tracked : (t,) int64
        Parameters that distinguish two solutions.
    """

    kinds: np.ndarray
    offsets: np.ndarray
    low: np.ndarray
    high: np.ndarray
    linear: np.ndarray
    constant: int
    jump: int
    tracked: Ints

    @property
    def peak_offsets(self) -> list[int]:
        """Index of the first parameter of each peak."""
        peaks = (self.kinds >= FIRST_PEAK) & (self.kinds < POLYNOMIAL)
        return [int(o) for o in self.offsets[peaks]]

    @property
    def n_free(self) -> int:
        """Return the number of parameters that are not fixed."""
        return int((self.low < self.high).sum())


class Search(NamedTuple):
    """Set the initial guesses of a search, and when it ends.

    Attributes
    ----------
    starts : (S, n) float64
        Initial guesses; the first is tried on every row, the others if needed.
    curves : (S, m) float64
        Model at `starts`, without its constant.
    multistart : int
        `NEVER`, `DOUBTFUL` or `ALWAYS`.
    ambiguity : float
        Two solutions are ambiguous if their chi2 differ by less than the square of
        this, in units of the residual variance of the better one.
    tolerance, limit : float, int
        Relative decrease of chi2 at which to stop; largest number of iterations.
    """

    starts: np.ndarray
    curves: FloatTable
    multistart: int = DOUBTFUL
    ambiguity: float = 3.0
    tolerance: float = 1e-7
    limit: int = 100


class Noise(NamedTuple):
    """Hold the residuals expected of a good fit.

    Attributes
    ----------
    sd : float
        Standard deviation of the data if known, else 0.
    misfit : float
        Mean square residual of the model for the spectrum that gave the first start.
    """

    sd: float = 0.0
    misfit: float = 0.0


class Problem(NamedTuple):
    """Define one fit of many rows: everything that is the same for all rows."""

    axis: Axis
    model: Model
    search: Search
    noise: Noise = Noise()


class Out(NamedTuple):
    """Hold the results of N rows.

    Attributes
    ----------
    values, errors : (N, n) float64
        Parameters and standard errors (NaN at a bound, 0 if fixed).
    peaks : (N, k', 4) float64
        Area of each peak, its error, area / jump, its error.
    quality : (N, 4) float64
        chi2, degrees of freedom, R factor, edge energy of a rival solution.
    flags : (N,) uint8
        Bits of the quality flag.
    """

    values: np.ndarray
    errors: np.ndarray
    peaks: np.ndarray
    quality: np.ndarray
    flags: np.ndarray
