"""The audit finds every way in which the books can disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sagaflow.demo.audit import (
    Authorization,
    Books,
    Charge,
    Order,
    Payment,
    Query,
    Reservation,
    Row,
    Stock,
    findings,
    read_books,
)

GOOD = Books(
    orders=[Order("o-1", "APPROVED", 300, 3, "teapot"), Order("o-2", "CANCELLED", 100, 1, "teapot")],
    payments=[Payment("o-1", "CAPTURED", 300, "a-1"), Payment("o-2", "VOIDED", 100, "a-2")],
    reservations=[Reservation("o-1", "HELD", 3, "teapot"), Reservation("o-2", "RELEASED", 1, "teapot")],
    stock=[Stock("teapot", 10, 7, 3), Stock("moon rock", 0, 0, 0)],
    authorizations=[
        Authorization("a-1", "CAPTURED", 300),
        Authorization("a-2", "VOIDED", 100),
        Authorization("a-3", "VOIDED", 100),
    ],
    charges=[Charge("a-1", 300)],
)
"""a-3 was made and its answer was lost; it was undone although payments never had a row of it."""


def test_books_that_agree() -> None:
    assert findings(GOOD) == []


Tampering = Callable[[Books], Books]

TAMPERINGS: dict[str, tuple[Tampering, list[str]]] = {
    "an order is undecided": (
        lambda books: replace(books, orders=[*books.orders, Order("o-3", "PENDING", 1, 1, "teapot")]),
        ["o-3 is still PENDING"],
    ),
    "the retry charged twice": (
        lambda books: replace(books, charges=[*books.charges, Charge("a-1", 300)]),
        ["o-1: 300 cents are due, 600 were taken"],
    ),
    "a cancelled order was charged": (
        lambda books: replace(books, charges=[*books.charges, Charge("a-2", 100)]),
        ["o-2: 0 cents are due, 100 were taken"],
    ),
    "an approved order was not charged": (
        lambda books: replace(books, charges=[]),
        ["o-1: 300 cents are due, 0 were taken"],
    ),
    "somebody unknown was charged": (
        lambda books: replace(books, charges=[*books.charges, Charge("a-9", 5)]),
        ["nobody (a-9): 0 cents are due, 5 were taken"],
    ),
    "money is left set aside": (
        lambda books: replace(books, authorizations=[*books.authorizations, Authorization("a-4", "OPEN", 70)]),
        ["70 cents are still set aside under a-4", "a-4 is OPEN at the gateway and VOIDED in payments"],
    ),
    "payments believes something else": (
        lambda books: replace(books, payments=[replace(books.payments[0], status="VOIDED"), books.payments[1]]),
        ["a-1 is CAPTURED at the gateway and VOIDED in payments"],
    ),
    "payments dreams": (
        lambda books: replace(books, payments=[*books.payments, Payment("o-2", "VOIDED", 1, "a-8")]),
        ["payments has a-8, of which the gateway knows nothing"],
    ),
    "goods are held for a cancelled order": (
        lambda books: replace(
            books,
            reservations=[books.reservations[0], replace(books.reservations[1], status="HELD")],
            stock=[Stock("teapot", 10, 6, 4)],
        ),
        ["1 x teapot are held for o-2, which is not approved or ordered something else"],
    ),
    "goods are not held for an approved order": (
        lambda books: replace(books, reservations=books.reservations[1:], stock=[Stock("teapot", 10, 10, 0)]),
        ["3 x teapot are not held for o-1, which is approved"],
    ),
    "goods are held twice": (
        lambda books: replace(
            books, reservations=[*books.reservations, books.reservations[0]], stock=[Stock("teapot", 10, 4, 6)]
        ),
        ["the same goods are held twice for one order"],
    ),
    "goods have vanished": (
        lambda books: replace(books, stock=[Stock("teapot", 10, 6, 3)]),
        ["teapot: 10 were delivered, 6 + 3 are there"],
    ),
    "goods are held for nobody": (
        lambda books: replace(books, stock=[Stock("teapot", 10, 6, 4)]),
        ["teapot: 4 are held, reservations speak of 3"],
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_books_that_do_not_agree(what: str) -> None:
    tamper, said = TAMPERINGS[what]
    assert findings(tamper(GOOD)) == said


async def test_the_books_are_read_from_the_services_own_tables() -> None:
    """Each question goes to the database that can answer it, and to no table of sagaflow."""
    asked: list[tuple[str, str]] = []

    def database(name: str) -> Query:
        async def ask(sql: str) -> list[Row]:
            asked.append((name, sql.rpartition(" FROM ")[2]))
            return []

        return ask

    books = await read_books(
        orders=database("orders"),
        payments=database("payments"),
        inventory=database("inventory"),
        gateway=database("gateway"),
    )
    assert findings(books) == []
    assert asked == [
        ("orders", "orders"),
        ("payments", "payments"),
        ("inventory", "reservations"),
        ("inventory", "stock"),
        ("gateway", "authorizations"),
        ("gateway", "charges"),
    ]
