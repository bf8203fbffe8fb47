"""A report in its three forms."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence

from rich.console import Console

from sagaflow import SagaStatus
from sagaflow.cli.telling import as_markdown, as_plain, as_terminal, sections
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.runners.reporting.reports import Alike, SagaReport
from tests.core.plans import pivot, plan_of, step
from tests.reports.playing import SAGA_ID, TRACE, UNDO, Play

PLAN = plan_of(step("order"), pivot("pay", after=["order"]))
NASTY = ErrorInfo("BankDown", "a|b `c` *d*\x1b[31m\nnext", "Traceback\n  ```\n\x1b[31mBankDown")


def typed(words: Sequence[str]) -> str:
    return shlex.join(["sagaflow", *words])


def stuck(error: ErrorInfo = NASTY) -> SagaReport:
    play = Play(PLAN).done("order").refused("pay").fails("order", UNDO, error)
    return play.report(Alike("0123456789ab", {SagaStatus.STUCK: 2}, 10))


def on_screen(report: SagaReport, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(as_terminal(report, typed), crop=False)
    return file.getvalue()


def test_the_order_of_the_answers_is_that_of_the_questions() -> None:
    assert [section.title for section in sections(stuck(), typed)] == [
        "What happened",
        "What could not be undone",
        "What is still owed",
        "What to do",
        "Every attempt",
        "Traceback of what is stuck: undo of order",
    ]
    ended = Play(PLAN).done("order", "pay").report()
    assert [section.title for section in sections(ended, typed)] == ["What happened", "What to do", "Every attempt"]


def test_a_terminal_is_not_harmed_and_commands_are_one_line_each_to_be_copied() -> None:
    said = on_screen(stuck(), width=60)
    assert "\x1b" not in said
    commands = [line.strip().removeprefix("$ ") for line in said.splitlines() if line.strip().startswith("$ ")]
    assert commands == [typed(move.words) for move in stuck().moves]
    assert "2 other trip sagas fail in the same way: 2 STUCK" in " ".join(said.split())


def test_markdown_says_it_as_it_came_and_nothing_in_it_ends_a_table_or_a_block() -> None:
    said = as_markdown(stuck(), typed)
    assert said.startswith("# STUCK: trip version 1, key order-1047\n")
    assert "\x1b" not in said
    assert r"a\|b \`c\` \*d\*" in said
    (rows,) = [block for block in said.split("\n\n") if block.startswith("| operation")]
    assert {line.replace(r"\|", "").count("|") for line in rows.splitlines()} == {8}
    assert "````\nTraceback\n  ```\n" in said
    for move in stuck().moves:
        assert f"```console\n{typed(move.words)}\n```" in said


def test_for_programs_all_fields_and_the_commands_as_they_are_typed() -> None:
    said = as_plain(stuck(), typed)
    assert said["saga_id"] == str(SAGA_ID)
    assert said["stuck"][0]["error"]["type"] == "BankDown"
    assert said["alike"] == {"fingerprint": "0123456789ab", "by_status": {"STUCK": 2}, "looked_at": 10}
    assert said["moves"][0]["command"].startswith(f"sagaflow retry {SAGA_ID} --step order --reason")
    assert {attempt["trace_id"] for attempt in said["attempts"]} == {TRACE}
