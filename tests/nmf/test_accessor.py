"""What ``.nmf`` offers, by what is there."""

from __future__ import annotations

import xarray as xr

SERIES = {"fit", "metropolis", "fit_stretched", "raise_n", "model_order", "pca"}


def test_a_series_offers_what_makes_components(series):
    offered = set(dir(series.data.nmf))
    assert offered >= SERIES | {"identify", "panel", "lower_envelope"}
    assert "plot" not in offered


def test_structures_are_offered_for_distances_only(stack):
    assert set(dir(stack.data.nmf)) >= SERIES
    assert not {"identify", "refine_along", "fit_structures", "write_gr"} & set(
        dir(stack.data.nmf)
    )


def test_a_result_offers_its_own_table(series, stack):
    ratios = series.data.nmf.fit(3, n_starts=1, closure=False, constraints=shifted())
    assert set(dir(ratios.nmf)) == {
        *("compare_steps", "reconstruct", "bands", "advise", "amounts"),
        *("identify", "plot"),
    }
    assert set(dir(ratios.nmf.plot)) == {"components", "weights", "residual"}
    maps = stack.data.nmf.fit(3, n_starts=1, closure=False)
    assert "maps" in dir(maps.nmf.plot)
    assert "identify" not in dir(maps.nmf)
    scores = series.data.nmf.pca(3)
    assert set(dir(scores.nmf)) == {"purify", "identify", "plot"}
    assert "<.nmf.plot on " in repr(scores.nmf.plot)


def test_a_dataset_offers_what_its_series_does(series):
    assert dir(series.data.to_dataset().nmf) == dir(series.data.nmf)
    assert dir(xr.Dataset({"voltage": ("record", [1.0, 2.0])}).nmf) == []


def shifted():
    from batteryxr import nmf

    return nmf.Constraints(shift="minimum")
