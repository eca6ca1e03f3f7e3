"""Counts of a detector are integers: they give what the same numbers as floats give."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import BatteryxrError

sys.path.insert(0, str(Path(__file__).parent))
from test_labels import CASES, numbers_of

#: What takes frames and images as they were counted.
COUNTS = re.compile(
    r"xanes\.(optical_density|register|calibrate_energy|normalise|noise_mask)\."
    r"|cdi\.(correct|misfit|prtf)\."
)
#: Small enough that every difference of two, and every sum, would wrap.
MOST = 200


def whole(value):
    """Return an array of the same form in bytes, or nothing if it is no number."""
    if not isinstance(value, xr.DataArray) or value.dtype.kind != "f":
        return None
    top = float(np.nanmax(np.abs(value)))
    numbers = np.nan_to_num(np.abs(value.values)) / (top or 1.0) * MOST
    return value.copy(data=np.round(numbers).astype(np.uint8))


def outcome(call):
    """Return the numbers of a result, or the words of an error."""
    try:
        return numbers_of(call())
    except BatteryxrError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", filter(COUNTS.match, CASES))
def test_integers_do_not_wrap(name):
    function, data, options, argument, value = CASES[name][0]()
    pairs = [(a, whole(a)) for a in (data, value)]
    if all(counts is None for _, counts in pairs):
        pytest.skip("takes no counts")
    as_bytes = [a if counts is None else counts for a, counts in pairs]
    as_floats = [a if c is None else c.astype(float) for a, c in pairs]
    found, expected = (
        outcome(lambda d=d, v=v: function(d, **options | {argument: v}))
        for d, v in (as_bytes, as_floats)
    )
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(
            found[key], values, rtol=2e-3, atol=1e-6, err_msg=key
        )
