"""The bugs: ways in which coordinators of this kind lose or double an effect, as they have been seen in the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.mutations.mutation import Mutation

MACHINE: Final = "sagaflow/core/machine.py"
BARRIER: Final = "sagaflow/runners/barrier.py"
WORKER: Final = "sagaflow/runners/worker.py"
GROUPS: Final = "sagaflow/runners/groups.py"
ENGINE: Final = "sagaflow/runners/engine.py"
COORDINATOR: Final = "sagaflow/runners/coordinator.py"

BY_LIVES: Final = ("tests/core/test_machine.py", "tests/cases/test_machine.py")
BY_CASES: Final = ("tests/cases/test_servers.py", "-k", "embedded")
BY_SAGAS: Final = ("tests/runners/test_sagas.py", "tests/runners/test_hardships.py", "-k", "embedded")
BY_GROUPS: Final = ("tests/runners/test_groups.py", "-k", "not distributed")
BY_RECOVERY: Final = ("tests/runners/test_recovery.py", "tests/runners/test_hardships.py", "-k", "embedded")

MUTATIONS: Final[Sequence[Mutation]] = (
    # How a saga moves.
    Mutation(
        "compensate in forward order",
        MACHINE,
        "return not any(self._is_waited_for(later) for later in self.plan.behind[place])",
        "return not any(self._is_waited_for(earlier) for earlier in self.plan.before[place])",
        BY_LIVES,
    ),
    Mutation(
        "compensate everything at once",
        MACHINE,
        "return not any(self._is_waited_for(later) for later in self.plan.behind[place])",
        "return True",
        BY_LIVES,
    ),
    Mutation(
        "do not undo a step whose outcome is unknown",
        MACHINE,
        "and step.action.status in (OpStatus.SUCCEEDED, OpStatus.UNKNOWN)\n",
        "and step.action.status is OpStatus.SUCCEEDED\n",
        BY_LIVES,
    ),
    Mutation(
        "forget what is under way when the rollback begins",
        MACHINE,
        "undone = OpState() if _never_begun(action) else replace(action, status=OpStatus.UNKNOWN)",
        "undone = OpState()",
        BY_LIVES,
    ),
    Mutation(
        "skip a compensation that is stuck",
        MACHINE,
        "and step.compensation.status not in DONE\n",
        "and step.compensation.status not in DONE | {OpStatus.STUCK}\n",
        BY_LIVES,
    ),
    Mutation(
        "take a timeout for a refusal",
        MACHINE,
        "            self._put(place, operation, replace(op, status=OpStatus.UNKNOWN))\n"
        "            self._roll_back(Cause.EXHAUSTED)",
        "            self._put(place, operation, replace(op, status=OpStatus.REFUSED))\n"
        "            self._roll_back(Cause.EXHAUSTED)",
        BY_LIVES,
    ),
    Mutation(
        "roll back from a pivot that may have happened",
        MACHINE,
        "if operation is ACTION and self.plan.steps[place].kind is StepKind.COMPENSATABLE:\n            self._put",
        "if operation is ACTION and self.plan.steps[place].kind is not StepKind.RETRIABLE:\n            self._put",
        BY_LIVES,
    ),
    Mutation(
        "cancel after the pivot",
        MACHINE,
        "if self.plan.pivot is not None and not _never_begun(self.steps[self.plan.pivot].action):",
        "if False:",
        BY_LIVES,
    ),
    Mutation(
        "change a saga that has ended",
        MACHINE,
        "        return state, (Ignored(IgnoredBecause.ENDED),)\n    turn = _Turn(plan, state)\n",
        "        pass\n    turn = _Turn(plan, state)\n",
        BY_LIVES,
    ),
    Mutation(
        "let an old refusal count in a new round",
        MACHINE,
        "        if round_ != op.round:\n            return IgnoredBecause.LATE\n",
        "",
        BY_LIVES,
    ),
    Mutation(
        "let a late failure count for the attempt after it",
        MACHINE,
        "case _ if (event.round, event.attempt) != (op.round, op.attempt):",
        "case _ if event.round != op.round:",
        BY_LIVES,
    ),
    Mutation(
        "retry without a bound",
        MACHINE,
        "return op.attempt >= self.plan.steps[place].budget(operation).attempts",
        "return False",
        BY_LIVES,
    ),
    Mutation(
        "burn an attempt that nobody served",
        MACHINE,
        "attempt = op.attempt if op.again else op.attempt + 1",
        "attempt = op.attempt + 1",
        BY_LIVES,
    ),
    Mutation(
        "leave the timer of an operation that is settled",
        MACHINE,
        "            self.effects.append(StopTimer(self.plan.steps[place].name, operation))\n",
        "            pass\n",
        BY_LIVES,
    ),
    Mutation(
        "go on undoing when the plan says to halt",
        MACHINE,
        "if not self._owed(place) or (self.plan.on_stuck is OnStuck.HALT and self._undo_is_stuck()):",
        "if not self._owed(place):",
        BY_LIVES,
    ),
    # The barrier, and the participant.
    Mutation(
        "forget the fence",
        BARRIER,
        "                case Fenced():\n                    verdicts.append(FENCED)\n"
        "                case Entered() | Undo():\n",
        "                case Fenced() | Entered() | Undo():\n",
        BY_CASES,
    ),
    Mutation(
        "undo what never happened",
        BARRIER,
        "return step.undo is None or refused or never_committed",
        "return step.undo is None",
        BY_CASES,
    ),
    Mutation(
        "believe a refusal that comes after a call that may have succeeded",
        BARRIER,
        "        if _may_have_happened_before(order.step, order.command):\n",
        "        if False:\n",
        BY_SAGAS,
    ),
    Mutation(
        "retry a refusal",
        BARRIER,
        "        except (StepRejected, PayloadError) as error:\n            refusal",
        "        except PayloadError as error:\n            refusal",
        BY_SAGAS,
    ),
    Mutation(
        "give the action and its undo one idempotency key",
        "sagaflow/definitions/participant.py",
        'return self.action_key if self.operation is Operation.ACTION else f"{self.action_key}/undo"',
        "return self.action_key",
        ("tests/definitions/test_participant.py",),
    ),
    Mutation(
        "skip an operation that is not served",
        WORKER,
        "return self._reply(command, Verdict(ReplyOutcome.UNSERVED), UNSERVED_RETRY_SECONDS)",
        "return self._reply(command, Verdict(ReplyOutcome.SUCCEEDED))",
        ("tests/runners/test_bad_input.py", "tests/runners/test_versions.py", "-k", "embedded"),
    ),
    Mutation(
        "acknowledge a command before its reply is sent",
        WORKER,
        "            self._outbox.put(letters, receipts)",
        "            for receipt in receipts:\n                receipt.done()\n            self._outbox.put(letters)",
        ("tests/runners/test_acknowledging.py", "-k", "embedded"),
    ),
    Mutation(
        "let a group share a fate",
        GROUPS,
        "        for order, receipt in group:\n            self._alone(order, receipt)\n",
        "        for order, receipt in group:\n            self._answer(order, Verdict('failed'), receipt)\n",
        BY_GROUPS,
    ),
    Mutation(
        "keep what was written before a refusal",
        BARRIER,
        "                await transaction.take_back()\n",
        "                pass\n",
        BY_GROUPS,
    ),
    Mutation(
        "settle a refusal whose writes cannot be taken back",
        BARRIER,
        "            may_have_written = _can_write(order) and not is_guarded\n",
        "            may_have_written = False\n",
        BY_GROUPS,
    ),
    Mutation(
        "forget a refusal that a group has settled",
        BARRIER,
        "                refusal=verdict.outcome is ReplyOutcome.REFUSED,\n",
        "",
        ("tests/runners/test_groups.py", "tests/runners/test_repair.py", "-k", "not distributed"),
    ),
    Mutation(
        "group what is slow",
        "sagaflow/runners/pace.py",
        "return not self._alone and self.seconds <= QUICK_SECONDS",
        "return not self._alone",
        BY_GROUPS,
    ),
    Mutation(
        "let what has killed share a group",
        GROUPS,
        "            and not receipt.again\n",
        "",
        BY_GROUPS,
    ),
    Mutation(
        "commit what a group has done by the time it is stale",
        BARRIER,
        "            if not order.step.external:  # a call that was made cannot be rolled back\n",
        "            if False:\n",
        ("tests/runners/test_stale.py", "-k", "embedded"),
    ),
    Mutation(
        "let a body that came back share a fate",
        "sagaflow/runners/intake.py",
        "        if delivery.again and len(messages) > 1:\n",
        "        if False:\n",
        ("tests/runners/test_intake.py",),
    ),
    # The coordinator.
    Mutation(
        "acknowledge a reply before it is committed",
        COORDINATOR,
        "        self._engine.inputs.put(ReplyArrived(reply, receipt))",
        "        receipt.done()\n        receipt.done = lambda: None\n"
        "        self._engine.inputs.put(ReplyArrived(reply, receipt))",
        ("tests/runners/test_acknowledging.py", "-k", "embedded"),
    ),
    Mutation(
        "do not check the token of a reply",
        ENGINE,
        "return None if ids.same_token(token, reply.token) else",
        "return None if True else",
        ("tests/runners/test_bad_input.py", "-k", "embedded"),
    ),
    Mutation(
        "take the word of another service for the owner's",
        ENGINE,
        "    if reply.participant != owner:\n",
        "    if False:\n",
        ("tests/runners/test_bad_input.py", "-k", "embedded"),
    ),
    Mutation(
        "do not send again what a dead process had in flight",
        ENGINE,
        "            if again or turn.record.owner != self._process:  # it may never have gone out\n",
        "            if False:\n",
        BY_RECOVERY,
    ),
    Mutation(
        "forget the commands of a commit in doubt",
        ENGINE,
        "lambda: self._with_plans(inputs, again=next(before) > 0)",
        "lambda: self._with_plans(inputs, again=next(before) > 99)",
        BY_RECOVERY,
    ),
    Mutation(
        "forget who waits from the start",
        ENGINE,
        "changes = [replace(change, watcher=self._watches.address) for _, change, _ in turns.values()]",
        "changes = [change for _, change, _ in turns.values()]",
        ("tests/runners/test_waiting.py", "-k", "embedded"),
    ),
    Mutation(
        "start again under a key that is taken",
        ENGINE,
        "    if record.input_digest == start.record.input_digest:\n",
        "    if True:\n",
        BY_CASES,
    ),
    Mutation(
        "run the steps of another version",
        "sagaflow/runners/commands.py",
        "return self._by_shape.get(plan.shape)",
        "return self.latest(plan.saga)",
        ("tests/runners/test_versions.py", "-k", "embedded"),
    ),
    Mutation(
        "pass the pivot while nobody serves an undo",
        "sagaflow/runners/readiness.py",
        "            if reason is not None:\n",
        "            if False:\n",
        ("tests/runners/test_readiness.py", "-k", "embedded and the_pivot_waits"),
    ),
    Mutation(
        "take a participant for live for ever",
        "sagaflow/runners/roll_call.py",
        "if one.at < since]",
        "if False]",
        ("tests/runners/test_roll_call.py", "-k", "three_rounds"),
    ),
    # The stores.
    Mutation(
        "skip the version check (PostgreSQL)",
        "sagaflow/adapters/postgres/coordinator_queries.sql",
        "    WHERE saga.id = change.id AND saga.version = change.expected_version\n",
        "    WHERE saga.id = change.id\n",
        ("tests/contracts/test_stores.py", "-k", "version or expected"),
    ),
    Mutation(
        "forget that an action was fenced off (PostgreSQL)",
        "sagaflow/adapters/postgres/participant_queries.sql",
        "    ON CONFLICT (saga_id, step, operation) DO UPDATE SET fenced = true\n",
        "    ON CONFLICT (saga_id, step, operation) DO UPDATE SET fenced = false\n",
        ("tests/contracts/test_transactions.py", "tests/adapters/postgres/test_transactions.py"),
    ),
    Mutation(
        "hand out what another process has claimed (PostgreSQL)",
        "sagaflow/adapters/postgres/coordinator_queries.sql",
        "    SET due_at = clock_timestamp() + make_interval(secs => $3)\n",
        "    SET due_at = agenda.due_at\n",
        ("tests/contracts/test_stores.py", "-k", "claim or due"),
    ),
    Mutation(
        "accept a payload of any size",
        "sagaflow/definitions/payloads.py",
        "    if len(encoded) > PAYLOAD_BYTES_MAX:\n",
        "    if False:\n",
        ("tests/definitions/test_payloads.py",),
    ),
    # What is sensitive.
    Mutation(
        "record what an action was refused for as it was raised",
        BARRIER,
        "            refusal = told(order, error)\n",
        "            refusal = ErrorInfo.of(error)\n",
        ("tests/runners/test_sensitive.py",),
    ),
    Mutation(
        "tell what a handler has raised as it was raised",
        WORKER,
        "verdict = Verdict(ReplyOutcome.FAILED, error=told(order, error))",
        "verdict = Verdict(ReplyOutcome.FAILED, error=ErrorInfo.of(error))",
        ("tests/runners/test_sensitive.py",),
    ),
    Mutation(
        "forget that what an action returned may be sensitive",
        BARRIER,
        "        secrets |= order.step.result_type.secrets(returned)\n",
        "        pass\n",
        ("tests/runners/test_sensitive.py",),
    ),
    Mutation(
        "keep the error of a saga's own function as it was raised",
        "sagaflow/runners/commands.py",
        "ErrorInfo.of(error, saga.secrets(saga_input, payloads.results()))",
        "ErrorInfo.of(error)",
        ("tests/runners/test_sensitive.py",),
    ),
)
