"""`python -m tests.servers` says where the tests would have each server from, and fails if one cannot be had.

With `--or-install`, Debian packages are first installed for what cannot be had, if that can be done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.servers.install import InstallFailed, can_install, install
from tests.servers.lookup import Lookup, NoSource
from tests.servers.postgres import PACKAGE as POSTGRES_PACKAGE
from tests.servers.postgres import postgres_lookup
from tests.servers.rabbitmq import PACKAGE as RABBITMQ_PACKAGE
from tests.servers.rabbitmq import rabbitmq_lookup

LOOKUPS: dict[str, Callable[[], Lookup]] = {
    POSTGRES_PACKAGE: postgres_lookup,
    RABBITMQ_PACKAGE: rabbitmq_lookup,
}
"""How to look for a server, by the Debian package that has it."""


def main(arguments: list[str]) -> int:
    """Print the choices; return 0 when both servers can be had."""
    if "--or-install" in arguments and can_install():
        install_what_is_missing()
    lookups = [search() for search in LOOKUPS.values()]
    for lookup in lookups:
        print(lookup)
    return 1 if any(lookup.problem() for lookup in lookups) else 0


def install_what_is_missing() -> None:
    """Install the package of each server that no source can give."""
    missing = [package for package, search in LOOKUPS.items() if isinstance(search().problem(), NoSource)]
    if missing:
        print(f"Installing {' and '.join(missing)}", flush=True)
        try:
            install(missing)
        except InstallFailed as problem:  # what that leaves missing is said next
            print(problem)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
