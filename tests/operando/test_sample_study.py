"""Several samples: joined, overlaid and compared, against each by itself."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import echem, xanes
from batteryxr.core.errors import ArgumentError
from batteryxr.operando import over_samples


def cycled(n, loss, rows=60):
    parts = []
    for sign, length in ((1, rows), (-1, round(rows * (1 - loss)))) * n:
        x = np.linspace(0, 1, length)
        volts = 3 + x if sign > 0 else 4 - x * length / rows
        parts.append((np.full(length, float(sign)), volts))
        parts.append((np.zeros(5), np.full(5, volts[-1])))
    current, voltage = (np.concatenate(p) for p in zip(*parts, strict=True))
    return xr.Dataset(
        {
            "voltage": ("record", voltage, {"units": "V"}),
            "current": ("record", current, {"units": "mA"}),
        },
        {"test_time": ("record", 36.0 * np.arange(current.size), {"units": "s"})},
    )


CELLS = {"lean": cycled(2, 0.2), "rich": cycled(3, 0.05)}
HOW = {"electrode": "cathode", "first": "charge", "mass": {"lean": 2.0, "rich": 3.0}}


def test_results_lie_along_the_sample():
    found = over_samples(CELLS, "echem.cycles", **HOW)
    assert found.sample.values.tolist() == ["lean", "rich"]
    for name, record in CELLS.items():
        alone = record.echem.cycles(**HOW | {"mass": HOW["mass"][name]})
        here = found.sel(sample=name).discharge_specific_capacity.dropna("cycle")
        np.testing.assert_array_equal(here, alone.discharge_specific_capacity)
    assert np.isnan(float(found.discharge_capacity.sel(sample="lean", cycle=3)))


@pytest.mark.parametrize("chain", ["cycles", "rate", "dqdv"])
def test_plots_of_samples_have_a_legend_by_sample(chain):
    if chain == "dqdv":
        drawn = over_samples(CELLS, "echem.dqdv").echem.plot.dqdv()
        panels = [drawn]
    else:
        found = over_samples(CELLS, "echem.cycles", **HOW)
        if chain == "rate":
            cells = {
                n: found.sel(sample=n, drop=True).dropna(
                    "cycle", subset=["discharge_capacity"]
                )
                for n in CELLS
            }
            cells = {
                n: c.assign(complete=c.complete.astype(bool)) for n, c in cells.items()
            }
            found = over_samples(cells, "echem.rate")
            panels = list(found.echem.plot.rate(kind="linear"))
        else:
            panels = list(found.echem.plot.cycles())
    for panel in panels:
        assert {e.label for e in panel} == set(CELLS)


def test_records_are_drawn_on_one_another():
    drawn = over_samples(CELLS, "echem.plot.voltage_profile", half_cycles=[1, 2])
    labels = [e.label for e in drawn]
    assert labels == ["lean", "lean", "rich", "rich"]
    ends = {e.label: float(e.dimension_values(0).max()) for e in drawn}
    assert set(ends) == set(CELLS)


def test_compare_speaks_of_cycles():
    found = over_samples(CELLS, "echem.cycles", **HOW).isel(cycle=0, drop=True)
    found = found.assign_coords(formula=("sample", ["LiNiO2", "LiCoO2"]))
    table = echem.compare(found)
    assert table.material.values.tolist() == ["lean", "rich"]
    np.testing.assert_allclose(
        table.specific_capacity, found.discharge_specific_capacity
    )
    np.testing.assert_allclose(table.mean_voltage, found.discharge_mean_voltage)


def test_what_is_no_method_is_refused():
    with pytest.raises(ArgumentError, match=r"method='echem\.nothing'"):
        over_samples(CELLS, "echem.nothing")
    with pytest.raises(ArgumentError, match="data="):
        over_samples({}, "echem.cycles")
    with pytest.raises(ArgumentError, match="method='mean'"):
        over_samples(CELLS, "mean")


def test_pictures_lie_side_by_side():
    axis = ("two_theta", np.linspace(20, 60, 50), {"units": "deg"})
    scans = xr.DataArray(np.ones((4, 50)), dims=("scan", "two_theta"), name="intensity")
    scans = scans.assign_coords(two_theta=axis)
    volts = scans.assign_coords(voltage=("scan", [3.0, 3.5, 4.0, 4.2]))
    drawn = over_samples({"a": scans, "b": volts}, "xanes.plot.contour")
    assert len(drawn) == 3
    titles = [p.opts.get("plot").kwargs.get("title") for p in drawn]
    assert titles == ["a", "b", "b"]


def test_errors_and_warnings_name_their_sample():
    bad = CELLS["rich"].drop_vars("current")
    with pytest.raises(ValueError, match="current") as caught:
        over_samples({"lean": CELLS["lean"], "rich": bad}, "echem.cycles", **HOW)
    assert any("'rich'" in note for note in caught.value.__notes__)
    odd = {"a": CELLS["lean"], "b": CELLS["rich"]}
    with pytest.raises(ArgumentError, match=r"\['b'\] have none"):
        over_samples(odd, "echem.cycles", mass={"a": 2.0})


def test_a_warning_of_one_sample_says_which():
    axis = ("two_theta", np.linspace(20, 60, 50), {"units": "deg"})
    scans = xr.DataArray(np.ones((4, 50)), dims=("scan", "two_theta"), name="intensity")
    scans = scans.assign_coords(two_theta=axis)
    told = scans.assign_attrs(wavelength=0.4124)
    known = scans.assign_coords(wavelength=((), 0.4, {"units": "Angstrom"}))
    with pytest.warns(match=r"b: wavelength = 0\.4124"):
        over_samples({"a": known, "b": told}, "xanes.convert_axis", axis="q")


def test_lattices_of_samples_have_a_legend_by_sample():
    x = np.arange(25.0, 80.0, 0.03)
    patterns = {}
    for name, a in (("lean", 4.12), ("rich", 4.16)):
        y = np.full(x.size, 30.0)
        for square in (3, 4, 8, 11, 12):
            at = 2 * np.degrees(np.arcsin(1.5406 * np.sqrt(square) / 2 / a))
            y += 2000 / (1 + ((x - at) / 0.06) ** 2)
        counts = np.random.default_rng(0).poisson(y, (6, x.size)).astype(float)
        scans = xr.DataArray(counts, dims=("scan", "two_theta"), name="intensity")
        scans = scans.assign_coords(two_theta=("two_theta", x, {"units": "deg"}))
        patterns[name] = scans.assign_coords(
            wavelength=((), 1.5406, {"units": "Angstrom"})
        )
    cells = {n: xanes.Cell("cubic", a=4.14, centring="F") for n in patterns}
    found = over_samples(patterns, "xanes.fit_lattice", candidate=cells)
    np.testing.assert_allclose(found.a.mean("scan"), [4.12, 4.16], rtol=5e-5)
    drawn = found.xanes.plot.series(variables=["a"])
    labels = {e.label for panel in drawn for e in panel if e.label}
    assert set(patterns) <= labels
    # Each sample has voltages of its own.
    volts = np.add.outer([0.0, 0.5], np.linspace(3, 4, 6))
    found = found.assign_coords(voltage=(("sample", "scan"), volts, {"units": "V"}))
    (panel,) = found.xanes.plot.series(variables=["a"], x="voltage")
    starts = {e.label: float(e.dimension_values(0)[0]) for e in panel if e.label}
    assert starts == {"lean": 3.0, "rich": 3.5}
