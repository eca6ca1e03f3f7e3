"""Draw the picture of the README from a store that `batteryxr operando` has written.

The experiment is the sample ``lno-operando`` of `batteryxr.sample`.

python docs/images/operando_figure.py EXPERIMENT.zarr FIGURE.html
"""

from __future__ import annotations

import sys

import numpy as np

import batteryxr
from batteryxr.core.plotting import load_hvplot
from batteryxr.operando import Report

COLOURS = ("#0072B2", "#D55E00", "#009E73")
SIZE = {"frame_width": 760, "frame_height": 170, "toolbar": None, "fontscale": 1.15}
LEGEND = {"legend_position": "right", "legend_cols": 1}


def main(store: str, page: str) -> None:
    """Write an HTML page with voltage, spectra and phase ratios on one time axis."""
    hv = load_hvplot()
    record = batteryxr.open_store(store, "echem/record")
    scans = batteryxr.open_store(store, "xanes/scans")["absorption"]
    edge = scans.sel(energy=slice(8325, 8400)).compute()
    charged = int(edge["voltage"].argmax())
    fit = edge.nmf.fit(3, fixed={"pristine": 0, "charged": charged}, seed=0)
    hours = (edge["time"].values - record["time"].values[0]) / np.timedelta64(1, "h")
    span = (0.0, float(hours.max()) + 0.2)

    even = edge.interp(energy=np.linspace(8325, 8400, 300))
    grid = np.linspace(*span, 800)
    nearest = np.abs(hours[:, None] - grid).argmin(0)
    image = hv.Image(
        (grid, even["energy"].values, even.values[nearest].T),
        ["Time (h)", "Photon energy (eV)"],
        "μt",
    ).opts(cmap="viridis", clim=(0, 1.5), xlim=span, **SIZE)
    ratios = hv.Overlay(
        [
            hv.Curve(
                (hours, fit["weights"].values[:, i]), "Time (h)", "Ratio", label=n
            ).opts(color=COLOURS[i], line_width=2)
            for i, n in enumerate(["pristine", "charged", "found"])
        ]
    ).opts(xlim=span, ylim=(0, 1.02), **LEGEND, **SIZE)
    report = Report("", "")
    voltage = record.echem.plot.operando(scans)
    report.figure(
        voltage.opts(width=None, height=None).opts(
            xlim=span, xlabel="Time (h)", **LEGEND, **SIZE
        )
    )
    report.figure(image)
    report.figure(ratios)
    report.write(page)


if __name__ == "__main__":
    main(*sys.argv[1:])
