"""Remembering what pure functions give. The sagas of one plan pass through the same few states, by the same events."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

REMEMBERED_MAX: Final = 8_192
"""Results; when there are more, all are forgotten. Delays that are drawn by chance make each event one of its own."""


class Remembered(Generic[T, R]):
    """A pure function of an object that never changes, and perhaps of something small beside it.

    The object is recognised by its identity, so that nothing of it has to be hashed; it is kept as long as
    its result is, so that no other can take its place.

    Example:
        >>> double = Remembered(lambda numbers, factor: [factor * number for number in numbers])
        >>> one_two = (1, 2)
        >>> double(one_two, 2) is double(one_two, 2)
        True
    """

    def __init__(self, function: Callable[..., R]) -> None:
        self._function = function
        self._known: dict[tuple[int, Hashable], tuple[T, R]] = {}

    def __call__(self, value: T, *beside: Hashable) -> R:
        """What the function gives."""
        key = (id(value), beside)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        result = self._function(value, *beside)
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[key] = (value, result)
        return result
