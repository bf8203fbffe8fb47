"""The messages as JSON Schema, made from the code that reads and writes them: `sagaflow schemas`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from sagaflow.definitions.messages import (
    WIRE_VERSION,
    Announcement,
    Answer,
    CancelRequest,
    Command,
    Inquiry,
    Notice,
    OutcomeRequest,
    Reply,
    StartRequest,
)

MESSAGES: Final = (Command, Reply, StartRequest, OutcomeRequest, CancelRequest, Answer, Notice, Inquiry, Announcement)
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schemas(
    *, write: Annotated[Path | None, Parameter(help="Write a file for each message into this directory.")] = None
) -> None:
    """Print the JSON Schema of each message that goes over the wire."""
    all_schemas = wire_schemas()
    if write is None:
        print(as_text(all_schemas), end="")
        return
    write.mkdir(parents=True, exist_ok=True)
    for name, schema in all_schemas.items():
        (write / f"{name}.json").write_text(as_text(schema), encoding="utf-8")


def wire_schemas() -> Mapping[str, Any]:
    """The schema of each message, by the `type` that it bears on the wire."""
    return {str(message.__struct_config__.tag): _schema(message) for message in MESSAGES}


def as_text(schema: Any) -> str:
    """A schema as it is written to its file."""
    return json.dumps(schema, indent=2) + "\n"


def _schema(message: type[msgspec.Struct]) -> Mapping[str, Any]:
    _, components = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
    top = components.pop(message.__name__)
    top["properties"]["v"] = {"const": WIRE_VERSION, "default": WIRE_VERSION}
    return {"$schema": DIALECT, **top} | ({"$defs": components} if components else {})
