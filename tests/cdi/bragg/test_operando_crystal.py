"""A simulated crystal at six voltages goes from counts to domains and hysteresis."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.align import align, conjugate_twin, shifted
from batteryxr.simulate import bragg_states

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth_and_series():
    tree = bragg_states(photons=5e7)
    states = tree["states"].to_dataset()
    result = cdi.retrieve(
        states["intensity"].compute(),
        schedule="120 HIO + 80 RAAR + 40 ER",
        n_starts=2,
        select=cdi.Selection(n_best=1),
        seed=3,
        progress=False,
    )
    aligned = cdi.align_states(result)
    truth = tree["truth"].to_dataset().compute()
    # What no measurement fixes (twin, place) is taken from the truth, once for all.
    first = align(truth["object"].values[0], aligned["object"].values[0])
    laid = [
        shifted(conjugate_twin(f) if first.twin else f, first.shift)
        for f in aligned["object"].values
    ]
    aligned["object"] = aligned["object"].copy(data=np.array(laid, np.complex64))
    geometry = cdi.geometry(states["intensity"], beamline="theta")
    return truth, aligned, geometry, first.overlap


def test_the_whole_way(truth_and_series):
    truth, aligned, geometry, overlap = truth_and_series
    assert overlap > 0.99
    whole = cdi.fill_missing(aligned)
    filled, missing = whole["filled"].values, truth["missing"].values
    assert not filled[[0, 1, 2, 3, 5]].any()
    common = (filled[4] & missing[4]).sum()
    assert common / missing[4].sum() > 0.7
    assert common / filled[4].sum() > 0.7

    differences = cdi.phase_differences(whole)
    q = float(geometry["q_length"])
    change = -q * (truth["displacement"] - truth["displacement"].isel(state=0))
    core = ndimage.binary_erosion(
        differences["support"].values & truth["support"].values
    )
    for k in range(1, 6):
        ok = core & ~filled[k]
        mine = differences["phase_difference"].values[k][ok]
        assert np.corrcoef(mine, change.values[k][ok])[0, 1] > 0.9 - 0.2 * (k == 1)

    order = cdi.order_parameter(differences)
    omega = order["order_parameter"].sel(component=1).values
    assert omega[0] == 0
    progress = truth["progress"].values
    assert (np.argsort(omega) == np.argsort(progress)).all()
    assert np.corrcoef(omega, progress)[0, 1] > 0.95
    # Hysteresis: more at 3.5 V on discharge than on charge.
    assert omega[4] > omega[2]

    parts = cdi.inverse_pca(differences, order=order)
    total = parts["contribution"] + parts["residual"]
    np.testing.assert_allclose(total, differences["phase_difference"], atol=1e-5)

    moved = -differences["phase_difference"] / q
    moved.attrs = {"units": "Angstrom", "long_name": "Displacement"}
    found = cdi.domains(moved, n_clusters=3, geometry=geometry, n_domains=6)
    levels = found["level"].values
    sizes = found["size"].values
    # The larger domain (upper class) grows on charge and shrinks on discharge.
    upper = [
        np.nansum(np.where(lv == 2, s, 0)) for lv, s in zip(levels, sizes, strict=True)
    ]
    assert upper[0] < upper[2] < upper[3] > upper[4] > upper[5]
    exact = (truth["domain"].values[3] == 1).sum() * float(geometry["voxel_volume"])
    assert upper[3] == pytest.approx(exact, rel=0.35)
    steps = cdi.track_domains(found)
    assert set(steps["voltage"].values) == {3.0, 3.5, 4.0}

    fields = cdi.strain(
        cdi.displacement(
            cdi.unwrap(whole, support=whole["support"]), geometry=geometry
        ),
        geometry=geometry,
    )
    inner = ndimage.binary_erosion(core)
    mine, exact = fields["strain"].values[3][inner], truth["strain"].values[3][inner]
    assert np.corrcoef(mine, exact)[0, 1] > 0.75
    fields["filled"] = whole["filled"]
    summary = cdi.summarise_states(fields)
    assert summary["strain_mean"].dims == ("state",)
    assert float(summary["strain_spread"][3]) > float(summary["strain_spread"][0])
    lab = cdi.to_laboratory(
        fields.isel(state=3, drop=True)[["strain", "support"]], geometry=geometry
    )
    volume = float(
        lab["support"].sum() * np.prod([float(lab[d][1] - lab[d][0]) for d in "zyx"])
    )
    voxels = (
        float(fields["support"].sum())
        if "state" not in fields["support"].dims
        else float(fields["support"].isel(state=3).sum())
    )
    assert volume == pytest.approx(voxels * float(geometry["voxel_volume"]), rel=0.03)
    assert isinstance(summary, xr.Dataset)
