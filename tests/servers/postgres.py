"""PostgreSQL for the tests: its three sources, and the private server made from this machine's binaries."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.servers.containers import Image, container
from tests.servers.external import external_server
from tests.servers.handle import Server
from tests.servers.handshake import StartFailed, ask_postgres
from tests.servers.lookup import Candidate, Lookup, NotAvailable, Probe, advice
from tests.servers.machine import LOOPBACK, account_for, free_port, private_directory
from tests.servers.process import PrivateServer, Program, plain_environment

NAME = "PostgreSQL"
VARIABLE = "SAGAFLOW_TEST_POSTGRES"
URL_FORM = "postgresql://user:password@host:5432/database"
PACKAGE = "postgresql"
USER = "postgres"


def postgres_lookup(*, ours: bool = False) -> Lookup:
    """Search the sources of PostgreSQL in their order; with `ours`, only those that a test may stop and kill."""
    external: list[Probe] = [] if ours else [partial(external_server, NAME, VARIABLE, ask_postgres)]
    probes: list[Probe] = [*external, partial(container, IMAGE), local_postgres]
    return Lookup(NAME, probes, advice=advice(package=PACKAGE, image=IMAGE.name, variable=VARIABLE, url=URL_FORM))


def postgres_url(address: str, password: str) -> str:
    """Return the URL of the server's own database for its superuser."""
    return f"postgresql://{USER}:{password}@{address}/postgres"


IMAGE = Image(
    server=NAME,
    name="postgres:17-alpine",
    port=5432,
    environment=lambda password: {"POSTGRES_PASSWORD": password},
    url=postgres_url,
    ask=ask_postgres,
)


def local_postgres() -> Candidate:
    """Find the binaries of PostgreSQL on this machine."""
    folder = next(filter(_is_complete, _folders()), None)
    if folder is None:
        raise NotAvailable("no folder on this machine holds both `initdb` and `postgres`")
    address = f"{LOOPBACK}:{free_port()}"
    return Candidate(str(folder), _version(folder), address, partial(_start, Binaries(folder, address)))


@dataclass(frozen=True)
class Binaries:
    """Where PostgreSQL is installed, and where a server made from it will listen."""

    folder: Path
    address: str


def _folders() -> Iterator[Path]:
    """Yield the folders that may hold the binaries: the one in use, then Debian's, the newest version first."""
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    if asked := shutil.which("pg_config"):
        answer = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=True)
        yield Path(answer.stdout.strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major, reverse=True)


def _major(folder: Path) -> int:
    return int(folder.parent.name)


def _is_complete(folder: Path) -> bool:
    return (folder / "initdb").exists() and (folder / "postgres").exists()


def _version(folder: Path) -> str:
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"\d+(\.\d+)*", answer.stdout)
    return found.group() if found else answer.stdout.strip()


def _start(binaries: Binaries) -> Server:
    password = secrets.token_hex(8)
    url = postgres_url(binaries.address, password)
    made = program(binaries, url)
    control = PrivateServer(made)
    try:
        _create_cluster(binaries, made, password)
        control.start()
        return Server(NAME, url, ask_postgres(url), source=str(binaries.folder), control=control)
    except BaseException:
        control.close()
        raise


def program(binaries: Binaries, url: str) -> Program:
    """The server, in a directory of its own, where `data` has still to be made."""
    account = account_for("postgres")
    directory = private_directory("postgres", account)
    settings = {
        "listen_addresses": LOOPBACK,
        "port": binaries.address.rpartition(":")[2],
        "unix_socket_directories": str(directory),
        "max_connections": "200",
    }
    return Program(
        name=NAME,
        command=[
            str(binaries.folder / "postgres"),
            "-D",
            str(directory / "data"),
            *(f"--{setting}={value}" for setting, value in settings.items()),
        ],
        directory=directory,
        account=account,
        environment=plain_environment(directory),
        ask=partial(ask_postgres, url),
        stop_signal=signal.SIGINT,  # a fast shutdown: it does not wait for clients to leave
        last_signal=signal.SIGQUIT,  # an immediate one: unlike SIGKILL it leaves no shared memory behind
    )


def _create_cluster(binaries: Binaries, program: Program, password: str) -> None:
    password_file = program.directory / "password"
    password_file.write_text(password)
    password_file.chmod(0o644)
    command = [
        str(binaries.folder / "initdb"),
        f"--pgdata={program.directory / 'data'}",
        f"--username={USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",  # of initdb alone: what the server itself writes is synced, for durability is under test
    ]
    done = subprocess.run(
        command,
        cwd=program.directory,
        env=program.environment,
        user=program.account.user,
        group=program.account.group,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise StartFailed(f"initdb ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
