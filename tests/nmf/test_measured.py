"""Measured and published data: numbers that others found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.errors import DataQualityWarning
from batteryxr.nmf.kernels.comparing import match


def pdf(values: np.ndarray, r: np.ndarray) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("scan", "r"),
        coords={"r": ("r", r, {"units": "Angstrom", "long_name": "r"})},
        attrs={"units": "1/Angstrom2"},
    )


def test_conversion_series_is_fitted_better_than_published(measured):
    folder = measured("pdf-ruo2-conversion-simulated")
    with np.load(folder / "synthetic_r_vs_gr.npz") as file:
        data = pdf(file["G"], file["r"])
    answer = folder / "expected" / "output_2"
    published = json.loads((answer / "component_index_vs_RE_value.json").read_text())
    norm = float(np.linalg.norm(data - data.min()))
    for n in (1, 2, 3):
        fit = data.nmf.fit(
            n, closure=False, constraints=nmf.Constraints(shift="minimum")
        )
        # Their error is rounded, and the optimum for one and two components.
        assert float(fit["relative_error"]) * norm <= published["0"][str(n)] + 1e-3


@pytest.mark.parametrize("part", ["output_1", "output_2", "output_3"])
def test_the_published_start_gives_the_published_ratios(measured, part):
    """Of many answers without misfit that from singular vectors, one sweep at a time.

    Published are ranges of r, unmixed by scikit-learn from the same start.
    """
    folder = measured("pdf-ruo2-conversion-simulated")
    with np.load(folder / "synthetic_r_vs_gr.npz") as file:
        data = pdf(file["G"], file["r"])
    answer = folder / "expected" / part
    error, table, shares = (
        json.loads((answer / f"{name}.json").read_text())
        for name in (
            "component_index_vs_RE_value",
            "x_index_vs_y_col_components",
            "component_index_vs_pratio_col",
        )
    )
    data = data.sel(r=[float(r) for r in table["0"]], method="nearest")
    patterns = np.array([list(row.values()) for row in table.values()])
    expected = np.array([[row[j] for j in "012"] for row in shares.values()])
    with pytest.warns(DataQualityWarning, match="no start converged"):
        fit = data.nmf.fit(
            3,
            closure=False,
            n_starts=1,
            constraints=nmf.Constraints(shift="minimum"),
            solver=nmf.Solver(start="singular", kind="coordinate"),
        )
    norm = float(np.linalg.norm(data - data.min()))
    assert float(fit["relative_error"]) * norm < error["0"]["3"]
    # Without closure scale is free: that of theirs decides what their ratios are.
    found, cosine = match(patterns, fit["components"].values)
    assert cosine.min() > 0.999
    weights = fit["weights"].values[:, found] / np.linalg.norm(patterns, axis=1)
    ratios = weights / weights.sum(axis=1, keepdims=True)
    assert np.abs(ratios - expected).max() < 0.02


def test_three_phases_are_counted_and_peaks_that_move_are_not(measured):
    folder = measured("pdf-ruo2-conversion-simulated")
    with np.load(folder / "synthetic_r_vs_gr.npz") as file:
        conversion = pdf(file["G"], file["r"])
    constraints = nmf.Constraints(shift="minimum")
    options = {"constraints": constraints, "n_starts": 2, "folds": 4}
    order = conversion.nmf.model_order(n_components=[2, 3, 4], **options)
    assert list(order["n_components"].values[order["held_out_pick"]]) == [3]
    with np.load(measured("pdf-nacl-crcl3/nacl_crcl3.npz")) as file:
        salt = pdf(file["G"], file["r"]).sel(r=slice(1.5, 20))
    with pytest.warns(DataQualityWarning, match="held-out error still falls at 6"):
        order = salt.nmf.model_order(n_components=[2, 3, 4, 5, 6], **options)
    # The published count is where the fall slows down.
    fall = order["held_out_error"].values[:-1] / order["held_out_error"].values[1:]
    assert fall[:2].min() > 1.3 > fall[2:].max()


def test_molten_salt_errors_equal_the_published(measured):
    with np.load(measured("pdf-nacl-crcl3/nacl_crcl3.npz")) as file:
        q, intensity = file["Q"], file["I"]
    data = xr.DataArray(intensity, dims=("scan", "q"), coords={"q": q})
    data = data.sel(q=slice(0.5, 7))
    published = [0.19488, 0.09084, 0.05438, 0.03258]
    found = [
        float(data.nmf.fit(n, closure=False)["relative_error"]) for n in (1, 2, 3, 4)
    ]
    assert found == pytest.approx(published, abs=2e-5)


def test_molten_salt_pdf_gives_phases_in_order(measured):
    with np.load(measured("pdf-nacl-crcl3/nacl_crcl3.npz")) as file:
        data = pdf(file["G"], file["r"]).sel(r=slice(1.5, 20))
    fit = data.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    assert float(fit["relative_error"]) < 1.02 * float(fit["svd_error"])
    assert float(fit["start_similarity"].min()) > 0.999
    first, last = fit["weights"][0], fit["weights"][-1]
    assert int(first.values.argmax()) == 0
    assert int(last.values.argmax()) == 2


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
    # Other programs find 0.07: they take the two fixed scans as free of noise, and
    # neighbouring energies as independent.
    assert widths[2] <= 0.2


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
