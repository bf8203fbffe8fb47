"""What pure functions have given is remembered, by the identity of what they were given."""

from __future__ import annotations

import pytest

from sagaflow.definitions import remembering
from sagaflow.definitions.remembering import Remembered


def counting() -> tuple[Remembered[list[int], int], list[object]]:
    """A sum that counts its calls. Lists cannot be hashed, and need not be."""
    calls: list[object] = []

    def total(numbers: list[int], more: int = 0) -> int:
        calls.append(numbers)
        return sum(numbers) + more

    return Remembered(total), calls


def test_the_same_object_is_given_to_the_function_once() -> None:
    total, calls = counting()
    numbers = [1, 2]
    assert [total(numbers), total(numbers)] == [3, 3]
    assert calls == [numbers]


def test_an_equal_object_is_another_one_and_so_is_what_stands_beside_it() -> None:
    total, calls = counting()
    numbers = [1, 2]
    assert [total(numbers), total([1, 2]), total(numbers, 1), total(numbers, 1)] == [3, 3, 4, 4]
    assert len(calls) == 3


def test_no_other_object_can_take_the_place_of_one_that_is_remembered() -> None:
    total, _ = counting()
    for number in range(1_000):
        assert total([number]) == number, "an object that nobody holds may lie where one lay before"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "REMEMBERED_MAX", 10)
    total, _ = counting()
    for number in range(100):
        total([number])
        assert len(total._known) <= 10
