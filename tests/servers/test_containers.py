"""Containers, where they cannot be had: a machine without a daemon, and a daemon without a registry."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers.containers import PING_SECONDS, container
from tests.servers.lookup import NotAvailable
from tests.servers.machine import LOOPBACK, free_port
from tests.servers.postgres import IMAGE

IN_TIME = PING_SECONDS + 3


class Daemon(BaseHTTPRequestHandler):
    """A Docker daemon that has no image."""

    def do_GET(self) -> None:
        """Answer what the client asks first, and deny every image."""
        if self.path == "/version":
            self.answer(200, '{"ApiVersion": "1.41"}')
        else:
            self.answer(404, '{"message": "No such image"}')

    def do_POST(self) -> None:
        """Refuse to pull an image."""
        self.answer(500, '{"message": "no registry to be seen"}')

    def answer(self, status: int, body: str) -> None:
        """Send a body of JSON."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class DaemonThatPullsForever(Daemon):
    """A Docker daemon whose registry never answers."""

    def do_POST(self) -> None:
        """Begin an answer and let it end only with the client's patience."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.rfile.read(1)


@contextmanager
def running(daemon: type[Daemon]) -> Iterator[str]:
    """Run a daemon and yield its address."""
    with ThreadingHTTPServer((LOOPBACK, 0), daemon) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"tcp://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def clock() -> Iterator[None]:
    """Fail a test that takes too long to give up."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < IN_TIME


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("host", [f"tcp://{LOOPBACK}:{free_port()}", "unix:///nowhere/docker.sock"])
def test_without_a_daemon_the_next_source_is_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)

    with pytest.raises(NotAvailable, match="Docker: "):
        container(IMAGE)


@pytest.mark.usefixtures("clock")
def test_a_daemon_that_keeps_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{LOOPBACK}:{silent.getsockname()[1]}")

        with pytest.raises(NotAvailable, match="Docker: "):
            container(IMAGE)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("daemon", "reason"),
    [
        (Daemon, "cannot pull postgres:17-alpine: .*no registry to be seen"),
        (DaemonThatPullsForever, "did not pull postgres:17-alpine within 2 s"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_found_out_at_the_start(
    daemon: type[Daemon], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(daemon) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        candidate = container(IMAGE, pull_seconds=2)

        assert "Docker (not pulled yet: it will be given 2 s)" in str(candidate)
        with pytest.raises(NotAvailable, match=reason):
            candidate.start()
