"""Which tables of sagaflow are in a file, and whether they are of this version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sagaflow.definitions.named_queries import load
from sagaflow.errors import SchemaError

_SQL: Final = load(__package__, "schema.sql")


@dataclass(frozen=True, slots=True)
class Part:
    """The tables of a coordinator or of a participant: the statements that make them, by their names."""

    name: str
    version: int
    statements: Mapping[str, str]
    upgrades: Mapping[str, str] = field(default_factory=dict)
    """The statements that lead from version to version: those to version 2 have names that begin with `to_2_`."""


COORDINATOR: Final = Part(
    "coordinator", 2, load(__package__, "coordinator_schema.sql"), load(__package__, "coordinator_upgrades.sql")
)
PARTICIPANT: Final = Part("participant", 1, load(__package__, "participant_schema.sql"))


def is_current(db: sqlite3.Connection, part: Part) -> bool:
    """Whether the file has the tables of this part, and they are not of an older version."""
    version = _version(db, part)
    return version is not None and version >= part.version


def create(db: sqlite3.Connection, part: Part) -> None:
    """Make the tables, or bring older ones to this version, unless somebody has done so meanwhile."""
    version = _version(db, part)
    if version is None:
        db.execute(_SQL["sagaflow_schema"])
        _execute(db, part.statements.values())
        db.execute(_SQL["add_part"], (part.name, part.version))
        return
    for newer in range(version + 1, part.version + 1):
        _execute(db, (text for name, text in part.upgrades.items() if name.startswith(f"to_{newer}_")))
        db.execute(_SQL["upgrade_part"], (newer, part.name))


def check(db: sqlite3.Connection, part: Part, path: Path) -> None:
    """Look whether the tables are there.

    Raises:
        SchemaError: they are not, or not all, or of another version.
    """
    version = _version(db, part)
    if version is None:
        raise SchemaError(f"{path}: it has no tables of a {part.name}; open it with create=True to make them")
    if version < part.version:
        raise SchemaError(
            f"{path}: its {part.name} tables have version {version}, this sagaflow works with version {part.version}; "
            f"open it with create=True, or run: sagaflow db upgrade {part.name} --database sqlite:///{path}"
        )
    if version > part.version:
        raise SchemaError(
            f"{path}: its {part.name} tables have version {version}, this sagaflow works with version {part.version}; "
            "use the release that made the file, or a new file"
        )
    missing = part.statements.keys() - _names(db)
    if missing:
        raise SchemaError(f"{path}: {', '.join(sorted(missing))} is missing; restore the file from a backup")


def _execute(db: sqlite3.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        db.execute(statement)


def _version(db: sqlite3.Connection, part: Part) -> int | None:
    if "sagaflow_schema" not in _names(db):
        return None
    row = db.execute(_SQL["version_of"], (part.name,)).fetchone()
    return None if row is None else row["version"]


def _names(db: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in db.execute(_SQL["names"])}
