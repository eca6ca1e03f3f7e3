"""Plots of impedance: what they draw, not how it looks; and patterns to unmix."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from batteryxr import simulate
from batteryxr.core.errors import ArgumentError, DataQualityWarning
from batteryxr.echem import as_patterns, drt, fit_circuit

sys.path.insert(0, str(Path(__file__).parent))
from cells import F, labelled, zarc


@pytest.fixture(autouse=True)
def quiet_imports():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def series():
    z = np.stack([2 + zarc(r, 1e-4, 0.9) for r in (5.0, 8.0, 12.0)])
    z[1, :3] = np.nan
    return labelled(z, li_content=("spectrum", [0.9, 0.5, 0.1])).to_dataset()


def test_nyquist_has_equal_axes_and_a_curve_for_each_spectrum():
    data = series()
    plot = data.echem.plot.nyquist()
    assert len(plot) == 3
    assert [p.label for p in plot] == [
        "Li content 0.900",
        "Li content 0.500",
        "Li content 0.100",
    ]
    assert plot.opts.get("plot", backend="bokeh").kwargs["data_aspect"] == 1
    again = data.assign_coords(li_content=("spectrum", [0.9, 0.1, 0.9]))
    assert [p.label for p in again.echem.plot.nyquist()] == [
        "Li content 0.900 (1)",
        "Li content 0.100",
        "Li content 0.900 (3)",
    ]
    first = plot.get(0)
    np.testing.assert_allclose(first.dimension_values(0), data["impedance"][0].real)
    np.testing.assert_allclose(first.dimension_values(1), -data["impedance"][0].imag)
    assert len(plot.get(1)) == F.size - 3
    fitted = fit_circuit(data, "R0-p(R1,CPE1)")
    assert len(fitted.echem.plot.nyquist()) == 6
    with pytest.raises(ArgumentError, match="axis"):
        data.echem.plot.nyquist(axis="mass")


def test_bode_and_residuals():
    data = series()
    above, below = data["impedance"].echem.plot.bode()
    np.testing.assert_allclose(
        above.get(0).dimension_values(1), abs(data["impedance"][0])
    )
    assert (below.get(0).dimension_values(1) > 0).all()
    found = fit_circuit(data, "R0-p(R1,C1)")
    real, imaginary = found.echem.plot.residuals()
    left = (data["impedance"] - found["fitted"])[0] / abs(data["impedance"][0])
    np.testing.assert_allclose(real.get(0).dimension_values(1), 100 * left.real)
    np.testing.assert_allclose(imaginary.get(0).dimension_values(1), 100 * left.imag)


def test_a_map_of_relaxation_times_along_li_content():
    found = drt(series())
    mesh = found.echem.plot.drt()
    assert str(mesh.kdims[0]) == "li_content"
    np.testing.assert_allclose(
        mesh.dimension_values(0, expanded=False), [0.1, 0.5, 0.9]
    )
    top = mesh.dimension_values(2, flat=False).max(axis=0)
    np.testing.assert_allclose(top, found["gamma"].max("tau").values[::-1])


def test_a_map_along_what_turns_back_is_refused_and_frequencies_are_sorted():
    content = ("spectrum", [0.9, 0.5, 0.9])
    found = drt(series().assign_coords(li_content=content, cell=("spectrum", [*"abc"])))
    for axis in ("li_content", "cell"):
        with pytest.raises(ArgumentError, match="rises or falls"):
            found.echem.plot.drt(axis=axis)
    assert str(found.echem.plot.drt().kdims[0]) == "spectrum"
    mixed = series().isel(frequency=np.random.default_rng(0).permutation(F.size))
    above, _ = mixed.echem.plot.bode()
    np.testing.assert_array_equal(above.get(0).dimension_values(0), F)
    fitted = fit_circuit(mixed, "R0-p(R1,CPE1)").echem.plot.bode()[0]
    for one in fitted:
        assert (np.diff(one.dimension_values(0)) > 0).all()


def test_a_fitted_resistance_stands_under_the_voltage():
    time = np.datetime64("2024-01-01", "ns") + np.arange(3) * np.timedelta64(1, "h")
    volts = ("spectrum", [3.5, 3.7, 3.9], {"units": "V"})
    data = series().assign_coords(time=("spectrum", time), voltage=volts)
    found = fit_circuit(data, "R0-p(R1,CPE1)")
    above, below = found["R1"].echem.plot.with_voltage()
    points = below.get(1)
    np.testing.assert_allclose(points.dimension_values(1), found["R1"])
    np.testing.assert_allclose(above.get(1).dimension_values(1), [3.5, 3.7, 3.9])
    np.testing.assert_allclose(points.dimension_values(0), [0, 1, 2])


def test_real_and_imaginary_side_by_side_are_unmixed():
    share = np.linspace(0, 1, 25)[:, None]
    ends = 2 + zarc(10.0, 1e-4, 0.9), 3 + zarc(20.0, 1e-2, 0.9)
    z = labelled((1 - share) * ends[0] + share * ends[1])
    patterns = as_patterns(z)
    assert patterns.sizes == {"spectrum": 25, "channel": 2 * F.size}
    np.testing.assert_allclose(patterns.sel(channel=patterns["part"] == "-Im"), -z.imag)
    assert as_patterns(z.chunk(spectrum=5)).chunks is not None
    # Mixtures of two cells are mixtures of two patterns.
    sizes = np.linalg.svd(patterns.values, compute_uv=False)
    assert sizes[2] < 1e-12 * sizes[0]
    assert (patterns > 0).all()


@pytest.mark.parametrize("name", ["bode", "residuals"])
def test_a_legend_of_many_spectra_is_no_higher_than_its_plot(name):
    z = np.stack([2 + zarc(r, 1e-4, 0.9) for r in np.linspace(5, 12, 12)])
    data = labelled(z).to_dataset().assign(fitted=(("spectrum", "frequency"), z))
    drawn = getattr(data.echem.plot, name)()
    layout = next(iter(drawn)).opts.get("plot", backend="bokeh").kwargs
    legend = layout["legend_opts"]
    rows = 12 * (legend["label_height"] + legend["spacing"]) + 2 * legend["padding"]
    assert rows < layout["height"] - 60  # ticks and the label below the frame


def test_patterns_of_lists_that_differ_are_told_and_filled():
    z = np.stack([2 + zarc(r, 1e-4, 0.9) for r in np.linspace(5, 12, 6)])
    data = labelled(z.copy())
    data[::2, ::2] = np.nan
    data[1::2, 1::2] = np.nan
    with pytest.warns(DataQualityWarning, match="only 0 of 30 frequencies"):
        as_patterns(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        filled = as_patterns(data, interpolate=True)
    whole = as_patterns(labelled(z))
    inner = filled.isel(
        channel=(filled["frequency"] > 0.02) & (filled["frequency"] < 7e4)
    )
    assert not inner.isnull().any()
    assert np.isnan(filled[0, 0])  # beyond its own range
    np.testing.assert_allclose(inner, whole.sel(channel=inner["channel"]), atol=0.01)
    lazy = as_patterns(data.chunk(spectrum=2), interpolate=True)
    np.testing.assert_allclose(lazy.compute(), filled)
    mixed = data.isel(frequency=np.random.default_rng(0).permutation(60))
    again = as_patterns(mixed, interpolate=True)
    np.testing.assert_allclose(
        again.sortby(["part", "frequency"]), filled.sortby(["part", "frequency"])
    )


def test_of_many_spectra_a_selection_is_drawn_and_the_title_says_so():
    spectra = simulate.impedance_loop(n_scans=40)["impedance"].to_dataset()
    assert spectra.sizes["spectrum"] == 40
    plot = spectra.echem.plot.nyquist()
    title = plot.opts.get().kwargs["title"]
    assert len(plot) == 30
    assert title == "Nyquist: 30 of 40"
    bode = spectra.isel(spectrum=slice(30)).echem.plot.bode()
    assert [len(part) for part in bode] == [30, 30]
