"""URLs of databases: another database of the same server, and what of it may be shown."""

from __future__ import annotations

import pytest

from sagaflow.demo.distributed import at_database, without_password


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("postgresql://me:secret@host:5432/shop", "postgresql://me:secret@host:5432/other"),
        ("postgresql://me@host", "postgresql://me@host/other"),
        ("postgresql:///shop", "postgresql:///other"),
        ("postgresql://host/shop?sslmode=require", "postgresql://host/other?sslmode=require"),
    ],
)
def test_another_database(url: str, other: str) -> None:
    assert at_database(url, "other") == other


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/shop", "postgresql://me:***@host:5432/shop"),
        ("postgresql://me@host/shop", "postgresql://me@host/shop"),
        ("postgresql://host/shop", "postgresql://host/shop"),
        ("postgresql:///shop", "postgresql:///shop"),
        ("postgresql://me@host/shop?password=secret", "postgresql://me@host/shop"),
    ],
)
def test_what_may_be_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
