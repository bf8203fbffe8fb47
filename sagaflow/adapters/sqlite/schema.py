"""Which tables of sagaflow are in a file, and whether they are of this version."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
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


COORDINATOR: Final = Part("coordinator", 2, load(__package__, "coordinator_schema.sql"))
PARTICIPANT: Final = Part("participant", 1, load(__package__, "participant_schema.sql"))


def is_there(db: sqlite3.Connection, part: Part) -> bool:
    """Whether the file has tables of this part, of whatever version."""
    return _version(db, part) is not None


def create(db: sqlite3.Connection, part: Part) -> None:
    """Make the tables, unless somebody has made them meanwhile."""
    if is_there(db, part):
        return
    db.execute(_SQL["sagaflow_schema"])
    for statement in part.statements.values():
        db.execute(statement)
    db.execute(_SQL["add_part"], (part.name, part.version))


def check(db: sqlite3.Connection, part: Part, path: Path) -> None:
    """Look whether the tables are there.

    Raises:
        SchemaError: they are not, or not all, or of another version.
    """
    version = _version(db, part)
    if version is None:
        raise SchemaError(f"{path}: it has no tables of a {part.name}; open it with create=True to make them")
    if version != part.version:
        raise SchemaError(
            f"{path}: its {part.name} tables have version {version}, this sagaflow works with version {part.version}; "
            "use the release that made the file, or a new file"
        )
    missing = part.statements.keys() - _names(db)
    if missing:
        raise SchemaError(f"{path}: {', '.join(sorted(missing))} is missing; restore the file from a backup")


def _version(db: sqlite3.Connection, part: Part) -> int | None:
    if "sagaflow_schema" not in _names(db):
        return None
    row = db.execute(_SQL["version_of"], (part.name,)).fetchone()
    return None if row is None else row["version"]


def _names(db: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in db.execute(_SQL["names"])}
