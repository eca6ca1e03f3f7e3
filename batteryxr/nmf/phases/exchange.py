"""Write a G(r) for other programs, and compare one G(r) with another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    UnitsError,
    warn_quality,
)
from batteryxr.core.files import whole_file
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.core.units import affine, in_units_of
from batteryxr.nmf.phases.measured import deviations, patterns_of, told, within

if TYPE_CHECKING:
    import os

    from batteryxr.core.bounds.kinds import RRange, Strain
    from batteryxr.nmf.kernels.pattern_fit import PatternFit

#: Widest smear and its typical change (Angstrom).
_WIDEST, _STEP = 0.5, 0.02
#: Fraction of the range within which a value counts as at its end.
_NEAR = 0.02
#: Standard deviations beyond which a pattern is sharper than another.
_CLEARLY = 5.0


@checked
def write_gr(
    data: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    errors: xr.DataArray | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one G(r) as text that PDFgui, diffpy and TOPAS read.

    The header gives the radiation, ``qmax`` and ``qdamp`` where the data do. Then come
    the columns r (Angstrom), G (1/Angstrom2) and, with errors, their deviations.

    Parameters
    ----------
    data
        Data along ``r``: a scan, a component, or one scan from `reconstruct`.
    path
        Path of the file, usually ending in ``.gr``.
    errors
        Standard deviations, written as the columns dr (zero) and dG.
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataError, DimensionError
        If the data are not a single pattern, evenly spaced and without gaps.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> pdf[0].nmf.write_gr("first.gr").name
    'first.gr'
    """
    pattern = patterns_of(data)
    if pattern.dims != ("r",):
        raise DimensionError(
            f"A .gr file holds one pattern along 'r'; found {pattern.dims}. Select "
            "one, or write each: for scan in pdf: scan.nmf.write_gr(...)."
        )
    target = Path(path)
    g = _in_usual_unit(pattern)
    if not np.isfinite(g).all():
        raise DataError(
            "data",
            f"a pattern with {int((~np.isfinite(g)).sum())} gaps",
            "Interpolate over them, or leave them out with `.sel(r=...)`.",
        )
    columns = [pattern["r"].values.astype(np.float64), g]
    names = "r($\\AA$)  G($\\AA^{-2}$)"
    if errors is not None:
        sigma = deviations(errors, pattern)
        assert sigma is not None
        scale = _in_usual_unit(pattern.copy(data=np.ones(g.size)))
        columns += [np.zeros(g.size), sigma[0] * scale]
        names = "r($\\AA$)  G($\\AA^{-2}$)  dr($\\AA$)  dG($\\AA^{-2}$)"
    known = told(data.attrs)
    head = [f"# stype = {'N' if known.get('radiation') == 'neutron' else 'X'}"]
    head += [
        f"# {name.replace('_', '')} = {known[name]:.10g}"
        for name in ("q_max", "q_damp", "q_broad")
        if name in known
    ]
    lines = [" ".join(f"{v:.8g}" for v in row) for row in zip(*columns, strict=True)]
    text = [*head, "#### start data", "#S 1", f"#L {names}", *lines, ""]
    with whole_file(target, overwrite=overwrite) as new:
        new.write_text("\n".join(text), encoding="utf-8")
    return target


def _in_usual_unit(pattern: xr.DataArray) -> np.ndarray:
    """Return G(r) in 1/Angstrom2, also the default where no unit is given."""
    values = pattern.values.astype(np.float64)
    units = str(pattern.attrs.get("units", "1"))
    try:
        factor, _ = affine(units, "1/Angstrom2")
    except UnitsError:
        return values
    return values * factor


@recorded
def compare_patterns(
    data: xr.DataArray,
    reference: xr.DataArray,
    *,
    r_range: RRange | None = None,
    strain: Strain = 0.03,
    errors: xr.DataArray | None = None,
) -> xr.Dataset:
    """Fit one G(r) to others by scale, stretch and smear.

    Reads once. Tests whether both are one structure: thermal expansion, another amount
    and larger displacements are fitted, and a remaining misfit points to another
    structure. No structure has to be known.

    Parameters
    ----------
    data
        Data along ``r``: a series, components, or one pattern.
    reference
        The pattern to change, along ``r``; at least as sharp as the data.
    r_range, strain, errors
        As in `identify`; `strain` is the largest stretch.

    Returns
    -------
    xarray.Dataset
        For each pattern of the data ``scale``, ``strain`` (relative stretch) and
        ``smear`` (standard deviation of a Gaussian, Angstrom), each with ``_error``;
        ``r_w``, ``fitted``, and ``at_bound`` where stretch or smear ended at the end
        of the search range.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If there is nothing to compare.

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> found = pdf.nmf.compare_patterns(pdf[0])
    >>> list(found.data_vars)[:3]
    ['strain', 'smear', 'scale']
    """
    rows = within(patterns_of(data), r_range).transpose(..., "r")
    other = patterns_of(in_units_of(rows, reference))
    if other.dims != ("r",):
        raise DimensionError(
            f"reference has {other.dims}; expected one pattern on 'r'."
        )
    r = rows["r"].values.astype(np.float64)
    shape = _Shape(other, r)
    lead = [str(d) for d in rows.dims[:-1]]
    flat = rows.values.reshape(-1, r.size).astype(np.float64)
    sigma = deviations(errors, rows)
    bounds = {
        "low": np.array([-strain, 0.0]),
        "high": np.array([strain, _WIDEST]),
        "step": np.array([1e-3, _STEP]),
    }
    out = np.full((8, len(flat)), np.nan)
    fitted = np.full(flat.shape, np.nan)
    for i, y in enumerate(flat):
        if np.isfinite(y).all() and y.any():
            row = None if sigma is None else sigma[i]
            out[:, i], fitted[i] = _compared(y, shape, bounds, row)
    return _labelled(rows, out, fitted, lead)


class _Shape:
    """Hold a pattern that can be stretched and smeared, at the distances r."""

    def __init__(self, reference: xr.DataArray, r: np.ndarray) -> None:
        from scipy.interpolate import make_interp_spline

        g = reference.values
        own = reference["r"].values.astype(np.float64)
        if not np.isfinite(g).all():
            raise DataError(
                "reference", "a pattern with gaps", "Choose another one, or fill it."
            )
        if not g.any():
            raise DataError("reference", "zero everywhere; expected a pattern")
        near = 1e-3 * abs(r[1] - r[0])  # float32 rounds
        if own[0] > r[0] + near or own[-1] < r[-1] - near:
            raise ArgumentError(
                "reference",
                (float(own[0]), float(own[-1])),
                f"a pattern from {r[0]:g} to {r[-1]:g} Angstrom, as the data",
                "Narrow r_range.",
            )
        # Gaussians of displacements widen r G(r), not G(r).
        self.spline = make_interp_spline(own, own * g.astype(np.float64))
        self.own, self.r = own, r
        self.step = float(np.diff(r).mean())

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return the pattern for a stretch and a smear."""
        from scipy.ndimage import gaussian_filter1d

        margin = int(4 * _WIDEST / self.step) + 1
        grid = self.r[0] + self.step * np.arange(-margin, self.r.size + margin)
        # Beyond the measured range the end values continue.
        at = np.clip(grid / (1 + p[0]), self.own[0], self.own[-1])
        rows = self.spline(at)
        if p[1] > 0:
            rows = gaussian_filter1d(rows, p[1] / self.step, truncate=4.0)
        return np.asarray(rows[margin:-margin] / self.r)


def _compared(
    y: np.ndarray,
    shape: _Shape,
    bounds: dict[str, np.ndarray],
    sigma: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return stretch, smear, scale, their errors, R_w and bound; and the pattern."""
    from batteryxr.nmf.kernels.pattern_fit import fit_pattern

    far = bounds["high"][0]
    starts = [np.array([s, 0.05]) for s in np.arange(-far, far + 1e-9, 0.004)]
    weight = np.ones_like(y) if sigma is None else 1.0 / sigma**2
    cosines = []
    for start in starts:
        row = shape(start)
        cosines.append((weight * row) @ y / np.sqrt((weight * row) @ row))
    best = starts[int(np.argmax(cosines))]
    found = fit_pattern(y, shape, best, bounds, sigma)
    stretch, smear = found.values[0], found.values[1]
    room = _NEAR * (bounds["high"] - bounds["low"])
    ends = abs(stretch) > far - room[0] or smear > _WIDEST - room[1]
    if smear < 0.5 * _STEP:
        # Test a negative smear: if it helps, the reference is the broader one.
        ends = ends or _sharper(y, found, shape)
    return np.concatenate([found.values, found.errors, [found.r_w, ends]]), found.model


def _sharper(y: np.ndarray, found: PatternFit, shape: _Shape) -> bool:
    """Tell whether a pattern is clearly sharper than its fit."""
    rest = y - found.model
    change = shape(found.values[:2] + np.array([0.0, _STEP])) - shape(found.values[:2])
    change -= found.model * (found.model @ change) / (found.model @ found.model)
    noise = max(float(np.linalg.norm(rest)), 1e-6 * float(np.linalg.norm(y)))
    along = float(change @ rest) / max(float(np.linalg.norm(change)), 1e-300)
    return along < -_CLEARLY * noise / np.sqrt(y.size)


def _labelled(
    rows: xr.DataArray, out: np.ndarray, fitted: np.ndarray, lead: list[str]
) -> xr.Dataset:
    """Return the results for each pattern, labelled."""
    table = (
        ("strain", "1", "Relative stretch"),
        ("smear", "Angstrom", "Width of the smear"),
        ("scale", "1", "Scale"),
        ("strain_error", "1", "Relative stretch, error"),
        ("smear_error", "Angstrom", "Width of the smear, error"),
        ("scale_error", "1", "Scale, error"),
        ("r_w", "1", "R_w"),
    )
    shape = rows.shape[:-1]
    found = {
        name: label(
            xr.DataArray(values.reshape(shape), dims=lead),
            name,
            units=units,
            long_name=text,
        )
        for (name, units, text), values in zip(table, out, strict=False)
    }
    ends = out[7].reshape(shape) == 1
    found["at_bound"] = label(
        xr.DataArray(ends, dims=lead), "at_bound", units="1", long_name="At a bound"
    )
    found["fitted"] = label(
        rows.copy(data=fitted.reshape(rows.shape)),
        "fitted",
        units=str(rows.attrs.get("units", "1/Angstrom2")),
        long_name="Reference, changed",
    )
    if ends.any():
        warn_quality(
            f"{int(ends.sum())} of {ends.size} comparisons ended at a bound of stretch "
            "or smear: another structure, or a reference that is broader than the data."
        )
    kept = {n: c for n, c in rows.coords.items() if "r" not in c.dims}
    return xr.Dataset(found).assign_coords(kept)
