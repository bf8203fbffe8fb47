"""`sagaflow config show`: every setting says where it comes from, and no password is shown."""

from __future__ import annotations

import pytest

from sagaflow.cli.config import UNREADABLE, masked
from sagaflow.cli.options import this_user
from tests.cli.conftest import Sagaflow

SECRET = "open-sesame"  # the point is that it is never printed


def test_each_setting_says_where_it_comes_from(sagaflow: Sagaflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFLOW_DATABASE", f"postgresql://me:{SECRET}@db:5432/shop")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    said = sagaflow("config", "show", "--broker", f"amqp://me:{SECRET}@broker/", "--json")
    assert SECRET not in said.output
    told = {line["name"]: (line["value"], line["source"]) for line in said.lines}
    assert told["database"] == ("postgresql://me:***@db:5432/shop", "variable SAGAFLOW_DATABASE")
    assert told["broker"] == ("amqp://me:***@broker/", "option --broker")
    assert told["namespace"] == ("sagaflow", "default")
    assert told["actor"] == (this_user(), "default")
    assert told["traces and metrics"] == (None, "not set; OTEL_EXPORTER_OTLP_ENDPOINT sets it")
    assert "variable SAGAFLOW_DATABASE" in sagaflow("config", "show").output


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@db/shop", "postgresql://me@db/shop"),
        (f"postgresql://me:{SECRET}@db/shop?sslmode=require", "postgresql://me:***@db/shop?sslmode=require"),
        (f"postgresql://me:{SECRET}@{SECRET}@db/shop", "postgresql://me:***@db/shop"),
        (f"postgresql://db/shop?user=me&password={SECRET}", "postgresql://db/shop?user=me&password=***"),
        (f"postgresql://me:{SECRET}#@db/shop", UNREADABLE),
        (f"postgresql://me:{SECRET}/@db/shop", UNREADABLE),
        (f"postgresql://me:{SECRET}@[::1/shop", UNREADABLE),
        (SECRET, UNREADABLE),
        ("sqlite:///shop@home.sqlite", "sqlite:///shop@home.sqlite"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
