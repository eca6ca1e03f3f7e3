"""Quality of a reconstruction: ring correlation, and fit to the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.experiment import experiment_of, placed_on
from batteryxr.cdi.ptycho.former import of_frames, places_of, single
from batteryxr.cdi.ptycho.frames import load
from batteryxr.cdi.ptycho.scan import squared
from batteryxr.core.errors import DataError, DimensionError
from batteryxr.core.labels import OwnLabels, even_step, matched, require_even
from batteryxr.core.model import attributes, require_dims, require_variables
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.propagation import Predicted


@recorded
def frc(
    data: xr.DataArray,
    *,
    other: Annotated[xr.DataArray, OwnLabels()],
    window: bool = True,
) -> xr.Dataset:
    """Correlate two images ring by ring in Fourier space.

    Reads once. Use the half-bit threshold for two halves of one scan, and the one-bit
    threshold for two whole scans (van Heel & Schatz, J. Struct. Biol. 151, 250 (2005)).

    Parameters
    ----------
    data, other
        Registered images (y, x) on the same grid in nm; the phase of an object, or the
        complex object without its ramp.
    window
        Fade the edges with a Hann window, which leaves fewer independent pixels.

    Returns
    -------
    xarray.Dataset
        `correlation` (NaN at 0), `one_bit`, `half_bit` along `frequency` (1/nm), and
        the half periods (nm) at which the correlation falls below them for three rings:
        `half_period_one_bit`, `half_period_half_bit`.

    Raises
    ------
    DimensionError
        If the images are not (y, x), or not on one grid.
    DataError
        If they hold NaN.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> first = scan.cdi.ptycho(iterations=10)["transmission"]
    >>> second = scan.cdi.ptycho(iterations=10, seed=1)["transmission"]
    >>> rings = first.cdi.frc(other=second)
    """
    from batteryxr.cdi.ptycho.kernels import metrics

    for image in (data, other):
        require_dims(image, ("y", "x"), caller="frc")
    shapes = [tuple(image.sizes[d] for d in "yx") for image in (data, other)]
    if shapes[0] != shapes[1]:
        raise DimensionError(
            f"frc needs images of one grid; found {shapes[0]} and {shapes[1]}. Cut "
            "both to the same part with .sel(y=..., x=...)."
        )
    other = matched(data, other, argument="other")
    a, b = (np.asarray(image.transpose("y", "x").values) for image in (data, other))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError(
            "data, other", "hold NaN", "Cut the images to where they do not."
        )
    require_even(data, ("y", "x"), caller="frc")
    pixel = abs(even_step(data, "y", caller="frc"))
    frequency, correlation, count = metrics.fourier_ring_correlation(
        a, b, window=window
    )
    correlation[0] = np.nan  # without their means, one number of each is left there
    limits = {"one_bit": 1.0, "half_bit": 0.5}
    curves = {name: metrics.threshold(count, bits) for name, bits in limits.items()}
    labels = {"one_bit": "1-bit threshold", "half_bit": "½-bit threshold"}
    one = {"units": "1"}
    variables: dict[str, Any] = {
        "correlation": ("frequency", correlation, one | {"long_name": "FRC"})
    }
    for name, curve in curves.items():
        variables[name] = ("frequency", curve, one | {"long_name": labels[name]})
        half = metrics.half_period(frequency, correlation, curve) * pixel
        variables[f"half_period_{name}"] = (
            (),
            half,
            {"units": "nm", "long_name": f"Half period at the {labels[name]}"},
        )
    along = {"units": "1/nm", "long_name": "Spatial frequency"}
    return xr.Dataset(
        variables, coords={"frequency": ("frequency", frequency / pixel, along)}
    )


@recorded
def ptycho_fit(result: xr.Dataset, *, scan: xr.Dataset) -> xr.Dataset:
    """Compare frames with the prediction of object and probe.

    Reads once, a block at a time.

    Parameters
    ----------
    result
        Result of `ptycho`, or one energy of `ptycho_energies`.
    scan
        Scan that the result was made from, its frames in any order.

    Returns
    -------
    xarray.Dataset
        `amp_residual`, Σ(|F| - √I)²/ΣI; `poisson_llk`, mean of I_m - I + I ln(I/I_m)
        per pixel, about ½ where only counting noise is left; `frame_residual`
        (position), which points at bad frames and is NaN for those left out;
        `transfer` along `frequency` (1/nm): root of modelled over measured counts of
        a ring, 1 where the model has all of them; not in the near field.

    Raises
    ------
    VariableError, DimensionError
        If `result` or `scan` is something else.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> result = scan.cdi.ptycho(iterations=10)
    >>> fit = result.cdi.ptycho_fit(scan=scan)
    """
    from batteryxr.cdi.ptycho.kernels import metrics

    result, experiment, shifts = _as_fitted(result, scan)
    weight = experiment.weight
    fields = _predicted(result, experiment, shifts)
    n_frames = len(experiment.corners)
    per_frame, power = np.empty(n_frames), np.empty(n_frames)
    used = 0.0
    likelihood, seen, modelled = 0.0, np.zeros(weight.shape), np.zeros(weight.shape)
    for start in range(0, n_frames, 64):
        block = load(experiment, start, min(start + 64, n_frames)).astype(float)
        for j, counts in enumerate(block, start):
            intensity = fields(j)
            own, counts = weight * (counts >= 0), np.maximum(counts, 0.0)
            amplitude, found = np.sqrt(counts), np.sqrt(intensity)
            per_frame[j] = np.sum(own * (found - amplitude) ** 2)
            power[j] = np.sum(own * counts)
            likelihood += np.sum(own * metrics.poisson_misfit(intensity, counts))
            used += np.sum(own)
            seen += own * counts
            modelled += own * intensity
    rings = [metrics.ring_mean(image) for image in (modelled, seen)]
    transfer = np.sqrt(rings[0] / np.where(rings[1] > 0, rings[1], np.nan))
    frequency = np.arange(transfer.size) / (weight.shape[0] * experiment.pixel)
    values: dict[str, tuple[Any, Any, str]] = {
        "amp_residual": ((), per_frame.sum() / power.sum(), "Σ(|F| - √I)² / ΣI"),
        "poisson_llk": (
            (),
            likelihood / used,
            "Poisson misfit per pixel",
        ),
        "frame_residual": (
            "position",
            _everywhere(per_frame / np.maximum(power, 1.0), experiment, scan),
            "Residual of each frame",
        ),
        "transfer": ("frequency", transfer, "√ of modelled over measured counts"),
    }
    if experiment.near:  # where rings of the detector are no frequencies
        del values["transfer"]
        frequency = frequency[:0]
    along = {"units": "1/nm", "long_name": "Spatial frequency"}
    return xr.Dataset(
        {
            name: (dims, value, attributes(name, units="1", long_name=long_name))
            for name, (dims, value, long_name) in values.items()
        },
        coords={"frequency": ("frequency", frequency, along)},
    )


def _as_fitted(
    result: xr.Dataset, scan: xr.Dataset
) -> tuple[xr.Dataset, Experiment, np.ndarray]:
    """Return a result, its fitted frames, and how far their positions moved."""
    whole = experiment_of(scan, caller="ptycho_fit", probe=False)
    shifts = [f"position_shift_{a}" for a in "yx"]
    require_variables(result, ["transmission", "probe", *shifts], caller="ptycho_fit")
    result = single(result, caller="ptycho_fit")
    numbers = np.arange(len(whole.corners)) if whole.numbers is None else whole.numbers
    places = places_of(result, scan, whole.pixel, caller="ptycho_fit")
    moves = np.stack([of_frames(result, name, places) for name in shifts], -1)
    fitted = np.flatnonzero(np.isfinite(moves[numbers]).all(-1))
    if not fitted.size:
        raise DataError(
            "result",
            "it was made from none of the frames of the scan",
            "Pass the scan it was made from.",
        )
    axes = result["y"].values, result["x"].values
    part = placed_on(whole.only(fitted), *axes)
    n, size = len(part.weight), result["probe"].shape[-2:]
    if size != (n, n):
        raise DataError(
            "result: probe",
            f"of {size}; the scan has {(n, n)}",
            "Pass the scan it was made from.",
        )
    light = of_frames(result, "intensity", places)[numbers][fitted]
    known = result.drop_vars("intensity", errors="ignore")
    if np.isfinite(light).all():
        known = known.assign(light=("frame", light))
    if "variation_share" in result and (places >= 0).all():
        shares = result["variation_share"].transpose("position", "variation").values
        shares = shares[places][numbers][fitted]
        known = known.assign(share=(("frame", "variation"), shares))
    return known, part, moves[numbers][fitted]


def _everywhere(
    values: np.ndarray, experiment: Experiment, scan: xr.Dataset
) -> np.ndarray:
    """Return values of all frames of a scan, NaN for frames that were left out."""
    if experiment.numbers is None:
        return values
    whole = np.full(scan.sizes["position"], np.nan)
    whole[experiment.numbers] = values
    return whole


def _predicted(
    result: xr.Dataset, experiment: Experiment, moves: np.ndarray
) -> Predicted:
    """Return the intensities that a result predicts."""
    from batteryxr.cdi.ptycho.kernels.propagation import Predicted
    from batteryxr.cdi.ptycho.kernels.state import State

    obj = np.ascontiguousarray(result.transmission.values)
    probe = np.ascontiguousarray(result.probe.values)
    memory: dict[str, Any] = {}
    if "background" in result:
        told = result["background"].transpose("detector_y", "detector_x").variable
        memory["background"] = np.fft.ifftshift(squared(told, 0).values)
    if "light" in result:
        memory["intensity"] = result["light"].values
    if "share" in result:
        memory["variation"] = result["probe_variation"].values
        memory["variation_share"] = result["share"].values
    places = experiment.corners + moves / experiment.pixel
    return Predicted(State(obj, probe, places, memory=memory), experiment.near)
