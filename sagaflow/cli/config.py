"""`sagaflow config show`: the settings that commands go by, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from cyclopts import Parameter
from rich.text import Text

from sagaflow.cli.options import (
    BROKER_VARIABLE,
    DATABASE_VARIABLE,
    NAMESPACE,
    Actor,
    Json,
    console,
    new_table,
    print_json,
    this_user,
)
from sagaflow.cli.servers import SQLITE_PREFIX
from sagaflow.definitions.messages import printable

UNREADABLE: Final = "a URL that cannot be read, and is not shown"

HIDDEN: Final = "***"

SECRET_WORDS: Final = ("password", "passwd", "secret", "token")
"""What the name of a part of a URL, behind its question mark, holds if its value is not shown."""

OTHERS: Final = {
    "traces and metrics": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "colours": "NO_COLOR",
    "width": "COLUMNS",
}
"""Settings that only a variable of the environment makes."""


URLS: Final = frozenset({"database", "broker", "traces and metrics"})


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, as it may be shown."""

    name: str
    value: str | None
    source: str


def config_show(
    *,
    database: Annotated[str | None, Parameter(help="As commands are given it.")] = None,
    broker: Annotated[str | None, Parameter(help="As commands are given it.")] = None,
    namespace: Annotated[str | None, Parameter(help="As commands are given it.")] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Show each setting and where its value comes from: an option, a variable of the environment, or a default.

    No file is read. Passwords are not shown.
    """
    settings = list(_settings(database, broker, namespace, actor))
    if json:
        for setting in settings:
            print_json(asdict(setting))
        return
    table = new_table("setting", "value", "from")
    for setting in settings:
        value = Text("none", style="dim") if setting.value is None else Text(printable(setting.value))
        table.add_row(setting.name, value, setting.source)
    console().print(table)


def _settings(database: str | None, broker: str | None, namespace: str | None, actor: str | None) -> Iterator[Setting]:
    yield _setting("database", database, DATABASE_VARIABLE, None)
    yield _setting("broker", broker, BROKER_VARIABLE, None)
    yield _setting("namespace", namespace, None, NAMESPACE)
    yield _setting("actor", actor, None, this_user())
    for name, variable in OTHERS.items():
        yield _setting(name, None, variable, None)


def _setting(name: str, given: str | None, variable: str | None, default: str | None) -> Setting:
    shown = masked if name in URLS else str
    if given is not None:
        return Setting(name, shown(given), f"option --{name}")
    if variable is not None and variable in os.environ:
        return Setting(name, shown(os.environ[variable]), f"variable {variable}")
    if default is not None:
        return Setting(name, default, "default")
    return Setting(name, None, f"not set; {variable} sets it" if variable is not None else "not set")


def masked(said: str) -> str:
    """A URL without what is secret in it. One that cannot be read is not shown at all: it may be anything."""
    if "://" not in said:
        return UNREADABLE
    try:
        parts = urlsplit(said)
        _ = parts.port  # which is refused if a password has a sign in it that ends it too early
    except ValueError:
        return UNREADABLE
    place, at, host = parts.netloc.rpartition("@")
    user, colon, _ = place.partition(":")
    if not parts.netloc or "@" in parts.path + parts.query + parts.fragment:
        return said if said.startswith(SQLITE_PREFIX) else UNREADABLE
    query = [(name, HIDDEN if _is_secret(name) else value) for name, value in parse_qsl(parts.query)]
    hidden = parts._replace(netloc=f"{user}{colon and ':' + HIDDEN}{at}{host}", query=urlencode(query, safe="*/"))
    return hidden.geturl()


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_WORDS)
