"""Write files of three disordered rock salts: cycling, diffraction, spectroscopy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.seeds import generators
from batteryxr.simulate.files import new_folder
from batteryxr.simulate.titration import Electrode, Titration, gitt

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from batteryxr.core.checks import Seed

#: Sample -> fraction of the capacity, time constant of diffusion (s).
_SAMPLES = {"LTMOF": (0.8, 9e4), "MS10": (1.1, 5e4), "MS20": (1.3, 3e4)}
#: Copper lines (Angstrom) and their relative heights; goniometer radius (mm).
_COPPER, _RADIUS = ((1.540593, 1.0), (1.544427, 0.5)), 240.0
#: Sums of squares of the indices of rock-salt reflections, and their heights.
_LINES = ((3, 90.0), (4, 900.0), (8, 450.0), (11, 60.0), (12, 120.0))
#: Aluminium of the current collector: angle (deg) and height.
_FOIL = ((38.47, 400.0), (44.72, 200.0))
_STATES = {"pristine": 0.0, "ch_4.0V": -4.0, "ch_4.6V": -9.0, "dis_3.0V": -5.0}


@checked
def write_samples(path: str | os.PathLike[str], *, seed: Seed = 0) -> Path:
    """Write the files of a comparison of three cathodes, with their imperfections.

    The files hold only what instruments record. Patterns contain the K-alpha doublet, a
    sample that lies 0.12 mm too high, and aluminium. Spectra contain cosmic rays on a
    sloping background. Infrared spectra are in per cent.

    Parameters
    ----------
    path
        Folder for ``LTMOF.bdf.csv``, ``MS10.bdf.csv``, ``MS20.bdf.csv`` (three rates
        each), ``gitt_LTMOF.bdf.csv`` ..., and the folders ``xrd`` (24 ``.xrdml`` files
        while LTMOF cycles once), ``raman`` (text of ex situ states), ``ftir``
        (JCAMP-DX) and ``maps`` (``.gsf`` of two bands).
    seed
        Seed of the noise.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ArgumentError
        If the folder is not empty.

    Examples
    --------
    >>> import os
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> sorted(os.listdir(folder))[-3:]
    ['maps', 'raman', 'xrd']
    """
    folder = new_folder(path)
    for part in ("xrd", "raman", "ftir", "maps"):
        (folder / part).mkdir(parents=True)
    xrd, raman, ftir, maps = generators(seed, 4)
    for name, (share, tau) in _SAMPLES.items():
        _write_record(folder / f"{name}.bdf.csv", *_rates(share))
        titration, _ = gitt(
            protocol=Titration(n_pulses=8), electrode=Electrode(tau=tau), seed=seed
        )
        columns = (titration[n].values for n in ("test_time", "voltage", "current"))
        _write_record(folder / f"gitt_{name}.bdf.csv", *columns)
    _write_patterns(folder / "xrd", xrd)
    _write_raman(folder / "raman", raman)
    _write_infrared(folder / "ftir", ftir)
    _write_maps(folder / "maps", maps)
    return folder


def _rates(share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time (s), voltage and current (mA) of a cycle at each of three rates."""
    parts, hours = [], 0.0
    for rate in (0.2, 0.5, 1.0):
        for sign in (1, -1):
            top = share * (1 - 0.25 * rate) * 0.9
            x = np.linspace(0, 1, 150)
            volts = 3.2 + sign * (0.1 * rate + (x - 0.5) * 3.0)
            volts = volts + 0.25 * np.tanh((x - 0.6) * 6) * sign
            time = 3600 * (hours + x * top / rate)
            parts.append((time, np.clip(volts, 1.5, 4.8), np.full(150, sign * rate)))
            hours = time[-1] / 3600 + 0.01
    time, voltage, current = (np.concatenate(p) for p in zip(*parts, strict=True))
    return time, voltage, current


def _write_record(
    path: Path, time: np.ndarray, voltage: np.ndarray, current: np.ndarray
) -> None:
    rows = zip(time, voltage, current / 1000, strict=True)
    lines = [f"{t:.2f},{v:.5f},{i:.6e}" for t, v, i in rows]
    head = "Test Time / s,Voltage / V,Current / A"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


def _line(x: np.ndarray, at: float, width: float) -> np.ndarray:
    u = 2 * (x - at) / width
    return np.asarray(0.5 / (1 + u * u) + 0.5 * np.exp(-np.log(2) * u * u))


def _write_patterns(folder: Path, rng: np.random.Generator, n: int = 24) -> None:
    """Write patterns of a rock salt that shrinks and grows, half an hour apart."""
    x = np.arange(30.0, 85.0, 0.02)
    start = np.datetime64("2023-05-02T10:00:00")
    for k in range(n):
        a = 4.14 - 0.06 * np.sin(np.pi * k / (n - 1))
        y = 200 - 1.2 * (x - 30)
        for square, height in _LINES:
            for wave, ratio in _COPPER:
                t = 2 * np.degrees(np.arcsin(wave * np.sqrt(square) / 2 / a))
                t -= np.degrees(2 * 0.12 / _RADIUS) * np.cos(np.radians(t / 2))
                y = y + height * ratio * _line(x, t, 0.25)
        for at, height in _FOIL:
            y = y + height * _line(x, at, 0.1)
        counts = " ".join(map(str, rng.poisson(y)))
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<xrdMeasurements '
            'xmlns="http://www.xrdml.com/XRDMeasurement/1.3" status="Completed">\n'
            "<xrdMeasurement><usedWavelength><kAlpha1 "
            f'unit="Angstrom">{_COPPER[0][0]}</kAlpha1></usedWavelength>\n'
            f"<scan><header><startTimeStamp>{start + 1800 * k}+00:00"
            "</startTimeStamp></header><dataPoints>"
            f'<positions axis="2Theta" unit="deg"><startPosition>{x[0]:.4f}'
            f"</startPosition><endPosition>{x[-1]:.4f}</endPosition></positions>"
            '<commonCountingTime unit="seconds">0.5</commonCountingTime>\n'
            f'<intensities unit="counts">{counts}</intensities></dataPoints></scan>'
            "</xrdMeasurement></xrdMeasurements>\n"
        )
        (folder / f"scan_{k:03d}.xrdml").write_text(text, encoding="utf-8")


def _write_raman(folder: Path, rng: np.random.Generator) -> None:
    """Write spectra of states, each with three cosmic rays on a sloping background."""
    x = np.arange(350.0, 800.0, 1.0)
    for name, shift in _STATES.items():
        y = 300 + 0.4 * x + 900 * _line(x, 580 + shift, 50) + 400 * _line(x, 640, 40)
        counts = rng.poisson(y).astype(float)
        counts[rng.integers(5, 440, 3)] += rng.uniform(500, 3000, 3)
        body = "\n".join(f"{a:.1f}\t{b:.0f}" for a, b in zip(x, counts, strict=True))
        text = f"Raman shift (1/cm)\tIntensity (counts)\n{body}\n"
        (folder / f"LTMOF_{name}.txt").write_text(text, encoding="utf-8")


def _write_infrared(folder: Path, rng: np.random.Generator) -> None:
    """Write transmittance in per cent, with carbonate that grows on charge."""
    x = np.linspace(1800.0, 700.0, 276)
    for k, name in enumerate(_STATES):
        band = 0.05 + (0.1 + 0.1 * k) * _line(x, 1430, 70) + 0.1 * _line(x, 870, 25)
        y = 100 * 10**-band + rng.normal(0, 0.05, x.size)
        rows = "\n".join(f"{a:.4f}, {b:.4f}" for a, b in zip(x, y, strict=True))
        text = (
            f"##TITLE={name}\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n"
            "##XUNITS=1/CM\n##YUNITS=%TRANSMITTANCE\n##XFACTOR=1\n##YFACTOR=1\n"
            f"##NPOINTS={x.size}\n##XYPOINTS=(XY..XY)\n{rows}\n##END=\n"
        )
        (folder / f"LTMOF_{name}.jdx").write_text(text, encoding="utf-8")


def _write_maps(folder: Path, rng: np.random.Generator) -> None:
    """Write maps of two bands, 5 um wide, with carbonate at the rim of particles."""
    y, x = np.mgrid[0:64, 0:64] / 63 - 0.5
    away = np.hypot(y, x)
    for band, values in (
        ("1430", np.exp(-(((away - 0.3) / 0.08) ** 2))),
        ("870", away),
    ):
        raw = "Gwyddion Simple Field 1.0\nXRes = 64\nYRes = 64\nXReal = 5e-06\n"
        raw += f"YReal = 5e-06\nXYUnits = m\nZUnits = V\nTitle = {band} 1/cm\n"
        head = raw.encode()
        noisy = values + rng.normal(0, 0.03, values.shape)
        head += bytes(4 - len(head) % 4)
        (folder / f"map_{band}.gsf").write_bytes(head + noisy.astype("<f4").tobytes())
