"""Model of the choice of an impedance spectrum in a series, without a screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from batteryxr.core.errors import VariableError
from batteryxr.core.model import require_dims
from batteryxr.echem import drt, fit_circuit
from batteryxr.widgets.models.base import PanelModel, Plan
from batteryxr.widgets.models.naming import literal

if TYPE_CHECKING:
    import xarray as xr

METHODS = ("l_curve", "discrepancy", "cross_validation", "evidence")


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class LookedAt:
    """Hold one spectrum, its distribution of relaxation times, and a circuit fit."""

    spectrum: xr.Dataset
    drt: xr.Dataset
    fit: xr.Dataset | None


class ImpedanceModel(PanelModel):
    """Choose one spectrum of a series, and how to analyse it."""

    choices = ("spectrum", "circuit", "method")
    nothing = "click a spectrum"

    spectrum = traitlets.Int(None, allow_none=True, help="Which one, from 0.")
    circuit = traitlets.Unicode("", help="Of `fit_circuit`; empty: none.")
    method = traitlets.Enum(METHODS, "l_curve", help="Of `drt`.").tag(argument="method")

    def __init__(self, data: xr.Dataset, *, name: str | None = None) -> None:
        require_dims(data, ["spectrum", "frequency"], caller="impedance_panel")
        if "impedance" not in data:
            raise VariableError(
                "impedance_panel needs the variable 'impedance'; found "
                f"{sorted(map(str, data.variables))}. Read it with read_impedance."
            )
        super().__init__(data, accessor="echem.impedance_panel", name=name)
        self.refresh(delay=0.0)

    @traitlets.validate("spectrum")
    def _check_spectrum(self, proposal: Any) -> int | None:
        value, n = proposal["value"], self.data.sizes["spectrum"]
        if value is not None and not 0 <= value < n:
            raise traitlets.TraitError(f"there are {n} spectra, from 0 on")
        return None if value is None else int(value)

    def plan(self) -> Plan | None:
        """Return how to analyse the chosen spectrum."""
        if self.spectrum is None:
            return None
        data, k, circuit = self.data, self.spectrum, self.circuit
        given = self.arguments()

        def look() -> LookedAt:
            one = data.isel(spectrum=[k]).compute()
            found = fit_circuit(one, circuit) if circuit.strip() else None
            return LookedAt(one, drt(one, **given), found)

        return Plan(look)

    def write_code(self, data: str) -> str:
        """Return the calls of `fit_circuit` and `drt`."""
        if self.spectrum is None:
            return f"one = {data}.isel(spectrum=[])  # click a spectrum"
        lines = [f"one = {data}.isel(spectrum=[{self.spectrum}])"]
        if self.circuit.strip():
            lines.append(f"fit = one.echem.fit_circuit({literal(self.circuit)})")
        words = ", ".join(f"{n}={literal(v)}" for n, v in self.arguments().items())
        lines.append(f"times = one.echem.drt({words})")
        return "\n".join(lines)

    def places(self) -> tuple[np.ndarray, np.ndarray, str, str]:
        """Return the positions of all spectra, and the titles of both axes."""
        data = self.data
        along, label = np.arange(1.0, data.sizes["spectrum"] + 1), "Spectrum"
        if "time" in data.coords and not data["time"].isnull().any():
            times = data["time"].values
            along = (times - times.min()) / np.timedelta64(3600, "s")
            label = "Time (h)"
        if "voltage" in data.coords and data["voltage"].dims == ("spectrum",):
            return along, data["voltage"].values.astype(float), label, "Voltage (V)"
        last = data["impedance"].real.max("frequency")
        return along, last.values.astype(float), label, "Largest Re Z (ohm)"
