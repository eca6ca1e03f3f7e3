"""Read one image: a dark, a flat field, a mask, or the map of a scanning probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.model import label
from batteryxr.io.door.counts import FLAG, only_counts
from batteryxr.io.door.files import head, named
from batteryxr.io.door.images import (
    check_page,
    npy,
    page_at,
    page_places,
    pixels,
    tiff,
)
from batteryxr.io.formats import Format
from batteryxr.io.frames.reader import paths_of, pixel_axis

if TYPE_CHECKING:
    import os
    from pathlib import Path

_EDF = Format("frames.edf", (".edf", ".edf.gz"), function="read_page")
_GWYDDION = Format("frames.gwyddion", (".gsf", ".txt"))


@checked
def read_image(path: str | os.PathLike[str], *, page: int = 0) -> xr.DataArray:
    """Read one image: a dark, a flat field, a mask, or the map of a scanning probe.

    Reads once.

    Parameters
    ----------
    path
        A TIFF, EDF or NumPy ``.npy`` file; a Gwyddion simple field (``.gsf``), or a
        channel that Gwyddion wrote as text.
    page
        Number of the page in a TIFF or EDF of several, from 0.

    Returns
    -------
    xarray.DataArray
        ``image`` on ``(detector_y, detector_x)`` with pixel indices. Integers become
        float32, NaN where they are no counts. A mask, which holds at most two
        numbers (such as 0 and 1, or 0 and 255), stays as it is. A Gwyddion file gives
        ``map`` on ``(y, x)``, the pixel centres in nm (pixel numbers if the file gives
        no lengths), with the units and title of the file.

    Raises
    ------
    ArgumentError, FileFormatError
        If there is no such file or page, or it is damaged.

    Warns
    -----
    DataQualityWarning
        If some pixels are no counts.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("flat.npy", np.full((32, 32), 900.0))
    >>> batteryxr.read_image("flat.npy").shape
    (32, 32)
    """
    (only,) = paths_of(path)[:1]
    if only.suffix.lower() == _GWYDDION.suffixes[0] or _is_text_map(only):
        with named(only):
            found: xr.DataArray = _GWYDDION.read(only)
        return found
    if only.name.lower().endswith(_EDF.suffixes):
        image = _EDF.read(only, page)
    elif only.suffix == ".npy":
        image = npy(only)
    else:
        with tiff(only) as file:
            places = page_places(only, file)
            if not 0 <= page < len(places):
                raise ArgumentError("page", page, f"0 to {len(places) - 1}")
            wanted = page_at(file, places[page])
            check_page(only, wanted)
            image = pixels(only, wanted)
    if image.ndim != 2:
        raise FileFormatError(only, f"an image has 2 axes; found {image.ndim}.")
    if image.dtype.kind == "c":
        raise FileFormatError(only, "holds complex numbers, which no detector counts.")
    if not _is_mask(image):
        image = only_counts(image, only.name)
    array = xr.DataArray(
        image,
        dims=("detector_y", "detector_x"),
        coords={
            "detector_y": pixel_axis("y", 0, image.shape[0]),
            "detector_x": pixel_axis("x", 0, image.shape[1]),
        },
    )
    return label(array, "image", units="1", long_name="Counts", flag=FLAG)


def _is_text_map(path: Path) -> bool:
    """Tell whether a file is a channel that Gwyddion wrote as text."""
    return path.suffix.lower() == ".txt" and head(path, 16).startswith(b"# Channel:")


def _is_mask(image: np.ndarray) -> bool:
    """Tell whether an image is a mask: it holds no more than two numbers.

    Images with -1, or the largest number of 16 or 32 bits, are dark images with gaps.
    """
    if image.dtype.kind not in "iub":
        return False
    if image.dtype.kind == "b" or not image.size:
        return True
    low, high = image.min(), image.max()
    gaps = low < 0 or (image.dtype.itemsize > 1 and high >= np.iinfo(image.dtype).max)
    return bool(not gaps and ((image == low) | (image == high)).all())
