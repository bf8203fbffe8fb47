"""SQL files of named statements."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sagaflow.definitions.named_queries import load

Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes some.sql in a package that can be imported."""
    package = tmp_path / "package_with_sql"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package.name, raising=False)

    def write(text: str) -> None:
        (package / "some.sql").write_text(text)

    return write


def test_statements_are_loaded_by_name_with_their_comments_and_without_a_semicolon(write: Write) -> None:
    write("""\
-- About the file.

-- name: first
-- What it does.
SELECT ';' -- not the end
;

-- The next section.

-- name: second
SELECT 2;
""")
    assert load("package_with_sql", "some.sql") == {
        "first": "-- name: first\n-- What it does.\nSELECT ';' -- not the end",
        "second": "-- name: second\nSELECT 2",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no statement is marked"),
        ("SELECT 1;", "no statement is marked"),
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "'a' must be a new name"),
        ("-- name: a\n-- Nothing.\n", "'a' must be a new name with a statement"),
        ("-- name: two words\nSELECT 1;", "'two words' must be a new name"),
    ],
)
def test_a_file_of_something_else_is_refused(write: Write, text: str, reason: str) -> None:
    write(text)
    with pytest.raises(ValueError, match=reason):
        load("package_with_sql", "some.sql")
