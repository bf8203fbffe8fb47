"""Joins letters to bodies, for every transport alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sagaflow.definitions.limits import BATCH_BYTES_MAX, BATCH_COUNT_MAX
from sagaflow.definitions.messages import join
from sagaflow.definitions.ports import Address, Letter

_BRACKETS = len(join([]))
_COMMA = 1


@dataclass(frozen=True, slots=True)
class Parcel:
    """A body on its way: a JSON array of messages for one address.

    It is worth nothing after `expires_seconds`, if that is not None: the longest that any of its letters asks for.
    """

    to: Address
    body: bytes
    expires_seconds: float | None = None


def pack(letters: Sequence[Letter]) -> list[Parcel]:
    """The letters as few parcels within the bounds, in their order for each address.

    Letters that expire travel apart from those that do not: in one body, those would live for ever or these would be
    lost. A message that is over the bound by itself travels alone; to refuse it is for who reads it.
    """
    alike: dict[tuple[Address, bool], list[Letter]] = {}
    for letter in letters:
        alike.setdefault((letter.to, letter.expires_seconds is None), []).append(letter)
    return [_parcel(some) for together in alike.values() for some in _within_bounds(together)]


def _parcel(letters: Sequence[Letter]) -> Parcel:
    expiries = [letter.expires_seconds for letter in letters if letter.expires_seconds is not None]
    return Parcel(letters[0].to, join([letter.message for letter in letters]), max(expiries, default=None))


def _within_bounds(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    begin, size = 0, _BRACKETS
    for index, letter in enumerate(letters):
        added = len(letter.message) + _COMMA
        is_full = index - begin == BATCH_COUNT_MAX or size + added > BATCH_BYTES_MAX
        if is_full and index > begin:
            yield letters[begin:index]
            begin, size = index, _BRACKETS
        size += added
    yield letters[begin:]
