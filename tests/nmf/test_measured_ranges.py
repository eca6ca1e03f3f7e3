"""Ranges and structures on data of others."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf


def test_three_nickelates_are_told_apart_by_fixing_both_extremes(nickelate):
    """Width of the range of a ratio: as found with other programs."""
    one = nickelate["spot"].values == "pos1"
    series = nickelate[one].sel(energy=slice(8320, 8400))
    widths = []
    for fixed in ({}, {"pristine": 0}, {"pristine": 0, "charged": 83}):
        fit = nmf.fit(series, 3, fixed=fixed)
        widths.append(float(fit.nmf.bands()["weights_width"].mean()))
        if not fixed:
            assert float(fit["relative_error"]) <= 0.00180
    assert widths[0] > 0.8
    assert 0.4 < widths[1] < 0.7
    # Other programs find 0.07: they take the two fixed scans as free of noise.
    assert widths[2] <= 0.08


def test_a_conversion_reaction_is_identified(measured):
    pytest.importorskip("diffpy.structure")
    folder = measured("pdf-ruo2-conversion-simulated")
    stored = np.load(folder / "synthetic_r_vs_gr.npz")
    pdf = xr.DataArray(
        stored["G"],
        dims=("scan", "r"),
        coords={"r": ("r", stored["r"], {"units": "Angstrom"})},
        attrs={"units": "1/Angstrom2"},
    )
    fit = pdf.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    found = fit.nmf.identify(candidates=sorted(folder.glob("*.cif")))
    lowest = found["r_w"].min("candidate")
    assert sorted(str(b).split("_")[0] for b in found["best"].values) == [
        "LiO2",
        "Ru",
        "RuO2",
    ]
    assert float(lowest.min()) < 0.1
    assert float(lowest.max()) < 0.5
