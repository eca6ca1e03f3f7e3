"""Impossible numbers are refused, unlikely ones told, and the likely unit is named."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from batteryxr import cdi, echem, nmf, simulate, xanes
from batteryxr.core import bounds
from batteryxr.core.crystals import Crystal, lattice
from batteryxr.core.errors import BatteryxrError, DataError, DataQualityWarning
from batteryxr.echem import Counting


@pytest.fixture(scope="module")
def record():
    """One charge and one discharge between 3 and 4.2 V."""
    t = np.arange(0.0, 7200.0, 10.0)
    up = t < 3600
    voltage = np.where(up, 3 + 1.2 * t / 3600, 4.2 - 1.2 * (t - 3600) / 3600)
    current = np.where(up, 1.5, -1.5)
    return xr.Dataset(
        {
            "voltage": ("record", voltage, {"units": "V"}),
            "current": ("record", current, {"units": "mA"}),
        },
        coords={
            "test_time": ("record", t, {"units": "s"}),
            "time": (
                "record",
                np.datetime64("2026-01-01", "ns") + (t * 1e9).astype("m8[ns]"),
            ),
        },
        attrs={"timezone": "UTC"},
    )


def spectrum(factor=1.0):
    energy = np.arange(5400.0, 5600.0, 2.0)
    values = 1 / (1 + np.exp(-(energy - 5480) / 2))
    axis = ("energy", energy * factor, {"units": "eV"})
    return xr.DataArray(
        values, dims="energy", coords={"energy": axis}, name="absorption"
    )


def frames():
    counts = np.ones((4, 8, 8))
    dims = ("rocking", "detector_y", "detector_x")
    coords = {
        "rocking": 0.01 * np.arange(4),
        "detector_y": np.arange(8),
        "detector_x": np.arange(8),
    }
    return xr.DataArray(counts, dims=dims, coords=coords, name="intensity")


def scans():
    time = np.datetime64("2026-01-01T00:10", "ns") + np.arange(5) * np.timedelta64(
        300, "s"
    )
    return xr.DataArray(
        np.ones(5), dims="scan", coords={"time": ("scan", time), "scan": range(5)}
    )


def geometry(step=0.01, **given):
    usual = {"energy": 9000.0, "distance": 800.0, "pixel_size": 55.0}
    volume = frames().assign_coords(rocking=step * np.arange(4))
    return cdi.geometry(volume, beamline="general", rocking="theta", **usual | given)


def scan(**given):
    usual = {"energy": 6200.0, "distance": 2000.0, "pixel_pitch": 75.0}
    where = {"position_y": np.zeros(2), "position_x": np.zeros(2)}
    return cdi.ptycho_scan(np.ones((2, 8, 8)), **where | usual | given)


def patterns():
    r = np.arange(1.0, 9.0, 0.05)
    values = np.sin(r)[None]
    return xr.DataArray(
        values,
        dims=("component", "r"),
        coords={"component": ["a"], "r": ("r", r, {"units": "Angstrom"})},
    )


def iron_patterns():
    """Return G(r) of bcc iron, counted atom by atom, broadened as by a range of Q."""
    r, width = np.arange(1.0, 30.0, 0.02), 0.12
    corners = np.indices([23] * 3).reshape(3, -1).T - 11.0
    atoms = 2.866 * np.concatenate([corners, corners + 0.5])
    far = np.linalg.norm(atoms, axis=1)
    far, many = np.unique(far[(far > 0.1) & (far < 31.0)].round(4), return_counts=True)
    peaks = np.exp(-(((r[:, None] - far) / width) ** 2) / 2) / np.sqrt(2 * np.pi)
    values = peaks / width @ (many / far) - 4 * np.pi * r * 2 / 2.866**3
    return xr.DataArray(
        values[None],
        dims=("component", "r"),
        coords={"component": ["a"], "r": ("r", r, {"units": "Angstrom"})},
    )


def raster(*, by=1.0, **given):
    """Return a scan whose steps are a tenth of what its frames see."""
    y, x = np.mgrid[:3, :3] * 95.0 * by
    frames = np.random.default_rng(0).poisson(5.0, (9, 16, 16))
    usual = {"energy": 5470.0, "distance": 317.0, "pixel_pitch": 75.0}
    where = {"position_y": y.ravel(), "position_x": x.ravel()}
    return cdi.ptycho_scan(frames, **where | usual | given)


def of(record, name, **changed):
    """Return the record with a variable multiplied."""
    return record.assign(
        {name: record[name].copy(data=record[name].values * changed["by"])}
    )


def counted(record):
    """Return the charge that a cycler counts from the start of each half cycle."""
    passed = np.cumsum(np.abs(record["current"].values) * 10 / 3600)
    start = np.where(record["current"] > 0, 0.0, passed[record.sizes["record"] // 2])
    return record["current"].copy(data=passed - start).assign_attrs(units="mA h")


def counts():
    return xr.DataArray(
        np.full((2, 8, 8), 700.0), {"energy": [8330.0, 8345.0]}, ("energy", "y", "x")
    )


def rings(factor=1.0):
    angles = np.arange(10.0, 90.05, 0.1) * factor
    axis = ("two_theta", angles, DEGREES)
    values = np.ones((1, angles.size))
    coords = {"two_theta": axis, "wavelength": ((), 1.54, {"units": "Angstrom"})}
    return xr.DataArray(values, dims=("scan", "two_theta"), coords=coords)


ONE = np.ones(1)
IRON = Crystal(
    "Fe",
    lattice(2.866),
    ("Fe", "Fe"),
    np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    np.ones(2),
)


def test_a_slip_of_a_wavelength_is_no_endless_list_of_lines():
    with pytest.warns(DataQualityWarning, match="Was it nm"):
        instrument = xanes.Diffractometer(wavelength=0.0154)
    with pytest.raises(DataError, match=r"range of Q: reaches .* reflections.*units"):
        xanes.powder_lines(IRON, instrument=instrument)


DEGREES = {"units": "deg"}
BRAGG = {
    "beamline": "theta",
    "rocking": "theta",
    "motors": {"two_theta": 28.8, "phi": 0.0},
    "energy": 9000.0,
    "distance": 800.0,
    "pixel_size": 55.0,
}
CYCLES = {"electrode": "cathode", "first": "charge"}

#: What was passed by a slip, and what the answer must hold.
SLIPS = {
    "ranges of mback in keV": (
        lambda r: xanes.mback(spectrum(), element="V", post=(0.1, None)),
        "post",
        "Was it keV? Pass (100",
    ),
    "tau in minutes": (
        lambda r: simulate.gitt(
            electrode=simulate.Electrode(tau=300.0),
            protocol=simulate.Titration(n_pulses=1),
        ),
        "tau",
        "Was it min? Pass 18000",
    ),
    "rest of a titration in minutes": (
        lambda r: simulate.Titration(rest=480.0),
        "rest",
        "Was it min? Pass 28800",
    ),
    "leakage in uA": (
        lambda r: simulate.Titration(leakage=5.0),
        "leakage",
        "Was it uA? Pass 0.005",
    ),
    "current of a titration in A": (
        lambda r: simulate.gitt(protocol=simulate.Titration(n_pulses=1, current=5e-5)),
        "current",
        "Was it A? Pass 0.05",
    ),
    "mass in g": (
        lambda r: echem.cycles(r, mass=0.007, **CYCLES),
        "mass",
        "Was it g? Pass 7",
    ),
    "mass in kg": (lambda r: echem.dqdv(r, mass=7e-6), "mass", "Was it kg? Pass 7"),
    "nominal capacity in A h": (
        lambda r: echem.cycles(r, nominal_capacity=0.0015, **CYCLES),
        "nominal_capacity",
        "Was it A h? Pass 1.5",
    ),
    "smoothing in mV": (
        lambda r: echem.dqdv(r, smoothing=20),
        "smoothing",
        "Was it mV? Pass 0.02",
    ),
    "bin in mV": (lambda r: echem.dqdv(r, bin=5.0), "bin", "Was it mV? Pass 0.005"),
    "smoothing in per cent": (
        lambda r: echem.dvdq(r, smoothing=2),
        "smoothing",
        "Was it per cent? Pass 0.02",
    ),
    "v_tolerance in mV": (
        lambda r: echem.steps(r, v_tolerance=5),
        "v_tolerance",
        "Was it mV? Pass 0.005",
    ),
    "i_zero in uA": (
        lambda r: echem.half_cycles(r, counting=Counting(i_zero=5)),
        "i_zero",
        "Was it uA?",
    ),
    "i_zero in nA": (
        lambda r: echem.half_cycles(r, counting=Counting(i_zero=5e5)),
        "i_zero",
        "Was it uA? Pass 500",
    ),
    "max_gap in hours": (
        lambda r: echem.half_cycles(r, counting=Counting(max_gap=1)),
        "max_gap",
        "Was it h? Pass 3600",
    ),
    "exposure in ms": (
        lambda r: echem.join(r, scans(), exposure=120_000),
        "exposure",
        "Was it ms? Pass 120",
    ),
    "max_offset in ms": (
        lambda r: echem.fit_clock(r, r["voltage"], max_offset=9e6),
        "max_offset",
        "Was it ms? Pass 9000",
    ),
    "voltage in mV": (
        lambda r: echem.cycles(of(r, "voltage", by=1000), **CYCLES),
        "voltage",
        "Was it mV? Pass 4.2",
    ),
    "content in per cent": (
        lambda r: echem.li_content(
            r, formula=echem.Lithiation("LiNiO2", x0=95), mass=7
        ),
        "x0",
        "Was it per cent? Pass 0.95",
    ),
    "content of a mass in g": (
        lambda r: echem.li_content(100.0 * 1000, formula="LiNiO2"),
        "li_content",
        "is mostly",
    ),
    "radius in m": (
        lambda r: echem.gitt(r, radius=5e-6),
        "radius",
        "Was it m? Pass 5000",
    ),
    "radius in Angstrom": (
        lambda r: echem.gitt(r, radius=2e6),
        "radius",
        "Was it Angstrom? Pass 200000",
    ),
    "energy in keV": (
        lambda r: geometry(energy=9.0),
        "energy",
        "Was it keV? Pass 9000",
    ),
    "energy in meV": (
        lambda r: geometry(energy=9e6),
        "energy",
        "Was it meV? Pass 9000",
    ),
    "distance in m": (
        lambda r: geometry(distance=0.8),
        "distance",
        "Was it m? Pass 800",
    ),
    "distance in um": (
        lambda r: geometry(distance=8e5),
        "distance",
        "Was it um? Pass 800",
    ),
    "pixel in m": (
        lambda r: geometry(pixel_size=55e-6),
        "pixel_size",
        "Was it m? Pass 55",
    ),
    "pixel in mm": (
        lambda r: geometry(pixel_size=0.055),
        "pixel_size",
        "Was it mm? Pass 55",
    ),
    "pixel in nm": (
        lambda r: geometry(pixel_size=55000.0),
        "pixel_size",
        "Was it nm? Pass 55",
    ),
    "angle in mdeg": (
        lambda r: geometry(motors={"theta": 15000.0}),
        "theta",
        "Was it mdeg? Pass 15",
    ),
    "ptychography in keV": (
        lambda r: scan(energy=6.2),
        "energy",
        "Was it keV? Pass 6200",
    ),
    "ptychography in m": (
        lambda r: scan(distance=2.0),
        "distance",
        "Was it m? Pass 2000",
    ),
    "pitch in m": (
        lambda r: scan(pixel_pitch=75e-6),
        "pixel_pitch",
        "Was it m? Pass 75",
    ),
    "axis in keV": (
        lambda r: xanes.normalise(spectrum(1e-3)),
        "energy",
        "Was it keV? Pass",
    ),
    "range in keV": (
        lambda r: xanes.noise_mask(spectrum(), pre=(5.40, 5.46), post=(5500, 5590)),
        "pre",
        "Was it keV? Pass 5400",
    ),
    "edge in keV": (
        lambda r: xanes.calibrate_energy(
            spectrum(), reference=spectrum(), expected=5.48
        ),
        "expected",
        "Was it keV? Pass 5480",
    ),
    "phase at keV": (
        lambda r: xanes.effective_electrons(
            spectrum().assign_attrs(units="rad"), energy=5.4
        ),
        "energy",
        "Was it keV? Pass 5400",
    ),
    "q_max in 1/nm": (
        lambda r: nmf.PdfInstrument(q_max=240),
        "q_max",
        "Was it 1/nm? Pass 24",
    ),
    "q_damp in 1/nm": (
        lambda r: nmf.PdfInstrument(q_damp=0.6),
        "q_damp",
        "Was it 1/nm? Pass 0.06",
    ),
    "electrons in per cent": (
        lambda r: echem.theoretical_capacity("LiNiO2", electrons=95),
        "electrons",
        "Was it per cent? Pass 0.95",
    ),
    "electrons of an element in per cent": (
        lambda r: echem.theoretical_capacity("Fe2O3", electrons={"Fe": 300}),
        "electrons",
        "Was it per cent? Pass 3",
    ),
    "max_drift in per cent": (
        lambda r: echem.fit_clock(r, r["voltage"], max_drift=0.04),
        "max_drift",
        "Was it per cent? Pass 400",
    ),
    "max_drift as a fraction": (
        lambda r: echem.fit_clock(r, r["voltage"], max_drift=4e-4),
        "max_drift",
        "Was it a fraction? Pass 400",
    ),
    "prominence in uA h": (
        lambda r: echem.peaks(echem.dqdv(r), prominence=100.0),
        "prominence",
        "Was it a thousandth of the unit? Pass 0.1",
    ),
    "prominence as a part": (
        lambda r: echem.peaks(echem.dqdv(r) * 1e4, prominence=0.5),
        "prominence",
        "Was it a part",
    ),
    "voltages of states in mV": (
        lambda r: echem.attach(
            r, scans().drop_vars("time"), voltage=3600, direction="charge"
        ),
        "voltage",
        "Was it mV? Pass 3.6",
    ),
    "tolerance of states in mV": (
        lambda r: echem.attach(
            r,
            scans().drop_vars("time"),
            voltage=3.6,
            direction="charge",
            tolerance=20,
        ),
        "tolerance",
        "Was it mV? Pass 0.02",
    ),
    "tolerance in per cent": (
        lambda r: echem.compare(
            pd.DataFrame({"material": ["a"], "formula": ["LiFeO2"], "capacity": 150.0}),
            tolerance=2,
        ),
        "tolerance",
        "Was it per cent? Pass 0.02",
    ),
    "window of interruptions in ms": (
        lambda r: echem.interruptions(r, window=(1000, 5000)),
        "window",
        "Was it ms? Pass 5",
    ),
    "window of pulses in ms": (
        lambda r: echem.pulses(r, window=120_000),
        "window",
        "Was it ms? Pass 120",
    ),
    "times after a switch in ms": (
        lambda r: echem.resistance(r, at=(0, 1000, 10_000)),
        "at",
        "Was it ms? Pass 10",
    ),
    "step in meV": (
        lambda r: xanes.rebin_energy(spectrum(), e0=5480.0, step=300.0),
        "window",
        "Was the step in meV? Pass step=0.3",
    ),
    "window at energies": (
        lambda r: xanes.rebin_energy(spectrum(), e0=5480.0, window=(5450, 5510)),
        "window",
        "Pass (-30, 30)",
    ),
    "window of steps in keV": (
        lambda r: xanes.rebin_energy(spectrum(), e0=5480.0, window=(-0.03, 0.03)),
        "window",
        "Was it keV? Pass (-30, 30)",
    ),
    "width in meV": (
        lambda r: xanes.smooth(spectrum(), width=2000.0),
        "width",
        "Was it meV? Pass 2",
    ),
    "width in keV": (
        lambda r: xanes.smooth(spectrum(), width=0.002),
        "width",
        "Was it keV? Pass 2",
    ),
    "width of an edge in keV": (
        lambda r: xanes.fit_edge(
            spectrum(),
            edge=xanes.Edge(energy=(5470, 5488), width=(0.001, 0.004)),
            mask=None,
        ),
        "width of edge",
        "Was it keV? Pass 4",
    ),
    "radius in m of a goniometer": (
        lambda r: xanes.Diffractometer(wavelength=1.54, radius=0.24),
        "radius",
        "Was it m? Pass 240",
    ),
    "lattice in nm": (
        lambda r: xanes.Cell("cubic", 0.2866),
        "a=",
        "Was it nm? Pass 2.866",
    ),
    "lattice in pm": (lambda r: xanes.Cell("cubic", 866.0), "a=", "Was it pm?"),
    "angles of a lattice in rad": (
        lambda r: xanes.Cell("triclinic", 5, 5, 5, 1.6, 1.6, 1.6),
        "alpha",
        "Was it rad? Pass 91.6732",
    ),
    "two_theta in rad": (
        lambda r: xanes.convert_axis(rings(np.pi / 180), axis="q"),
        "two_theta",
        "Was it rad?",
    ),
    "two_theta in mdeg": (
        lambda r: xanes.convert_axis(rings(1000), axis="q"),
        "two_theta",
        "Was it mdeg? Pass 90",
    ),
    "rocking in mdeg": (
        lambda r: cdi.geometry(
            frames().assign_coords(rocking=("rocking", [0.0, 10, 20, 30], DEGREES)),
            **BRAGG,
        ),
        "rocking",
        "Was it mdeg? Pass 0.03",
    ),
    "angles of motors in rad": (
        lambda r: cdi.geometry(
            frames().assign_coords(rocking=("rocking", 0.01 * np.arange(4), DEGREES)),
            **BRAGG | {"motors": {"two_theta": 0.5, "phi": 0.0}},
        ),
        "q_length",
        "Was it two_theta in rad?",
    ),
    "r in pm": (
        lambda r: nmf.identify(patterns(), candidates=[], r_range=(100, 3000)),
        "r_range",
        "Was it pm? Pass 30",
    ),
    "temperature in K": (
        lambda r: bounds.told(
            r.assign(
                temperature=(
                    "record",
                    0 * r.test_time.values + 298.15,
                    {"units": "degC"},
                )
            )
        ),
        "temperature",
        "Was it K? Pass 25",
    ),
    "current in A": (
        lambda r: echem.cycles(of(r, "current", by=1e-3), mass=7.0, **CYCLES),
        "specific capacity",
        "Was it a mass in ug or a current in A? Pass",
    ),
    "efficiency in per cent": (
        lambda r: bounds.told(
            xr.Dataset({"coulombic_efficiency": ("cycle", [92.0, 99.1, 99.4, 99.5])})
        ),
        "coulombic_efficiency",
        "Was it per cent? Pass 0.99",
    ),
    "e0 in keV": (
        lambda r: xanes.normalise(spectrum(), e0=5.48),
        "e0",
        "Was it keV? Pass 5480",
    ),
    "zone plate in mm": (
        lambda r: cdi.ZonePlate(diameter=0.2, outer_zone=50),
        "diameter",
        "Was it mm? Pass 200",
    ),
    "outer zone in um": (
        lambda r: cdi.ZonePlate(diameter=200, outer_zone=0.05),
        "outer_zone",
        "Was it um? Pass 50",
    ),
    "focus in um": (lambda r: cdi.Mirrors(focus=0.3), "focus", "Was it um? Pass 300"),
    "half angle in urad": (
        lambda r: cdi.Mirrors(half_angle=1500.0),
        "half_angle",
        "Was it urad? Pass 1.5",
    ),
    "positions in m": (
        lambda r: scan(
            position_y=np.array([0.0, 1e-6]), position_x=np.array([0.0, 1e-6])
        ),
        "position",
        "Was it m? Pass 1000",
    ),
    "positions in um": (
        lambda r: scan(
            position_y=np.array([0.0, 1.0]), position_x=np.array([0.0, 1.0])
        ),
        "position",
        "Was it um? Pass 1000",
    ),
    "threshold in per cent": (
        lambda r: cdi.unwrap(frames(), threshold=25),
        "threshold",
        "Was it per cent? Pass 0.25",
    ),
    "crystal in m": (
        lambda r: simulate.bragg_states(shape=(16, 16, 16), size=1.4e-6),
        "size",
        "Was it m? Pass 1400",
    ),
    "mass in ug": (
        lambda r: echem.li_content(r, formula="LiNiO2", mass=7e6),
        "mass",
        "Was it ug? Pass 7000",
    ),
    "nominal capacity in uA h": (
        lambda r: echem.cycles(r, nominal_capacity=1500.0, **CYCLES),
        "nominal_capacity",
        "Was it uA h? Pass 1.5",
    ),
    "capacity in C g-1 to utilisation": (
        lambda r: echem.utilisation(540.0, formula="LiFePO4"),
        "utilisation",
        "Was it C g-1 in place of mA h g-1?",
    ),
    "a quarter of the spectrum as width": (
        lambda r: xanes.smooth(
            spectrum(), width=0.25 * float(np.ptp(spectrum().energy.values))
        ),
        "width",
        "25% of the axis",
    ),
    "mass in g to utilisation": (
        lambda r: echem.utilisation(r, formula="LiNiO2", mass=0.007),
        "mass",
        "Was it g? Pass 7",
    ),
    "capacity in A h g-1": (
        lambda r: echem.li_content(0.22, formula="LiNiO2"),
        "data",
        "Was it A h g-1? Pass 220",
    ),
    "max_gap in minutes": (
        lambda r: echem.steps(r, counting=Counting(max_gap=2.0)),
        "max_gap",
        "Or min? Pass 120",
    ),
    "exposure in us": (
        lambda r: echem.join(r, scans(), exposure=6e7),
        "exposure",
        "Was it us? Pass 60",
    ),
    "window in mV": (
        lambda r: echem.turning_point(echem.dqdv(r), window=(3200, 4000)),
        "window",
        "Was it mV? Pass 4",
    ),
    "i_tolerance in per cent": (
        lambda r: echem.steps(r, i_tolerance=2),
        "i_tolerance",
        "Was it per cent? Pass 0.02",
    ),
    "i_zero of a titration in uA": (
        lambda r: echem.gitt(r, radius=5000.0, i_zero=5e3),
        "i_zero",
        "Was it uA? Pass 5",
    ),
    "radius in um": (
        lambda r: echem.gitt(r, radius=0.5),
        "radius",
        "Was it um? Pass 500",
    ),
    "mol_percent as a fraction": (
        lambda r: echem.add_lithia("LiNiO2", 0.05),
        "mol_percent",
        "Was it a fraction? Pass 5",
    ),
    "states in mV": (
        lambda r: echem.states(scans(), choose=[("charge", 3600)]),
        "choose",
        "Was it mV? Pass 3.6",
    ),
    "tolerance in mV": (
        lambda r: echem.states(scans(), choose=[("charge", 3.6)], tolerance=10),
        "tolerance",
        "Was it mV? Pass 0.01",
    ),
    "edge of a fit in keV": (
        lambda r: xanes.fit_edge(spectrum(), edge=(5.470, 5.488), mask=None),
        "edge",
        "Was it keV? Pass 5470",
    ),
    "peaks in keV": (
        lambda r: xanes.fit_peaks(
            spectrum(), peaks=[(5.47, 5.49)], mask=None, dim="energy"
        ),
        "peaks",
        "Was it keV? Pass 5470",
    ),
    "window in keV": (
        lambda r: xanes.edge_energy(xanes.normalise(spectrum()), window=(5.46, 5.5)),
        "window",
        "Was it keV? Pass 5460",
    ),
    "fraction in per cent": (
        lambda r: xanes.edge_energy(
            xanes.normalise(spectrum()), method="half_jump", fraction=50
        ),
        "fraction",
        "Was it per cent? Pass 0.5",
    ),
    "post in keV": (
        lambda r: xanes.noise_mask(spectrum(), pre=(5400, 5460), post=(5.5, 5.59)),
        "post",
        "Was it keV? Pass 5500",
    ),
    "standards in keV": (
        lambda r: xanes.valence(
            spectrum().rename("edge_energy"),
            standards={"V2O3": (5.478, 3), "VO2": (5.482, 4)},
        ),
        "standards",
        "Was it keV? Pass 5478",
    ),
    "ratio at keV": (
        lambda r: xanes.theoretical_ratio("LiNiO2", element="Ni", energy=8.4),
        "energy",
        "Was it keV? Pass 8400",
    ),
    "simulated energies in keV": (
        lambda r: simulate.ptychography(
            positions=4, size=32, energy=np.array([5.46, 5.5])
        ),
        "energy",
        "Was it keV? Pass 5460",
    ),
    "rest in hours": (
        lambda r: simulate.Titration(rest=8.0),
        "rest",
        "Was it h? Pass 28800",
    ),
    "pulse in minutes": (
        lambda r: simulate.Titration(pulse=10.0),
        "pulse",
        "min? Pass 600",
    ),
    "interval in ms": (
        lambda r: simulate.Titration(interval=1000.0),
        "interval",
        "Was it ms? Pass 1",
    ),
    "starting content in per cent": (
        lambda r: simulate.Electrode(x0=95),
        "x0",
        "Was it per cent? Pass 0.95",
    ),
    "resistance in mohm": (
        lambda r: simulate.Electrode(resistance=4e5),
        "resistance",
        "Was it mohm? Pass 400",
    ),
    "noise in per cent": (
        lambda r: simulate.oxide_series(n_scans=2, noise=2, r_range=(1.0, 3.0)),
        "noise",
        "Was it per cent? Pass 0.02",
    ),
    "distances of a simulation in pm": (
        lambda r: simulate.oxide_series(n_scans=2, r_range=(100.0, 3000.0)),
        "r_range",
        "Was it pm? Pass 30",
    ),
    "step of r in pm": (
        lambda r: simulate.oxide_series(n_scans=2, r_range=(1.0, 9.0), step=1.0),
        "step",
        "Was it pm? Pass 0.01",
    ),
    "fill in per cent": (
        lambda r: simulate.random_crystals(n=1, size=16, fill=(50, 80)),
        "fill",
        "Was it per cent? Pass (0.5, 0.8)",
    ),
    "central stop in mm": (
        lambda r: cdi.ZonePlate(diameter=200, outer_zone=50, central_stop=0.04),
        "central_stop",
        "Was it mm? Pass 40",
    ),
    "step of energies in keV": (
        lambda r: xanes.rebin_energy(spectrum(), e0=5480.0, step=3e-4),
        "step",
        "Was it keV? Pass 0.3",
    ),
    "settled in mV": (
        lambda r: echem.gitt(r, radius=5000.0, settled=1.0),
        "settled",
        "Was it mV? Pass 0.001",
    ),
    "delay in minutes": (
        lambda r: echem.resistance(r, at=(0.0, 0.1)),
        "at=",
        "Was it min? Pass 6",
    ),
    "oxidation states in per cent": (
        lambda r: echem.theoretical_capacity("LiNiO2", redox={"Ni": (300, 400)}),
        "redox",
        "Was it per cent? Pass 4",
    ),
    "support in per cent": (
        lambda r: cdi.crop_to_support(frames(), threshold=10),
        "threshold",
        "Was it per cent? Pass 0.1",
    ),
    "fraction of states in per cent": (
        lambda r: cdi.common_support(frames(), fraction=50),
        "fraction",
        "Was it per cent? Pass 0.5",
    ),
    "distance in cm": (
        lambda r: geometry(distance=2.8),
        "distance",
        "Or cm? Pass 28",
    ),
    "energy in J": (
        lambda r: scan(energy=1e-15),
        "energy",
        "Was it J? Pass 6241.51",
    ),
    "pitch in nm": (
        lambda r: scan(pixel_pitch=75_000),
        "pixel_pitch",
        "Was it nm? Pass 75",
    ),
    "zone plate in m": (
        lambda r: cdi.ZonePlate(diameter=2e-4, outer_zone=50),
        "diameter",
        "Was it m? Pass 200",
    ),
    "crystal in um": (
        lambda r: simulate.bragg_states(shape=(16, 16, 16), size=0.3),
        "size",
        "Was it um? Pass 300",
    ),
    "defocus in nm": (
        lambda r: cdi.ptycho_probe(
            scan(position_y=np.array([0.0, 500.0]), position_x=np.array([0.0, 500.0])),
            optics=cdi.ZonePlate(diameter=200, outer_zone=50),
            defocus=50_000,
        ),
        "defocus",
        "Was it nm? Pass 50",
    ),
    "r_range in pm to a refinement": (
        lambda r: nmf.identify(patterns(), candidates=[], r_range=(150, 2000)),
        "r_range",
        "Was it pm? Pass 20",
    ),
    "angles of incidence in rad": (
        lambda r: xanes.over_absorption(
            xanes.normalise(spectrum()),
            formula="LiVO2",
            element="V",
            geometry=(0.785398, 0.785398),
        ),
        "geometry",
        "Was it rad? Pass 45",
    ),
    "limits of lines in rad": (
        lambda r: xanes.powder_lines(IRON, limits=(0.2, 1.5)),
        "limits",
        "Was it rad? Pass 85.9437",
    ),
    "two_theta of a simulation in rad": (
        lambda r: simulate.bragg_states(shape=(8, 8, 8), two_theta=0.5),
        "two_theta",
        "Was it rad? Pass 28.6479",
    ),
    "pixels of simulated particles in m": (
        lambda r: simulate.particles(size=8, pixel_size=2e-8),
        "pixel_size",
        "Was it m? Pass 20",
    ),
    "pixels of simulated ptychography in m": (
        lambda r: simulate.ptychography(pixel_size=1.5e-8),
        "pixel_size",
        "Was it m? Pass 15",
    ),
    "strain in per cent": (
        lambda r: nmf.identify(patterns(), candidates=[], strain=3.0),
        "strain",
        "Was it per cent? Pass 0.03",
    ),
    "voltages of a record in mV": (
        lambda r: echem.half_cycles(of(r, "voltage", by=1e3)),
        "voltage",
        "Was it mV? Pass 4.2",
    ),
    "diffusion time in h": (
        lambda r: simulate.Electrode(tau=11.0),
        "tau",
        "Was it h? Pass 39600",
    ),
    "window of a pulse in ms": (
        lambda r: echem.gitt(r, window=(1000.0, 60_000.0), radius=5000.0),
        "window",
        "Was it ms? Pass 60",
    ),
    "C-rate in per cent": (
        lambda r: simulate.cell_experiment(c_rate=500.0),
        "c_rate",
        "Was it per cent? Pass 5",
    ),
    "current of a titration in nA": (
        lambda r: simulate.Titration(current=5e7),
        "current",
        "Was it uA? Pass 50000",
    ),
    "wavelength of a tube in nm": (
        lambda r: xanes.Diffractometer(wavelength=0.15406, tube=None),
        "wavelength",
        "Was it nm? Pass 1.5406",
    ),
    "pixels of a stack in um": (
        lambda r: simulate.particles(size=8, pixel_size=0.04),
        "pixel_size",
        "Was it um? Pass 40",
    ),
    "rocking angles in rad": (
        lambda r: geometry(np.deg2rad(0.01)),
        "step of rocking",
        "Was it rad? Pass 0.01",
    ),
    "clock of a record in ms": (
        lambda r: echem.Clock(offset_s=-37_400),
        "offset_s",
        "Was it ms? Pass -37.4",
    ),
    "open circuit in ms": (
        lambda r: simulate.Titration(open_circuit=60_000),
        "open_circuit",
        "Was it ms? Pass 60",
    ),
    "open circuit in V": (
        lambda r: simulate.Titration(open_circuit=3.7),
        "open_circuit",
        "Was it a voltage (V)?",
    ),
    "angle in mdeg, of two turns": (
        lambda r: geometry(motors={"theta": 7200.0}),
        "theta",
        "Was it mdeg? Pass 7.2",
    ),
    "wavelength of a tube in keV": (
        lambda r: xanes.Diffractometer(wavelength=8.048),
        "wavelength",
        "Was it keV? Pass 1.54",
    ),
    "width of a peak in keV": (
        lambda r: xanes.fit_edge(
            spectrum(),
            edge=(5470, 5490),
            peaks=xanes.Peak((5455.0, 5465.0), width=(0.001, 0.002)),
        ),
        "width of a peak",
        "Was it keV? Pass 2",
    ),
    "nominal capacity per gram": (
        lambda r: echem.cycles(
            r, electrode="cathode", first="charge", mass=8.0, nominal_capacity=180.0
        ),
        "nominal_capacity",
        "Was it mA h g-1? Pass 1.44",
    ),
    "smoothing of a charge in per cent": (
        lambda r: echem.dvdq(r, smoothing=1.0),
        "smoothing",
        "Was it per cent? Pass 0.01",
    ),
    "current in A beside a counter": (
        lambda r: echem.half_cycles(
            of(r, "current", by=1e-3).assign(capacity=counted(r))
        ),
        "counted grows far faster than the current",
        "in other units",
    ),
    "current in uA beside a counter": (
        lambda r: echem.half_cycles(
            of(r, "current", by=1e3).assign(capacity=counted(r))
        ),
        "counted grows 0.001 times as fast as the current",
        "in other units",
    ),
    "damping in 1/nm": (
        lambda r: nmf.PdfInstrument(q_damp=0.3),
        "q_damp",
        "Was it 1/nm? Pass 0.03",
    ),
    "range of a simulation in nm": (
        lambda r: simulate.oxide_series(n_scans=2, r_range=(0.1, 3.0)),
        "r_range",
        "Was it nm? Pass 30",
    ),
    "occupancy in per cent": (
        lambda r: Crystal("Fe", lattice(2.9), ("Fe",), np.zeros((1, 3)), 1e2 * ONE),
        "occupancy",
        "Was it per cent? Pass 1",
    ),
    "wavenumbers in 1/m": (
        lambda r: xanes.despike(
            xr.DataArray(np.ones(99), {"shift": np.linspace(1e4, 2e5, 99)}, ["shift"])
        ),
        "shift",
        "Was it 1/m? Pass 2000",
    ),
    "centre as fractions": (
        lambda r: geometry(centre=(0.5, 0.5)),
        "centre",
        "fractions of the frame",
    ),
    "size of a crystal in um": (
        lambda r: simulate.bragg_states(shape=(16, 16, 16), size=1.4),
        "size",
        "sizes are in nm",
    ),
    "positions within a pixel": (
        lambda r: scan(position_y=np.array([0.0, 20.0])),
        "position_y",
        "less than a pixel of the object",
    ),
    "defocus of a shadow in m": (
        lambda r: scan(defocus=1e-5),
        "pixel of the object",
        "Was it m?",
    ),
    "defocus of a probe in m": (
        lambda r: cdi.ptycho_probe(
            scan(), optics=cdi.Mirrors(focus=100.0), defocus=1e-5
        ),
        "defocus",
        "Was it m? Pass 10",
    ),
    "i0 in other units than counts": (
        lambda r: xanes.optical_density(counts(), i0=10.0),
        "i0",
        "brighter than i0, half of them more than 70",
    ),
    "i0 of a longer exposure": (
        lambda r: xanes.optical_density(counts(), i0=1e5),
        "i0",
        "nothing lets more than 0.007",
    ),
    "nominal capacity in C": (
        lambda r: echem.cycles(
            r, electrode="cathode", first="charge", nominal_capacity=5.4
        ),
        "nominal_capacity",
        "Was it C? Pass 1.5",
    ),
    "content of a current in A": (
        lambda r: echem.li_content(
            of(r, "current", by=1e-3), formula="LiNiO2", mass=7.0
        ),
        "specific capacity",
        "a current in A",
    ),
    "exposure in ms, of scans that are nearer": (
        lambda r: echem.join(r, scans(), exposure=1e4),
        "exposure",
        "longer than the 300 s between scans. Was it ms? Pass 10",
    ),
    "test time that stands still": (
        lambda r: echem.li_content(
            r.assign_coords(test_time=r["test_time"] * 0), formula="LiNiO2", mass=7.0
        ),
        "test_time",
        "no charge passes",
    ),
    "distance in cm, of a wide crystal": (
        lambda r: cdi.geometry(
            frames().assign_coords(rocking=("rocking", 0.01 * np.arange(4), DEGREES)),
            **BRAGG | {"distance": 80.0},
        ),
        "seen width",
        "Was it the distance in cm?",
    ),
    "distance in cm of ptychography": (
        lambda r: raster(distance=31.7).cdi.check_ptycho(),
        "hardly overlap",
        "Was the distance in cm?",
    ),
    "positions in Angstrom": (
        lambda r: raster(by=10.0).cdi.check_ptycho(),
        "hardly overlap",
        "positions in Angstrom?",
    ),
    "current of a small cell in A": (
        lambda r: echem.resistance(of(r, "current", by=1e-3)),
        "resistance",
        "Was the current in A?",
    ),
    "current of pulses in A": (
        lambda r: echem.pulses(of(r, "current", by=1e-3)),
        "pulses",
        "Was the current in A?",
    ),
    "current of switches in uA beside a counter": (
        lambda r: echem.resistance(
            of(r, "current", by=1e3).assign(capacity=counted(r))
        ),
        "resistance",
        "Was the current in uA?",
    ),
    "current of a titration in A, as measured": (
        lambda r: echem.gitt(
            of(
                simulate.gitt(protocol=simulate.Titration(n_pulses=9))[0],
                "current",
                by=1e-3,
            )
        ),
        "gitt",
        "Was the current in A?",
    ),
    "r in nm": (
        lambda r: nmf.identify(
            iron_patterns().assign_coords(r=iron_patterns()["r"] / 10),
            candidates=[IRON],
        ),
        "G(r)",
        "Was r in nm?",
    ),
    "dark of a longer exposure": (
        lambda r: xanes.optical_density(counts(), i0=1000.0, dark=900.0),
        "dark",
        "100% of the values are missing",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_with_the_likely_unit(slip, record):
    call, argument, words = SLIPS[slip]
    wanted = f"(?s).*{re.escape(argument)}.*{re.escape(words)}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Once it is told nothing need be computed.
        warnings.filterwarnings("error", wanted, DataQualityWarning)
        try:
            call(record)
        except (BatteryxrError, DataQualityWarning) as error:
            told = [str(error)]
        else:
            told = []
    told += [str(w.message) for w in caught]
    assert any(argument in text and words in text for text in told), told


@pytest.mark.parametrize("quantity", bounds.BOUNDS)
def test_the_table_is_consistent(quantity):
    bound = bounds.BOUNDS[quantity]
    assert bound.possible[0] <= bound.likely[0] < bound.likely[1] <= bound.possible[1]
    bounds.check(quantity, bound.likely, argument="it")
    for factor in bound.slips.values():
        assert factor != 1
    if np.isfinite(bound.possible[1]):
        with pytest.raises(BatteryxrError, match="it="):
            bounds.check(quantity, 2 * bound.possible[1] + 1, argument="it")


@pytest.mark.parametrize(
    ("given", "word"),
    [({"offset_s": 3.6e6}, "ms"), ({"drift_ppm": 1e-5}, "fraction")],
)
def test_slips_of_a_declared_clock_are_told(given, word):
    with pytest.warns(DataQualityWarning, match=word):
        echem.Clock(**given, reference="2022-07-27T12:00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        echem.Clock(offset_s=-37.4, drift_ppm=0.3, reference="2022-07-27T12:00")
        fitted = given | {"method": "fitted", "reference": "2022-07-27T12:00"}
        echem.Clock(**fitted)


def test_missing_numbers_are_not_judged():
    for value in (None, np.nan, [np.nan, np.inf], "file.h5"):
        bounds.check("photon energy", value, argument="energy")


def test_results_are_flagged_and_lazy_ones_left_alone():
    attrs = {"units": "mA h g-1"}
    result = xr.Dataset({"specific_capacity": ("cycle", [200.0, 2e5], attrs)})
    with pytest.warns(DataQualityWarning, match="specific_capacity reaches 200000"):
        flagged = bounds.told(result)
    assert "200000" in flagged["specific_capacity"].attrs["implausible"]
    assert "implausible" not in result["specific_capacity"].attrs
    lazy = bounds.told(result.chunk())
    assert "implausible" not in lazy["specific_capacity"].attrs


def efficiencies(*values):
    return xr.Dataset({"coulombic_efficiency": ("cycle", list(values))})


def test_an_efficiency_is_judged_by_its_neighbours():
    """A tiny first cycle may be odd; cycles that are so one after another are not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bounds.told(efficiencies(0.02, 0.97, 0.99, 0.99))
        bounds.told(efficiencies(900.0, 0.97, 0.99, 0.99))
        bounds.told(efficiencies(0.8, 0.99, 0.1, 0.99, np.nan, 0.99))
        bounds.told(efficiencies(0.3))
    for odd in ((0.8, 0.3, 0.31, 0.3, 0.99), (99.0, 99.1, 99.2), (3.2, 3.1, 3.3)):
        with pytest.warns(DataQualityWarning, match="coulombic_efficiency reaches"):
            bounds.told(efficiencies(*odd))


def test_sound_numbers_are_taken_without_a_word(record):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        echem.cycles(record, mass=7.0, nominal_capacity=1.5, **CYCLES)
        echem.dqdv(record, mass=7.0)
        scan()
        xanes.normalise(spectrum())


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("mass", 1.9e6),  # of the cathode of a prismatic cell of 280 A h, in mg
        ("nominal capacity", 1.175e6),  # of a cell of a power store, in mA h
        ("nominal capacity", 0.02),  # of a film
        ("wavelength", 6.0),  # of cold neutrons
        ("photon energy", 284.0),  # at the K edge of carbon
        ("temperature", -20.0),
    ],
)
def test_large_and_small_cells_are_taken_without_a_word(quantity, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bounds.check(quantity, value, argument="it")
