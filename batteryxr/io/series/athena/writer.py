"""Write Athena projects: gzipped text, as described in Demeter's manual."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import re
import string
from collections.abc import Mapping  # noqa: TC003 - read from the signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.files import whole_file
from batteryxr.core.units import in_units
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

#: Variables that are written, and whether Athena takes them as normalised.
_KINDS = {
    "absorption": False,
    "optical_density": False,
    "normalised": True,
    "flattened": True,
}
_FEWEST = 5  # fewest energies of a spectrum


@checked
def write_athena(
    spectra: xr.DataTree | xr.DataArray | Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write spectra as a project file for Athena, Larch and similar programs.

    Parameters
    ----------
    spectra
        The result of `read_athena`; or spectra by name (a DataArray along ``energy``,
        or a Dataset with one); or one DataArray along ``energy`` and one more
        dimension, such as ``scan``. Each spectrum is written on its own energies,
        in rising order, without missing values; equal labels get a number. From a
        Dataset, ``i0`` and the attributes that `read_athena` gives are kept: energy
        shift, parameters of normalisation, reference.
    path
        File to write; its name ends in ``.prj``.
    overwrite
        Replace the file, if it is there.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ArgumentError
        If there is no spectrum, or `path` does not end in ``.prj``.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.
    DataError
        If a spectrum is no absorption along energy, or has too few values.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> batteryxr.write_athena(spectra[:3], "series.prj").name
    'series.prj'
    """
    where = Path(path).expanduser()
    if where.suffix.lower() != ".prj":
        raise ArgumentError("path", str(path), "a name that ends in .prj")
    items = _by_label(_items(spectra))
    if not items:
        raise ArgumentError("spectra", spectra, "at least one spectrum")
    groups = dict(zip(items, _group_names(), strict=False))
    lines = [
        "# Athena project file -- Demeter version 0.9.26",
        f"# Written by batteryxr {__version__}",
        "",
    ]
    for name, spectrum in items.items():
        lines += _record(name, spectrum, groups)
    lines += ["@journal = ('');", "", "1;", ""]
    raw = "\n".join(lines).encode()
    # The header has no time or file name, so that equal spectra give equal files.
    with whole_file(where, overwrite=overwrite) as new:
        new.write_bytes(gzip.compress(raw, mtime=0))
    return where


def _by_label(items: Iterator[tuple[str, xr.Dataset]]) -> dict[str, xr.Dataset]:
    """Return spectra by label; equal labels get a number."""
    found: dict[str, xr.Dataset] = {}
    for name, spectrum in items:
        free = (f"{name} ({k})" if k > 1 else name for k in itertools.count(1))
        found[next(label for label in free if label not in found)] = spectrum
    return found


def _items(spectra: Any) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield labels and spectra, each a Dataset with one variable and perhaps i0."""
    if isinstance(spectra, xr.DataTree):
        if not spectra.children:
            yield spectra.name or "spectrum", _single(spectra.to_dataset(), "spectra")
        for name, node in spectra.children.items():
            yield name, _single(node.to_dataset(), name)
    elif isinstance(spectra, xr.DataArray):
        along = [d for d in spectra.dims if d != "energy"]
        if "energy" not in spectra.dims or len(along) > 1:
            raise DataError(
                "spectra",
                f"they lie along {spectra.dims}",
                "Pass spectra along energy and one more dimension, or a mapping.",
            )
        if not along:
            yield str(spectra.name or "spectrum"), _single(spectra, "spectra")
            return
        labels = spectra[along[0]].values if along[0] in spectra.coords else None
        for k in range(spectra.sizes[along[0]]):
            name = f"{along[0]} {k}" if labels is None else str(labels[k])
            if labels is not None and labels.dtype.kind in "iuf":
                name = f"{along[0]} {labels[k]:.12g}"
            yield name, _single(spectra.isel({along[0]: k}), name)
    else:
        for name, item in spectra.items():
            yield str(name), _single(item, str(name))


def _single(item: Any, name: str) -> xr.Dataset:
    """Return one spectrum as a Dataset with energies in eV."""
    if isinstance(item, xr.DataTree):
        item = item.to_dataset()
    if isinstance(item, xr.DataArray):
        item = item.to_dataset(name=str(item.name or "absorption"), promote_attrs=True)
    kind = next((k for k in _KINDS if isinstance(item, xr.Dataset) and k in item), None)
    if kind is None or item[kind].dims != ("energy",) or "energy" not in item.coords:
        raise DataError(
            f"spectra[{name!r}]",
            f"it is no spectrum of {', '.join(_KINDS)} along energy alone",
            "Select one, as in `.isel(scan=0)`.",
        )
    kept = item[[kind, "i0"]] if "i0" in item else item[[kind]]
    energy = in_units(kept["energy"], "eV", caller="write_athena")
    whole = kept.assign_coords(energy=energy).dropna("energy", subset=[kind])
    return whole.compute().sortby("energy")


def _record(name: str, spectrum: xr.Dataset, groups: dict[str, str]) -> list[str]:
    """Return the lines that store one spectrum."""
    kind = next(k for k in _KINDS if k in spectrum)
    energy, values = spectrum.energy.values, spectrum[kind].values
    if energy.size < _FEWEST or not np.isfinite(energy).all():
        raise DataError(
            f"spectra[{name!r}]",
            f"{energy.size} energies with a value; Athena needs {_FEWEST}",
        )
    shift = float(spectrum.attrs.get("energy_shift", 0.0))
    stored = json.loads(spectrum.attrs.get("athena", "{}"))
    args: dict[str, Any] = {
        "label": _label(spectrum, name),
        "datatype": "xmu",
        "is_xmu": 1,
        "is_nor": int(_KINDS[kind]),
        "bkg_eshift": _number(shift),
    } | stored
    e0 = spectrum.attrs.get("e0", math.nan)
    if "bkg_e0" not in args and math.isfinite(e0):
        args["bkg_e0"] = _number(e0)
    reference = spectrum.attrs.get("reference", "")
    if reference in groups:
        args["reference"] = groups[reference]
    pairs = itertools.chain.from_iterable(args.items())
    lines = [
        f"$old_group = '{groups[name]}';",
        f"@args = ({','.join(_quoted(p) for p in pairs)});",
        f"@x = ({_column(energy - shift)});",
        f"@y = ({_column(values)});",
    ]
    if "i0" in spectrum and np.isfinite(spectrum.i0).all():
        lines.append(f"@i0 = ({_column(spectrum.i0.values)});")
    return [*lines, "[record]   # ", ""]


def _label(spectrum: xr.Dataset, name: str) -> str:
    """Return the project's label if the name was made from it, else the name."""
    told = str(spectrum.attrs.get("label", ""))
    made = re.sub(r" \(\d+\)$", "", name)
    return told if told.replace("/", "-").strip() == made else name


def _column(values: np.ndarray) -> str:
    return ",".join(f"'{_number(v)}'" for v in values)


def _number(value: float) -> str:
    """Return a number as text with all its digits."""
    return repr(float(value))


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ")
    return f"'{text}'"


def _group_names() -> Iterator[str]:
    """Yield group names of five letters, as Athena uses them."""
    for letters in itertools.product(string.ascii_lowercase, repeat=5):
        yield "".join(letters)
