"""Domains: found, measured, followed."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.classes import otsu
from batteryxr.core.errors import ArgumentError, DataError

N, STEP = 40, 10.0
DIMS = ("z", "y", "x")
AXIS = (np.arange(N) - N // 2) * STEP
Z, Y, X = np.meshgrid(AXIS, AXIS, AXIS, indexing="ij")
BODY = np.sqrt(Z**2 + Y**2 + X**2) < 185


def ellipsoid(centre, semi, degrees=0.0):
    """Return a mask; the first axis is turned from x towards z."""
    a = np.deg2rad(degrees)
    x, y, z = X - centre[0], Y - centre[1], Z - centre[2]
    along, across = np.cos(a) * x + np.sin(a) * z, -np.sin(a) * x + np.cos(a) * z
    r2 = (along / semi[0]) ** 2 + (y / semi[1]) ** 2 + (across / semi[2]) ** 2
    return r2 < 1


def field(*states):
    values = np.full((len(states), N, N, N), np.nan)
    for k, masks in enumerate(states):
        values[k][BODY] = 0.1
        for value, mask in masks:
            values[k][mask & BODY] = value
    axes = {d: (d, AXIS, {"units": "nm"}) for d in DIMS}
    return xr.DataArray(
        values,
        dims=("state", *DIMS),
        coords=axes | {"voltage": ("state", 3.0 + np.arange(len(states)))},
        attrs={"units": "rad", "long_name": "Phase"},
        name="phase",
    )


def two_states():
    one = (1.0, ellipsoid((40, 0, 0), (90, 40, 40)))
    grown = (1.0, ellipsoid((40, 0, 20), (110, 45, 45), 30))
    other = (-1.0, ellipsoid((-110, 0, -60), (40, 40, 40)))
    return field([one, other], [grown, other])


def test_domains_are_measured():
    found = cdi.domains(two_states(), edges=[-0.5, 0.5], n_domains=5)
    assert found["n_found"].values.tolist() == [3, 3]
    first = found.isel(state=0)
    assert first["level"].values[:3].tolist() == [1, 2, 0]
    assert np.isnan(first["size"].values[3:]).all()
    size = ellipsoid((40, 0, 0), (90, 40, 40)).sum() * STEP**3
    assert float(first["size"][1]) == pytest.approx(size)
    np.testing.assert_allclose(first["centre"][1], (40, 0, 0), atol=2)
    assert abs(float(first["long_axis"].isel(domain_number=1, vector=0))) > 0.99
    np.testing.assert_allclose(first["mean_value"][:3], (0.1, 1, -1), atol=1e-9)
    # Every voxel of the crystal belongs to one, none outside does.
    numbers = found["domain"].values[0]
    assert ((numbers > 0) == BODY).all()
    assert first["size"].sum() == pytest.approx(BODY.sum() * STEP**3)


def test_domains_are_followed():
    found = cdi.domains(two_states(), edges=[-0.5, 0.5], n_domains=4)
    steps = cdi.track_domains(found).isel(step=0)
    assert steps["later"].values.tolist() == [1, 2, 3, 0]
    before = ellipsoid((40, 0, 0), (90, 40, 40))
    after = ellipsoid((40, 0, 20), (110, 45, 45), 30)
    growth = after.sum() / before.sum()
    assert float(steps["growth"][1]) == pytest.approx(growth)
    jaccard = (before & after).sum() / (before | after).sum()
    assert float(steps["overlap"][1, 1]) == pytest.approx(jaccard)
    assert float(steps["migration"][1]) == pytest.approx(20, abs=2)
    assert float(steps["rotation"][1]) == pytest.approx(30, abs=2)
    assert float(steps["growth"][2]) == 1
    assert float(steps["migration"][2]) == 0
    assert float(steps["overlap"][2, 2]) == 1
    assert float(steps["voltage"]) == 4


def test_edges_are_found_between_the_levels():
    found = cdi.domains(two_states(), n_clusters=3, n_domains=4)
    low, high = found["domain_edges"].values
    assert -1 < low < 0.1 < high < 1
    given = cdi.domains(two_states(), edges=[-0.5, 0.5], n_domains=4)
    np.testing.assert_array_equal(found["domain"], given["domain"])


def test_otsu_is_the_most_uniform_division():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 0.3, 400) for m in (-2, 0, 1.5)])
    counts, edges = np.histogram(values, 64)
    middle = (edges[1:] + edges[:-1]) / 2

    def spread(a, b):
        parts = np.digitize(middle, [a, b])
        total = 0.0
        for k in range(3):
            w, m = counts[parts == k], middle[parts == k]
            if w.sum():
                total += (w * (m - (w * m).sum() / w.sum()) ** 2).sum()
        return total

    found = otsu(counts.astype(float), edges[0], edges[-1], 3)
    best = min(spread(a, b) for a in edges[1:-1] for b in edges[1:-1] if a < b)
    assert spread(*found) == pytest.approx(best)


def test_small_regions_and_full_tables():
    states = field([(1.0, ellipsoid((0, 0, 0), (12, 12, 12)))])
    small = cdi.domains(states, edges=[0.5], minimum=27, n_domains=3)
    assert int(small["n_found"][0]) == 1
    all_ = cdi.domains(states, edges=[0.5], minimum=1, n_domains=1)
    assert int(all_["n_found"][0]) == 2
    assert int(all_["domain"].max()) == 1


def test_lazy_is_eager(no_compute):
    states = two_states()
    eager = cdi.domains(states, edges=[-0.5, 0.5])
    with no_compute():
        lazy = cdi.domains(states.chunk(state=1), edges=[-0.5, 0.5])
    xr.testing.assert_identical(eager.drop_attrs(), lazy.compute().drop_attrs())
    xr.testing.assert_identical(
        cdi.track_domains(eager).drop_attrs(), cdi.track_domains(lazy).drop_attrs()
    )


def test_options_are_checked():
    states = two_states()
    for option in (
        {"edges": [1, 0]},
        {"n_clusters": 9},
        {"minimum": 0},
        {"n_domains": 0},
    ):
        with pytest.raises(ArgumentError, match=next(iter(option))):
            cdi.domains(states, **option)
    with pytest.raises(DataError, match="everywhere"):
        cdi.domains(states * 0)


def test_domains_of_few_voxels_have_no_axis():
    values = two_states().isel(state=[0])
    values = values.where(values != 1.0, 0.1)
    values[0, N // 2, N // 2, 20:23] = 1.0  # three voxels in a line
    values = values.assign_coords(q_x=3.0, q_y=0.0, q_z=0.0)
    found = cdi.domains(values, edges=[-0.5, 0.5], minimum=1).isel(state=0)
    assert float(found["size"][2]) == pytest.approx(3 * STEP**3)
    assert np.isfinite(found["tilt"][:2]).all()
    assert np.isnan(found["tilt"][2])
    assert np.isnan(found["long_axis"][2]).all()


def test_tracks_do_not_depend_on_the_order_of_axes():
    found = cdi.domains(two_states(), edges="signed")
    whole = cdi.track_domains(found)
    turned = found.transpose("domain_number", "x", "state", ...)
    xr.testing.assert_equal(cdi.track_domains(turned), whole)


def test_tracks_of_part_of_a_table():
    found = cdi.domains(two_states(), edges=[-0.5, 0.5])
    whole = cdi.track_domains(found)
    part = cdi.track_domains(found.isel(domain_number=slice(0, 2)))
    for name in ("growth", "later", "chain", "event"):
        np.testing.assert_array_equal(part[name], whole[name][:, :2])
    with pytest.raises(DataError, match=r"\[2, 3\], not 1, 2, 3"):
        cdi.track_domains(found.isel(domain_number=[1, 2]))
    with pytest.raises(DataError, match="one state"):
        cdi.track_domains(found.isel(state=[1]))


def test_a_field_without_values_is_refused():
    values = two_states()
    with pytest.raises(DataError, match="without any value"):
        cdi.domains(values * np.nan)
    endless = cdi.domains(values.where(values < 0.9, np.inf))
    assert np.isfinite(endless["domain_edges"]).all()


def test_centres_lie_where_the_labels_say():
    values = two_states()
    whole = cdi.domains(values, edges=[-0.5, 0.5])
    cut = values.isel(z=slice(1, 36), y=slice(3, None), x=slice(0, 37))
    for part in (cut, cut.isel(z=slice(None, None, -1), x=slice(None, None, -1))):
        found = cdi.domains(part, edges=[-0.5, 0.5])
        for name in ("centre", "size"):  # of what was not cut
            np.testing.assert_allclose(
                found[name][:, 1:3], whole[name][:, 1:3], atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_patch_has_its_size_with_noise_and_without(noise):
    values = noise * np.random.default_rng(0).standard_normal(BODY.shape)
    values[18:22, 18:22, 18:22] += 1.0
    axes = {d: (d, AXIS, {"units": "nm"}) for d in DIMS}
    found = cdi.domains(xr.DataArray(values, dims=DIMS, coords=axes), edges="signed")
    assert float(found["size"][0]) == pytest.approx(64 * STEP**3, rel=0.05)
