"""LiNiO2 over three and a half cycles: what the ratios say of the nickel, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import spearmanr

from batteryxr import nmf, xanes

if TYPE_CHECKING:
    import xarray as xr

#: Voltages that every half cycle passes.
GRID = np.linspace(3.6, 4.15, 23)


@pytest.fixture(scope="module")
def edge(nickelate) -> np.ndarray:
    """Half-jump energy (eV) of every scan."""
    return xanes.edge_energy(nickelate)["edge_energy"].values


@pytest.fixture(scope="module")
def near(nickelate) -> xr.DataArray:
    return nickelate.sel(energy=slice(8320, 8400))


@pytest.fixture(scope="module")
def oxidised(near, edge) -> xr.DataArray:
    """Ratio of the most oxidised state, between the pristine one and it."""
    fit = near.nmf.fit(2, fixed={"pristine": 0, "charged": int(edge.argmax())})
    return fit["weights"].sel(component="charged")


def half_cycles(ratio: xr.DataArray):
    """Yield spot, number and scans of each half cycle, reversals left out."""
    for spot in ("pos1", "pos2"):
        for number in range(1, 8):
            mine = (ratio["half_cycle"] == number) & (ratio["spot"] == spot)
            yield spot, number, ratio[(mine & ~ratio["crosses_reversal"]).values]


def test_the_ratio_follows_the_edge(oxidised, edge):
    assert np.corrcoef(oxidised, edge)[0, 1] > 0.998
    for _, _, part in half_cycles(oxidised):
        number = np.isin(oxidised["file"], part["file"])
        assert np.corrcoef(part, edge[number])[0, 1] > 0.998


def test_charging_oxidises_and_discharging_reduces(oxidised):
    """Along each half cycle the ratio moves one way with the charge that flows."""
    for _, number, part in half_cycles(oxidised):
        way = 1 if number % 2 else -1
        assert {*part["branch"].values} == {"charge" if way > 0 else "discharge"}
        assert way * spearmanr(part, part["capacity"])[0] > 0.995
        assert spearmanr(part, part["voltage"])[0] > 0.99
        steps = way * np.diff(part.values)
        assert steps.min() > -0.02  # noise; the whole swing is twenty times as large
        assert steps.sum() > 0.4


def at_voltage(part: xr.DataArray) -> np.ndarray:
    order = np.argsort(part["voltage"].values)
    return np.interp(GRID, part["voltage"].values[order], part.values[order])


def test_hysteresis_is_positive_at_both_spots(oxidised):
    """At one voltage nickel is more oxidised on discharge than on charge."""
    parts = {(spot, n): part for spot, n, part in half_cycles(oxidised)}
    areas: dict[str, list[float]] = {"pos1": [], "pos2": []}
    for spot, found in areas.items():
        for n in (1, 3, 5):
            lag = at_voltage(parts[spot, n + 1]) - at_voltage(parts[spot, n])
            assert lag.min() > 0.04
            found.append(float(np.trapezoid(lag, GRID)))  # in volts
    assert min(areas["pos1"]) > 0.1
    np.testing.assert_allclose(areas["pos1"], areas["pos2"], rtol=0.2)


def test_what_discharge_reaches_the_next_charge_starts_from(oxidised):
    parts = {(spot, n): part for spot, n, part in half_cycles(oxidised)}
    for spot in ("pos1", "pos2"):
        for n in (2, 4, 6):
            before, after = parts[spot, n], parts[spot, n + 1]
            assert float(after[0]) == pytest.approx(float(before[-1]), abs=0.06)
        # Nickel does not come all the way back, and less is used in each cycle.
        swing = [float(np.ptp(parts[spot, n].values)) for n in (2, 4, 6)]
        assert np.all(np.diff(swing) < 0)
        assert float(parts[spot, 2].min()) > 0.15


def test_two_spots_share_components(near, edge):
    """Together both spots are described as each is alone, and told apart."""
    parts = {s: near[(near["spot"] == s).values] for s in ("pos1", "pos2")}
    both = nmf.fit(parts, 2)
    assert list(np.unique(both["run"])) == ["pos1", "pos2"]
    assert both.sizes["scan"] == 458
    assert "voltage" in both["weights"].coords
    alone = [float(p.nmf.fit(2)["relative_error"]) for p in parts.values()]
    together = float(both["relative_error"])
    assert max(alone) < 1.01 * together < 1.2 * max(alone)
    last = both["weights"][:, 1]
    swings = [float(np.ptp(last[both["run"].values == s].values)) for s in parts]
    assert swings[0] == pytest.approx(swings[1], abs=0.05)


def test_components_of_one_spot_describe_the_other(near):
    """As well as any patterns within the span of the first spot's spectra could."""
    one, other = (near[(near["spot"] == s).values] for s in ("pos1", "pos2"))
    fit = nmf.fit(other, fixed=one.nmf.fit(3))
    axes = np.linalg.svd(one.values, full_matrices=False)[2][:3]
    left = other.values - other.values @ axes.T @ axes
    bound = float(np.linalg.norm(left) / np.linalg.norm(other))
    assert bound <= float(fit["relative_error"]) < 1.02 * bound
