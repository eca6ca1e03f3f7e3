from typing import Any

import numpy as np
import numpy.typing as npt

class BSpline:
    def __call__(self, x: npt.ArrayLike) -> npt.NDArray[Any]: ...

def make_interp_spline(
    x: npt.ArrayLike, y: npt.ArrayLike, k: int = ..., *, axis: int = ...
) -> BSpline: ...

class CubicSpline:
    def __init__(self, x: npt.ArrayLike, y: npt.ArrayLike) -> None: ...
    def __call__(self, x: npt.ArrayLike) -> npt.NDArray[Any]: ...

class PchipInterpolator:
    def __init__(self, x: npt.ArrayLike, y: npt.ArrayLike) -> None: ...
    def __call__(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]: ...

class RectBivariateSpline:
    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        z: npt.ArrayLike,
        *,
        kx: int = ...,
        ky: int = ...,
    ) -> None: ...
    def __call__(
        self, x: npt.ArrayLike, y: npt.ArrayLike
    ) -> npt.NDArray[np.float64]: ...
