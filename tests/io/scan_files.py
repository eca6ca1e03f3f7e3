"""Writes scan series with known values, as beamlines and programs write them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

ENERGY = np.round(np.arange(8300.0, 8400.0, 0.5), 3)
R = np.round(np.arange(0.0, 20.0, 0.05), 2)


def spectrum(k: int, energy: np.ndarray = ENERGY) -> np.ndarray:
    """Return an edge that moves with the scan number, four digits."""
    return np.round(0.5 + np.arctan((energy - 8345 - 0.1 * k) / 2) / np.pi, 4)


def pdf(k: int, r: np.ndarray = R) -> np.ndarray:
    """Return damped ripples that move with the scan number, six digits."""
    return np.round(np.sin(3 * r + 0.01 * k) * np.exp(-r / 10), 6)


def table(columns: list[np.ndarray], separator: str = " ") -> str:
    """Return columns as text, every digit kept."""
    rows = zip(*(c.tolist() for c in columns), strict=True)
    return "".join(separator.join(map(repr, row)) + "\n" for row in rows)


def quick_xas(folder: Path, n: int, *, energy: np.ndarray = ENERGY) -> list[Path]:
    """Write quick-XAS averages: start, seconds to the middle, tab-joined names."""
    paths = []
    for k in range(n):
        path = folder / f"op1_pos{k % 2 + 1}_{k + 1}.txt"
        header = (
            "# This file has been produced by a reduction program\n"
            f"#Data from HDF File: /data/{k}.nxs\n"
            f"#Time at start=2022-07-26 23:{k % 60:02d}:58.055\n"
            f"#Time from start (seconds)={65 + 0.25 * k!r}\n"
            f"#Sample temperature (C)={25 + k}\n"
            "# Normalization -------------\n"
            f"# E0=8332.88   Eshift={-0.25 - 0.001 * k!r}\n"
            "# shifted energy\tnormalized\treference\tI0\n"
        )
        mu = spectrum(k, energy)
        body = table([energy, mu, mu * 0.5, np.full(energy.size, 15000.0)])
        path.write_text(header + body)
        paths.append(path)
    return paths


def gr(folder: Path, n: int, *, zipped: bool = True) -> list[Path]:
    """Write pair distribution functions, temperatures in the names only."""
    paths = []
    for k in range(n):
        text = (
            "# [DEFAULT]\n# mode = xray\n# qmax = 22\n# rpoly = 0.9\n"
            "# #### start data\n# #S 1\n# #L r(Å)  G(Å$^{-2}$)\n# \n"
        ) + table([R, pdf(k)])
        name = f"ramp_T{30 + 5 * k:03d}.00C_q.gr"
        path = folder / (name + ".gz" if zipped else name)
        raw = text.encode()
        path.write_bytes(gzip.compress(raw, mtime=0) if zipped else raw)
        paths.append(path)
    return paths


def xdi(path: Path, columns: dict[str, np.ndarray], **header: str) -> Path:
    """Write an XDI file; column names may carry units: ``"energy keV"``."""
    lines = ["# XDI/1.0 writer/1.0"]
    lines += [f"# Column.{k}: {name}" for k, name in enumerate(columns, 1)]
    lines += [f"# {k.replace('__', '.')}: {v}" for k, v in header.items()]
    lines += ["# ///", "#  a comment: of the user", "#------", "#  names"]
    path.write_text("\n".join(lines) + "\n" + table(list(columns.values())))
    return path
