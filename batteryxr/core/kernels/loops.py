"""Types of arrays in compiled loops, by axes and items, which NumPy leaves open.

For annotations only. Any NumPy array passes for each of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

_Number = TypeVar("_Number", covariant=True)


class _Array(Protocol):
    """Name the members of arrays with any number of axes."""

    @property
    def size(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __array__(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def __setitem__(
        self, key: int | slice | tuple[int | slice, ...], value: Any, /
    ) -> None: ...
    def copy(self) -> Self: ...


class Line(_Array, Protocol[_Number]):
    """Stand for an array of one axis."""

    def __iter__(self) -> Iterator[_Number]: ...
    @overload
    def __getitem__(self, key: int, /) -> _Number: ...
    @overload
    def __getitem__(self, key: slice, /) -> Line[_Number]: ...


class Table(_Array, Protocol[_Number]):
    """Stand for an array of two axes."""

    @overload
    def __getitem__(self, key: int, /) -> Line[_Number]: ...
    @overload
    def __getitem__(self, key: tuple[int, int], /) -> _Number: ...
    @overload
    def __getitem__(
        self, key: tuple[int, slice] | tuple[slice, int], /
    ) -> Line[_Number]: ...
    @overload
    def __getitem__(self, key: slice, /) -> Table[_Number]: ...


class Cube(_Array, Protocol[_Number]):
    """Stand for an array of three axes."""

    @overload
    def __getitem__(self, key: int, /) -> Table[_Number]: ...
    @overload
    def __getitem__(self, key: tuple[int, int], /) -> Line[_Number]: ...
    @overload
    def __getitem__(self, key: tuple[int, int, int], /) -> _Number: ...


class Batch(_Array, Protocol[_Number]):
    """Stand for an array of four axes."""

    @overload
    def __getitem__(self, key: tuple[int, int, int], /) -> Line[_Number]: ...
    @overload
    def __getitem__(self, key: tuple[int, int, int, int], /) -> _Number: ...
    @overload
    def __getitem__(self, key: int, /) -> Cube[_Number]: ...


if TYPE_CHECKING:
    Floats = Line[float]
    Ints = Line[int]
    FloatTable = Table[float]
    IntTable = Table[int]
