"""The demo in one process, over SQLite files."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sagaflow.demo.audit import findings, read_books
from sagaflow.demo.embedded import query
from sagaflow.demo.stage import SERVICES
from tests.demo.promises import expect_promises
from tests.demo.running import Sagaflow, run


async def test_every_saga_ends_as_it_should(tmp_path: Path) -> None:
    ended = run(tmp_path, "demo", "--json", "--directory", str(tmp_path / "demo"))
    expect_promises(ended, orders=12)
    assert "and the bank is back" in ended.errors
    assert f"--database sqlite:///{tmp_path}/demo/orders.sqlite" in ended.errors
    assert "kill" not in ended.errors
    await expect_agreeing_books(tmp_path / "demo")


async def test_every_saga_ends_although_its_process_is_killed(tmp_path: Path) -> None:
    ended = run(tmp_path, "demo", "--kill", "--json", "--directory", str(tmp_path / "demo"))
    expect_promises(ended, orders=12)
    assert "The process that hosts everything was killed (SIGKILL)" in ended.errors
    await expect_agreeing_books(tmp_path / "demo")


@pytest.mark.parametrize("orders", [1, 3, 60])
def test_there_may_be_few_or_many_orders(tmp_path: Path, orders: int) -> None:
    expect_promises(run(tmp_path, "demo", "--json", "--orders", str(orders)), orders=orders)


def test_one_order_may_be_killed(tmp_path: Path) -> None:
    ended = run(tmp_path, "demo", "--kill", "--json", "--orders", "1")
    expect_promises(ended, orders=1)
    assert "with 1 sagas under way" in ended.errors


def test_without_json_it_prints_the_table_and_what_to_type_next(tmp_path: Path) -> None:
    ended = run(tmp_path, "demo", "--directory", str(tmp_path / "demo"))
    assert ended.code == 0, ended.errors
    assert "All 12 sagas have ended: 8 done completely, 4 undone completely." in ended.output
    assert "The books of orders, payments, inventory and the card gateway agree." in ended.output
    assert "What to type next:" in ended.output
    assert f"export SAGAFLOW_DATABASE=sqlite:///{tmp_path}/demo/orders.sqlite" in ended.output
    assert ended.errors == ""
    assert max(map(len, ended.output.splitlines())) <= 100 + len(str(tmp_path))


def test_a_directory_is_used_once(tmp_path: Path) -> None:
    (tmp_path / "orders.sqlite").touch()
    ended = run(tmp_path, "demo", "--directory", str(tmp_path))
    assert (ended.code, ended.output) == (1, "")
    assert ended.errors == f"sagaflow: {tmp_path} holds a demo already; give another --directory\n"


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, which: signal.Signals) -> None:
    demo = Sagaflow(tmp_path, "demo", "--json", "--directory", str(tmp_path / "demo"))
    demo.until(lambda: has_orders(tmp_path / "demo"))
    assert demo.relatives()
    os.kill(demo.process.pid, which)
    ended = demo.end()
    assert ended.code == 128 + which
    assert ended.errors.endswith(f"sagaflow: stopped by {which.name}\n")
    assert ended.left_over == []


def test_a_process_that_dies_is_told_of(tmp_path: Path) -> None:
    demo = Sagaflow(tmp_path, "demo", "--json", "--directory", str(tmp_path / "demo"))
    demo.until(lambda: has_orders(tmp_path / "demo"))
    os.kill(demo.relative("sagaflow.demo.host"), signal.SIGKILL)
    ended = demo.end()
    assert ended.code == 1
    assert "sagaflow: the process 'host' of the demo ended by itself, by SIGKILL. The last that it printed:" in (
        ended.errors
    )
    assert "participant orders is served by" in ended.errors
    assert ended.left_over == []


def test_books_that_do_not_agree_are_told_of(tmp_path: Path) -> None:
    """Somebody steals a teapot while the demo is on."""
    demo = Sagaflow(tmp_path, "demo", "--json", "--directory", str(tmp_path / "demo"))
    demo.until(lambda: has_orders(tmp_path / "demo"))
    with closing(sqlite3.connect(tmp_path / "demo/inventory.sqlite", timeout=10)) as database, database:
        database.execute("UPDATE stock SET available = available - 1 WHERE sku = 'teapot'")
    ended = demo.end()
    assert ended.code == 1
    assert "sagaflow: the demo broke its promise: teapot: 36 were delivered" in ended.errors
    assert len(ended.lines) == 12


def has_orders(directory: Path) -> bool:
    """Whether the first order has been placed."""
    if not (directory / "orders.sqlite").exists():
        return False
    with closing(sqlite3.connect(directory / "orders.sqlite", timeout=10)) as database:
        has_table = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'orders'").fetchone()
        return bool(has_table and database.execute("SELECT 1 FROM orders").fetchone())


async def expect_agreeing_books(directory: Path) -> None:
    databases = {service: query(directory / f"{service}.sqlite") for service in SERVICES}
    books = await read_books(**databases, gateway=query(directory / "card_gateway.sqlite"))
    assert findings(books) == []
    assert len(books.orders) == 12
    paid = sum(order.cents for order in books.orders if order.status == "APPROVED")
    assert paid > 0
    assert sum(charge.cents for charge in books.charges) == paid
