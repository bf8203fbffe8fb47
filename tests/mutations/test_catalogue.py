"""The list of bugs follows the code: each can be put in, and changes what it says."""

from __future__ import annotations

import ast
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import Inapplicable, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_bug_can_be_put_into_the_code(mutation: Mutation, tmp_path: Path) -> None:
    copy = tmp_path / mutation.path
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutation.path, copy)
    mutation.put_into(tmp_path)
    changed = copy.read_text()
    assert changed != (ROOT / mutation.path).read_text()
    if copy.suffix == ".py":
        ast.parse(changed)
    for argument in mutation.noticed_by:
        assert not argument.endswith(".py") or (ROOT / argument).is_file(), argument


def test_every_bug_has_a_name_of_its_own() -> None:
    assert max(Counter(mutation.name for mutation in MUTATIONS).values()) == 1


def test_a_bug_whose_place_is_gone_is_told_apart_from_one_that_is_caught(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("a = 1\nb = 1\n")
    for text in ("= 2", "= 1"):
        with pytest.raises(Inapplicable, match="lost"):
            Mutation("lost", "code.py", text, "= 3", ()).put_into(tmp_path)
