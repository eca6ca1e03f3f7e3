"""Components are recognised, and sizes and lattices come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf, simulate
from batteryxr.core.crystals import Crystal, PdfInstrument, cell_of, lattice
from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    DimensionError,
    FileFormatError,
)
from batteryxr.core.kernels.pair_distribution import PairDistribution
from batteryxr.simulate.structures import lithiated_spinel, tetragonal_iron_oxide

R = 0.04 * np.arange(30, 401)
SITES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])

CIF = """data_MnO
_cell_length_a 4.445
_cell_length_b 4.445
_cell_length_c 4.445
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mn1 Mn2+ 0 0 0 1
O1 O2- 0.5 0.5 0.5 1
"""


def salt(element: str, a: float) -> Crystal:
    return Crystal(
        f"{element}O",
        lattice(a),
        (element,) * 4 + ("O",) * 4,
        np.vstack([SITES, SITES + np.array([0.5, 0, 0])]) % 1,
        np.ones(8),
    )


def metal() -> Crystal:
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal("Fe", lattice(2.866), ("Fe", "Fe"), sites, np.ones(2))


def measured(crystal: Crystal, noise: float = 0.0, **truth: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    g = PairDistribution(crystal, R, **OPTIONS)(**truth)
    return g + rng.normal(0, noise * g.std(), g.size)


def patterns(rows: np.ndarray, dim: str = "component", **coords) -> xr.DataArray:
    return xr.DataArray(
        rows,
        dims=(dim, "r"),
        coords={"r": ("r", R, {"units": "Angstrom"}), **coords},
        attrs={"units": "1/Angstrom2"},
        name="components",
    )


OPTIONS = {"instrument": PdfInstrument(q_max=22.0, q_damp=0.03)}


def test_parameters_come_back_within_their_errors():
    truth = {"strain": 0.011, "u_iso": 0.007, "diameter": 33.0}
    data = patterns(2.5 * measured(salt("Mn", 4.445), 0.05, **truth)[None])
    found = nmf.identify(data, candidates=[salt("Mn", 4.445)], **OPTIONS).squeeze()
    for name, value in (truth | {"scale": 2.5}).items():
        error = float(found[f"{name}_error"])
        assert abs(float(found[name]) - value) < 4 * error
        assert 0 < error < 0.05 * value
    assert float(found["r_w"]) == pytest.approx(0.05, rel=0.1)
    np.testing.assert_allclose(found["fitted"], data[0], atol=0.3 * data.std().item())


def test_the_right_structure_is_ranked_first():
    rows = [
        measured(salt("Mn", 4.445), diameter=25.0),
        measured(metal(), diameter=22.0),
        measured(salt("Fe", 4.30)),
    ]
    candidates = {"MnO": salt("Mn", 4.445), "iron": metal(), "FeO": salt("Fe", 4.3)}
    data = patterns(np.array(rows), component=["a", "b", "c"])
    found = nmf.identify(data, candidates=candidates, **OPTIONS)
    assert list(found["best"].values) == ["MnO", "iron", "FeO"]
    assert (found["rank"].min("candidate") == 1).all()
    assert np.isinf(found["diameter"].sel(component="c", candidate="FeO"))
    assert np.isnan(found["diameter_error"].sel(component="c", candidate="FeO"))
    for variable in found.variables.values():
        assert {"units", "long_name"} <= set(variable.attrs) or variable.dims in (
            ("component",),
            ("r",),
        )


def test_crystals_are_read_from_cif(tmp_path):
    pytest.importorskip("diffpy.structure")
    path = tmp_path / "MnO.cif"
    path.write_text(CIF)
    crystal = nmf.read_crystal(path)
    assert sorted(crystal.elements) == ["Mn"] * 4 + ["O"] * 4
    a = PairDistribution(crystal, R)()
    np.testing.assert_allclose(a, PairDistribution(salt("Mn", 4.445), R)(), atol=1e-9)
    data = patterns(measured(salt("Mn", 4.445))[None])
    found = nmf.identify(data, candidates=[path], **OPTIONS)
    assert list(found["candidate"].values) == ["MnO"]
    assert float(found["r_w"].squeeze()) < 0.01


def test_a_file_that_is_no_structure(tmp_path):
    pytest.importorskip("diffpy.structure")
    with pytest.raises(FileFormatError, match="is not there"):
        nmf.read_crystal(tmp_path / "none.cif")
    wrong = tmp_path / "wrong.cif"
    wrong.write_text("no structure")
    with pytest.raises(FileFormatError, match="holds no"):
        nmf.read_crystal(wrong)


def test_what_is_no_cif_is_refused_without_print(tmp_path, capsys):
    path = tmp_path / "a.cif"
    for raw in (b"{\nDim_1 = 4 ;\n}\n", b"\x93NUMPY\x01\x00", b"", b"energy mu\n1 2\n"):
        path.write_bytes(raw)
        with pytest.raises(FileFormatError) as told:
            nmf.read_crystal(path)
        assert len(str(told.value).splitlines()) == 1
    assert capsys.readouterr().out == ""


def test_size_and_composition_follow_a_series():
    sizes = np.array([60.0, 45.0, 30.0, 20.0])
    iron = np.array([1.0, 0.9, 0.8, 0.7])
    strains = np.array([0.0, 0.002, 0.004, 0.006])
    rows = [
        measured(
            salt("Fe", 4.2), 0.02, diameter=d, strain=s, occupancy={("Fe", None): f}
        )
        for d, f, s in zip(sizes, iron, strains, strict=True)
    ]
    rows.append(np.full(R.size, np.nan))
    li = ("scan", np.arange(5.0), {"units": "1", "long_name": "Li"})
    series = patterns(np.array(rows), "scan", li_content=li)
    found = nmf.refine_along(
        series, candidate=salt("Fe", 4.2), occupancy="Fe", **OPTIONS
    )
    assert list(found["flag"].values) == [0, 0, 0, 0, 1]
    assert np.isnan(found["diameter"][4])
    for name, true in (
        ("diameter", sizes),
        ("lattice", 4.2 * (1 + strains)),
        ("occupancy", iron),
    ):
        apart = np.abs(found[name][:4] - true) / found[f"{name}_error"][:4]
        assert (apart < 4).all(), name
    np.testing.assert_allclose(found["occupancy"][:4], iron, atol=0.03)
    assert "li_content" in found["diameter"].coords


def test_manganese_oxide_only_falls_to_pieces():
    tree = simulate.oxide_series("MnO", n_scans=41, r_range=(1.0, 20.0), step=0.02)
    pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
    fit = pdf.nmf.fit(
        3, fixed={"MnO": 0, "Mn": -1}, constraints=nmf.Constraints(shift="envelope")
    )
    found = fit.nmf.identify(
        candidates={"MnO": salt("Mn", 4.445), "FeO": salt("Fe", 4.3)},
        instrument=PdfInstrument(q_max=24.0, q_damp=0.03),
    )
    extra = found.sel(component="CP1", candidate="MnO")
    assert float(extra["r_w"]) < 0.1  # the same structure: no new phase
    assert float(extra["diameter"]) == pytest.approx(25.0, abs=2.5)
    assert not float(found["diameter"].sel(component="MnO", candidate="MnO")) < 500
    apart = fit["weights"].sel(component="CP1") - truth["ratios"][:, 1]
    assert float((apart**2).mean() ** 0.5) < 0.05
    rebuilt = fit.nmf.reconstruct(component=["MnO", "CP1"])
    along = rebuilt.nmf.refine_along(
        candidate=salt("Mn", 4.445), instrument=PdfInstrument(q_max=24.0, q_damp=0.03)
    )
    size = along["diameter"].values[along["flag"].values == 0]
    assert size[0] > 300
    assert size[-1] == pytest.approx(25, abs=2.5)
    assert (np.diff(1 / size) > -0.002).all()


def test_what_is_wrong_is_named():
    data = patterns(measured(metal())[None])
    with pytest.raises(ArgumentError, match="at least one"):
        nmf.identify(data, candidates=[])
    with pytest.raises(ArgumentError, match="names that differ"):
        nmf.identify(data, candidates=[metal(), metal()])
    with pytest.raises(ArgumentError, match="r_range"):
        nmf.identify(data, candidates=[metal()], r_range=(90.0, 95.0))
    with pytest.raises(DimensionError, match="along 'r'"):
        nmf.identify(data.rename(r="q"), candidates=[metal()])
    with pytest.raises(ArgumentError, match="occupancy"):
        nmf.refine_along(data, candidate=metal(), occupancy="O")
    uneven = data.isel(r=np.r_[0:100, 110:200])
    with pytest.raises(DimensionError, match="evenly spaced"):
        nmf.identify(uneven, candidates=[metal()])


def test_c_over_a_comes_back():
    """As cut by four thousandths from the candidate, alone and in a series."""
    crystal, r = tetragonal_iron_oxide(), 1.5 + 0.05 * np.arange(400)
    cells = [
        crystal.cell * np.array([[1 + a], [1 + a], [1 + c]])
        for a, c in ((0.001, 0.005), (-0.003, 0.012), (0.002, -0.006))
    ]
    how = {"instrument": OPTIONS["instrument"]}
    clean = [
        PairDistribution(replace(crystal, cell=cell), r, **how)(diameter=40.0)
        for cell in cells
    ]
    rng = np.random.default_rng(4)
    rows = np.array(clean) + rng.normal(0, 0.03 * np.std(clean), (3, r.size))
    data = xr.DataArray(
        rows, dims=("scan", "r"), coords={"r": ("r", r, {"units": "Angstrom"})}
    )
    along = data.nmf.refine_along(candidate=crystal, **how)
    alone = nmf.identify(data[:1], candidates=[crystal], **how).squeeze("candidate")
    for found in (along, alone):
        for i in range(found.sizes["scan"]):
            one = found.isel(scan=i)
            off = one["cell_length"].values - cell_of(cells[i])[:3]
            assert (np.abs(off) < 4 * one["cell_length_error"]).all()
            assert (one["cell_length_error"] < 0.002).all()
            np.testing.assert_allclose(one["cell_angle"], 90.0, atol=1e-6)
    np.testing.assert_array_equal(along["lattice"], along["cell_length"].sel(axis="a"))


@pytest.mark.parametrize("element", ["Mn", "Li"])
def test_composition_of_one_of_two_metal_sites_comes_back(element):
    """Li takes the place of Mn on one site; the other is full of Mn."""
    spinel = lithiated_spinel("spinel", lattice(8.34, c=9.05), "Mn")
    taken = spinel.occupancy.copy()
    mixed = np.isclose(taken, 0.5)
    is_mn = np.array(spinel.elements) == "Mn"
    taken[mixed] = np.where(is_mn, 0.7, 0.3)[mixed]
    r = 1.5 + 0.04 * np.arange(300)
    true = PairDistribution(replace(spinel, occupancy=taken), r, **OPTIONS)()
    noise = np.random.default_rng(3).normal(0, 0.02 * true.std(), r.size)
    data = xr.DataArray(
        (true + noise)[None],
        dims=("scan", "r"),
        coords={"r": ("r", r, {"units": "Angstrom"})},
    )
    found = data.nmf.refine_along(candidate=spinel, occupancy=element, **OPTIONS)
    error = float(found["occupancy_error"][0])
    off = float(found["occupancy"][0]) - (0.7 if element == "Mn" else 0.3)
    assert abs(off) < 4 * error < 0.08


def test_occupancies_that_cannot_be_linked_are_told():
    sites = np.vstack([SITES, SITES, SITES, SITES + np.array([0.5, 0, 0])]) % 1
    three = Crystal(
        "three",
        lattice(4.3),
        ("Li",) * 4 + ("Fe",) * 4 + ("Mn",) * 4 + ("O",) * 4,
        sites,
        np.repeat([0.3, 0.3, 0.4, 1.0], 4),
    )
    data = patterns(measured(three)[None]).rename(component="scan")
    with pytest.warns(DataQualityWarning, match="shares sites with Fe, Li in a way"):
        data.nmf.refine_along(candidate=three, occupancy="Mn", **OPTIONS)


def test_widths_of_peaks_come_back():
    """Of each element, of correlated motion, and of the instrument."""
    truth = {"delta2": 1.4, "q_broad": 0.012}
    crystal, r = salt("Mn", 4.445), 1.5 + 0.04 * np.arange(400)
    clean = PairDistribution(crystal, r, **OPTIONS)(
        u_iso={"Mn": 0.004, "O": 0.009}, diameter=40.0, widths=truth
    )
    noise = np.random.default_rng(2).normal(0, 0.01 * clean.std(), r.size)
    data = xr.DataArray(
        (clean + noise)[None],
        dims=("scan", "r"),
        coords={"r": ("r", r, {"units": "Angstrom"})},
    )
    peaks = ["u_element", "delta2", "q_broad"]
    found = data.nmf.refine_along(candidate=crystal, peaks=peaks, **OPTIONS).squeeze()
    off = found["u_element"].sel(element=["Mn", "O"]) - [0.004, 0.009]
    assert (np.abs(off) < 4 * found["u_element_error"]).all()
    assert (found["u_element_error"] < 5e-4).all()
    for name, value in truth.items():
        error = float(found[f"{name}_error"])
        assert abs(float(found[name]) - value) < 4 * error < value
    assert "u_iso" not in found
    with pytest.raises(ArgumentError, match="peaks"):
        data.nmf.refine_along(candidate=crystal, peaks=["delta3"], **OPTIONS)


def test_a_cell_of_another_shape_is_told():
    """A change of c over a beyond what is tried moves the lattice."""
    crystal, r = tetragonal_iron_oxide(), 1.5 + 0.05 * np.arange(200)
    instrument = PdfInstrument(q_max=24.0, q_damp=0.03)
    rows = [
        PairDistribution(
            replace(crystal, cell=crystal.cell * np.array([[1], [1], [1 + change]])),
            r,
            instrument=instrument,
        )()
        for change in (0.0, 0.04)
    ]
    data = xr.DataArray(
        np.array([*rows, np.full(200, np.nan)]),
        dims=("scan", "r"),
        coords={"r": ("r", r, {"units": "Angstrom"})},
        attrs={"units": "1/Angstrom2", "q_max": 24.0, "q_damp": 0.03},
    )
    with pytest.warns(DataQualityWarning, match="1 of 3 patterns fit with R_w above"):
        found = data.nmf.refine_along(candidate=crystal)
    assert found["flag"].values.tolist() == [0, 2, 1]
