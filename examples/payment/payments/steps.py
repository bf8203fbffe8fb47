"""What payments can do for a saga, and how it is undone.

The money moves at another company, where no transaction of ours reaches. Three things make that safe:

- `external_step` says so: the outcome of a call may be unknown, and what may have happened is undone too;
- `ctx.idempotency_key` is the same for every attempt, so the gateway knows a repetition when it sees one, and
  `ctx.action_key` names to the undo what is to be undone;
- a definite no is raised as `StepRejected`. Whatever else is raised is tried again.
"""

from __future__ import annotations

import os
from typing import Protocol

from tenacity import wait_fixed

from payment.payments.gateway import CardDeclined, CardGateway
from payment.payments.messages import AuthorizeCard, CaptureCard, CardAuthorized
from sagaflow import Participant, Retry, StepContext, StepRejected


class Database(Protocol):
    """What is used of a database connection here: asyncpg and the embedded SQLite both have it."""

    async def execute(self, sql: str, /, *values: str | int) -> object:
        """Execute a statement."""


payments: Participant[Database] = Participant("payments")
gateway = CardGateway(
    os.environ.get("CARD_GATEWAY", "card_gateway.sqlite"),
    answer_seconds=float(os.environ.get("CARD_GATEWAY_SECONDS", "0.04")),
)

SOON = Retry(wait=wait_fixed(0.2))  # for people who watch; leave it out, and the delays grow from there


@payments.external_step("authorize_card", retry=SOON)
async def authorize_card(order: AuthorizeCard, ctx: StepContext[Database]) -> CardAuthorized:
    """Have the bank set the money aside."""
    try:
        authorization = await gateway.authorize(order.card, order.cents, key=ctx.idempotency_key)
    except CardDeclined as declined:
        raise StepRejected(str(declined)) from declined
    await ctx.tx.execute(
        "INSERT INTO payments (order_id, authorization_id, cents, status) VALUES ($1, $2, $3, 'AUTHORIZED')",
        order.order_id,
        authorization,
        order.cents,
    )
    return CardAuthorized(authorization)


@authorize_card.compensation(retry=SOON)
async def void_authorization(
    order: AuthorizeCard, authorized: CardAuthorized | None, ctx: StepContext[Database]
) -> None:
    """Have the bank give the money back. We may not know whether it has it (`authorized` is None then): the
    key of the authorization is what the gateway goes by."""
    await gateway.void(order.card, key=ctx.action_key)
    await ctx.tx.execute("UPDATE payments SET status = 'VOIDED' WHERE order_id = $1", order.order_id)


@payments.external_step("capture_card", retry=SOON)
async def capture_card(command: CaptureCard, ctx: StepContext[Database]) -> None:
    """Take the money: the point of no return."""
    await gateway.capture(command.authorization, key=ctx.idempotency_key)
    await ctx.tx.execute("UPDATE payments SET status = 'CAPTURED' WHERE authorization_id = $1", command.authorization)
