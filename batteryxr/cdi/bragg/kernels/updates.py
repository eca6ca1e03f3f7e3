"""The two steps of an iteration: the modulus in Fourier space, the support in real.

Every voxel is touched once per step. NumPy arrays take a compiled loop that fuses the
step into one pass over memory (in plain array operations the temporaries cost as much
as a Fourier transform); arrays of other libraries take the same formula in array-API
operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from array_api_compat import array_namespace, is_numpy_array

if TYPE_CHECKING:
    from collections.abc import Callable

#: Weights (a, b) of the outside of the support: rho <- a rho + b p, where p is the
#: object with the measured modulus; inside, rho <- p. Marchesini, Rev. Sci. Instrum.
#: 78, 011301 (2007); RAAR is Luke's operator form, Inverse Problems 21, 37 (2005).
OUTSIDE: dict[str, Callable[[float], tuple[float, float]]] = {
    "ER": lambda beta: (0.0, 0.0),
    "SF": lambda beta: (0.0, -1.0),
    "HIO": lambda beta: (1.0, -beta),
    "RAAR": lambda beta: (beta, 1.0 - 2.0 * beta),
}
_TINY = np.float32(1e-24)


def replace_modulus(field: Any, amplitude: Any, scale: float) -> tuple[Any, float]:
    """Give a transform its measured modulus.

    Parameters
    ----------
    field
        Transform of the object, complex64; overwritten.
    amplitude
        Measured modulus, float32, same shape; negative where nothing was measured:
        there the field stays as it is.
    scale
        Factor on the result, for the transform that follows.

    Returns
    -------
    field
        The field with measured modulus, times `scale`.
    misfit
        Sum of ``(|field| - amplitude)**2`` over the measured voxels, before.
    """
    if is_numpy_array(field):
        misfit = _replace_modulus(
            field.reshape(-1), amplitude.reshape(-1), np.float32(scale)
        )
        return field, float(misfit)
    xp = array_namespace(field)
    modulus = xp.abs(field)
    measured = amplitude >= 0
    one, zero = xp.ones_like(modulus), xp.zeros_like(modulus)
    factor = xp.where(measured, amplitude / xp.maximum(modulus, 1e-12), one)
    misfit = xp.sum(xp.where(measured, modulus - amplitude, zero) ** 2)
    return field * (factor * scale), float(misfit)


def replace_blurred(
    field: Any, blurred: Any, amplitude: Any, scale: float
) -> tuple[Any, float]:
    """Give a transform its measured modulus where partial coherence blurs it.

    The factor is amplitude / sqrt(blurred) (Clark et al., Nat. Commun. 3, 993 (2012)).

    Parameters
    ----------
    field, amplitude, scale
        As in `replace_modulus`.
    blurred
        Intensity of `field` after the blur, float32.

    Returns
    -------
    field
        The field, times `scale`.
    misfit
        Sum of ``(sqrt(blurred) - amplitude)**2`` over the measured voxels, before.
    """
    xp = array_namespace(field)
    modulus = xp.sqrt(blurred)
    measured = amplitude >= 0
    one, zero = xp.ones_like(modulus), xp.zeros_like(modulus)
    factor = xp.where(measured, amplitude / xp.maximum(modulus, 1e-12), one)
    misfit = xp.sum(xp.where(measured, modulus - amplitude, zero) ** 2)
    return field * (factor * scale), float(misfit)


def combine(rho: Any, p: Any, support: Any, outside: tuple[float, float]) -> Any:
    """Return p inside the support and ``a rho + b p`` outside; overwrites `rho`.

    Parameters
    ----------
    rho, p
        The iterate, and the object with measured modulus; complex64.
    support
        Bool.
    outside
        The weights a and b; see `OUTSIDE`.
    """
    a, b = outside
    if is_numpy_array(rho):
        _combine(
            rho.reshape(-1),
            p.reshape(-1),
            support.reshape(-1),
            (np.float32(a), np.float32(b)),
        )
        return rho
    xp = array_namespace(rho)
    return xp.where(support, p, a * rho + b * p)


# numpy's error model: the check for division by zero would keep the loops scalar.
_compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _replace_modulus(
    field: np.ndarray, amplitude: np.ndarray, scale: np.float32
) -> float | np.float32:
    misfit: float | np.float32 = 0.0  # short sums stay exact in single precision
    for start in range(0, field.size, 4096):
        stop = min(start + 4096, field.size)
        misfit += _replace_part(field[start:stop], amplitude[start:stop], scale)
    return misfit


@_compiled
def _replace_part(
    field: np.ndarray, amplitude: np.ndarray, scale: np.float32
) -> np.float32:
    misfit, one, zero = np.float32(0.0), np.float32(1.0), np.float32(0.0)
    for i in range(field.size):
        g, measured = field[i], amplitude[i]
        modulus = np.sqrt(g.real * g.real + g.imag * g.imag + _TINY)
        difference = np.float32(measured >= zero) * (modulus - measured)
        misfit += difference * difference
        field[i] = g * (scale * (one - difference / modulus))
    return misfit


@_compiled
def _combine(
    rho: np.ndarray,
    p: np.ndarray,
    support: np.ndarray,
    outside: tuple[np.float32, np.float32],
) -> None:
    one, (a, b) = np.float32(1.0), outside
    for i in range(rho.size):
        inside = np.float32(support[i])
        rho[i] = (one - inside) * a * rho[i] + (b + inside * (one - b)) * p[i]
