"""Scans that are not as they should be: 0 aborts, 0 silent wrong answers.

Each seed draws a small scan of a known object, spoils it in one to three ways (shapes,
types, NaN, masks, orders), and hands it to `ptycho`. It must end in one of three ways:
refused by an error of batteryxr, told by a warning, or right: the object that the
unspoilt scan gives, within what the spoiling costs.

    OMP_NUM_THREADS=1 python benchmarks/truth/ptychography_fuzz.py [--scans 500]
"""

from __future__ import annotations

import argparse
import functools
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi import DM, EPIE, LSQML, RAAR, RPIE, ptycho, ptycho_scan
from batteryxr.core.errors import BatteryxrError, DataQualityWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

N, SIDE, PASSES = 24, 6, 12
ENERGY, DISTANCE, PITCH = 5500.0, 500.0, 75.0
PIXEL = 12398.41984 / ENERGY / 10 * DISTANCE * 1e3 / (N * PITCH)
#: Correlation with the truth that an unspoilt scan reaches, and a spoilt one must.
RIGHT = 0.8


@functools.cache
def known() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return frames, corners in pixels, the object and the probe."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    k = np.fft.fftfreq(N)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    inside = (abs(ky) < 0.2) & (abs(kx) < 0.2)
    probe = np.fft.fftshift(
        np.fft.ifft2(inside * np.exp(2j * np.pi * 14 * (ky**2 + kx**2)))
    )
    probe *= np.sqrt(2e5 / np.sum(abs(probe) ** 2))
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) * 3] * 2, indexing="ij"), -1)
    corners = grid.reshape(-1, 2) + rng.integers(0, 2, (SIDE**2, 2))
    size = int(corners.max()) + N
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, size, size)), (0, 2, 2))
    smooth /= abs(smooth).max()
    obj = np.exp(-0.2 * abs(smooth[0]) + 0.8j * smooth[1])
    frames = np.empty((len(corners), N, N), np.uint16)
    for j, (y, x) in enumerate(corners):
        far = np.fft.fft2(probe * obj[y : y + N, x : x + N], norm="ortho")
        frames[j] = rng.poisson(np.fft.fftshift(abs(far) ** 2))
    return frames, corners, obj, probe


def clean_scan() -> xr.Dataset:
    """Return the scan before it is spoilt."""
    frames, corners, _, probe = known()
    places = (corners + N // 2) * PIXEL
    return ptycho_scan(
        frames.copy(),
        position_y=places[:, 0],
        position_x=places[:, 1],
        energy=ENERGY,
        distance=DISTANCE,
        pixel_pitch=PITCH,
        probe=probe[None].astype(np.complex64),
    )


def correlation(result: xr.Dataset) -> float:
    """Return how the phase agrees with the truth where the beam went."""
    _, corners, obj, _ = known()
    low, high = corners.min(0) + N // 2, corners.max(0) + N // 2
    rows, columns = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    found = result["transmission"]
    part = found.sel(y=rows * PIXEL, x=columns * PIXEL, method="nearest").values
    ratio = part * np.conj(obj[np.ix_(rows, columns)])
    # What no data can tell: a factor and a ramp.
    for axis in (0, 1):
        a, b = (
            np.take(ratio, range(s, ratio.shape[axis] - 1 + s), axis) for s in (0, 1)
        )
        slope = np.angle(np.sum(b * np.conj(a)))
        line = np.exp(-1j * slope * np.arange(ratio.shape[axis]))
        shape = [1, 1]
        shape[axis] = -1
        ratio, part = ratio * line.reshape(shape), part * line.reshape(shape)
    part = part * np.exp(-1j * np.angle(ratio.sum()))
    truth = np.angle(obj[np.ix_(rows, columns)])
    return float(np.corrcoef(np.angle(part).ravel(), truth.ravel())[0, 1])


def _frames(scan: xr.Dataset, values: np.ndarray) -> xr.Dataset:
    return scan.assign(frames=(scan["frames"].dims, values, scan["frames"].attrs))


def _some(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    return rng.random(shape) < share


def probe_size(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    shape = tuple(int(v) for v in rng.integers(0, 40, 3))
    probe = rng.standard_normal(shape).astype(rng.choice(["c8", "c16", "f4", "i4"]))
    return scan.assign(probe=(("probe_mode", "probe_y", "probe_x"), probe))


def probe_dims(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    probe = scan["probe"].values[0]
    dims = [("a", "b"), ("probe_y", "probe_x"), ("probe_y",), ("energy", "u", "v")]
    chosen = dims[rng.integers(len(dims))]
    values = {1: probe[0], 2: probe, 3: probe[None]}[len(chosen)]
    return scan.drop_vars("probe").assign(probe=(chosen, values))


def probe_nan(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    probe = scan["probe"].values.copy()
    probe[0, rng.integers(N), rng.integers(N)] = rng.choice([np.nan, np.inf])
    return scan.assign(probe=(scan["probe"].dims, probe))


def mask_of_anything(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    """Mask pixels, and put anything under the mask."""
    bad = _some(rng, (N, N), 0.05)
    values = scan["frames"].values.real.astype(rng.choice(["f4", "f8", "i4"]))
    wild = [np.nan, np.inf, -3.0, 1e9] if values.dtype.kind == "f" else [-2, 2**31 - 1]
    values[:, bad] = wild[rng.integers(len(wild))]
    return _frames(scan, values).assign(mask=(scan["frames"].dims[-2:], bad))


def mask_each(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    bad = _some(rng, scan["frames"].shape, 0.05)
    values = np.where(bad, rng.choice([0, 65535, 7]), scan["frames"].values)
    return _frames(scan, values.astype("u2")).assign(mask=(scan["frames"].dims, bad))


def mask_shape(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    dims = [
        ("detector_y",),
        ("position", "detector_y"),
        ("a", "b"),
        ("detector_x", "a"),
    ]
    chosen = dims[rng.integers(len(dims))]
    sizes = {**scan.sizes, "a": int(rng.integers(1, 30)), "b": 5}
    return scan.assign(mask=(chosen, np.zeros([sizes[d] for d in chosen], bool)))


def mask_all(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    return scan.assign(mask=(scan["frames"].dims[-2:], np.ones((N, N), bool)))


def missing(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    values = scan["frames"].values.astype("f4")
    values[_some(rng, values.shape, 0.02)] = rng.choice([np.nan, np.inf, -np.inf])
    return _frames(scan, values)


def negative(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    return _frames(scan, (scan["frames"].values - np.float32(0.6)).astype("f4"))


def gap_value(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    kind = rng.choice(["u2", "u4", "i4", "i2"])
    values = scan["frames"].values.astype(kind)
    values[:, :, 7:9] = (
        np.iinfo(kind).max if rng.random() < 0.5 or kind[0] == "u" else -1
    )
    return _frames(scan, values)


def empty_frames(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    values = scan["frames"].values.copy()
    values[rng.choice(len(values), int(rng.integers(1, 12)), replace=False)] = 0
    return _frames(scan, values)


def flat_frames(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    values = scan["frames"].values.copy()
    values[rng.choice(len(values), 3, replace=False)] = 11
    return _frames(scan, values)


def no_position(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    y = scan["position_y"].values.copy()
    y[_some(rng, y.shape, rng.choice([0.1, 1.0]))] = rng.choice([np.nan, np.inf])
    return scan.assign_coords(position_y=scan["position_y"].copy(data=y))


def unit_of_positions(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    factor = 1e3
    names = ("position_y", "position_x")
    return scan.assign_coords({n: scan[n].copy(data=scan[n] * factor) for n in names})


def one_place(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    names = ("position_y", "position_x")
    return scan.assign_coords({n: scan[n].copy(data=scan[n] * 0) for n in names})


def order(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    return scan.isel(position=rng.permutation(scan.sizes["position"]))


def swapped_dims(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    dims = rng.permutation(scan["frames"].dims)
    new = scan.assign(frames=scan["frames"].transpose(*dims))
    if "mask" in new and new["mask"].ndim == 2:
        new = new.assign(mask=new["mask"].transpose("detector_x", "detector_y"))
    return new.assign(probe=new["probe"].transpose(*rng.permutation(new["probe"].dims)))


def lazy(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    return scan.chunk(position=int(rng.integers(1, 20)))


def wider_type(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    values = scan["frames"].values
    return _frames(
        scan, values.astype(rng.choice(["f4", "f8", "i8", "u4", ">f4", ">u4"]))
    )


def wrong_type(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    values = scan["frames"].values
    return _frames(scan, values.astype(rng.choice(["c8", "U6"])))


def few(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    return scan.isel(position=slice(0, int(rng.integers(0, 2))))


def not_square(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    return scan.isel(detector_y=slice(int(rng.integers(0, N))))


def extra_dim(scan: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    name = rng.choice(["frames", "energy", "position_y", "pixel_pitch"])
    if name == "frames":
        return scan.assign(frames=scan["frames"].expand_dims("repeat"))
    bare = scan[name].expand_dims(rng.choice(["repeat", "energy_number"]))
    return scan.assign_coords({name: bare})


SPOILS: dict[str, Callable[[xr.Dataset, np.random.Generator], xr.Dataset]] = {
    f.__name__.replace("_", " "): f
    for f in (
        probe_size, probe_dims, probe_nan, mask_of_anything, mask_each, mask_shape,
        mask_all, missing, negative, gap_value, empty_frames, flat_frames, no_position,
        unit_of_positions, one_place, order, swapped_dims, lazy, wider_type, wrong_type,
        few, not_square, extra_dim,
    )
}  # fmt: skip


def attempt(seed: int) -> tuple[str, str]:
    """Return how a spoilt scan ends, and by what it was spoilt."""
    rng = np.random.default_rng(seed)
    scan, names = clean_scan(), []
    for name in rng.choice(list(SPOILS), int(rng.integers(1, 4)), replace=False):
        try:
            scan = SPOILS[name](scan, rng)
        except (ValueError, KeyError, IndexError, TypeError):
            continue  # one spoiling leaves nothing for the next
        names.append(str(name))
    engines: list[Any] = [LSQML(), LSQML(poisson=True), EPIE(), RPIE(), DM(), RAAR()]
    engine = engines[rng.integers(len(engines))]
    what = f"{', '.join(names)} with {type(engine).__name__}"
    with warnings.catch_warnings(record=True) as said, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            result = ptycho(scan, engine=engine, iterations=PASSES, progress=False)
        except BatteryxrError as error:
            return "refused", f"{what}: {error}"
        except Exception as error:
            return "ABORT", f"{what}: {type(error).__name__}: {error}"
    if any(issubclass(w.category, DataQualityWarning) for w in said):
        return "told", what
    agreed = correlation(result)
    if not np.isfinite(result["transmission"].values).all() or agreed < RIGHT:
        return "SILENT", f"{what}: correlation {agreed:.3f}"
    return "right", what


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    ends: Counter[str] = Counter()
    for seed in range(chosen.first, chosen.first + chosen.scans):
        end, what = attempt(seed)
        ends[end] += 1
        if end in ("ABORT", "SILENT"):
            print(seed, end, what, flush=True)
    print(dict(ends))


if __name__ == "__main__":
    main()
