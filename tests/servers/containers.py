"""The second source: a container, if the Docker daemon answers and the image can be had."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient, get_docker_host
from urllib3.exceptions import HTTPError

from tests.servers import pull
from tests.servers.handle import Server
from tests.servers.handshake import Ask, StartFailed, wait_until_it_serves
from tests.servers.lookup import Candidate, NotAvailable
from tests.servers.machine import free_port

PING_SECONDS = 2
PULL_SECONDS = 60.0
STOP_SECONDS = 30
LOG_LINES = 20

DOCKER_FAILED = (DockerException, HTTPError, OSError)


@dataclass(frozen=True)
class Image:
    """A server's image, and how to speak to a container of it."""

    server: str
    name: str
    port: int
    environment: Callable[[str], dict[str, str]]
    """Makes a password that of the server."""
    url: Callable[[str, str], str]
    """Of an address and a password."""
    ask: Ask

    @property
    def full_name(self) -> str:
        """The name with the registry that testcontainers is configured for, if any."""
        return testcontainers_config.hub_image_name_prefix + self.name


def container(image: Image, *, pull_seconds: float = PULL_SECONDS) -> Candidate:
    """Ask the daemon for a sign of life and for the image; pull nothing yet."""
    try:
        here = _is_here(image.full_name)
    except DOCKER_FAILED as error:
        raise NotAvailable(f"Docker: {error}") from error
    source = "Docker" if here else f"Docker (not pulled yet: it will be given {pull_seconds:.0f} s)"
    port = free_port()
    start = partial(_start, image, port, pull_seconds)
    return Candidate(source, image.full_name, f"port {port} of Docker's host", start)


def _start(image: Image, port: int, pull_seconds: float) -> Server:
    try:
        if not _is_here(image.full_name):
            _pull(image.full_name, pull_seconds)
        return _run(image, port)
    except DOCKER_FAILED as error:
        raise NotAvailable(f"Docker, {image.full_name}: {error}") from error


def _is_here(name: str) -> bool:
    _knock()
    with closing(DockerClient(timeout=PING_SECONDS).client) as daemon:
        try:
            daemon.images.get(name)
        except ImageNotFound:
            return False
        return True


def _knock() -> None:
    """Fail if nothing listens on the daemon's socket: docker's client would too, but leave its end open."""
    host = get_docker_host() or DEFAULT_UNIX_SOCKET
    if "unix://" not in host:
        return
    path = urlsplit(host).path
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(PING_SECONDS)
        try:
            attempt.connect(path)
        except OSError as error:
            raise NotAvailable(f"Docker: no daemon listens on {path} ({error})") from error


def _pull(name: str, seconds: float) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-P", pull.__file__, name], timeout=seconds, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"Docker did not pull {name} within {seconds:.0f} s") from error
    if done.returncode != 0:
        raise NotAvailable(f"Docker cannot pull {name}: {done.stderr.strip()}")


def _run(image: Image, port: int) -> Server:
    _do_without_reaper_if_it_is_not_here()
    control = ContainerServer(image, port)
    try:
        control.create()
        return Server(image.server, control.url, image.ask(control.url), source="Docker", control=control)
    except BaseException:
        control.close()
        raise


def _do_without_reaper_if_it_is_not_here() -> None:
    """The reaper removes containers when the tests are killed, but has an image of its own.

    Where that cannot be had, a SIGKILL of the tests leaves their containers behind; nothing else does.
    """
    if not _is_here(testcontainers_config.ryuk_image):
        testcontainers_config.ryuk_disabled = True


class ContainerServer:
    """The control of a server in a container."""

    def __init__(self, image: Image, port: int) -> None:
        self._image = image
        self._port = port
        self._password = secrets.token_hex(8)
        self._container = (
            DockerContainer(image.full_name)
            .with_bind_ports(image.port, port)  # a port of our choice stays the same when it is started again
            .with_envs(**image.environment(self._password))
        )

    @property
    def url(self) -> str:
        """The URL of the server."""
        return self._image.url(f"{self._container.get_container_host_ip()}:{self._port}", self._password)

    def create(self) -> None:
        """Create and start the container, and wait until its server serves."""
        self._container.start()
        self._wait_until_it_serves()

    def start(self) -> None:
        """Start it with the data that it had, and wait until it serves."""
        self._container.get_wrapped_container().start()
        self._wait_until_it_serves()

    def stop(self) -> None:
        """Stop it in good order."""
        self._container.get_wrapped_container().stop(timeout=STOP_SECONDS)

    def kill(self) -> None:
        """End it as a crash would."""
        self._container.get_wrapped_container().kill()

    def close(self) -> None:
        """Remove the container and its data."""
        self._container.stop()

    def run(self, *command: str) -> None:
        """Run a program in the container."""
        code, output = self._container.exec(list(command))
        if code != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {output!r}")

    def _wait_until_it_serves(self) -> None:
        ask = partial(self._image.ask, self.url)
        wait_until_it_serves(ask, self._image.full_name, check_alive=self._check_alive)

    def _check_alive(self) -> None:
        running = self._container.get_wrapped_container()
        running.reload()
        if running.status != "running":
            last_words = running.logs(tail=LOG_LINES).decode(errors="replace")
            raise StartFailed(f"The container of {self._image.full_name} is {running.status}:\n{last_words}")
