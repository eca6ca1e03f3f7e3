"""Whether the turning point of dQ/dV lies where its error says.

    python benchmarks/truth/turning_points.py [--seeds 12]

Charges of two peaks of known shape, as in `peak_areas`: even and uneven valleys, and
peaks so far apart that the valley is flat. The truth is the minimum of the sum of
peaks, without smoothing. Printed: how often it lies within one standard deviation
(right: 0.68; more where the valley is flat) and within two, and the mean error.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from peak_areas import FAR, HIGH, LOW, NEAR, STEP, charge

from batteryxr.echem import dqdv, turning_point

EVEN = ((3.70, 0.06, 1.0), (3.85, 0.06, 1.0))
UNEVEN = ((3.70, 0.05, 0.5), (3.85, 0.10, 2.0))
WIDE = ((3.50, 0.1, 1.0), (4.00, 0.08, 2.0))
KINDS = {"even": EVEN, "near": NEAR, "uneven": UNEVEN, "wide": WIDE, "far": FAR}


def lowest(shape: str, peaks: tuple[tuple[float, float, float], ...]) -> float:
    """Return the voltage of the minimum between two peaks."""
    fine = np.linspace(LOW, HIGH, 140_001)
    q = sum(0.5 * area * STEP[shape]((fine - at) / w) for at, w, area in peaks)
    height = np.diff(q)
    first, second = np.searchsorted(fine, [at for at, _, _ in peaks])
    return float(fine[first + int(np.argmin(height[first:second]))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'':30s}{'within 1 sd':>12s}{'within 2 sd':>12s}{'error, mV':>12s}")
    for shape in ("logistic", "gaussian"):
        for name, peaks in KINDS.items():
            true = lowest(shape, peaks)
            for noise, digit in ((3e-4, 1e-4), (1e-3, 0.0)):
                rows = []
                for seed in range(options.seeds):
                    record = charge(shape, peaks, noise=noise, digit=digit, seed=seed)
                    window = (peaks[0][0], peaks[1][0])
                    found = turning_point(dqdv(record), window=window)
                    error = float(found.voltage_error[0])
                    off = abs(float(found.voltage[0]) - true)
                    rows.append((off < error, off < 2 * error, 1e3 * error))
                mean = "".join(f"{x:12.2f}" for x in np.mean(rows, axis=0))
                print(f"{f'{shape}, {name}, {1e3 * noise:g} mV':30s}{mean}")


if __name__ == "__main__":
    main()
