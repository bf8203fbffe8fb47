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
from tests.demo.running import Start, folded


async def test_every_saga_ends_as_it_should(start: Start, tmp_path: Path) -> None:
    ended = start("demo", "--json", "--directory", str(tmp_path / "demo")).end()
    expect_promises(ended, orders=12)
    assert "Somebody calls the bank, and the bank is back." in ended.errors
    assert folded(f"--database sqlite:///{tmp_path}/demo/orders.sqlite") in folded(ended.errors)
    assert "SIGKILL" not in ended.errors
    await expect_agreeing_books(tmp_path / "demo")


async def test_every_saga_ends_although_its_process_is_killed(start: Start, tmp_path: Path) -> None:
    ended = start("demo", "--kill", "--json", "--directory", str(tmp_path / "demo")).end()
    expect_promises(ended, orders=12, killed=True)
    assert "The process that hosts everything was killed (SIGKILL)" in ended.errors
    await expect_agreeing_books(tmp_path / "demo")


@pytest.mark.parametrize("orders", [1, 3, 60])
def test_there_may_be_few_or_many_orders(start: Start, orders: int) -> None:
    expect_promises(start("demo", "--json", "--orders", str(orders)).end(), orders=orders)


def test_the_only_order_is_killed(start: Start) -> None:
    ended = start("demo", "--kill", "--json", "--orders", "1").end()
    expect_promises(ended, orders=1, killed=True)
    assert "was killed (SIGKILL)" in ended.errors


def test_without_json_it_prints_the_table_and_what_to_type_next(start: Start, tmp_path: Path) -> None:
    ended = start("demo", "--directory", str(tmp_path / "demo")).end()
    assert (ended.code, ended.errors) == (0, "")
    assert "✔ done    ✔ done    ✔ done    ✔ done    ✔ done    COMPLETED" in ended.output
    assert "↶ undone  ✘ refused ↶ undone  ·         ·         COMPENSATED" in ended.output
    assert "All 12 sagas have ended: 8 done completely, 4 undone completely." in ended.output
    assert "The books of orders, payments, inventory and the card gateway agree." in ended.output
    assert "What to type next:" in ended.output
    assert f"export SAGAFLOW_DATABASE=sqlite:///{tmp_path}/demo/orders.sqlite" in ended.output


def test_what_it_says_to_type_next_can_be_typed(start: Start, tmp_path: Path) -> None:
    """The database is left where it says, and the saga that was stuck tells who repaired it."""
    ended = start("demo", "--orders", "3", "--directory", str(tmp_path / "demo")).end()
    (line,) = [line for line in ended.output.splitlines() if "# how it got stuck" in line]
    shown = start(*line.split("#")[0].split()[3:], SAGAFLOW_DATABASE=f"sqlite:///{tmp_path}/demo/orders.sqlite").end()
    assert shown.code == 0
    assert "undo payments.authorize_card retried by hand" in shown.output
    assert "the bank is back" in shown.output


def test_a_directory_is_used_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "orders.sqlite").touch()
    ended = start("demo", "--directory", str(tmp_path)).end()
    assert (ended.code, ended.output) == (1, "")
    assert ended.errors == f"sagaflow: {tmp_path} holds a demo already; give another --directory\n"


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_it_is_stopped(start: Start, tmp_path: Path, which: signal.Signals) -> None:
    demo = start("demo", "--json", "--directory", str(tmp_path / "demo"))
    demo.until(lambda: has_orders(tmp_path / "demo"))
    assert demo.relatives()
    os.kill(demo.process.pid, which)
    ended = demo.end()
    assert ended.code == 128 + which
    assert ended.errors.endswith(f"sagaflow: stopped by {which.name}\n")
    assert ended.left_over == []


def test_a_process_that_dies_is_told_of(start: Start, tmp_path: Path) -> None:
    demo = start("demo", "--json", "--directory", str(tmp_path / "demo"))
    demo.until(lambda: has_orders(tmp_path / "demo"))
    os.kill(demo.relative("sagaflow.demo.host"), signal.SIGKILL)
    ended = demo.end()
    assert ended.code == 1
    assert "sagaflow: the process 'host' of the demo ended by itself, by SIGKILL. The last that it printed:" in (
        ended.errors
    )
    assert "participant orders is served by" in ended.errors
    assert ended.left_over == []


def test_books_that_do_not_agree_are_told_of(start: Start, tmp_path: Path) -> None:
    """Somebody steals a teapot while the demo is on."""
    demo = start("demo", "--json", "--directory", str(tmp_path / "demo"))
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
    """The audit is content, and not because it sees nothing."""
    databases = {service: query(directory / f"{service}.sqlite") for service in SERVICES}
    books = await read_books(**databases, gateway=query(directory / "card_gateway.sqlite"))
    assert findings(books) == []
    assert len(books.orders) == 12
    paid = sum(order.cents for order in books.orders if order.status == "APPROVED")
    assert paid > 0
    assert sum(charge.cents for charge in books.charges) == paid
