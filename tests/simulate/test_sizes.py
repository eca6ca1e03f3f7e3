"""A mistyped size is refused, with what it asks for, before any work."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr import simulate
from batteryxr.core.errors import ArgumentError


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("oxide_series", {"step": 1e-4}, "290,001"),
        ("oxide_series", {"n_scans": 10**9}, "23.2 TB"),
        ("oxide_series", {"n_scans": 10**12, "chunks": 10}, "8 TB"),
        ("cell_experiment", {"n_scans": 10**9}, "8 GB"),
        ("cell_experiment", {"n_cycles": 10**9}, "8 GB"),
        ("impedance_loop", {"n_scans": 10**9}, "8 GB"),
        ("ptychography", {"positions": 10**6, "energy": 5500.0}, "8 TB"),
        ("ptychography", {"size": 10**6, "energy": 5500.0}, "8 TB"),
        ("particles", {"size": 10**6}, "8 TB"),
    ],
)
def test_absurd_sizes_are_refused_with_what_they_ask_for(name, arguments, told):
    with pytest.raises(ArgumentError, match=f"{next(iter(arguments))}=.*{told}"):
        getattr(simulate, name)(**arguments)


def test_the_finest_allowed_step_is_made():
    found = simulate.oxide_series(n_scans=2, step=1e-3, r_range=(1.0, 3.0))
    assert found["scans"].sizes == {"scan": 2, "r": 2001}
    np.testing.assert_allclose(found["scans"]["r"].diff("r"), 1e-3)
