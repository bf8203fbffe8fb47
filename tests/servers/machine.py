"""What a private server needs of the machine: a port, an account, a directory."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"

LISTENING_PORTS = range(20_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections.

A client that keeps connecting to a stopped server could otherwise be given the very port of that server.
"""


@dataclass(frozen=True)
class Account:
    """The user and group to run a server as."""

    user: int
    group: int


def free_port() -> int:
    """Return a port of the loopback address on which nothing listens."""
    while True:
        port = secrets.choice(LISTENING_PORTS)
        with socket.socket() as attempt:
            if attempt.connect_ex((LOOPBACK, port)) != 0:
                return port


def account_for(preferred: str) -> Account:
    """Return our own account; but if we are root, the preferred one or else `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    known = {entry.pw_name: Account(entry.pw_uid, entry.pw_gid) for entry in pwd.getpwall()}
    return known.get(preferred, known["nobody"])


def private_directory(name: str, owner: Account) -> Path:
    """Make a temporary directory that is the owner's alone."""
    directory = Path(tempfile.mkdtemp(prefix=f"sagaflow-{name}-"))
    os.chown(directory, owner.user, owner.group)
    return directory
