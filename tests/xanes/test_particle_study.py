"""A whole study of known truth, from objects to domains."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.simulate import particles
from batteryxr.xanes import (
    Peak,
    cluster,
    cluster_orders,
    cluster_shares,
    effective_electrons,
    electron_ratio,
    fit_edge,
    from_transmission,
    projected_density,
    reference_phase,
    register,
    theoretical_ratio,
)


def corners(n):
    v, u = np.mgrid[:n, :n] - 0.5 * (n - 1)
    return xr.DataArray(np.hypot(v, u) > 0.48 * n, dims=("y", "x"))


@pytest.fixture(scope="module")
def study():
    tree = particles(size=96, seed=1)
    truth = tree["truth"].to_dataset()
    flat = reference_phase(tree["objects"].transmission, vacuum=corners(96))
    images = register(from_transmission(flat), by="phase", interpolation="cubic")
    maps = fit_edge(
        images.absorption,
        edge=(5470, 5486),
        peaks=[Peak((5463, 5470), name="pre-edge"), Peak((5482, 5500))],
    )
    density = projected_density(
        maps,
        element="V",
        energy=truth.attrs["edge"],
        delta_f2=truth.attrs["delta_f2"],
    )
    # The first energy, far below the edge.
    phase = images.phase.isel(energy=0, drop=True)
    electrons = effective_electrons(phase, energy=5420.0, errors=0.002)
    ratio = electron_ratio(electrons, density=density)
    return truth, images, maps, density, ratio


def test_drift_is_recovered(study):
    truth, images, *_ = study
    for dim in "yx":
        error = (images[f"shift_{dim}"] - truth[f"shift_{dim}"]) / 15
        assert float(np.sqrt((error**2).mean())) < 0.05


def test_domain_medians_of_the_ratio(study):
    truth, _, maps, _, ratio = study
    for number in truth.oxide.values:
        inside = (truth.state == number) & (maps.flag == 0)
        median = float(ratio.electron_ratio.where(inside).median())
        expected = float(truth.electron_ratio.sel(oxide=number).isel(energy=0))
        assert median == pytest.approx(expected, abs=0.1), number
        edge = float(maps.edge_energy.where(inside).median())
        assert edge == pytest.approx(
            float(truth.edge_energy.sel(oxide=number)), abs=0.05
        )


def test_errors_of_the_ratio_are_those_seen(study):
    truth, _, maps, _, ratio = study
    from batteryxr.xanes import rim_distance

    depth = rim_distance(truth.state > 0)
    # Pure standards, away from the rim: what scatters is noise.
    for number in (7, 8):
        inside = (truth.state == number) & (depth > 90) & (maps.flag == 0)
        expected = truth.electron_ratio.sel(oxide=number).isel(energy=0)
        pull = (ratio.electron_ratio - expected) / ratio.electron_ratio_error
        assert 0.6 < float(pull.where(inside).std()) < 1.4


def test_six_domains_are_found(study):
    from sklearn.metrics import adjusted_rand_score

    truth, _, maps, density, ratio = study
    features = xr.Dataset(
        {
            "edge_energy": maps.edge_energy,
            "peak": maps.normalised_peak_area.sel(peak="pre-edge", drop=True),
            "ratio": ratio.electron_ratio,
        }
    ).isel(particle=slice(0, 6))
    good = (maps.flag == 0).isel(particle=slice(0, 6))
    assert (
        cluster_orders(features, n_clusters=9, mask=good, n_references=0).attrs["elbow"]
        == 6
    )
    found = cluster(features, n_clusters=6, mask=good)
    state = truth.state.isel(particle=slice(0, 6)).values
    labels = found.label.values
    inside = labels > 0
    assert inside.sum() > 0.95 * (state > 0).sum()
    assert adjusted_rand_score(state[inside], labels[inside]) >= 0.95
    shares = cluster_shares(found, weights=density.projected_density)
    np.testing.assert_allclose(shares.sum("cluster"), 1, atol=1e-12)
    true = truth.projected_density.isel(particle=slice(0, 6))
    for number in range(1, 7):
        inside = truth.state.isel(particle=slice(0, 6)) == number
        expected = true.where(inside, 0).sum(["y", "x"]) / true.sum(["y", "x"])
        # Found clusters are numbered by edge energy: the nearest is the same state.
        distance = abs(shares - expected).max("particle")
        assert float(distance.min()) < 0.02


def test_the_ratio_is_that_of_the_composition():
    truth = particles(size=16, photons=None, drift=0)["truth"].to_dataset()
    for number in truth.oxide.values:
        formula = str(truth.formula.sel(oxide=number).values)
        table = theoretical_ratio(formula, element="V", energy=5420.0)
        mine = float(truth.electron_ratio.sel(oxide=number).isel(energy=0))
        # The fine structure at the edge reaches 46 eV below by a tenth.
        assert mine == pytest.approx(float(table), abs=0.3)


def test_absorption_and_phase_are_partners():
    from batteryxr.xanes import kramers_kronig_misfit

    tree = particles(size=48, photons=None, drift=0, phase_offset=0)
    images = from_transmission(tree["objects"].transmission)
    pixel = images.isel(particle=slice(6, 8), y=24, x=24)
    result = kramers_kronig_misfit(
        pixel, element="V", pre=(5420, 5462), post=(5495, 5540), degree=1
    )
    np.testing.assert_allclose(result.kk_slope, 1, atol=0.05)
    assert float(result.kk_misfit.max()) < 0.25
    # Amplitudes taken for intensities would give twice or half of it.
    half = pixel.assign(absorption=0.5 * pixel.absorption)
    wrong = kramers_kronig_misfit(
        half, element="V", pre=(5420, 5462), post=(5495, 5540), degree=1
    )
    np.testing.assert_allclose(wrong.kk_slope, 2, atol=0.1)


def test_noise_is_that_of_the_photons():
    quiet = particles(size=32, photons=None, seed=3)["objects"].transmission
    noisy = particles(size=32, photons=10_000, seed=3)["objects"].transmission
    left = (noisy - quiet).values
    np.testing.assert_allclose(left.real.std(), 0.005, rtol=0.02)
    np.testing.assert_allclose(left.imag.std(), 0.005, rtol=0.02)
    assert (
        abs(np.corrcoef(left[0, 0].real.ravel(), left[0, 1].real.ravel())[0, 1]) < 0.1
    )


def test_any_chunks_make_the_same_study(no_compute):
    whole = particles(size=(24, 40), seed=2)
    for chunks in (16, {"energy": 17, "y": 10, "particle": 4}):
        with no_compute():
            lazy = particles(size=(24, 40), seed=2, chunks=chunks)
        for group in ("objects", "truth"):
            xr.testing.assert_allclose(
                lazy[group].to_dataset().compute(), whole[group].to_dataset(), rtol=1e-6
            )
        np.testing.assert_array_equal(
            lazy["truth"].state.compute(), whole["truth"].state
        )
    with no_compute():
        huge = particles(size=2048, chunks={"energy": 10, "y": 64, "x": 2048})
    corner = huge["objects"].transmission[0, 0, :4, :4].compute()
    assert np.isfinite(corner).all()


def test_impossible_studies_are_refused():
    for wrong in ({"size": 4}, {"photons": 0}, {"drift": -1}, {"pixel_size": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            particles(**wrong)
    with pytest.raises(ArgumentError, match="chunks"):
        particles(size=16, chunks={"z": 3})


def test_files_of_objects_are_read_back_as_they_were(tmp_path):
    import batteryxr

    study = particles(size=24, seed=3)
    folder = batteryxr.simulate.write_particles(study, tmp_path / "beamtime")
    found = batteryxr.read_stack(folder / "D1")
    expected = study["objects"].to_dataset()["transmission"].sel(particle="D1")
    np.testing.assert_array_equal(found, expected.transpose(*found.dims))
    for dim in found.dims:
        np.testing.assert_array_equal(found[dim], expected[dim])
    with pytest.raises(ArgumentError, match="an empty or new folder"):
        batteryxr.simulate.write_particles(study, folder)


def test_files_of_objects_read_each_chunk_once(tmp_path):
    import batteryxr

    read = []

    def count(block):
        read.append(block.shape)
        return block

    study = particles(size=16, seed=3, chunks=8)
    objects = study["objects"].to_dataset()
    lazy = objects["transmission"].data
    counted = lazy.map_blocks(count, meta=np.empty((0,) * 4, lazy.dtype))
    objects["transmission"] = (objects["transmission"].dims, counted)
    study["objects"] = xr.DataTree(objects)
    batteryxr.simulate.write_particles(study, tmp_path / "beamtime")
    assert len(read) == counted.npartitions
