"""Statements in .sql files are found by their names."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sagaflow.definitions import named_queries

Load = Callable[[str], Mapping[str, str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads the statements of a text, as the file of a package."""
    folder = tmp_path / "package_with_queries"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "package_with_queries", raising=False)

    def load_text(text: str) -> Mapping[str, str]:
        (folder / "queries.sql").write_bytes(text.encode())
        return named_queries.load("package_with_queries", "queries.sql")

    return load_text


def test_each_statement_has_its_name(load: Load) -> None:
    queries = load("-- name: first\nSELECT 1;\n\n-- name: second\nSELECT\n    2;\n")
    assert queries == {"first": "-- name: first\nSELECT 1", "second": "-- name: second\nSELECT\n    2"}


def test_what_stands_above_the_first_name_is_about_the_file(load: Load) -> None:
    assert list(load("-- Copyright.\n\nSELECT 0;\n-- name: first\nSELECT 1")) == ["first"]


def test_the_comment_under_a_name_stays_in_the_statement(load: Load) -> None:
    assert load("-- name: first\n-- The only one.\nSELECT 1;")["first"] == "-- name: first\n-- The only one.\nSELECT 1"


def test_the_comment_above_the_next_name_does_not(load: Load) -> None:
    queries = load("-- name: first\nSELECT 1;\n\n-- The others:\n\n-- name: second\nSELECT 2;")
    assert queries["first"] == "-- name: first\nSELECT 1"


@pytest.mark.parametrize("statement", ["SELECT 1;", "SELECT 1 ;", "SELECT 1", "\n\n  SELECT 1;  \n\n"])
def test_a_statement_has_no_final_semicolon_and_no_space_around(load: Load, statement: str) -> None:
    assert load(f"-- name: first\n{statement}")["first"] == "-- name: first\nSELECT 1"


def test_lines_may_end_as_on_windows(load: Load) -> None:
    assert load("-- name: first\r\nSELECT\r\n1;\r\n") == {"first": "-- name: first\nSELECT\n1"}


def test_a_name_inside_a_line_is_no_name(load: Load) -> None:
    assert list(load("-- name: first\nSELECT '-- name: second', 1;")) == ["first"]


def test_an_unusual_character_inside_a_statement_stays_what_it_is(load: Load) -> None:
    assert load("-- name: first\nSELECT '\u2028\x0c'")["first"] == "-- name: first\nSELECT '\u2028\x0c'"


def test_queries_cannot_be_changed(load: Load) -> None:
    queries = load("-- name: first\nSELECT 1;")
    with pytest.raises(TypeError):
        queries["first"] = "DROP TABLE sagas"  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("-- name: first\nSELECT 1;\n-- name: first\nSELECT 2;", "first"),
        ("-- name: \nSELECT 1;", ""),
        ("-- name: two words\nSELECT 1;", "two words"),
        ("-- name: first;\nSELECT 1;", "first;"),
        ("-- name: first", "first"),
        ("-- name: first\n;", "first"),
        ("-- name: first\n-- A comment is no statement.\n", "first"),
        ("-- name: first\n-- name: second\nSELECT 2;", "first"),
        ("-- name: ", ""),
    ],
    ids=[
        "a name that is there twice",
        "no name",
        "two words",
        "a name with a semicolon",
        "no line under the name",
        "a semicolon alone",
        "a comment alone",
        "a name under a name",
        "a name that is cut off",
    ],
)
def test_what_is_no_named_statement_is_refused(load: Load, text: str, name: str) -> None:
    with pytest.raises(ValueError, match="must be a new name with a statement under it") as refused:
        load(text)
    assert str(refused.value).startswith(f"package_with_queries/queries.sql: {name!r}")


@pytest.mark.parametrize("text", ["", "SELECT 1;", "--name: first\nSELECT 1;"])
def test_a_file_without_a_name_is_refused(load: Load, text: str) -> None:
    with pytest.raises(ValueError, match=r"queries\.sql: no statement is marked with '-- name: '"):
        load(text)


def test_a_file_that_is_not_there_is_not_taken_for_an_empty_one(load: Load) -> None:
    load("-- name: first\nSELECT 1;")
    with pytest.raises(FileNotFoundError):
        named_queries.load("package_with_queries", "others.sql")
