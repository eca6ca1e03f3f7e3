from collections.abc import Callable, Collection
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

# A compiled function takes and returns what its annotations say.
def njit(
    *,
    cache: bool = ...,
    nogil: bool = ...,
    fastmath: bool | Collection[str] = ...,
    error_model: str = ...,
    inline: str = ...,
    forceinline: bool = ...,
) -> Callable[[_Function], _Function]: ...

__version__: str
