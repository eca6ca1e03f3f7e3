"""What each energy tells of fitted values: energies given up one by one.

At a solution the covariance is the inverse of JᵀJ, J the slopes of the model. Leaving
one energy out changes it by a matrix of rank one (Sherman and Morrison, Ann. Math.
Stat. 21, 124 (1950)), so that all candidates are judged without solving anything anew.
The search is greedy, from all energies down (backward, as for designs of experiments:
Atkinson and Donev, Optimum Experimental Designs (1992), ch. 15).
"""

from __future__ import annotations

import numpy as np

#: What a candidate must leave of an energy's own information, so that the fit holds.
_LEAST = 1e-9


def give_up(
    slopes: np.ndarray, gradients: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order in which energies are given up, and what errors become.

    Parameters
    ----------
    slopes : (N, m, n)
        Of the model of N spectra at m energies, by n parameters.
    gradients : (N, k, n)
        Of the k values of interest, by the parameters.
    least
        Energies that are kept in any case.

    Returns
    -------
    order : (m - least,)
        Index of each energy, the first that is given up first.
    growth : (m - least + 1, k)
        Errors over those with all energies, root mean square over the spectra, after
        so many energies were given up.
    """
    n_energies = slopes.shape[1]
    covariance = np.linalg.inv(np.einsum("imk,iml->ikl", slopes, slopes))
    first = np.einsum("iqk,ikl,iql->iq", gradients, covariance, gradients)
    left = list(range(n_energies))
    order, growth = [], [np.ones(first.shape[1])]
    while len(left) > least:
        j = slopes[:, left]
        moved = j @ covariance  # (N, m, n)
        own = 1.0 - np.einsum("imn,imn->im", moved, j)
        now = np.einsum("iqk,ikl,iql->iq", gradients, covariance, gradients)
        across = np.einsum("imn,iqn->imq", moved, gradients)
        with np.errstate(divide="ignore", invalid="ignore"):
            more = across**2 / own[:, :, None]
        after = (now[:, None] + more) / first[:, None]
        after[own < _LEAST] = np.inf
        cost = after.mean(axis=0)  # (m, q)
        chosen = int(np.argmin(cost.mean(axis=1)))
        if not np.isfinite(cost[chosen]).all():
            break
        v = moved[:, chosen]
        covariance = covariance + (
            v[:, :, None] * v[:, None, :] / own[:, chosen, None, None]
        )
        order.append(left.pop(chosen))
        growth.append(np.sqrt(cost[chosen]))
    return np.array(order, np.int64), np.array(growth)
