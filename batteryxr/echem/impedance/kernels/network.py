"""Compute the impedance of a circuit and its derivatives, for many spectra at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.echem.impedance.circuit import Element, Series
from batteryxr.echem.impedance.kernels.elements import KINDS

if TYPE_CHECKING:
    from batteryxr.echem.impedance.circuit import Node


def impedance(
    node: Node, omega: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the impedance of a node and its derivatives.

    Parameters
    ----------
    node
        Node of the circuit.
    omega
        (frequencies,) in rad/s.
    values
        (spectra, parameters).

    Returns
    -------
    tuple of numpy.ndarray
        (spectra, frequencies), and (spectra, frequencies, parameters); 0 for
        parameters of other nodes.
    """
    slopes = np.zeros((len(values), omega.size, values.shape[1]), np.complex128)
    return _walk(node, 1j * omega, values, slopes), slopes


def _walk(
    node: Node, s: np.ndarray, values: np.ndarray, slopes: np.ndarray
) -> np.ndarray:
    """Return the impedance of a node; write its derivatives to `slopes`."""
    if isinstance(node, Element):
        law = KINDS[node.kind]
        first, size = node.first, len(law.parameters)
        columns = [values[:, [first + k]] for k in range(size)]
        z, by = law.law(s, *columns)
        for k, one in enumerate(by):
            slopes[:, :, first + k] = one
        return z
    each = [_walk(part, s, values, slopes) for part in node.parts]
    if isinstance(node, Series):
        return sum(each[1:], each[0])
    total = 1.0 / sum((1.0 / z for z in each[1:]), 1.0 / each[0])
    for part, z in zip(node.parts, each, strict=True):
        first, last = span(part)
        slopes[:, :, first:last] *= ((total / z) ** 2)[:, :, None]
    return total


def span(node: Node) -> tuple[int, int]:
    """Return the first parameter of a node, and the one after its last."""
    if isinstance(node, Element):
        return node.first, node.first + len(KINDS[node.kind].parameters)
    ends = [span(part) for part in node.parts]
    return min(a for a, _ in ends), max(b for _, b in ends)


def shape(node: Node) -> str:
    """Return the structure of a node without the names of its elements."""
    if isinstance(node, Element):
        return node.kind
    inner = ",".join(shape(part) for part in node.parts)
    return f"s({inner})" if isinstance(node, Series) else f"p({inner})"


def elements(node: Node) -> list[Element]:
    """Return the elements of a node in order."""
    if isinstance(node, Element):
        return [node]
    return [e for part in node.parts for e in elements(part)]
