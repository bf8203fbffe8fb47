"""From a history that shows a problem to the smallest that still does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

TRIES_MAX = 600


def shrink(parts: Sequence[T], shows: Callable[[Sequence[T]], bool], *, tries: int = TRIES_MAX) -> Sequence[T]:
    """As few of the parts as still show it: halves are left out, then smaller pieces, then each by itself.

    Example:
        >>> shrink(list(range(100)), lambda some: {7, 42} <= set(some))
        [7, 42]
    """
    kept = list(parts)
    size = max(1, len(kept) // 2)
    while kept and tries > 0:
        place, smaller = 0, False
        while place < len(kept) and tries > 0:
            tries -= 1
            without = kept[:place] + kept[place + size :]
            if shows(without):
                kept, smaller = without, True
            else:
                place += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return kept
