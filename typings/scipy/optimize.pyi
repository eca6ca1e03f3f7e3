from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

class OptimizeResult:
    x: Any
    fun: Any
    jac: Any
    cost: float
    success: bool
    message: str
    nfev: int

class _Isotonic:
    x: npt.NDArray[np.float64]
    blocks: npt.NDArray[np.intp]

def isotonic_regression(y: npt.ArrayLike, *, increasing: bool = ...) -> _Isotonic: ...
def minimize_scalar(
    fun: Callable[[float], float], *, bounds: tuple[float, float], method: str
) -> OptimizeResult: ...
def minimize(
    fun: Callable[[npt.NDArray[np.float64]], float],
    x0: npt.ArrayLike,
    *,
    method: str,
    options: Mapping[str, object] = ...,
) -> OptimizeResult: ...
def least_squares(
    fun: Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]],
    x0: npt.ArrayLike,
    jac: Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]] | str = ...,
    bounds: tuple[npt.ArrayLike, npt.ArrayLike] = ...,
    method: str = ...,
    *,
    x_scale: npt.ArrayLike | str = ...,
    ftol: float | None = ...,
    xtol: float | None = ...,
    gtol: float | None = ...,
    max_nfev: int | None = ...,
) -> OptimizeResult: ...
def linear_sum_assignment(
    cost_matrix: npt.ArrayLike, maximize: bool = ...
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]: ...
def nnls(
    A: npt.ArrayLike, b: npt.ArrayLike, *, maxiter: int | None = ...
) -> tuple[npt.NDArray[np.float64], float]: ...
