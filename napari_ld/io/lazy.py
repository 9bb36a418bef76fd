"""Arrays that read from their file when indexed, and keep nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LazyArray", "LazyImage", "LazyStack"]


class _Lazy:
    """Size and kind of pixels that are still in their file."""

    def __init__(self, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self.shape = tuple(int(length) for length in shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]


class LazyStack(_Lazy):
    """A stack whose planes are read one by one.

    Parameters
    ----------
    shape : tuple of int
        ``(planes, rows, columns)`` or ``(planes, rows, columns, channels)``; with times in front for a series.
    dtype : dtype
    read : callable
        From the index of a plane to its pixels, ``shape[1:]`` of ``dtype``; for a series from the time to a stack,
        which may be lazy itself.
    read_into : callable, optional
        Puts the pixels of a plane into a given array of that shape and dtype: the whole stack then needs no copies.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        read: Callable[[int], Any],
        read_into: Callable[[int, npt.NDArray[Any]], object] | None = None,
    ) -> None:
        super().__init__(shape, dtype)
        self._read, self._read_into = read, read_into

    def __getitem__(self, key: Any) -> Any:
        """Index as numpy does; only the planes that are asked for are read."""
        keys = key if isinstance(key, tuple) else (key,)
        if not keys or keys[0] is Ellipsis:
            indexed = sum(one is not None for one in keys[1:])
            keys = (slice(None),) * (self.ndim - indexed) + keys[1:]
        first, rest = keys[0], keys[1:]
        if isinstance(first, slice):
            indices = range(*first.indices(len(self)))
            if len(indices) and rest and all(isinstance(one, (int, slice)) for one in rest):
                return np.stack([np.asarray(self._read(index)[rest]) for index in indices])
            return self._planes(indices)[(slice(None), *rest)]
        try:
            index = operator.index(first)
        except TypeError:
            return self._planes(range(len(self)))[key]
        if not -len(self) <= index < len(self):
            raise IndexError(f"plane {index} is outside a stack of {len(self)} planes")
        return self._read(index % len(self))[rest]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("pixels are read from a file: an array of them is always a copy")
        return self._planes(range(len(self))).astype(dtype or self.dtype, copy=False)

    def _planes(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        planes = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for position, index in enumerate(indices):
            if self._read_into is not None:
                self._read_into(index, planes[position])
            else:
                planes[position] = self._read(index)
        return planes


class LazyImage(_Lazy):
    """A single image that is read each time it is used.

    Parameters
    ----------
    shape : tuple of int
        ``(rows, columns)`` or ``(rows, columns, channels)``.
    dtype : dtype
    read : callable
        Gives the pixels.
    """

    def __init__(self, shape: Sequence[int], dtype: npt.DTypeLike, read: Callable[[], npt.NDArray[Any]]) -> None:
        super().__init__(shape, dtype)
        self._read = read

    def __getitem__(self, key: Any) -> Any:
        return self._read()[key]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("pixels are read from a file: an array of them is always a copy")
        return self._read().astype(dtype or self.dtype, copy=False)


class LazyArray(_Lazy):
    """An array that is stored in chunks, any part of which can be read at once.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    read : callable
        From one integer or slice for each axis to the pixels there.
    chunks : tuple of int
        Size of what is stored together.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        read: Callable[[tuple[Any, ...]], npt.NDArray[Any]],
        chunks: tuple[int, ...],
    ) -> None:
        super().__init__(shape, dtype)
        self._read = read
        self.chunks = chunks

    def __getitem__(self, key: Any) -> Any:
        """Index as numpy does; integers and slices read no more than the chunks that they touch."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [one for one in keys if not isinstance(one, np.ndarray)]:
            place = next(index for index, one in enumerate(keys) if one is Ellipsis)
            keys = (*keys[:place], *(slice(None),) * (self.ndim - len(keys) + 1), *keys[place + 1 :])
        if len(keys) <= self.ndim and all(isinstance(one, (int, np.integer, slice)) for one in keys):
            steps = [one.step for one in keys if isinstance(one, slice)]
            if all(step is None or step > 0 for step in steps):
                return self._read((*keys, *(slice(None),) * (self.ndim - len(keys))))
        return self._read((slice(None),) * self.ndim)[key]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("pixels are read from a file: an array of them is always a copy")
        return self._read((slice(None),) * self.ndim).astype(dtype or self.dtype, copy=False)
