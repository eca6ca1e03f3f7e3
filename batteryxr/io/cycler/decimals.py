"""Multiply by powers of ten by moving the decimal point: round trips keep every bit."""

from __future__ import annotations

import numpy as np

_WHOLE = 1e15  # every decimal number of 15 digits has a float64 of its own
_SAMPLE = 1000  # numbers that show how many decimals most have
_MOST = 22  # 10**22 is the largest power of ten that float64 holds exactly


def shift(values: np.ndarray, places: int) -> np.ndarray:
    """Return ``values * 10**places``, rounded once from their decimal form.

    0.1649 A is 164.9 mA, but the product of the two float64 is
    164.89999999999998. Numbers of up to 15 digits and 22 decimals, below 1e15
    before and after, come back unchanged from a shift and its opposite. Others are
    exact where float64 allows, else within one unit of the last bit.

    Parameters
    ----------
    values
        Numbers, float64.
    places
        Places by which the point moves to the right.
    """
    values = np.asarray(values, dtype=np.float64)
    if places == 0:
        return values
    moved = _scaled(values, places)
    some = values[:: max(1, values.size // _SAMPLE)]
    usual = _digits(some[np.isfinite(some)], _MOST - abs(places))
    with np.errstate(over="ignore"):
        whole = np.rint(values * 10.0**usual)
        written = (np.abs(whole) < _WHOLE) & (whole / 10.0**usual == values)
        np.copyto(moved, _scaled(whole, places - usual), where=written)
    left = np.flatnonzero(~written & np.isfinite(values))
    for digits in range(_MOST + 1 if left.size else 0):
        # k / 10**digits is the float64 nearest to that decimal number: one rounding.
        whole = np.rint(values[left] * 10.0**digits)
        within = np.abs(whole) < _WHOLE
        left, whole = left[within], whole[within]
        written = whole / 10.0**digits == values[left]
        if abs(places - digits) <= _MOST:
            moved[left[written]] = _scaled(whole[written], places - digits)
        left = left[~written]
        if left.size == 0:
            return moved
    return moved


def _digits(values: np.ndarray, most: int) -> int:
    """Return how many decimals some numbers have; 0 if they have more than the most."""
    for digits in range(max(most, 0)):
        if (np.rint(values * 10.0**digits) / 10.0**digits == values).all():
            return digits
    return 0


def unshift(values: np.ndarray, places: int) -> np.ndarray:
    """Return numbers that become `values` after a `shift` by `places`."""
    values = np.asarray(values, dtype=np.float64)
    found = shift(values, -places)
    wrong = np.flatnonzero(np.isfinite(values) & (shift(found, places) != values))
    for direction in (-np.inf, np.inf):
        near = np.nextafter(found[wrong], direction)
        hit = shift(near, places) == values[wrong]
        found[wrong[hit]] = near[hit]
        wrong = wrong[~hit]
    return found


def _scaled(values: np.ndarray, places: int) -> np.ndarray:
    return values * 10.0**places if places >= 0 else values / 10.0**-places
