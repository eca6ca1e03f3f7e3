from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Mask = npt.NDArray[np.bool]
_PerAxis = float | Sequence[float] | npt.NDArray[np.floating[Any]]

def affine_transform(
    input: _Array,
    matrix: npt.ArrayLike,
    offset: float | Sequence[float] | _Array = ...,
    output_shape: tuple[int, ...] | None = ...,
    output: npt.DTypeLike | _Array | None = ...,
    order: int = ...,
    mode: str = ...,
    cval: float = ...,
    prefilter: bool = ...,
) -> _Array: ...
def binary_dilation(
    input: npt.ArrayLike, structure: npt.ArrayLike | None = ..., iterations: int = ...
) -> _Mask: ...
def binary_erosion(
    input: npt.ArrayLike, structure: npt.ArrayLike | None = ..., iterations: int = ...
) -> _Mask: ...
def binary_fill_holes(input: npt.ArrayLike) -> _Mask: ...
def binary_opening(
    input: npt.ArrayLike, structure: npt.ArrayLike | None = ..., iterations: int = ...
) -> _Mask: ...
def correlate1d(input: _Array, weights: npt.ArrayLike, axis: int = ...) -> _Array: ...
@overload
def distance_transform_edt(
    input: npt.ArrayLike, sampling: _PerAxis | None = ...
) -> npt.NDArray[np.float64]: ...
@overload
def distance_transform_edt(
    input: npt.ArrayLike,
    sampling: _PerAxis | None = ...,
    *,
    return_distances: Literal[False],
    return_indices: Literal[True],
) -> npt.NDArray[np.int32]: ...
def gaussian_filter(
    input: _Array,
    sigma: _PerAxis,
    order: int = ...,
    output: _Array | None = ...,
    mode: str = ...,
    cval: float = ...,
    truncate: float = ...,
) -> _Array: ...
def gaussian_filter1d(
    input: _Array,
    sigma: float,
    axis: int = ...,
    order: int = ...,
    output: _Array | None = ...,
    mode: str = ...,
    cval: float = ...,
    truncate: float = ...,
) -> _Array: ...
def gaussian_gradient_magnitude(
    input: _Array, sigma: _PerAxis, output: _Array | None = ..., mode: str = ...
) -> _Array: ...
def label(
    input: npt.ArrayLike, structure: npt.ArrayLike | None = ...
) -> tuple[npt.NDArray[np.int32], int]: ...
def map_coordinates(
    input: _Array,
    coordinates: npt.ArrayLike,
    output: _Array | None = ...,
    order: int = ...,
    mode: str = ...,
    cval: float = ...,
    prefilter: bool = ...,
) -> _Array: ...
def mean(
    input: npt.ArrayLike, labels: npt.ArrayLike, index: npt.ArrayLike
) -> npt.NDArray[np.float64]: ...
def maximum_filter(
    input: _Array,
    size: int | tuple[int, ...] | None = ...,
    footprint: _Mask | None = ...,
    *,
    mode: str = ...,
) -> _Array: ...
def median_filter(
    input: _Array, size: int | tuple[int, ...], *, mode: str = ...
) -> _Array: ...
def minimum_filter1d(input: _Array, size: int) -> _Array: ...
def sum_labels(
    input: npt.ArrayLike, labels: npt.ArrayLike, index: npt.ArrayLike
) -> npt.NDArray[np.float64]: ...
