"""The worker: serves a participant. Takes commands, carries them out, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from sagaflow.core.plan import Operation, is_name
from sagaflow.definitions import logs
from sagaflow.definitions.announcements import announcement_of
from sagaflow.definitions.cancellation import is_being_cancelled
from sagaflow.definitions.crash_points import crash_point
from sagaflow.definitions.health import Health
from sagaflow.definitions.messages import Command, ErrorInfo, Inquiry, Reply, ReplyOutcome, write
from sagaflow.definitions.observing import NOBODY, Answered, Observer
from sagaflow.definitions.participant import Participant
from sagaflow.definitions.ports import Address, Letter, QueueKind, Transactions, Transport
from sagaflow.definitions.surroundings import current
from sagaflow.errors import DefinitionError
from sagaflow.runners.allowance import Allowance, Stale
from sagaflow.runners.barrier import AnyStep, Barrier, Order, Verdict, told
from sagaflow.runners.batches import until_available
from sagaflow.runners.dead import DIED, DeadLetters
from sagaflow.runners.groups import Groups, Taken
from sagaflow.runners.health import Vitals
from sagaflow.runners.intake import Intake
from sagaflow.runners.outbox import Outbox
from sagaflow.runners.receipts import Receipt
from sagaflow.runners.tasks import Tasks
from sagaflow.runners.telling import Guarded

Tx = TypeVar("Tx")

SUSPECT_PAUSE_SECONDS = 0.25
"""How long, at most, a command that comes again is held back. The others that died with it are as innocent as it may
be: with a pause of chance it is not always the same one that comes first, kills, and is killed with."""

UNSERVED_RETRY_SECONDS = 1.0

GIVEN_UP = Verdict(ReplyOutcome.FAILED, error=ErrorInfo("GivenUp", DIED))
"""The answer to a command that the broker gave up: its outcome is unknown, and it is not to be sent again."""


class Worker:
    """Serves one participant; made by `serve`. An async context manager: leaving it stops gracefully."""

    def __init__(
        self,
        participant: Participant[Tx],
        *,
        transport: Transport,
        transactions: Transactions[Tx],
        concurrency: int,
        grace_seconds: float,
        observer: Observer = NOBODY,
    ) -> None:
        if concurrency < 1:
            raise DefinitionError(
                f"participant {participant.name}: concurrency is {concurrency}; it must be at least 1"
            )
        self._participant = participant
        self._transport = transport
        self._transactions = transactions
        self._observer = Guarded(observer)
        self._barrier = Barrier(transactions, participant.name, self._observer)
        self._outbox = Outbox(transport)
        self._concurrency = concurrency
        self._grace_seconds = grace_seconds
        self._host = current().host()
        self._announcement = b""
        self._tasks = Tasks()
        self._groups: list[Groups] = []
        compensations, commands = map(self._intake, (QueueKind.COMPENSATIONS, QueueKind.COMMANDS))
        self._intakes: Sequence[Intake[Any]] = (compensations, self._intake_of_inquiries(), commands)
        self._dead = [self._dead_letters(queue) for queue in (QueueKind.COMPENSATIONS, QueueKind.COMMANDS)]
        runs = {"the outbox": lambda: self._outbox.is_open, "groups": lambda: all(one.is_open for one in self._groups)}
        self._vitals = Vitals(transactions.check, transport, runs)
        self._closing = AsyncExitStack()
        self._entered = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a worker is entered once; make another to run it again")
        self._entered = True
        self._announcement = write(announcement_of(self._participant, self._host))
        async with AsyncExitStack() as stack:
            await self._transactions.check()
            await stack.enter_async_context(self._transport)
            stack.push_async_callback(self._outbox.abort)
            stack.push_async_callback(self._tasks.cancel)
            for groups in self._groups:
                groups.open()
                stack.push_async_callback(groups.abort)
            for dead in self._dead:
                await dead.open()
                stack.push_async_callback(dead.close)
            for intake in self._intakes:
                await intake.open(self._concurrency)
                stack.push_async_callback(intake.close)
            stack.push_async_callback(self._finish)
            self._closing = stack.pop_all()
        self._vitals.started()
        logs.PARTICIPANT_SERVED.write(participant=self._participant.name, host=self._host)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._vitals.stopping()
        try:
            await self._closing.aclose()
        finally:
            await self._vitals.stopped()
        logs.PARTICIPANT_STOPPED.write(participant=self._participant.name, host=self._host)

    async def health(self) -> Health:
        """Whether this process lives and is ready to take commands, and why not. It asks the database, at most once a
        second, and answers within a second whatever that does."""
        return await self._vitals.health()

    async def _finish(self) -> None:
        """Take nothing more, finish what was taken within the grace, and send its replies."""
        for dead in self._dead:
            await dead.stop()
        for intake in self._intakes:
            await intake.stop()
        await self._finish_handlers()
        try:
            async with asyncio.timeout(self._grace_seconds):
                await self._outbox.close()
        except TimeoutError:
            logs.PARTICIPANT_CUT_SHORT.write(participant=self._participant.name)

    async def _finish_handlers(self) -> None:
        until = asyncio.get_running_loop().time() + self._grace_seconds
        try:
            async with asyncio.timeout_at(until):
                for groups in self._groups:
                    await groups.close()
        except TimeoutError:
            pass  # they are cut off with the worker, and their commands come again
        await self._tasks.drain(max(0.0, until - asyncio.get_running_loop().time()))

    def _intake(self, queue: QueueKind) -> Intake[Command]:
        """Actions and compensations have a queue and a bound of their own, so that neither starves the other."""
        running = asyncio.Semaphore(self._concurrency)
        groups = Groups(
            queue,
            self._barrier,
            running,
            alone=lambda order, receipt: self._begin(order.command, receipt, running, order.allowance),
            answer=self._answer_group,
        )
        self._groups.append(groups)
        intake: Intake[Command] = Intake(
            Command,
            Address(queue, self._participant.name),
            take=lambda command, receipt: self._take(command, receipt, running, groups, intake),
            keep=self._transactions.put_aside,
            transport=self._transport,
            suspect_pause_seconds=SUSPECT_PAUSE_SECONDS,
            observer=self._observer,
        )
        return intake

    def _intake_of_inquiries(self) -> Intake[Inquiry]:
        """Opened when compensations are being taken: that is what an answer stands for."""
        return Intake(
            Inquiry,
            Address(QueueKind.INQUIRIES, self._participant.name),
            take=self._announce,
            keep=self._transactions.put_aside,
            transport=self._transport,
            observer=self._observer,
        )

    def _announce(self, inquiry: Inquiry, receipt: Receipt) -> None:
        """Say what is served. It needs no database, so it says nothing about one."""
        self._outbox.put([Letter(Address(QueueKind.ANSWERS, inquiry.reply_to), self._announcement)], [receipt])

    def _dead_letters(self, queue: QueueKind) -> DeadLetters[Command]:
        return DeadLetters(
            Command,
            Address(queue, self._participant.name),
            keep=self._transactions.put_aside,
            transport=self._transport,
            answer=lambda command: [_letter(self._reply(command, GIVEN_UP), command)],
            observer=self._observer,
        )

    def _take(
        self,
        command: Command,
        receipt: Receipt,
        running: asyncio.Semaphore,
        groups: Groups,
        intake: Intake[Command],
    ) -> None:
        strange = next((name for name in (command.reply_to, command.step) if not is_name(name)), None)
        if strange is not None:  # it could neither be recorded nor answered, and would come again for ever
            intake.put_aside(command, f"{strange[:100]!r} can name neither a coordinator nor a step", receipt)
            return
        step, allowance = self._participant.steps.get(command.handler), Allowance.of(command)
        if step is not None and groups.admits(order := Order(step, command, allowance), receipt):
            groups.put(order, receipt)
        else:
            self._begin(command, receipt, running, allowance)

    def _begin(
        self, command: Command, receipt: Receipt, running: asyncio.Semaphore, allowance: Allowance
    ) -> asyncio.Task[None]:
        name = f"sagaflow {command.operation} {command.step}"
        return self._tasks.spawn(self._serve(command, receipt, running, allowance), name)

    async def _serve(
        self, command: Command, receipt: Receipt, running: asyncio.Semaphore, allowance: Allowance
    ) -> None:
        async with running:
            reply = await self._reply_to(command, allowance)
        self._answer([_Done(command, reply, receipt, allowance)])

    def _answer_group(self, group: Sequence[Taken], verdicts: Sequence[Verdict]) -> None:
        self._answer(
            [
                _Done(order.command, self._reply(order.command, verdict), receipt, order.allowance)
                for (order, receipt), verdict in zip(group, verdicts, strict=True)
            ]
        )

    def _answer(self, done: Sequence[_Done]) -> None:
        """Replies to one coordinator go out together. Those to another have receipts of their own: what cannot be sent
        to the one holds up nothing of the other's."""
        answers: dict[str, tuple[list[Letter], list[Receipt]]] = {}
        for one in done:
            crash_point("worker.committed")
            letters, receipts = answers.setdefault(one.command.reply_to, ([], []))
            letters.append(_letter(one.reply, one.command))
            receipts.append(one.receipt)
        for letters, receipts in answers.values():
            self._outbox.put(letters, receipts)
        if self._observer.is_anybody:
            told = [Answered(one.command, one.reply, one.allowance.seconds_since_arrival()) for one in done]
            self._observer.commands_answered(self._participant.name, told)

    async def _reply_to(self, command: Command, allowance: Allowance) -> Reply:
        step = self._participant.steps.get(command.handler)
        if step is None or not _can(step, command.operation):
            logs.ATTEMPT_UNSERVED.write(command, participant=self._participant.name, handler=command.handler)
            return self._reply(command, Verdict(ReplyOutcome.UNSERVED), UNSERVED_RETRY_SECONDS)
        order = Order(step, command, allowance)
        try:
            crash_point("worker.before_transaction")
            verdict = await until_available("the participant's database", partial(self._carry_out, order))
        except Stale as error:
            logs.ATTEMPT_STALE.write(command, participant=self._participant.name)
            return self._reply(command, Verdict(ReplyOutcome.FAILED, error=ErrorInfo.of(error)), 0.0)
        except Exception as error:  # noqa: BLE001  # handlers may raise anything; it is all told to the coordinator
            logs.ATTEMPT_FAILED.write(command, error=error, participant=self._participant.name)
            verdict = Verdict(ReplyOutcome.FAILED, error=told(order, error))
            return self._reply(command, verdict, step.retry_of(command.operation).delay_seconds(command.attempt, error))
        return self._reply(command, verdict)

    async def _carry_out(self, order: Order) -> Verdict:
        try:
            async with asyncio.timeout(order.allowance.whole_seconds()) as whole:
                return await self._barrier.carry_out(order)
        except TimeoutError:
            if whole.expired():  # not the handler: what it waited for was the database
                order.allowance.check()
            raise
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            raise RuntimeError("what the handler waited for was cancelled") from error

    def _reply(self, command: Command, verdict: Verdict, retry_after_seconds: float | None = None) -> Reply:
        return Reply(
            saga_id=command.saga_id,
            step=command.step,
            operation=command.operation,
            round=command.round,
            attempt=command.attempt,
            token=command.token,
            outcome=verdict.outcome,
            participant=self._participant.name,
            host=self._host,
            traceparent=command.traceparent,
            result=verdict.result,
            error=verdict.error,
            retry_after_seconds=retry_after_seconds,
            done_in_round=None if verdict.round == command.round else verdict.round,
        )


class _Done(NamedTuple):
    """A command that is dealt with, for good or for this time, and what is to be said of it."""

    command: Command
    reply: Reply
    receipt: Receipt
    allowance: Allowance


def _letter(reply: Reply, command: Command) -> Letter:
    return Letter(Address(QueueKind.REPLIES, command.reply_to), write(reply))


def _can(step: AnyStep, operation: Operation) -> bool:
    return operation is Operation.ACTION or step.undo is not None or step.no_compensation is not None


def serve(
    participant: Participant[Tx],
    *,
    transport: Transport,
    transactions: Transactions[Tx],
    concurrency: int = 16,
    grace_seconds: float = 10.0,
    observer: Observer = NOBODY,
) -> Worker:
    """Serve a participant for as long as the returned context manager is open.

    Args:
        participant: what is served.
        transport: how coordinators are reached. It is entered and left with the worker.
        transactions: opens transactions in the service's own database, of the kind the handlers take.
        concurrency: how many actions, and how many compensations, run at a time.
        grace_seconds: how long a stopping worker waits for handlers that run; what is cut off is rolled
            back and comes again.
        observer: who is told what runs, such as `OpenTelemetryObserver` (docs/observability.md). Left out: nobody.

    Entering raises `Unavailable` if the broker cannot be reached and `SchemaError` if the participant's
    tables are not in the database.

    Example:
        async with serve(inventory, transport=RabbitTransport(url), transactions=AsyncpgTransactions(pool)):
            await until_stopped()
    """
    return Worker(
        participant,
        transport=transport,
        transactions=transactions,
        concurrency=concurrency,
        grace_seconds=grace_seconds,
        observer=observer,
    )
