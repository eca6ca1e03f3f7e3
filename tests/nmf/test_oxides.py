"""The stepwise protocol on simulated oxides finds what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from batteryxr import nmf, simulate

if TYPE_CHECKING:
    import xarray as xr

pytestmark = pytest.mark.filterwarnings("ignore:.*one pattern")


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
    pdf = hematite["scans"]["pdf"]
    true = hematite["truth"].to_dataset()
    known = {
        "pristine": 0,
        "reduced": -1,
        "bcc-FeO": true["components"].sel(component="bcc-FeO", drop=True),
    }
    found = pdf.nmf.fit(5, fixed=known, constraints=nmf.Constraints(shift="envelope"))
    ends = [str(c) for c in found["component"].values if str(c).startswith("CP")]
    assert len(ends) == 2
    both = found["components"].sel(component=ends)
    salts = true["components"].sel(component=["LiFeO2", "LiFe2O3"])
    like = np.corrcoef(both, salts)[:2, 2:]
    assert like[0, 0] > 0.99  # the first to appear
    assert like[1, 1] > 0.99
    summed = found["weights"].sel(component=ends).sum("component")
    whole = true["ratios"].sel(component=["LiFeO2", "LiFe2O3"]).sum("component")
    assert rms((summed - whole).values) < 0.02


def test_principal_components_turn_negative_and_suggest_three(hematite):
    pdf = hematite["scans"]["pdf"]
    found = pdf.nmf.pca(6)
    first = found["scores"].transpose("scan", "component").values[:, 1:3]
    assert (first < 0).any()
    share = found["explained_variance_ratio"].values
    assert share[:3].sum() > 0.98
    assert share[3:].max() < 0.01
