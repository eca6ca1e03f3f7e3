"""The accessor binds every labelled function, and offers what an object can do."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.accessors.base import group, opens
from batteryxr.accessors.xanes import Xanes, XanesMaps
from batteryxr.core.errors import VariableError

#: Public functions that are no method: classes, and what begins with a formula.
APART = {"Edge", "Peak", "Multistart", "theoretical_ratio"}
APART |= {"Cell", "Diffractometer", "powder_lines"}


def bound(accessor, before=""):
    """Yield name and function of every method, those of groups too."""
    for name, entry in accessor.all_entries():
        if isinstance(entry, group):
            yield from bound(entry.accessor, f"{name}_")
        elif not isinstance(entry, opens):
            yield before + name, entry.__wrapped__


@pytest.fixture(scope="module")
def study(phantom):
    """A stack, the maps of its fit, and their clusters."""
    stack, _ = phantom(12)
    maps = stack.xanes.fit_edge(edge=(5470, 5486), peaks=[(5463, 5470), (5482, 5500)])
    features = maps[["edge_energy", "edge_jump"]]
    return stack, maps, features.xanes.cluster(n_clusters=2, mask=maps.flag == 0)


def test_every_public_function_is_a_method_of_its_name():
    public = {name for name, value in vars(xanes).items() if callable(value)}
    methods = dict(bound(XanesMaps))
    assert methods.keys() == public - APART
    for name, function in methods.items():
        assert function is getattr(xanes, name)
    assert dict(bound(Xanes)).items() <= methods.items()


def test_methods_carry_signature_and_docstring(phantom):
    method = phantom(8)[0].xanes.fit_edge
    assert method.__doc__ == xanes.fit_edge.__doc__
    rest = list(inspect.signature(xanes.fit_edge).parameters.values())[1:]
    assert list(inspect.signature(method).parameters.values()) == rest


def test_a_stack_offers_what_a_stack_can_do(study):
    stack, *_ = study
    offered = dir(stack.xanes)
    assert {"view", "register", "fit_edge", "lcf", "plot"} <= set(offered)
    results = {"band_ratio", "model_curve", "cluster", "electron_ratio", "panel"}
    assert not results & set(offered)
    assert dir(stack.xanes.plot) == ["fit", "spectra", "stack"]
    pixel = stack.isel(y=6, x=6)
    images = {"view", "register", "rim_distance", "reference_phase", "pca"}
    assert images <= {*offered}
    assert not images & {*dir(pixel.xanes)}
    assert dir(pixel.xanes.plot) == ["fit", "spectra"]


def test_results_offer_what_follows_from_them(study):
    _, maps, domains = study
    offered = set(dir(maps.xanes))
    follow = {"valence", "projected_density", "band_ratio", "model_curve", "cluster"}
    assert follow <= offered
    assert not {"normalise", "fit_edge", "lcf", "optical_density", "pca"} & offered
    assert {"maps", "features"} <= set(dir(maps.xanes.plot))
    assert "cluster_shares" in dir(domains.xanes)
    assert "cluster_shares" not in offered
    assert {"clusters", "shares"} <= set(dir(domains.xanes.plot))
    assert repr(domains.xanes.plot).startswith("<.xanes.plot on ")


def test_variables_of_a_dataset_decide(study):
    stack, maps, _ = study
    assert "optical_density" in dir(stack.to_dataset(name="intensity").xanes)
    assert "optical_density" not in dir(stack.to_dataset().xanes)
    assert "fit_edge" in dir(stack.to_dataset().xanes)
    assert "valence" not in dir(maps.drop_vars("edge_energy").xanes)


def test_what_is_not_offered_says_what_is_missing(study):
    _, maps, _ = study
    with pytest.raises(VariableError, match="needs one of"):
        maps.xanes.normalise()


def test_depth_of_fitted_pixels(study):
    _, maps, _ = study
    depth = maps.xanes.rim_distance()
    xr.testing.assert_identical(
        depth.drop_attrs(), (maps.flag == 0).xanes.rim_distance().drop_attrs()
    )
    assert np.isfinite(depth).sum() == (maps.flag == 0).sum()


def test_shares_of_all_particles_are_drawn(study):
    *_, domains = study
    bars = domains.xanes.plot.shares()
    drawn = {number: share for _, number, share in bars.array()}
    expected = dict(zip(["cluster 1", "cluster 2"], domains.share.values, strict=True))
    assert {k: float(v) for k, v in drawn.items()} == pytest.approx(expected)
