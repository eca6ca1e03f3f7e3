from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

_Complex = npt.NDArray[np.complexfloating[Any, Any]]
_Real = npt.NDArray[np.floating[Any]]
_Axes = Sequence[int] | None
_Out = TypeVar("_Out", covariant=True)

class _One(Protocol[_Out]):
    def __call__(
        self,
        x: npt.ArrayLike,
        n: int | None = ...,
        axis: int = ...,
        norm: str | None = ...,
        overwrite_x: bool = ...,
        workers: int | None = ...,
    ) -> _Out: ...

class _Several(Protocol[_Out]):
    def __call__(
        self,
        x: npt.ArrayLike,
        s: Sequence[int] | None = ...,
        axes: _Axes = ...,
        norm: str | None = ...,
        overwrite_x: bool = ...,
        workers: int | None = ...,
    ) -> _Out: ...

fft: _One[_Complex]
ifft: _One[_Complex]
rfft: _One[_Complex]
irfft: _One[_Real]
fft2: _Several[_Complex]
ifft2: _Several[_Complex]
rfft2: _Several[_Complex]
fftn: _Several[_Complex]
ifftn: _Several[_Complex]
rfftn: _Several[_Complex]
irfft2: _Several[_Real]
irfftn: _Several[_Real]

def dctn(x: npt.ArrayLike) -> _Real: ...
def idctn(x: npt.ArrayLike) -> _Real: ...
def dst(x: npt.ArrayLike, type: int = ...) -> _Real: ...
def idst(x: npt.ArrayLike, type: int = ...) -> _Real: ...
def fftfreq(n: int, d: float = ...) -> npt.NDArray[np.float64]: ...
def rfftfreq(n: int, d: float = ...) -> npt.NDArray[np.float64]: ...
def fftshift(x: npt.NDArray[Any], axes: int | _Axes = ...) -> npt.NDArray[Any]: ...
def ifftshift(x: npt.NDArray[Any], axes: int | _Axes = ...) -> npt.NDArray[Any]: ...
def next_fast_len(target: int, real: bool = ...) -> int: ...
