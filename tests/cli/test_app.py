"""What all commands have in common: exit codes that are written down, completion, output that is plain in a file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagaflow import SagaStatus
from sagaflow.cli.app import app
from sagaflow.cli.exit_codes import ExitCode, code_of
from tests.cli.conftest import Sagaflow, Said, Trips

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def commands_of(app_: object = app, *before: str) -> set[str]:
    """The names of all commands, those of groups too."""
    found: set[str] = set()
    for name in app_:  # type: ignore[attr-defined]  # an App is iterated by the names of its commands
        if name.startswith("-"):
            continue
        one = app_[name]  # type: ignore[index]
        inner = commands_of(one, *before, name)
        found |= inner or {" ".join([*before, name])}
    return found


def test_the_table_of_exit_codes_is_complete() -> None:
    _, _, section = OPERATIONS.read_text().partition("## Exit codes")
    told = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert told == list(ExitCode)
    assert {code_of(status) for status in SagaStatus} <= set(ExitCode)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(sagaflow: Sagaflow, tmp_path: Path, shell: str) -> None:
    script = app.generate_completion(shell=shell)  # type: ignore[arg-type]
    for words in commands_of():
        for word in words.split():
            assert word in script
    assert "--compensated" in script


def test_completion_is_installed_for_a_shell(
    sagaflow: Sagaflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    said = sagaflow("--install-completion", "--shell", "bash", "--output", f"{tmp_path}/sagaflow.bash")
    assert said.code == 0
    assert "sagaflow.bash" in (tmp_path / ".bashrc").read_text()
    completed = "COMP_WORDS=(sagaflow wat); COMP_CWORD=1; COMP_LINE='sagaflow wat'; COMP_POINT=12"
    function = re.findall(r"^complete .*-F (\S+)", (tmp_path / "sagaflow.bash").read_text(), re.MULTILINE)[-1]
    script = f"source {tmp_path}/sagaflow.bash; {completed}; {function}; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["watch"]


EVERY_COMMAND: dict[str, list[str]] = {
    "abandon": ["--stuck", "--reason=x", "{database}"],
    "broker apply": ["tests.cli.conftest:trip", "--broker=amqp://127.0.0.1:1/"],
    "broker check": ["tests.cli.conftest:trip", "--broker=amqp://127.0.0.1:1/"],
    "broker plan": ["tests.cli.conftest:trip"],
    "cancel": ["--saga=trip", "--reason=x", "{database}"],
    "check": ["tests.cli.conftest:trip", "{database}"],
    "config show": [],
    "contract": ["tests.cli.conftest:trip"],
    "coordinator": ["tests.cli.conftest:trip", "--broker=amqp://127.0.0.1:1/", "{database}"],
    "db purge": ["coordinator", "--completed=30d", "{database}"],
    "db sql": ["coordinator"],
    "db status": ["coordinator", "{database}"],
    "db upgrade": ["coordinator", "{database}"],
    "dead drop": ["1", "--reason=x", "{database}"],
    "dead list": ["{database}"],
    "dead replay": ["1", "--broker=amqp://127.0.0.1:1/", "{database}"],
    "dead show": ["1", "{database}"],
    "demo": ["--orders=0"],
    "doctor": ["{database}"],
    "erase": ["{paris}", "{database}"],
    "graph": ["tests.cli.conftest:trip"],
    "list": ["{database}"],
    "participants": ["{database}"],
    "reply": ["--stuck", "--succeeded", "--reason=x", "{database}"],
    "retry": ["--stuck", "--reason=x", "{database}"],
    "schemas": [],
    "show": ["Atlantis", "{database}"],
    "skip": ["--stuck", "--reason=x", "{database}"],
    "start": ["tests.cli.conftest:trip", '--input="Oslo"', "{database}"],
    "stuck": ["{database}"],
    "top": ["--once", "--every=0.1", "{database}"],
    "watch": ["Atlantis", "{database}"],
    "why": ["Atlantis", "{database}"],
}


def test_every_command_is_looked_at() -> None:
    assert sorted(EVERY_COMMAND) == sorted(commands_of())


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_what_is_written_to_a_file_is_plain_and_has_a_known_exit_code(
    sagaflow: Sagaflow, trips: Trips, command: str
) -> None:
    said = run_one(sagaflow, trips, command)
    assert said.code in set(ExitCode)
    assert said.output or said.errors
    assert "\x1b" not in said.output + said.errors
    assert "\x1b" not in sagaflow(*command.split(), "--help").output


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_a_terminal_is_not_coloured_with_no_color(
    sagaflow: Sagaflow, trips: Trips, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    said = run_one(sagaflow, trips, command)
    codes = {part for code in re.findall(r"\x1b\[([\d;]*)m", said.output + said.errors) for part in code.split(";")}
    assert codes <= {"", "0", "1", "2", "3", "4"}, "bold, dim and the like are no colours"


def run_one(sagaflow: Sagaflow, trips: Trips, command: str) -> Said:
    words = [
        word.format(database=f"--database={trips.database}", paris=trips.paris) if word.startswith("{") else word
        for word in EVERY_COMMAND[command]
    ]
    return sagaflow(*command.split(), *words)
