"""RabbitMQ for the tests: its three sources, and the private server made from this machine's binaries."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.servers.containers import Image, container
from tests.servers.external import external_server
from tests.servers.handle import Server
from tests.servers.handshake import ANSWER_SECONDS, ask_rabbitmq
from tests.servers.lookup import Candidate, Lookup, NotAvailable, Probe, advice
from tests.servers.machine import LOOPBACK, account_for, free_port, private_directory
from tests.servers.process import PrivateServer, Program, plain_environment

NAME = "RabbitMQ"
VARIABLE = "SAGAFLOW_TEST_RABBITMQ"
URL_FORM = "amqp://user:password@host:5672/"
PACKAGE = "rabbitmq-server"
USER = "sagaflow"

DEBIAN_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The server itself; /usr/sbin/rabbitmq-server is a wrapper that changes the user and logs to /var/log."""


def rabbitmq_lookup(*, ours: bool = False) -> Lookup:
    """Search the sources of RabbitMQ in their order; with `ours`, only those that a test may stop and kill."""
    external: list[Probe] = [] if ours else [partial(external_server, NAME, VARIABLE, ask_rabbitmq)]
    probes: list[Probe] = [*external, partial(container, IMAGE), local_rabbitmq]
    return Lookup(NAME, probes, advice=advice(package=PACKAGE, image=IMAGE.name, variable=VARIABLE, url=URL_FORM))


def rabbitmq_url(address: str, password: str) -> str:
    """Return the URL of the default virtual host."""
    return f"amqp://{USER}:{password}@{address}/"


IMAGE = Image(
    server=NAME,
    name="rabbitmq:4-alpine",
    port=5672,
    environment=lambda password: {"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": password},
    url=rabbitmq_url,
    ask=ask_rabbitmq,
)


def local_rabbitmq() -> Candidate:
    """Find RabbitMQ on this machine."""
    binaries = local_binaries()
    address = f"{LOOPBACK}:{binaries.port}"
    return Candidate(str(binaries.script), _version(binaries.script), address, partial(_start, binaries))


def local_binaries() -> Binaries:
    """Find its server script, and Erlang's port mapper; raises NotAvailable without."""
    script = next(filter(Path.exists, _scripts()), None)
    if script is None:
        raise NotAvailable("no `rabbitmq-server` is installed on this machine")
    mapper = shutil.which("epmd")
    if mapper is None:
        raise NotAvailable(f"{script} is there, but Erlang's `epmd` is not on PATH")
    return Binaries(script, Path(mapper), port=free_port())


@dataclass(frozen=True)
class Binaries:
    """Where RabbitMQ and Erlang's port mapper are installed, and where a server made from them will listen."""

    script: Path
    epmd: Path
    port: int


def _scripts() -> Iterator[Path]:
    yield DEBIAN_SCRIPT
    if found := shutil.which("rabbitmq-server"):
        yield Path(found)


def _version(script: Path) -> str:
    """Read the version off the folder that the script is installed in; asking the script takes seconds."""
    found = re.search(r"\d+\.\d+\.\d+", str(script.resolve()))
    return found.group() if found else "a version that it tells when started"


def _start(binaries: Binaries) -> Server:
    password = secrets.token_hex(8)
    url = rabbitmq_url(f"{LOOPBACK}:{binaries.port}", password)
    epmd_port = free_port()
    control = PrivateServer(epmd(binaries, epmd_port), broker(binaries, epmd_port, url, password))
    try:
        control.start()
        return Server(NAME, url, ask_rabbitmq(url), source=str(binaries.script), control=control)
    except BaseException:
        control.close()
        raise


def epmd(binaries: Binaries, port: int) -> Program:
    """Erlang's port mapper, started ahead of RabbitMQ: one started by Erlang itself would outlive the tests."""
    account = account_for("rabbitmq")
    directory = private_directory("epmd", account)
    return Program(
        name="epmd",
        command=[str(binaries.epmd), "-address", LOOPBACK, "-port", str(port)],
        directory=directory,
        account=account,
        environment=plain_environment(directory),
        ask=lambda: socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS).close(),
        stop_signal=signal.SIGTERM,
        last_signal=signal.SIGKILL,
    )


def broker(binaries: Binaries, epmd_port: int, url: str, password: str) -> Program:
    """The broker itself; it needs the port mapper."""
    account = account_for("rabbitmq")
    directory = private_directory("rabbitmq", account)
    _write_configuration(directory, binaries.port, password)
    return Program(
        name=NAME,
        command=[str(binaries.script)],
        directory=directory,
        account=account,
        environment=_broker_environment(directory, binaries.port, epmd_port),
        ask=partial(ask_rabbitmq, url),
        stop_signal=signal.SIGTERM,
        last_signal=signal.SIGKILL,
    )


def _write_configuration(directory: Path, port: int, password: str) -> None:
    (directory / "enabled_plugins").write_text("[].\n")
    (directory / "rabbitmq.conf").write_text(
        f"""\
listeners.tcp.1 = {LOOPBACK}:{port}
default_user = {USER}
default_pass = {password}
vm_memory_high_watermark.absolute = 2GiB
"""
    )


def _broker_environment(directory: Path, port: int, epmd_port: int) -> dict[str, str]:
    return plain_environment(
        directory,  # as HOME, where Erlang keeps its cookie
        ERL_EPMD_ADDRESS=LOOPBACK,
        ERL_EPMD_PORT=str(epmd_port),
        RABBITMQ_BASE=str(directory),
        RABBITMQ_CONFIG_FILE=str(directory / "rabbitmq.conf"),
        RABBITMQ_CONF_ENV_FILE="/dev/null",
        RABBITMQ_DIST_PORT=str(free_port()),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(directory / "enabled_plugins"),
        RABBITMQ_LOGS="-",
        RABBITMQ_LOG_BASE=str(directory / "log"),
        RABBITMQ_MNESIA_BASE=str(directory / "mnesia"),
        RABBITMQ_NODENAME=f"sagaflow-{port}@localhost",
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
        RUNNING_UNDER_SYSTEMD="true",  # the script becomes the server, instead of staying as its parent
    )
