"""Stacks: passes over tiles, laziness, pure pixels."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.errors import ArgumentError
from batteryxr.nmf.kernels.comparing import match


def correlation(stack, result) -> np.ndarray:
    order, _ = match(stack.components, result["components"].values)
    found = result["components"].values[order]
    return np.array(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(stack.components, found, strict=True)]
    )


@pytest.mark.parametrize("route", ["held", "in_passes"])
def test_error_is_near_that_of_noise(stack, route, request):
    if route == "in_passes":
        request.getfixturevalue("in_passes")
    result = stack.data.nmf.fit(3, closure=False)
    assert result["weights"].dims == ("component", "y", "x")
    assert result["weights"].dtype == np.float32
    assert float(np.sqrt((result["residual"] ** 2).mean())) < 1.02 * stack.noise
    assert result.attrs["full_passes"] == (3 if route == "in_passes" else 0)
    share = result["weights"].sum(("y", "x")) * np.sqrt(
        (result["components"] ** 2).sum("energy")
    )
    assert (np.diff(share) <= 0).all()


def test_passes_come_to_the_optimum_of_the_whole(stack, in_passes, monkeypatch):
    quick = stack.data.nmf.fit(3, closure=False)
    monkeypatch.undo()
    whole = stack.data.nmf.fit(3, closure=False)
    assert float(quick["relative_error"]) < 1.003 * float(whole["relative_error"])


def test_more_passes_never_raise_the_error(stack, in_passes):
    errors = [
        float(
            stack.data.nmf.fit(3, closure=False, solver=nmf.Solver(passes=p))[
                "relative_error"
            ]
        )
        for p in (1, 2, 5)
    ]
    assert errors[0] >= errors[1] >= errors[2]


@pytest.mark.parametrize("first", ["energy", "y"])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("errors", [None, "energy"])
def test_the_error_of_passes_is_that_of_the_residuals(
    stack, in_passes, first, gaps, errors
):
    data = stack.data.transpose(first, ...).copy()
    data = data.copy(data=np.ascontiguousarray(data.values))
    if gaps:
        data.loc[{"energy": data["energy"][5]}][3:9, :4] = np.nan
    sigma = np.ones(24)
    if errors:
        sigma = np.linspace(0.005, 0.02, 24)
        errors = xr.DataArray(sigma, dims="energy")
    result = data.nmf.fit(3, closure=False, errors=errors)
    x = data.transpose("energy", "y", "x").values.astype(float)
    model = np.einsum("kyx,ke->eyx", result["weights"], result["components"])
    left = np.nansum((x - model) ** 2 / sigma[:, None, None] ** 2)
    whole = np.nansum(x**2 / sigma[:, None, None] ** 2)
    error = np.sqrt(left / whole)
    assert float(result["relative_error"]) == pytest.approx(error, rel=1e-5)


CHUNKS = [
    {"energy": 8, "y": 16, "x": 16},
    {"energy": -1, "y": 48, "x": 7},
    {"energy": 5, "y": 13, "x": 64},
]


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("closure", [False, True])
def test_chunks_do_not_matter_and_weights_stay_lazy(
    stack, in_passes, chunks, closure, no_compute
):
    eager = stack.data.nmf.fit(3, closure=closure)
    lazy = stack.data.chunk(chunks).nmf.fit(3, closure=closure)
    for name in ("weights", "residual", "relative_residual", "flag"):
        assert lazy[name].chunks is not None
        assert eager[name].chunks is None
    assert lazy["components"].chunks is None
    expected = stack.data.chunk(chunks).chunksizes
    assert lazy["weights"].chunksizes["y"] == expected["y"]
    assert lazy["weights"].chunksizes["x"] == expected["x"]
    scale = np.abs(eager["components"]).max()
    assert np.abs(lazy["components"] - eager["components"]).max() < 1e-5 * scale
    np.testing.assert_allclose(
        lazy["weights"].compute(), eager["weights"], atol=1e-4 * eager["weights"].max()
    )
    with no_compute():
        nmf.reconstruct(lazy, normalise=False)
        lazy["weights"].sum("component")


def test_small_chunked_data_equal_eager(stack):
    eager = stack.data.nmf.fit(3, closure=False)
    lazy = stack.data.chunk(y=16).nmf.fit(3, closure=False)
    xr.testing.assert_allclose(eager, lazy.compute())


def test_gaps_in_a_stack(stack, in_passes):
    data = stack.data.copy(deep=True)
    data[:, 10, 20] = np.nan
    data[5:8, 30:33, :] = np.nan
    result = data.chunk(y=16).nmf.fit(3, closure=False).compute()
    whole = stack.data.nmf.fit(3, closure=False)
    assert result["flag"].values[10, 20] == 1
    assert np.isnan(result["weights"].values[:, 10, 20]).all()
    assert int(result["flag"].sum()) == 1
    assert float(result["residual"].mean()) == pytest.approx(
        float(whole["residual"].mean()), rel=0.02
    )


def test_fixed_components_stay_bitwise_in_passes(stack, in_passes):
    known = xr.DataArray(
        stack.components[1], dims="energy", coords={"energy": stack.data["energy"]}
    )
    result = stack.data.chunk(y=16).nmf.fit(3, closure=False, fixed={"ox": known})
    found = result["components"].sel(component="ox").values
    assert found.tobytes() == known.values.tobytes()


def test_pure_pixels_are_truer_than_the_lowest_residual(stack):
    pure = stack.data.nmf.fit(3, closure=False, solver="pure")
    lowest = stack.data.nmf.fit(3, closure=False)
    assert correlation(stack, pure).min() > 0.99
    assert float(pure["relative_error"]) < 2.5 * float(lowest["relative_error"])
    assert float(pure["relative_error"]) >= float(pure["svd_error"])


def test_errors_by_energy_in_passes(stack, in_passes):
    sigma = xr.DataArray(np.linspace(0.005, 0.02, 24), dims="energy")
    whole = stack.data.nmf.fit(3, closure=False, errors=sigma)
    lazy = stack.data.chunk(x=20).nmf.fit(3, closure=False, errors=sigma)
    np.testing.assert_allclose(lazy["components"], whole["components"], atol=1e-4)
    assert "chi2" in whole


def test_errors_by_pixel_in_passes(stack, in_passes):
    sigma = xr.full_like(stack.data, 0.005)
    plain = stack.data.nmf.fit(3, closure=False)
    weighed = stack.data.chunk(x=20).nmf.fit(3, closure=False, errors=sigma.chunk(x=20))
    assert weighed["chi2"].chunks is not None
    assert float(weighed["residual"].mean()) == pytest.approx(
        float(plain["residual"].mean()), rel=0.01
    )


def test_particles_of_different_size_share_components(stack):
    parts = {"a": stack.data.isel(y=slice(0, 20)), "b": stack.data.isel(x=slice(0, 30))}
    result = nmf.fit(parts, 3, closure=False)
    assert result["weights"].dims == ("component", "particle", "y", "x")
    assert int(result["flag"].sum()) > 0
    inside = result["flag"] == 0
    assert float(result["residual"].where(inside).mean()) < 1.1 * stack.noise


def test_penalties_are_refused_in_passes(stack, in_passes):
    with pytest.raises(ArgumentError, match="read in passes"):
        stack.data.nmf.fit(
            3, closure=False, constraints=nmf.Constraints(smoothness=1.0)
        )


def test_scans_of_an_image_are_refused(stack):
    with pytest.raises(ArgumentError, match="no numbered scans"):
        stack.data.nmf.fit(3, fixed={"a": 0})
