"""The panel of impedance: click the voltage curve to see the spectrum taken there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.widgets.drawing import curve, lines_plot
from batteryxr.widgets.models.impedance import ImpedanceModel
from batteryxr.widgets.view import Figure, Panel, control, on_front_end

if TYPE_CHECKING:
    import ipywidgets
    import xarray as xr

    from batteryxr.widgets.models.impedance import LookedAt

_CURVE_POINTS = 4000


class ImpedancePanel(Panel, of=ImpedanceModel):
    """Look at spectra one by one, at their place on the voltage curve.

    A click on a spectrum shows its points, the fit of a circuit and its distribution of
    relaxation times.

    Parameters
    ----------
    data
        Impedance on (``spectrum``, ``frequency``); with a joined record it lies on
        the voltage curve.
    record
        Cycler data, to draw the whole voltage curve.
    name
        Name of the data in the code; by default their variable in the notebook.
    **choice
        Further choices, as in ``panel.choice``: ``spectrum`` (from 0), ``circuit`` and
        ``method``, as in `fit_circuit` and `drt`.

    Raises
    ------
    DimensionError, VariableError
        If there are no spectra.
    """

    model: ImpedanceModel

    def __init__(
        self,
        data: xr.Dataset,
        *,
        record: xr.Dataset | None = None,
        name: str | None = None,
        **choice: Any,
    ) -> None:
        model = ImpedanceModel(data, name=name)
        if choice:
            model.choose(**choice)
        self.model = model
        self._curve = _whole_curve(record, data)
        self.figure = Figure()
        self.figure.on_msg(on_front_end(self._of_figure))
        super().__init__(
            model,
            title="Impedance",
            hint="click a spectrum",
            controls=self._controls(),
            body=self.figure,
        )
        model.observe(lambda _: self._draw(), ["answer", "spectrum"])
        self._draw()

    def _controls(self) -> list[ipywidgets.Widget]:
        circuit = control(
            self.model,
            "circuit",
            description="circuit",
            placeholder="R0-p(R1,CPE1)-W1",
        )
        method = control(self.model, "method", description="relaxation times by")
        return [circuit, method]

    def _of_figure(self, content: dict[str, Any]) -> None:
        if content["kind"] == "pick" and content["plot"] == "voltage":
            self.model.spectrum = int(self._order[content["index"]])

    def _draw(self) -> None:
        answer = self.model.answer
        plots = [self._voltage_plot()]
        if answer is not None:
            plots += [_nyquist(answer), _times(answer)]
        self.figure.figure = {"columns": 2, "plots": plots}

    def _voltage_plot(self) -> dict[str, Any]:
        x, y, across, up = self.model.places()
        self._order = np.argsort(x, kind="stable")
        series = [
            curve(x[self._order], y[self._order], name="spectra", line=False,
                  points=True, pick=True)
        ]  # fmt: skip
        if self._curve is not None:
            series.append(curve(*self._curve, colour="faint", width=1.2, quiet=True))
        if (k := self.model.spectrum) is not None:
            series.append(
                curve(x[[k]], y[[k]], colour=1, line=False, points=True, hollow=True,
                      size=7, quiet=True)
            )  # fmt: skip
        return lines_plot(
            "voltage", "Spectra", across, up, series, wide=True, height=230, pick=True
        )


def _whole_curve(
    record: xr.Dataset | None, data: xr.Dataset
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return hours since the first spectrum, and the voltage of the cycler."""
    if record is None or "time" not in data.coords or "voltage" not in data.coords:
        return None
    if data["time"].isnull().any() or "time" not in record.coords:
        return None  # the spectra lie along their numbers, not along hours
    step = max(1, record.sizes["record"] // _CURVE_POINTS)
    thin = record[["voltage", "time"]].isel(record=slice(None, None, step)).compute()
    begin = np.nanmin(data["time"].values)
    hours = (thin["time"].values - begin) / np.timedelta64(3600, "s")
    return hours, thin["voltage"].values


def _nyquist(answer: LookedAt) -> dict[str, Any]:
    z = answer.spectrum["impedance"].transpose("spectrum", "frequency").values[0]
    measured = np.isfinite(z)
    z = z[measured]
    series = [curve(z.real, -z.imag, name="measured", line=False, points=True)]
    lines = [("relaxation times", answer.drt)]
    if answer.fit is not None:
        lines.append(("circuit", answer.fit))
    for k, (name, found) in enumerate(lines, 1):
        fitted = found["fitted"].transpose("spectrum", "frequency").values[0]
        line = fitted[measured]
        series.append(curve(line.real, -line.imag, name=name, colour=k))
    return lines_plot(
        "nyquist",
        "Spectrum",
        "Re Z (ohm)",
        "−Im Z (ohm)",
        series,
        legend=True,
        equal=True,
    )


def _times(answer: LookedAt) -> dict[str, Any]:
    found = answer.drt.isel(spectrum=0)
    gamma = found["gamma"].values
    low, high = found["gamma_low"].values, found["gamma_high"].values
    at, half = np.log10(found["tau"].values), 0.5 * (high - low)
    series = [
        curve(at, low + half, colour=1, spread=half, line=False, quiet=True),
        curve(at, gamma, colour=1),
    ]
    return lines_plot("times", "Relaxation times", "log₁₀ τ (s)", "γ (ohm)", series)
