"""SQL lives in `.sql` files; each statement there has a name and a sentence that says what it does.

-- name: due_sagas
-- The agenda entries whose time has come, earliest first.
SELECT ...
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_MARK: Final = "-- name: "


def load(package: str, name: str) -> Mapping[str, str]:
    """The statements of the file `name` inside `package`, by their names, without a final semicolon.

    Comment lines stay in the statement, so that a database's log tells which one it is.

    Raises:
        ValueError: the file is not made of named statements, or a name is there twice.
    """
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    _, *sections = ("\n" + text).split("\n" + _MARK)
    queries: dict[str, str] = {}
    for section in sections:
        title, *lines = section.split("\n")
        query_name = title.strip()
        statement = _without_tail(lines)
        if not query_name.isidentifier() or query_name in queries or not statement:
            raise ValueError(f"{package}/{name}: {query_name!r} must be a new name with a statement under it")
        queries[query_name] = f"{_MARK}{query_name}\n{statement}"
    if not queries:
        raise ValueError(f"{package}/{name}: no statement is marked with {_MARK!r}")
    return MappingProxyType(queries)


def _without_tail(lines: list[str]) -> str:
    """The statement alone: comments below it are about what follows it in the file."""
    while lines and (not lines[-1].strip() or lines[-1].startswith("--")):
        lines = lines[:-1]
    return "\n".join(lines).strip().removesuffix(";").rstrip()
