"""Draw the picture of the README: ``python docs/images/operando_figure.py``.

The experiment is the sample ``lno-operando``, as in the tutorial of the first hour.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import batteryxr

PICTURE = Path(__file__).with_name("operando.png")
SIZE = {"width": 1000, "height": 240, "xlabel": "Time (h)"}
NAMES = ("pristine", "charged", "found")
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def main() -> None:
    """Draw voltage, spectra and phase ratios on one axis of time."""
    hv = batteryxr.load_hvplot()
    folder = batteryxr.sample("lno-operando")
    zone = "Europe/Paris"
    record = batteryxr.read_cycler(sorted(folder.glob("cycler/*.mpt")), timezone=zone)
    spectra = batteryxr.read_series(
        sorted(folder.glob("xas/norm_*.txt")), timezone=zone, order="time"
    )
    scans = record.echem.join(spectra)
    edge = scans.sel(energy=slice(8325, 8400)).compute()
    known = {"pristine": 0, "charged": int(edge.voltage.argmax())}
    phases = edge.nmf.fit(3, fixed=known, seed=0)

    hours = (edge["time"].values - record["time"].values[0]) / np.timedelta64(1, "h")
    span = (0.0, float(hours.max()) + 0.2)
    even = edge.interp(energy=np.linspace(8325, 8400, 300))
    grid = np.linspace(*span, 800)
    nearest = np.abs(hours[:, None] - grid).argmin(0)
    axes = ["Time (h)", "Photon energy (eV)"]
    image = hv.Image((grid, even["energy"].values, even.values[nearest].T), axes, "μt")
    ratios = [
        hv.Curve((hours, values), "Time (h)", "Ratio", label=name).opts(color=colour)
        for name, values, colour in zip(
            NAMES, phases["weights"].values.T, COLOURS, strict=True
        )
    ]
    rows = (
        record.echem.plot.operando(scans),
        image.opts(cmap="viridis", clim=(0, 1.5)),
        hv.Overlay(ratios).opts(ylim=(0, 1.02), legend_position="right"),
    )
    figure = hv.Layout([row.opts(xlim=span, **SIZE) for row in rows]).cols(1)
    batteryxr.save_figure(figure, PICTURE, overwrite=True)
    drawn = Image.open(PICTURE).convert("RGB")
    drawn.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
    drawn.quantize(160).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
