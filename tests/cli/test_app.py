"""What all commands have in common: exit codes that are written down, completion, output that is plain in a file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sagaflow import SagaStatus
from sagaflow.cli.app import app
from sagaflow.cli.exit_codes import ExitCode, code_of
from tests.cli.conftest import Sagaflow

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
