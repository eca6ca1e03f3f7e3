from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_Complex = npt.NDArray[np.complexfloating[Any, Any]]
_Real = npt.NDArray[np.floating[Any]]
_Axes = Sequence[int] | None

class _One(Protocol):
    def __call__(
        self,
        x: npt.ArrayLike,
        n: int | None = ...,
        axis: int = ...,
        norm: str | None = ...,
        overwrite_x: bool = ...,
        workers: int | None = ...,
    ) -> _Complex: ...

class _Several(Protocol):
    def __call__(
        self,
        x: npt.ArrayLike,
        s: Sequence[int] | None = ...,
        axes: _Axes = ...,
        norm: str | None = ...,
        overwrite_x: bool = ...,
        workers: int | None = ...,
    ) -> _Complex: ...

class _Real1(Protocol):
    def __call__(
        self,
        x: npt.ArrayLike,
        n: int | None = ...,
        axis: int = ...,
        norm: str | None = ...,
        overwrite_x: bool = ...,
        workers: int | None = ...,
    ) -> _Real: ...

class _RealSeveral(Protocol):
    def __call__(
        self,
        x: npt.ArrayLike,
        s: Sequence[int] | None = ...,
        axes: _Axes = ...,
        norm: str | None = ...,
        overwrite_x: bool = ...,
        workers: int | None = ...,
    ) -> _Real: ...

fft: _One
ifft: _One
rfft: _One
irfft: _Real1
fft2: _Several
ifft2: _Several
rfft2: _Several
fftn: _Several
ifftn: _Several
rfftn: _Several
irfft2: _RealSeveral
irfftn: _RealSeveral

def dctn(x: npt.ArrayLike) -> _Real: ...
def idctn(x: npt.ArrayLike) -> _Real: ...
def dst(x: npt.ArrayLike, type: int = ...) -> _Real: ...
def idst(x: npt.ArrayLike, type: int = ...) -> _Real: ...
def fftfreq(n: int, d: float = ...) -> npt.NDArray[np.float64]: ...
def rfftfreq(n: int, d: float = ...) -> npt.NDArray[np.float64]: ...
def fftshift(x: npt.NDArray[Any], axes: int | _Axes = ...) -> npt.NDArray[Any]: ...
def ifftshift(x: npt.NDArray[Any], axes: int | _Axes = ...) -> npt.NDArray[Any]: ...
def next_fast_len(target: int, real: bool = ...) -> int: ...
