"""The relation that ties energies, on a table made by others."""

from __future__ import annotations

import numpy as np
import pytest
import xraydb

from batteryxr.cdi.ptycho.kernels.constraint import Constraint
from batteryxr.core.errors import DataError
from batteryxr.core.kernels.kramers_kronig import transform_matrix
from batteryxr.core.xray import absorptive_factor

WINDOW = np.arange(5420.0, 5540.5, 1.0)
EDGE = 5465.1


@pytest.fixture(scope="module")
def expected():
    """Chantler's f' of vanadium, away from the pole at the edge."""
    away = abs(WINDOW - EDGE) > 3.0
    return away, np.array([float(xraydb.f1_chantler("V", float(e))) for e in WINDOW])


def test_table_of_vanadium(expected):
    away, f1 = expected
    grid = np.unique(
        np.r_[np.geomspace(10, 4e5, 2000), np.arange(5380.0, 5600.0, 0.25)]
    )
    found = transform_matrix(grid, WINDOW) @ absorptive_factor("V", grid)
    difference = (found - f1)[away]
    assert np.std(difference) <= 0.05
    # The table's f' holds relativistic and nuclear terms, the same at all energies,
    # which no absorption knows of: -0.08 electrons.
    assert np.mean(difference) == pytest.approx(0.08, abs=0.03)


def test_a_window_alone_is_wrong_and_refused(expected):
    away, f1 = expected
    f2 = absorptive_factor("V", WINDOW)
    alone = transform_matrix(WINDOW, WINDOW) @ f2
    assert np.std((alone - f1)[away]) >= 0.6
    with pytest.raises(DataError, match="beyond the window"):
        Constraint(WINDOW, WINDOW, f2)
