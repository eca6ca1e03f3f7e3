"""Subtract baselines under bands and reflections, by methods of the literature."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label
from batteryxr.core.optional import require
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

#: Least number of points for a baseline.
_FEWEST = 3
#: Names of the arguments in pybaselines.
_CALLED = {"stiffness": "lam", "degree": "poly_order", "window": "half_window"}
#: Methods of pybaselines: it is loaded for no other name.
_METHODS = frozenset(
    re.findall(
        r"\w+",
        """
        airpls amormol arpls asls aspls beads brpls corner_cutting cwt_br derpsalsa
        dietrich drpls fabc fastchrom goldindec golotvin iarpls iasls imodpoly imor
        interp_pts ipsa irsqr jbcd loess lsrpls mixture_model modpoly mor mormol mpls
        mpspline mwmv noise_median peak_filling penalized_poly poly psalsa
        pspline_airpls pspline_arpls pspline_asls pspline_aspls pspline_brpls
        pspline_derpsalsa pspline_drpls pspline_iarpls pspline_iasls pspline_lsrpls
        pspline_mpls pspline_psalsa quant_reg ria rolling_ball rubberband snip
        std_distribution swima tophat
        """,
    )
)
#: Modules that use the axis; the others count points.
_BY_AXIS = ("polynomial", "spline")


@recorded
def subtract_baseline(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: str = "asls",
    stiffness: Positive | None = None,
    degree: Annotated[int, Bounds(low=0)] | None = None,
    window: Count | None = None,
    dim: str | None = None,
) -> xr.Dataset:
    """Find the baseline of every spectrum, and subtract it.

    *Lazy*.

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, in any other dimensions. Spectra that are all
        NaN (masked pixels, dead scans) stay so.
    method
        "asls", asymmetric least squares, is always available. With the extra `spectra`
        any method of pybaselines by its name: "arpls", "airpls", "modpoly",
        "imodpoly", "snip", "mor", "rolling_ball", ...
    stiffness
        Weight of the smoothness (lam) in penalised least squares, for points one step
        apart (the mean step of an uneven axis); default for "asls": 1e6.
    degree
        Degree of a polynomial (poly_order).
    window
        Half width of a window, in points (half_window).
    dim
        Axis; default: the one present of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.Dataset
        The spectra without their ``baseline``, and the baseline.

    Raises
    ------
    ArgumentError
        If the method does not exist, or does not take an argument.
    DataError
        If the axis has too uneven steps for a method that counts points: all but
        "asls", polynomials and splines.
    MissingDependencyError
        If pybaselines is needed and missing.

    Notes
    -----
    A later fit takes a subtracted baseline as exact, so its uncertainty is in no error
    bar. `fit_peaks(baseline=(1, 2, 3))` fits both together and includes it.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> raman = batteryxr.read_series("samples/raman/*.txt")
    >>> flat = raman.xanes.subtract_baseline(stiffness=1e5)
    """
    array, along = signal(spectra, dim, caller="subtract_baseline")
    whole(array, along, caller="subtract_baseline")
    x = array[along].values
    if x.size < _FEWEST:
        raise ArgumentError("spectra", array.name, f"{_FEWEST} points or more")
    options = {"stiffness": stiffness, "degree": degree, "window": window}
    kernel, asked = _method(method, {k: v for k, v in options.items() if v is not None})
    if not _goes_by_axis(method) or window is not None:
        require_like_steps(
            x,
            along,
            caller=f"the baseline {method!r}",
            mend="Use 'asls', a polynomial or a spline, or interpolate.",
            over_all=True,
        )
    baseline = blocks.apply(
        of_whole,
        array,
        core_dims=[[along]],
        output_dims=[[along]],
        dtypes=[np.float64],
        caller="subtract_baseline",
        function=kernel,
        x=x,
        **asked,
    ).transpose(*array.dims)
    units = str(array.attrs.get("units", "1"))
    beside = {
        "baseline": label(baseline, "baseline", units=units, long_name="Baseline")
    }
    return put_back(spectra, array, array - baseline, beside)


def _method(method: str, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a kernel, and its options."""
    if method == "asls":
        from batteryxr.xanes.kernels.whittaker import asymmetric

        if extra := sorted(set(given) - {"stiffness"}):
            raise ArgumentError(
                extra[0], given[extra[0]], "None: 'asls' takes stiffness alone"
            )
        return asymmetric, {"stiffness": given.get("stiffness", 1e6)}
    if method not in _METHODS:
        wanted = f"'asls' or a method of pybaselines: one of {sorted(_METHODS)}"
        raise ArgumentError("method", method, wanted)
    library = require(
        "pybaselines",
        extra="spectra",
        purpose=f"the baseline {method!r}",
        package="pybaselines",
    )
    if not hasattr(library.Baseline, method):
        wanted = f"a method of the installed pybaselines {library.__version__}"
        raise ArgumentError("method", method, wanted, "Update it: it has no such yet.")
    takes = inspect.signature(getattr(library.Baseline, method)).parameters
    for name in given:
        if _CALLED[name] not in takes:
            raise ArgumentError(name, given[name], f"None: {method!r} has no such")
    return _by_name, {"method": method} | {_CALLED[k]: v for k, v in given.items()}


def _goes_by_axis(method: str) -> bool:
    """Tell whether a method uses the axis, and does not count points."""
    if method == "asls":
        return True
    import pybaselines

    home = inspect.unwrap(getattr(pybaselines.Baseline, method)).__module__
    return home.rpartition(".")[2] in _BY_AXIS


def _by_name(
    values: np.ndarray, *, x: np.ndarray, method: str, **options: Any
) -> np.ndarray:
    import pybaselines

    rows = np.array(values, np.float64).reshape(-1, values.shape[-1])
    fitter = pybaselines.Baseline(x)
    try:
        found = [getattr(fitter, method)(row, **options)[0] for row in rows]
    except (ValueError, np.linalg.LinAlgError) as error:
        raise DataError(
            "spectra",
            f"the baseline {method!r} of pybaselines fails ({error})",
            "Choose another method.",
        ) from error
    return np.reshape(found, values.shape)
