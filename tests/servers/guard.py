"""Runs one program and never lets it outlive the tests.

process.py starts it with an order (a line of JSON) as its argument and a pipe as its standard input. Each line
on the pipe is the number of a signal to pass on to the program. When the pipe closes the tests have ended,
however that came about, a SIGKILL included: the program is ended too and its directory removed.

The guard ends when the program has ended and, on Linux, every process that the program left behind.

It is run as a script, so it imports nothing of the tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Carry out the order."""
    order = json.loads(sys.argv[1])
    adopt_orphans()
    program = subprocess.Popen(
        order["command"],
        env=order["environment"],
        cwd=order["directory"],
        user=order["user"],
        group=order["group"],
        extra_groups=[] if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
    )
    tests_ended = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            program.send_signal(int(line))
        tests_ended.set()
        program.send_signal(order["last_signal"])

    threading.Thread(target=listen, daemon=True).start()
    code = program.wait()
    wait_for_orphans()
    if tests_ended.is_set():
        shutil.rmtree(order["directory"])
    return code


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def wait_for_orphans() -> None:
    """Wait until this process has no children."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    sys.exit(main())
