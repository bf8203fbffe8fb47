"""The schemas of the wire are made from the code, and the files of them are current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sagaflow.cli.schemas import MESSAGES, as_text, wire_schemas
from tests.cli.conftest import Sagaflow

FILES = Path(__file__).parents[2] / "docs" / "wire"


@pytest.mark.parametrize("name", wire_schemas())
def test_the_file_is_current(name: str) -> None:
    """If not: `sagaflow schemas --write docs/wire`."""
    assert (FILES / f"{name}.json").read_text() == as_text(wire_schemas()[name])


def test_there_is_a_file_for_each_message_and_no_other() -> None:
    assert {path.stem for path in FILES.glob("*.json")} == set(wire_schemas())
    assert len(wire_schemas()) == len(MESSAGES)


def test_a_schema_says_what_is_read() -> None:
    command = wire_schemas()["command"]
    assert command["properties"]["type"] == {"enum": ["command"]}
    assert command["properties"]["v"] == {"const": 1, "default": 1}
    assert command["properties"]["payload"] == {}
    assert command["properties"]["saga_id"] == {"type": "string", "format": "uuid"}
    assert command["additionalProperties"] is False
    assert {"type", "saga_id", "token", "payload"} <= set(command["required"])
    assert command["$defs"]["Operation"]["enum"] == ["action", "compensation"]


def test_schemas_are_printed_or_written(sagaflow: Sagaflow, tmp_path: Path) -> None:
    assert json.loads(sagaflow("schemas").output) == wire_schemas()
    said = sagaflow("schemas", "--write", str(tmp_path / "new"))
    assert (said.code, said.output) == (0, "")
    assert {path.stem for path in (tmp_path / "new").iterdir()} == set(wire_schemas())
