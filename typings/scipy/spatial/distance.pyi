import numpy as np
import numpy.typing as npt

def squareform(X: npt.ArrayLike, *, checks: bool = ...) -> npt.NDArray[np.float64]: ...
