"""The participant: `python -m tests.privacy.bank NAMESPACE`, with its log at DEBUG, and all else in the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any, cast

from tenacity import RetryCallState

from sagaflow import Participant, Retry, StepContext, StepRejected, serve, until_stopped
from sagaflow.adapters.opentelemetry import observer_from_environment
from sagaflow.adapters.postgres import AsyncpgTransactions
from sagaflow.adapters.rabbitmq import RabbitTransport
from tests.privacy.shop import Checkout, Receipt, everything

bank: Participant[Any] = Participant("bank")


def careless(state: RetryCallState) -> float:
    """A policy that fails, and says of what."""
    assert state.outcome is not None
    raise RuntimeError(f"no policy for {state.outcome.exception()}")


@bank.step("hold")
async def hold(checkout: Checkout) -> Receipt:
    """Always works."""
    return Receipt("canary-receipt")


@hold.compensation(retry=Retry())
async def release(checkout: Checkout, receipt: Receipt) -> None:
    """Does not work if the saga is to be stuck."""
    if checkout.how == "stuck":
        raise LookupError(everything(checkout, receipt))


@bank.step("take", no_compensation="it comes last", retry=Retry(wait=careless))
async def take(checkout: Checkout, ctx: StepContext[Any]) -> Receipt:
    """Fails in each of the ways in which a handler can."""
    match checkout.how:
        case "refused":
            raise StepRejected(everything(checkout))
        case "odd":
            return cast(Receipt, {"number": "canary-receipt", "kind": "canary-receipt"})
        case "database":
            await ctx.tx.execute("CREATE TEMP TABLE cards (card text UNIQUE) ON COMMIT DROP")
            for _ in range(2):  # the database says which key is there already
                await ctx.tx.execute("INSERT INTO cards VALUES ($1)", checkout.card.card_number)
        case "failed" | "stuck":
            try:
                raise LookupError(everything(checkout))
            except LookupError as error:
                error.add_note(everything(checkout))
                raise ExceptionGroup(everything(checkout), [ValueError(everything(checkout))]) from error
    return Receipt("canary-receipt")


async def main() -> None:
    """Serve it until told to stop."""
    logging.basicConfig(level=logging.INFO)  # drivers write what they send and take at DEBUG
    logging.getLogger("sagaflow").setLevel(logging.DEBUG)
    async with (
        AsyncpgTransactions.connect(os.environ["SAGAFLOW_DATABASE"]) as transactions,
        serve(
            bank,
            transport=RabbitTransport(os.environ["SAGAFLOW_BROKER"], namespace=sys.argv[1]),
            transactions=transactions,
            observer=observer_from_environment("bank"),
        ),
    ):
        await until_stopped()


if __name__ == "__main__":
    asyncio.run(main())
