"""The commands, and what becomes of errors.

The exit codes are in exit_codes.py.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Final

from cyclopts import App, CycloptsError, Group, MissingArgumentError
from rich.console import Console

from sagaflow.cli.broker import broker_apply, broker_check, broker_plan
from sagaflow.cli.check import check
from sagaflow.cli.config import config_show
from sagaflow.cli.contract import contract
from sagaflow.cli.coordinator import coordinator
from sagaflow.cli.db import sql, status, upgrade
from sagaflow.cli.dead import dead_drop, dead_list, dead_replay, dead_show
from sagaflow.cli.demo import demo
from sagaflow.cli.doctor import doctor
from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.graph import graph
from sagaflow.cli.participants import participants
from sagaflow.cli.purge import erase, purge
from sagaflow.cli.sagas import list_sagas, stuck
from sagaflow.cli.schemas import schemas
from sagaflow.cli.show import show
from sagaflow.cli.start import start
from sagaflow.cli.steering import abandon, cancel, reply, retry, skip
from sagaflow.cli.top import top
from sagaflow.cli.watch import watch
from sagaflow.cli.why import why
from sagaflow.errors import SagaflowError, Unavailable

DISTRIBUTION: Final = "sagaflow-framework"


def _explain_usage(error: CycloptsError) -> str:
    """Why cyclopts refuses a command, and what else would do."""
    argument = error.argument if isinstance(error, MissingArgumentError) else None
    if argument is None or not argument.parameter.env_var:
        return f"sagaflow: {error}"
    return f"sagaflow: {error} Or set {', '.join(argument.parameter.env_var)}."


def _explain(error: SagaflowError) -> str:
    """What went wrong, and how to mend it."""
    is_unreachable = isinstance(error, Unavailable) and isinstance(error.__cause__, OSError)
    return f"sagaflow: {error}" + ("; is it running, and is the URL right?" if is_unreachable else "")


app = App(
    name="sagaflow",
    help="Business transactions that span services, done completely or undone completely.",
    version=lambda: metadata.version(DISTRIBUTION),
    error_formatter=_explain_usage,
    error_console=Console(stderr=True, highlight=False, soft_wrap=True),
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
RUN: Final = Group.create_ordered("Run")
LOOK: Final = Group.create_ordered("Look")
STEER: Final = Group.create_ordered("Steer")
MORE: Final = Group.create_ordered("More")

db = App(name="db", help="Make, upgrade or look at the tables of sagaflow in a database.", group=RUN, sort_key=3)
broker = App(
    name="broker", help="Print, make or check the exchanges and queues of sagaflow at a broker.", group=RUN, sort_key=4
)
config = App(name="config", help="Show the settings that commands go by.", group=MORE)
dead = App(name="dead", help="Look at, send again or drop what nobody could deal with.", group=LOOK, sort_key=3)

app.command(demo, group=RUN, sort_key=1)
app.command(coordinator, group=RUN, sort_key=2)
app.command(db)
db.command(upgrade, sort_key=1)
db.command(status, sort_key=2)
db.command(sql, sort_key=3)
db.command(purge, sort_key=4)
app.command(broker)
broker.command(broker_plan, name="plan", sort_key=1)
broker.command(broker_apply, name="apply", sort_key=2)
broker.command(broker_check, name="check", sort_key=3)
app.command(why, group=LOOK, sort_key=0)
app.command(list_sagas, name="list", group=LOOK, sort_key=1)
app.command(stuck, group=LOOK, sort_key=1)
app.command(show, group=LOOK, sort_key=2)
app.command(watch, group=LOOK, sort_key=2)
app.command(top, group=LOOK, sort_key=2)
app.command(dead)
dead.default(dead_list)
dead.command(dead_list, name="list", sort_key=1)
dead.command(dead_show, name="show", sort_key=2)
dead.command(dead_replay, name="replay", sort_key=3)
dead.command(dead_drop, name="drop", sort_key=4)
app.command(doctor, group=LOOK, sort_key=-1)
app.command(participants, group=LOOK, sort_key=4)
app.command(check, group=LOOK, sort_key=5)
app.command(start, group=STEER, sort_key=0)
app.command(retry, group=STEER, sort_key=1)
app.command(reply, group=STEER, sort_key=2)
app.command(skip, group=STEER, sort_key=3)
app.command(cancel, group=STEER, sort_key=4)
app.command(abandon, group=STEER, sort_key=5)
app.command(erase, group=STEER, sort_key=6)
app.command(config)
config.command(config_show, name="show")
app.command(graph, group=MORE)
app.command(contract, group=MORE)
app.command(schemas, group=MORE)
app["--help"].group = MORE
app["--version"].group = MORE
app.register_install_completion_command(
    help="Install completion for the shell that this is typed in (bash, zsh, fish).", group=MORE
)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. What went wrong is said in one line."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # the adapter says the same, once and in our words
    try:
        code: int | None = app(arguments)
        sys.stdout.flush()
    except CycloptsError:
        return ExitCode.WRONG_USAGE  # cyclopts has said why
    except SagaflowError as error:
        print(_explain(error), file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough, as in `sagaflow list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except OSError as error:
        print(f"sagaflow: {error}", file=sys.stderr)
        return ExitCode.FAILED
    return code or 0
