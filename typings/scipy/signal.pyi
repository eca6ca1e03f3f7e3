from typing import Any

import numpy as np
import numpy.typing as npt

def find_peaks(
    x: npt.ArrayLike,
    *,
    prominence: float | None = ...,
    width: float | None = ...,
    rel_height: float = ...,
) -> tuple[npt.NDArray[np.intp], dict[str, npt.NDArray[Any]]]: ...
def savgol_filter(
    x: npt.ArrayLike, window_length: int, polyorder: int, *, axis: int = ...
) -> npt.NDArray[np.float64]: ...
