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
    """A body on its way: a JSON array of messages for one address."""

    to: Address
    body: bytes


def pack(letters: Sequence[Letter]) -> list[Parcel]:
    """The letters as few parcels within the bounds, in their order for each address.

    A message that is over the bound by itself travels alone; to refuse it is for who reads it.
    """
    by_address: dict[Address, list[bytes]] = {}
    for letter in letters:
        by_address.setdefault(letter.to, []).append(letter.message)
    return [Parcel(to, join(some)) for to, messages in by_address.items() for some in _within_bounds(messages)]


def _within_bounds(messages: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    begin, size = 0, _BRACKETS
    for index, message in enumerate(messages):
        added = len(message) + _COMMA
        is_full = index - begin == BATCH_COUNT_MAX or size + added > BATCH_BYTES_MAX
        if is_full and index > begin:
            yield messages[begin:index]
            begin, size = index, _BRACKETS
        size += added
    yield messages[begin:]
