"""Ranges and structures on data of others."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf


@pytest.fixture(scope="module")
def nickelate(shared_data) -> xr.DataArray:
    """Ni K edges of LiNiO2 over cycling, at one position of the beam."""
    path = shared_data("lno-operando") / "xas" / "XAS_normalized_all458.tar.xz"
    spectra = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            if "pos1" in member.name and member.name.endswith(".txt"):
                text = archive.extractfile(member).read()
                table = np.loadtxt(io.BytesIO(text), comments="#")
                spectra[member.name] = table[:, :2]
    table = np.array([spectra[name] for name in sorted(spectra)])
    energy = table[0, :, 0]
    near = (energy >= 8320) & (energy <= 8400)
    return xr.DataArray(
        table[:, near, 1],
        dims=("scan", "energy"),
        coords={"energy": ("energy", energy[near], {"units": "eV"})},
        attrs={"units": "1"},
    )


def test_three_nickelates_are_told_apart_by_fixing_both_extremes(nickelate):
    """Width of the range of a ratio: as found with other programs."""
    widths = []
    for fixed in ({}, {"pristine": 0}, {"pristine": 0, "charged": 83}):
        fit = nmf.fit(nickelate, 3, fixed=fixed)
        widths.append(float(fit.nmf.bands()["weights_width"].mean()))
        if not fixed:
            assert float(fit["relative_error"]) <= 0.00180
    assert widths[0] > 0.8
    assert 0.4 < widths[1] < 0.7
    assert widths[2] <= 0.07


def test_a_conversion_reaction_is_identified(shared_data):
    pytest.importorskip("diffpy.structure")
    folder = shared_data("pdf-ruo2-conversion-simulated")
    stored = np.load(folder / "synthetic_r_vs_gr.npz")
    pdf = xr.DataArray(
        stored["G"],
        dims=("scan", "r"),
        coords={"r": ("r", stored["r"], {"units": "Angstrom"})},
        attrs={"units": "1/Angstrom2"},
    )
    fit = pdf.nmf.fit(3, shift="envelope")
    found = fit.nmf.identify(candidates=sorted(folder.glob("*.cif")))
    lowest = found["r_w"].min("candidate")
    assert sorted(str(b).split("_")[0] for b in found["best"].values) == [
        "LiO2",
        "Ru",
        "RuO2",
    ]
    assert float(lowest.min()) < 0.1
    assert float(lowest.max()) < 0.5
