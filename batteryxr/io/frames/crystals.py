"""Write crystals for other programs: CXI for peers, VTI for ParaView."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.files import whole_file, whole_hdf5
from batteryxr.core.labels import even_step
from batteryxr.core.units import in_units
from batteryxr.io.frames.objects import NOTES

if TYPE_CHECKING:
    import os

_DETECTED = ("along_rocking", "along_y", "along_x")
_SPACE = ("z", "y", "x")


@checked
def write_object(
    crystal: xr.DataArray | xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a crystal as CXI, or its fields as VTI for ParaView.

    Reads once.

    Parameters
    ----------
    crystal
        For ``.cxi``: the complex object of one state on ``along_rocking``,
        ``along_y``, ``along_x``, or its Dataset with ``support``. For ``.vti``: fields
        of one state on ``z``, ``y``, ``x``, as `to_laboratory` gives them. Complex
        fields are written as amplitude and phase.
    path
        Name of the file; its ending chooses the format.
    overwrite
        Whether a file of this name is replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ArgumentError
        If the ending is neither.
    DataError
        If the crystal has other axes, or does not tell its ``fourier_sign`` or units.
    StoreError
        If the file is there and must not be replaced, or cannot be written.

    Notes
    -----
    `read_object` reads the CXI file with its place in the box that was phased. VTI
    holds positions in nm, and units in the names of fields.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> axis = ("x", 5.0 * np.arange(8), {"units": "nm"})
    >>> axes = {d: (d, *axis[1:]) for d in "zyx"}
    >>> field = xr.DataArray(np.ones((8, 8, 8)), axes, list("zyx"), name="strain")
    >>> batteryxr.write_object(field.assign_attrs(units="1"), "strain.vti").name
    'strain.vti'
    """
    path = Path(path)
    if path.suffix not in (".cxi", ".vti"):
        raise ArgumentError("path", str(path), "a name that ends in .cxi or .vti")
    if isinstance(crystal, xr.DataArray):
        crystal = crystal.rename(crystal.name or "object").to_dataset()
    if path.suffix == ".cxi":
        _write_cxi(crystal, path, overwrite)
    else:
        _write_vti(crystal, path, overwrite)
    return path


def _write_cxi(crystal: xr.Dataset, path: Path, overwrite: bool) -> None:
    """Write object and support, with their place in the box."""
    if "object" not in crystal or set(crystal["object"].dims) != set(_DETECTED):
        told = {str(n): a.dims for n, a in crystal.data_vars.items()}
        mend = "Pass the `object` of one state: `.isel(state=0)`."
        raise DataError("crystal", f"has {told}, not an object on {_DETECTED}", mend)
    field = crystal["object"].transpose(*_DETECTED)
    if field.dtype.kind != "c":
        raise DataError(
            "crystal",
            f"holds {field.dtype}, not a complex object",
            "Pass the `object` of a result.",
        )
    sign = int(field.coords.get("fourier_sign", xr.DataArray(0)))
    if sign not in (1, -1):
        mend = "Note it: `.assign_coords(fourier_sign=-1)`."
        raise DataError("crystal", "does not tell the sign of its transform", mend)
    values = field.values if sign == -1 else np.conj(field.values)
    with whole_hdf5(path, overwrite=overwrite) as file:
        file["cxi_version"] = 160
        file["entry_1/program_name"] = "batteryxr"
        image = file.create_group("entry_1/image_1")
        image["data"] = values
        image["data_space"], image["data_type"] = "real", "electron density"
        image["is_fft_shifted"] = 0
        for dim in _DETECTED:
            about = dict(field[dim].attrs) if dim in field.coords else {}
            if dim in field.coords:
                about["first"] = int(field[dim].values[0])
            for note in [n for n in NOTES if n in about]:
                image["data"].attrs[f"{dim}_{note}"] = about[note]
        if "support" in crystal:
            inside = crystal["support"].transpose(*_DETECTED).values
            image["support"] = np.nan_to_num(inside).astype(np.uint8)
        file["entry_1/data_1/data"] = file["entry_1/image_1/data"]


def _write_vti(crystal: xr.Dataset, path: Path, overwrite: bool) -> None:
    """Write real fields on an even grid: XML with binary numbers, little end first."""
    fields = {n: a for n, a in crystal.data_vars.items() if set(a.dims) == set(_SPACE)}
    if not fields:
        told = {str(n): a.dims for n, a in crystal.data_vars.items()}
        mend = "Pass the fields of one state after to_laboratory."
        raise DataError("crystal", f"has {told}, and no field on {_SPACE}", mend)
    if missing := [d for d in _SPACE if d not in crystal.coords]:
        raise DataError(
            "crystal",
            f"has no positions along {missing}",
            "Pass a result of to_laboratory.",
        )
    axes = [in_units(crystal[d], "nm", caller="write_object") for d in "xyz"]
    placed = crystal.assign_coords({str(a.name): a for a in axes})
    steps = [even_step(placed, d, caller="write_object") for d in "xyz"]
    if any(step < 0 for step in steps):
        raise DataError("crystal", "has an axis that falls", "Turn it: `.sortby(...)`.")
    extent = " ".join(f"0 {a.size - 1}" for a in axes)
    origin = " ".join(f"{float(a.values[0]):.9g}" for a in axes)
    spacing = " ".join(f"{step:.9g}" for step in steps)
    from xml.sax.saxutils import quoteattr

    with whole_file(path, overwrite=overwrite) as new, new.open("wb") as out:
        head = (
            '<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" '
            'byte_order="LittleEndian" header_type="UInt64">\n'
            f'<ImageData WholeExtent="{extent}" Origin="{origin}" '
            f'Spacing="{spacing}">\n<Piece Extent="{extent}">\n<PointData>\n'
        )
        out.write(head.encode())
        for name, array in fields.items():
            for title, values in _real(str(name), array.transpose(*_SPACE)):
                out.write(
                    f'<DataArray type="Float32" Name={quoteattr(title)} '
                    'format="binary">'.encode()
                )
                numbers = np.ascontiguousarray(values, "<f4").tobytes()
                size = np.array([len(numbers)], "<u8").tobytes()
                out.write(base64.b64encode(size + numbers) + b"</DataArray>\n")
        out.write(b"</PointData>\n</Piece>\n</ImageData>\n</VTKFile>\n")


def _real(name: str, array: xr.DataArray) -> list[tuple[str, np.ndarray]]:
    """Return the real parts of a field that are shown, by title."""
    if array.dtype.kind == "c":
        values = array.values
        pair = (("amplitude", np.abs(values)), ("phase (rad)", np.angle(values)))
        return [(f"{name} {title}", part) for title, part in pair]
    units = str(array.attrs.get("units", "1"))
    return [(name if units == "1" else f"{name} ({units})", array.values)]
