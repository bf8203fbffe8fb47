"""docs/guarantees.md claims nothing that no test shows: each case has its row, and its tests or a reason for later."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CASES = range(1, 36)

ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<when>[^|]+) \| (?P<then>[^|]+) \| (?P<servers>●?) ?\|$", re.MULTILINE)


def rows() -> Mapping[int, re.Match[str]]:
    """The rows of the table by their numbers."""
    found = list(ROW.finditer((ROOT / "docs" / "guarantees.md").read_text()))
    assert [int(row["number"]) for row in found] == list(CASES)
    return {int(row["number"]): row for row in found}


@cache
def cases_tested() -> Mapping[int, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All tests that are named after a case, wherever they stand."""
    found = defaultdict(list)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                named = re.match(r"test_case_(\d\d)_", node.name)
                if named:
                    found[int(named[1])].append(node)
    return found


def uses_servers(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is played over real servers: in the world of the runners, or with a database of its own."""
    return bool({argument.arg for argument in test.args.args} & {"world", "database_url", "rabbitmq"})


@pytest.mark.parametrize("number", CASES)
def test_every_case_is_shown_by_a_test_or_says_why_later(number: int) -> None:
    row, tests = rows()[number], cases_tested()[number]
    is_later = row["then"].startswith("*later*: ")
    assert bool(tests) != is_later
    assert any(map(uses_servers, tests)) == bool(row["servers"])


def test_no_test_is_named_after_a_case_that_is_not_in_the_table() -> None:
    assert set(cases_tested()) <= set(CASES)
