"""Find, replace, count and report cosmic rays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.preparing.inputs import (
    of_whole,
    put_back,
    require_like_steps,
    signal,
    whole,
)

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.core.checks import Count, Positive

#: Dimensions along which neighbouring spectra are similar.
_SERIES = ("scan", "state", "repeat")
_MEANINGS = "spikes_replaced suspect_left many_points"


@recorded
def despike(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal["robust", "whitaker_hayes"] = "robust",
    threshold: Positive = 7.0,
    window: Count = 7,
    dim: str | None = None,
) -> xr.Dataset:
    """Replace cosmic rays, and mark where they were.

    *Lazy*; "robust" needs a series in one chunk along `scan` (or `state`, `repeat`).

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, in any other dimensions. Spectra that are all
        NaN (masked pixels, dead scans) stay so.
    method
        "robust": a ray stands out of a parabola through the points around it. In a
        series of five or more spectra it must also stand out of the median of its
        neighbours, so narrow bands, which all of them have, stay. "whitaker_hayes":
        the modified z score of first differences (Whitaker & Hayes, Chemom. Intell.
        Lab. Syst. 179, 82 (2018)), for each spectrum alone.
    threshold
        Threshold in robust standard deviations of the noise.
    window
        Largest width of a ray, in points.
    dim
        Axis; default: the one present of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.Dataset
        The spectra; ``spike``, true where a value was replaced; ``spike_count`` and
        ``spike_flag`` (bits) of each spectrum. The bits are: rays were replaced; a
        possible ray was kept, since it may be on a band or be a narrow band; more than
        2 % of the points were replaced.

    Raises
    ------
    ArgumentError
        If some values of a spectrum are missing, or there are too few.
    DataError
        If the axis has too uneven steps for a method that counts points.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> raman = batteryxr.read_series("samples/raman/*.txt")
    >>> clean = raman.xanes.despike()
    >>> clean["spike_count"].values.tolist()
    [3, 3, 3, 3]
    """
    from batteryxr.xanes.preparing import spikes

    array, along = signal(spectra, dim, caller="despike")
    if array.sizes[along] < 16:
        raise ArgumentError("spectra", array.name, f"16 points along {along!r} or more")
    whole(array, along, caller="despike")
    require_like_steps(
        array[along].values,
        along,
        caller="despike",
        mend=f"Interpolate: `.interp({along}=...)`, or use `deglitch` along energy.",
    )
    order = next((d for d in _SERIES if array.sizes.get(d, 0) >= 5), None)
    kernel: Any = spikes.whitaker_hayes
    core = [along]
    if method == "robust":
        kernel = spikes.series if order else spikes.single
        core = [order, along] if order else [along]
    values, spike, flag = blocks.apply(
        of_whole,
        array,
        core_dims=[core],
        output_dims=[core, core, core[:-1]],
        dtypes=[np.float64, bool, np.int8],
        caller="despike",
        function=kernel,
        threshold=threshold,
        window=window,
    )
    spike = spike.transpose(*array.dims)
    beside = {
        "spike": label(spike, "spike", units="1", long_name="Replaced as a ray"),
        "spike_count": label(
            spike.sum(along), "spike_count", units="1", long_name="Points replaced"
        ),
        "spike_flag": label(
            flag,
            "spike_flag",
            units="1",
            long_name="What is odd about the rays",
            flag_masks=[spikes.REPLACED, spikes.SUSPECT, spikes.MANY],
            flag_meanings=_MEANINGS,
        ),
    }
    return put_back(spectra, array, values, beside)
