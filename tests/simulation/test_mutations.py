"""The simulator finds seeded bugs; `python -m tests.simulation` says how soon."""

from __future__ import annotations

import pytest

from tests.simulation.mutations import MUTATIONS, SEEDS_MAX, Mutation, find


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_seeded_bug_is_found(mutation: Mutation) -> None:
    found = find(mutation, range(mutation.soonest, SEEDS_MAX))
    assert found is not None
    assert found[1].partition(":")[0] in mutation.shown_by
