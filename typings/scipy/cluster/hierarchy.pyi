import numpy as np
import numpy.typing as npt

def linkage(y: npt.ArrayLike, method: str = ...) -> npt.NDArray[np.float64]: ...
def cophenet(
    Z: npt.ArrayLike, Y: npt.ArrayLike
) -> tuple[float, npt.NDArray[np.float64]]: ...
