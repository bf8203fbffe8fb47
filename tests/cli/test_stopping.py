"""`until_stopped`, in processes of its own: signals belong to the whole process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sagaflow.runners.signals import told_to_stop

PROGRAM = """
import asyncio, signal, sys
from sagaflow import until_stopped

async def main():
    asyncio.get_running_loop().call_soon(print, "ready")
    which = await until_stopped()
    print(which.name, flush=True)
    if sys.argv[1:]:
        print("lingering", flush=True)
        await asyncio.Event().wait()

sys.stdout.reconfigure(line_buffering=True)
asyncio.run(main())
"""


def started(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_it_says_which_signal_came(which: signal.Signals) -> None:
    with started() as process:
        process.send_signal(which)
        assert process.communicate(timeout=30)[0] == f"{which.name}\n"
    assert process.returncode == 0


def test_a_second_signal_is_not_waited_for() -> None:
    with started("linger") as process:
        assert process.stdout is not None
        process.terminate()
        assert [process.stdout.readline(), process.stdout.readline()] == ["SIGTERM\n", "lingering\n"]
        process.terminate()
        process.wait(30)
    assert process.returncode == -signal.SIGTERM


async def test_a_signal_counts_from_the_moment_a_process_may_say_that_it_is_up() -> None:
    with told_to_stop() as told:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await told is signal.SIGTERM
