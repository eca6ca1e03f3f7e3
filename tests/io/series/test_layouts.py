"""Columns chosen by what they are called: beamlines, instruments, programs."""

from __future__ import annotations

import warnings

import dialects
import numpy as np
import pytest
from dialects import FL, I0, IT, MU, RAMAN, TT, XRD, E, S, rows

from batteryxr import read_series
from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    DataQualityWarning,
    FileFormatError,
)

KNOWN = dialects.beamlines() | dialects.vibrational() | dialects.diffraction()


def write(folder, dialect):
    path = folder / dialect.name
    path.write_bytes(dialect.text.encode(dialect.encoding))
    return path


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_layout_is_read_right_without_arguments(tmp_path, name):
    known = KNOWN[name]
    path = write(tmp_path, known)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scan = read_series(path, timezone="UTC")
    said = [str(w.message) for w in told if "is read" in str(w.message)]
    assert bool(said) == known.warns, [str(w.message) for w in told]
    assert scan.name == known.quantity
    assert scan.shape == (1, known.axis.size)
    near = known.tolerance
    np.testing.assert_allclose(scan[scan.dims[1]], known.axis, rtol=near)
    np.testing.assert_allclose(scan[0], known.values, rtol=max(near, 1e-5), atol=1e-6)
