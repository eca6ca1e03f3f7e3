"""Simulate loops of cycling and impedance of a known circuit, and write their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.files import require_on_disk
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.simulate.experiment import date_of
from batteryxr.simulate.files import zone_of
from batteryxr.simulate.sizes import require_modest

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from batteryxr.core.bounds.kinds import Mass, RelativeNoise
    from batteryxr.core.checks import Count, Fraction, NonNegative, Seed

#: Capacity between the limits (mA h), current (mA), and spacing of rows (s).
_CAPACITY, _CURRENT, _INTERVAL = 1.2, 0.3, 30.0
#: Frequencies from high to low: for odd and for even spectra.
_LISTS = (np.logspace(5, -1, 43), np.logspace(5, -1.3, 39))
#: Periods per point, its shortest time (s), and the pause before each spectrum (s).
_PERIODS, _SHORTEST, _PAUSE = 2.5, 0.25, 5.0
#: Deviation of an outlier, relative to the modulus.
_OFF = 0.3
CIRCUIT = "L0-R0-p(R1,CPE1)-W1"
_UNITS = {"L0": "H", "R0": "ohm", "R1": "ohm", "CPE1_Q": "ohm-1 s^n", "CPE1_n": "1",
          "W1": "ohm s^-0.5"}  # fmt: skip


class _Sweep(NamedTuple):
    """Hold one spectrum: frequencies, time of each point, impedance, truth."""

    frequency: np.ndarray
    time: np.ndarray  # s since the spectrum began
    impedance: np.ndarray
    truth: dict[str, float]


@recorded
def impedance_loop(
    *,
    n_scans: Count = 16,
    seed: Seed = 0,
    noise: RelativeNoise = 0.003,
    drift: NonNegative = 0.0,
    fraction: Fraction = 0.0,
    mass: Mass = 7.0,
    start: str | np.datetime64 = "2026-03-14T08:26:53",
) -> xr.DataTree:
    """Simulate a cell that is charged and discharged, with impedance in between.

    Parameters
    ----------
    n_scans
        Number of spectra: half of them on charge, half on discharge. Every second one
        has other frequencies.
    seed
        Seed of the noise.
    noise
        Standard deviation of both parts of the impedance, relative to its modulus.
    drift
        Relative growth of R1 while a spectrum is taken.
    fraction
        Fraction of points that are outliers.
    mass
        Mass of active material (mg).
    start
        Start of the test (UTC).

    Returns
    -------
    xarray.DataTree
        ``echem``, the record, like the result of `read_cycler`; ``impedance``, the
        spectra, like the result of `read_impedance`; ``truth``, each element of
        ``L0-R0-p(R1,CPE1)-W1`` on ``spectrum``, at its start.

    Examples
    --------
    >>> loop = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> loop["impedance"]["impedance"].dims
    ('spectrum', 'frequency')
    """
    require_modest("n_scans", n_scans, n_scans, 100_000)
    rng, origin = generator(seed), date_of(start)
    rows, begins, spectra = [], [], []
    time, share, half = 0.0, 0.0, (n_scans + 1) // 2
    for k in range(n_scans):
        sign = 1.0 if k < half else -1.0
        step = 0.9 / half if k < half else 0.9 / max(n_scans - half, 1)
        lasting = step * _CAPACITY / _CURRENT * 3600.0
        t = np.append(np.arange(0.0, lasting, _INTERVAL), lasting)
        moved = share + sign * step * t / lasting
        rows.append((time + t, moved, np.full(t.size, sign * _CURRENT)))
        time, share = time + lasting + _PAUSE, float(moved[-1])
        one = _spectrum(share, _LISTS[k % 2], drift, rng)
        left = noise * rng.standard_normal((2, one.frequency.size))
        odd = rng.random(one.frequency.size) < fraction
        off = left[0] + 1j * left[1] + _OFF * odd * np.exp(2j * np.pi * rng.random())
        one = one._replace(impedance=one.impedance + np.abs(one.impedance) * off)
        begins.append(time)
        spectra.append(one)
        time += float(one.time[-1]) + _PAUSE
    record = _record(rows, origin, mass, rng)
    measured, truth = _spectra(spectra, np.array(begins), origin, record)
    return xr.DataTree.from_dict(
        {"echem": record, "impedance": measured, "truth": truth}
    )


def _spectrum(
    share: float, frequency: np.ndarray, drift: float, rng: np.random.Generator
) -> _Sweep:
    """Return the spectrum of the cell with `share` of its capacity charged."""
    truth = {
        "L0": 4e-7,
        "R0": 3.0 + 0.5 * share,
        "R1": 14.0 + 60.0 * (share - 0.55) ** 2,
        "CPE1_Q": 2.5e-5 * (1 + 0.4 * share),
        "CPE1_n": 0.87,
        "W1": 3.0 + 2.5 * share**2,
    }
    each = np.maximum(_PERIODS / frequency, _SHORTEST)
    time = np.cumsum(each) - each[0]
    r1 = truth["R1"] * (1 + drift * time / time[-1])
    s = 2j * np.pi * frequency
    z = s * truth["L0"] + truth["R0"]
    z = z + 1 / (1 / r1 + truth["CPE1_Q"] * s ** truth["CPE1_n"])
    z = z + truth["W1"] * (1 - 1j) / np.sqrt(2 * np.pi * frequency)
    return _Sweep(frequency, time, z, truth)


def _volts(share: np.ndarray) -> np.ndarray:
    return 3.45 + 0.75 * share + 0.06 * np.tanh((share - 0.4) / 0.1)


def _record(
    rows: Sequence[tuple[np.ndarray, ...]],
    origin: np.datetime64,
    mass: float,
    rng: np.random.Generator,
) -> xr.Dataset:
    time, share, current = (np.concatenate(c) for c in zip(*rows, strict=True))
    file = np.repeat(np.arange(len(rows)), [r[0].size for r in rows])
    volts = _volts(share) + 20.0 * current * 1e-3
    volts = volts + 1e-4 * rng.standard_normal(time.size)
    times = origin + (time * 1e9).round().astype("m8[ns]")
    about = {"units": "1", "long_name": "Piece of a file"}
    return xr.Dataset(
        {
            "voltage": ("record", volts, attributes("voltage")),
            "current": (
                "record",
                current,
                attributes("current", comment="positive current charges the cell"),
            ),
        },
        {
            "test_time": ("record", time, attributes("test_time")),
            "time": ("record", times, {"long_name": "Time (UTC)"}),
            "file": ("record", file.astype(np.int16), about),
        },
        {"mass": mass, "title": "simulated loop of cycling and impedance"},
    )


def _spectra(
    spectra: list[_Sweep],
    begins: np.ndarray,
    origin: np.datetime64,
    record: xr.Dataset,
) -> tuple[xr.Dataset, xr.Dataset]:
    axis = np.unique(np.concatenate([one.frequency for one in spectra]))
    shape = len(spectra), axis.size
    z, at = np.full(shape, np.nan, complex), np.full(shape, np.nan)
    for k, one in enumerate(spectra):
        place = np.searchsorted(axis, one.frequency)
        z[k, place], at[k, place] = one.impedance, one.time
    on = ("spectrum", "frequency")
    last = np.searchsorted(record["test_time"].values, begins) - 1
    # At rest: subtract the voltage that the current adds.
    at_rest = record["voltage"].values[last] - 0.02 * record["current"].values[last]
    number = np.arange(1, len(spectra) + 1)
    coords: dict[str, Any] = {
        "spectrum": ("spectrum", number, attributes("spectrum")),
        "frequency": ("frequency", axis, attributes("frequency")),
        "time": (
            "spectrum",
            origin + (begins * 1e9).round().astype("m8[ns]"),
            {"long_name": "Time (UTC)"},
        ),
        "exposure": (
            "spectrum",
            np.array([one.time[-1] for one in spectra]),
            attributes("exposure"),
        ),
        "voltage": ("spectrum", at_rest, attributes("voltage")),
        "current": ("spectrum", np.zeros(len(spectra)), attributes("current")),
    }
    about = {"units": "s", "long_name": "Time since the spectrum began"}
    measured = xr.Dataset(
        {
            "impedance": (on, z, {"units": "ohm", "long_name": "Impedance"}),
            "point_time": (on, at, about),
        },
        coords,
    )
    known = {
        name: (
            "spectrum",
            np.array([one.truth[name] for one in spectra]),
            {"units": units, "long_name": name},
        )
        for name, units in _UNITS.items()
    }
    truth = xr.Dataset(known, {"spectrum": coords["spectrum"]}, {"circuit": CIRCUIT})
    return measured, truth


@checked
def write_impedance_loop(
    data: xr.DataTree,
    path: str | os.PathLike[str],
    *,
    timezone: str = "Europe/Paris",
) -> Path:
    """Write a simulated loop as two text files, like those of EC-Lab.

    Parameters
    ----------
    data
        Result of `impedance_loop`.
    path
        Folder for ``loop_01_GCPL.mpt`` and ``loop_02_PEIS.mpt``, which `read_cycler`
        and `read_impedance` both read.
    timezone
        Time zone of the cycler's clock, which the files do not name.

    Returns
    -------
    pathlib.Path
        The folder of the two files.

    Raises
    ------
    ArgumentError
        If no such zone exists, or the tree lacks record or spectra.

    Examples
    --------
    >>> import os
    >>> loop = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> paths = batteryxr.simulate.write_impedance_loop(loop, "run")
    >>> sorted(os.listdir("run"))
    ['loop_01_GCPL.mpt', 'loop_02_PEIS.mpt']
    """
    missing = [name for name in ("echem", "impedance") if name not in data.children]
    if missing:
        raise ArgumentError(
            "data",
            sorted(data.children),
            "a tree with echem and impedance, as impedance_loop gives it",
        )
    zone = zone_of(timezone)
    require_on_disk(path)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    record, spectra = data["echem"].to_dataset(), data["impedance"].to_dataset()
    begun = record["time"].values[0]
    rows = {
        "time/s": record["test_time"].values,
        "Ewe/V": record["voltage"].values,
        "<I>/mA": record["current"].values,
    }
    technique = "Galvanostatic Cycling with Potential Limitation"
    _write(folder / "loop_01_GCPL.mpt", technique, rows, begun, zone)
    technique = "Potentio Electrochemical Impedance Spectroscopy"
    points = _points(spectra, begun)
    _write(folder / "loop_02_PEIS.mpt", technique, points, begun, zone)
    return folder


def _points(spectra: xr.Dataset, begun: np.datetime64) -> dict[str, np.ndarray]:
    """Return the points of all spectra in the order of measurement."""
    z = spectra["impedance"].transpose("spectrum", "frequency").values[:, ::-1]
    at = spectra["point_time"].transpose("spectrum", "frequency").values[:, ::-1]
    there = np.isfinite(z)
    number = np.broadcast_to(np.arange(1, len(z) + 1)[:, None], z.shape)[there]
    frequency = np.broadcast_to(spectra["frequency"].values[::-1], z.shape)[there]
    began = (spectra["time"].values - begun) / np.timedelta64(1, "s")
    return {
        "freq/Hz": frequency,
        "Re(Z)/Ohm": z[there].real,
        "-Im(Z)/Ohm": -z[there].imag,
        "time/s": (began[:, None] + at)[there],
        "<Ewe>/V": spectra["voltage"].values[number - 1],
        "<I>/mA": spectra["current"].values[number - 1],
        "cycle number": number.astype(float),
    }


def _write(
    path: Path,
    technique: str,
    columns: dict[str, np.ndarray],
    begun: np.datetime64,
    zone: ZoneInfo,
) -> None:
    import pandas as pd

    start = pd.Timestamp(begun, tz="UTC").tz_convert(zone)
    written = f"{start:%m/%d/%Y %H:%M:%S}.{start.microsecond // 1000:03d}"
    header = [
        "",
        technique,
        "",
        f"Acquisition started on : {written}",
        "Device : simulated",
        "",
        "\t".join(columns) + "\t",
    ]
    top = ["EC-Lab ASCII FILE", f"Nb header lines : {len(header) + 2}"]
    table = zip(*columns.values(), strict=True)
    rows = ("".join(f"{x:.9E}\t" for x in row) for row in table)
    text = "\r\n".join([*top, *header, *rows, ""])
    path.write_bytes(text.encode("latin-1"))
