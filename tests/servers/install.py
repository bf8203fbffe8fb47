"""Installs the servers that the tests cannot have otherwise, where that is safe to do: as root, with apt-get."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this script whether a freshly installed service may be started: 101 is a no."""


class InstallFailed(Exception):
    """apt-get could not install the packages."""


def can_install() -> bool:
    """Whether packages can be installed without asking anyone."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> None:
    """Install Debian packages; the services in them are not started."""
    with no_service_started():
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *packages)


@contextmanager
def no_service_started(policy: Path = POLICY) -> Iterator[None]:
    """Forbid that services are started, unless the machine has a policy of its own."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-qq", *arguments], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise InstallFailed(f"apt-get {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
