"""The stepwise protocol on simulated oxides finds what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import linear_sum_assignment

from batteryxr import nmf, simulate

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*one pattern", "ignore:ratios may differ"
)
ENDS = {"first": 0, "last": -1}


@pytest.fixture(scope="module")
def hematite() -> xr.DataTree:
    return simulate.oxide_series("Fe2O3")


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))


def test_three_components_are_three_groups_of_phases(hematite):
    pdf = hematite["scans"]["pdf"]
    true = hematite["truth"]["ratios"].values
    groups = np.stack(
        [true[:, 0], true[:, 1] + true[:, 2], true[:, 3] + true[:, 4]], axis=1
    )
    found = pdf.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    assert rms(found["weights"].values - groups) <= 0.02


def test_a_fourth_with_fixed_ends_is_the_minor_iron_oxide(hematite):
    pdf = hematite["scans"]["pdf"]
    true = hematite["truth"].to_dataset()
    coarse = pdf.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    fine = pdf.nmf.raise_n(coarse, fixed={"pristine": 0, "reduced": -1})
    pattern = true["components"].sel(component="bcc-FeO")
    like = {
        str(c): np.corrcoef(fine["components"].sel(component=c), pattern)[0, 1]
        for c in fine["component"].values
    }
    best = max(like, key=lambda c: like[c])
    assert best.startswith("CP")
    assert like[best] > 0.94
    steps = coarse.nmf.compare_steps(fine)
    belongs = dict(zip(steps["finer"].values, steps["part_of"].values, strict=True))
    # Together with the metal it is what was one component before.
    assert belongs[best] == belongs["reduced"]
    assert rms(steps["difference"].values) < 0.05


def test_a_fifth_splits_the_solid_solution(hematite):
    """Nothing is handed over that a user would not have."""
    pdf = hematite["scans"]["pdf"]
    true = hematite["truth"].to_dataset()
    four = pdf.nmf.fit(4, fixed=ENDS, constraints=nmf.Constraints(shift="envelope"))
    late = [str(c) for c in four["component"].values if str(c).startswith("CP")][-1]
    found = pdf.nmf.raise_n(four, keep={"found": late})
    assert list(found["origin"].sel(component=["first", "last", "found"])) == [1, 1, 3]
    ends = [str(c) for c in found["component"].values if str(c).startswith("CP")]
    assert len(ends) == 2
    summed = found["weights"].sel(component=ends).sum("component")
    whole = true["ratios"].sel(component=["LiFeO2", "LiFe2O3"]).sum("component")
    assert rms((summed - whole).values) < 0.02
    salts = true["components"].sel(component=["LiFeO2", "LiFe2O3"])
    like = np.corrcoef(found["components"].sel(component=ends), salts)[:2, 2:]
    assert np.diag(like).min() > 0.98
    assert (covered(found.nmf.bands(), true) >= 0.95).all()


@pytest.mark.parametrize("name", ["Fe2O3", "Fe3O4", "FeO", "MnO", "Mn3O4"])
def test_the_range_holds_the_truth_whatever_is_fixed(name):
    tree = simulate.oxide_series(name, n_scans=40, step=0.05, seed=7)
    pdf, true = tree["scans"]["pdf"], tree["truth"].to_dataset()
    n = true.sizes["component"]
    shifted = nmf.Constraints(shift="envelope")
    free = pdf.nmf.fit(n, constraints=shifted, n_starts=2)
    tied = pdf.nmf.fit(n, fixed=ENDS, constraints=shifted, n_starts=2)
    late = [str(c) for c in tied["component"].values if str(c).startswith("CP")][-1]
    kept = pdf.nmf.raise_n(tied, by=0, keep={"found": late})
    widths = []
    for step in (free, tied, kept):
        bands = step.nmf.bands(steps=20_000)
        assert (covered(bands, true) >= 0.95).all()
        assert (bands["weights_low"] <= step["weights"]).all()
        assert (bands["weights_high"] >= step["weights"]).all()
        widths.append(float(bands["weights_width"].mean()))
        centre, error = step["weights_centre"], step["weights_centre_error"] + 1e-9
        brief = {"weights_low": centre - error, "weights_high": centre + error}
        assert (covered(xr.Dataset(brief), true) >= 0.9).all()
    if name in ("FeO", "Fe3O4"):  # the phase that no scan holds alone
        off = np.abs(tied["weights_centre"] - true["ratios"].sel(component="bcc-FeO"))
        assert float(np.sqrt((off**2).mean("scan")).min()) < 0.035
        off = np.abs(tied["weights"] - true["ratios"].sel(component="bcc-FeO"))
        assert float(np.sqrt((off**2).mean("scan")).min()) > 0.06
    assert widths[1] < 0.9 * widths[0]
    assert widths[2] > 0.8 * widths[1]  # what was found is no fact
    # Only two salts that are nearly one crystal leave more room.
    assert widths[1] < (0.32 if name == "Fe2O3" else 0.2)


def covered(bands: xr.Dataset, true: xr.Dataset) -> np.ndarray:
    """Share of scans in which the range holds the true ratio, for each phase."""
    low, high = (
        bands[f"weights_{end}"].transpose("component", "scan").values
        for end in ("low", "high")
    )
    ratios = true["ratios"].values.T[:, None]
    table = ((ratios >= low) & (ratios <= high)).mean(axis=-1)
    return table[linear_sum_assignment(-table)]


def test_principal_components_turn_negative_and_suggest_three(hematite):
    pdf = hematite["scans"]["pdf"]
    found = pdf.nmf.pca(6)
    first = found["scores"].transpose("scan", "component").values[:, 1:3]
    assert (first < 0).any()
    share = found["explained_variance_ratio"].values
    assert share[:3].sum() > 0.98
    assert share[3:].max() < 0.01
