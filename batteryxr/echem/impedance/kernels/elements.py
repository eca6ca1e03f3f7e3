"""Elements of equivalent circuits: impedance and derivatives by each parameter.

Each function takes ``s = j omega`` (frequencies), always imaginary, and its parameters
(spectra, 1). It returns the impedance (spectra, frequencies) and its derivative by each
parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Law = Callable[..., tuple[np.ndarray, list[np.ndarray]]]

#: Exponents that an element may have, and the names of parameters that are exponents.
EXPONENTS, EXPONENT_NAMES = (0.1, 1.0), ("n", "b")
#: Argument beyond which tanh is 1 to the last digit.
_FAR = 20.0


class ElementLaw(NamedTuple):
    """Describe a kind of element.

    Parameters
    ----------
    parameters
        Suffix to the element's name ("" if it has one parameter only), and units.
    law
        Function that returns impedance and derivatives.
    scales
        Power with which each parameter scales if the whole impedance is multiplied
        by a number.
    delay
        Index of the parameter that sets the time constant with a resistance; -1: none.
    """

    parameters: tuple[tuple[str, str], ...]
    law: Law
    scales: tuple[int, ...]
    delay: int = -1


def _resistor(s: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    one = np.ones_like(s * r)
    return r * one, [one]


def _capacitor(s: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    z = 1.0 / (s * c)
    return z, [-z / c]


def _inductor(s: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    return s * h, [s * np.ones_like(h)]


def _power(s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return (j omega)**n, faster than a complex power."""
    found: np.ndarray = np.exp(n * np.log(s.imag)) * np.exp(0.5j * np.pi * n)
    return found


def _constant_phase(
    s: np.ndarray, q: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    z = _power(s, -n) / q
    return z, [z * (-1.0 / q), z * -np.log(s)]


def _warburg(s: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    one = np.sqrt(2.0 / s) * np.ones_like(sigma)  # (1 - j)/sqrt(omega)
    return sigma * one, [one]


def _hyperbolic(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tanh(x) and 1/cosh(x)**2 for arguments of any size."""
    tame = np.where(x.real > _FAR, _FAR, x)
    t = np.tanh(tame)
    return t, 1.0 - t * t


def _open(
    s: np.ndarray, r: np.ndarray, tau: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    x = np.sqrt(s * tau)
    t, slope = _hyperbolic(x)
    shape = 1.0 / (x * t)
    by_x = -shape / x - slope / (x * t * t)
    return r * shape, [shape, r * by_x * x / (2.0 * tau)]


def _short(
    s: np.ndarray, r: np.ndarray, tau: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    x = np.sqrt(s * tau)
    t, slope = _hyperbolic(x)
    shape = t / x
    by_x = slope / x - shape / x
    return r * shape, [shape, r * by_x * x / (2.0 * tau)]


def _gerischer(
    s: np.ndarray, r: np.ndarray, tau: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    shape = 1.0 / np.sqrt(1.0 + s * tau)
    return r * shape, [shape, -0.5 * r * s * shape**3]


def _skewed(
    s: np.ndarray, r: np.ndarray, tau: np.ndarray, n: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    delay = np.log(s.imag) + np.log(tau)
    power = _power(s * tau, n)
    log_base = np.log(1.0 + power)
    z = r * np.exp(-b * log_base)
    by_power = -b * z * power / (1.0 + power)
    by_n = by_power * (delay + 0.5j * np.pi)
    return z, [z / r, by_power * n / tau, by_n, -z * log_base]


def _line(
    s: np.ndarray, r: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return impedance and derivatives of a line: r along, admittance y across."""
    x = np.sqrt(r * y)
    t, slope = _hyperbolic(x)
    z = x / (y * t)
    by_x = 1.0 / (y * t) - x * slope / (y * t * t)
    return z, by_x * y / (2.0 * x), by_x * r / (2.0 * x) - z / y


def _porous(
    s: np.ndarray, r: np.ndarray, rct: np.ndarray, q: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    store = q * _power(s, n)
    z, by_r, by_y = _line(s, r, 1.0 / rct + store)
    return z, [by_r, -by_y / rct**2, by_y * store / q, by_y * store * np.log(s)]


def _blocking(
    s: np.ndarray, r: np.ndarray, q: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    store = q * _power(s, n)
    z, by_r, by_y = _line(s, r, store)
    return z, [by_r, by_y * store / q, by_y * store * np.log(s)]


_OHM, _EXPONENT = ("R", "ohm"), ("n", "1")
_Q = ("Q", "ohm-1 s^n")
#: Kinds by the letters before the number in a circuit.
KINDS: dict[str, ElementLaw] = {
    "R": ElementLaw((("", "ohm"),), _resistor, (1,)),
    "C": ElementLaw((("", "F"),), _capacitor, (-1,), 0),
    "L": ElementLaw((("", "H"),), _inductor, (1,), 0),
    "CPE": ElementLaw((_Q, _EXPONENT), _constant_phase, (-1, 0), 0),
    "W": ElementLaw((("", "ohm s^-0.5"),), _warburg, (1,), 0),
    "Wo": ElementLaw((_OHM, ("tau", "s")), _open, (1, 0), 1),
    "Ws": ElementLaw((_OHM, ("tau", "s")), _short, (1, 0), 1),
    "G": ElementLaw((_OHM, ("tau", "s")), _gerischer, (1, 0), 1),
    "HN": ElementLaw(
        (_OHM, ("tau", "s"), _EXPONENT, ("b", "1")), _skewed, (1, 0, 0, 0), 1
    ),
    "T": ElementLaw((_OHM, ("Rct", "ohm"), _Q, _EXPONENT), _porous, (1, 1, -1, 0), 2),
    "TB": ElementLaw((_OHM, _Q, _EXPONENT), _blocking, (1, -1, 0), 1),
}
