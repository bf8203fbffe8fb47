"""The command line: `sagaflow`. It is an extra, so that services need not install what only people use.

    app.py           the commands, and what becomes of errors: one line, and an exit code
    demo.py          sagaflow demo
    coordinator.py   sagaflow coordinator MODULE:NAME
    db.py            sagaflow db upgrade | status | sql
    purge.py         sagaflow db purge, sagaflow erase SAGA_ID
    broker.py        sagaflow broker plan | apply | check
    doctor.py        sagaflow doctor, with examining.py
    why.py           sagaflow why SAGA, with telling.py
    sagas.py         sagaflow list | stuck
    show.py          sagaflow show SAGA, with drawing.py and timeline.py
    watch.py         sagaflow watch
    top.py           sagaflow top
    start.py         sagaflow start SAGA
    steering.py      sagaflow retry | reply | skip | cancel | abandon, with many.py
    dead.py          sagaflow dead list | show | replay | drop
    participants.py  sagaflow participants
    check.py         sagaflow check MODULE:NAME
    config.py        sagaflow config show
    graph.py         sagaflow graph MODULE:NAME
    contract.py      sagaflow contract MODULE:NAME
    schemas.py       sagaflow schemas
    exit_codes.py    what each exit code says
    progress.py      how far long work has come
    options.py       what several commands take; servers.py: what URLs mean; loading.py: what MODULE:NAME means

Whatever goes wrong is said in one line, with the mend, and never with a password.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the entry point of the script `sagaflow`."""
    try:
        import cyclopts  # noqa: F401  # looked for before anything else needs it
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        sys.exit(f"sagaflow: {error.name} is not installed; type: pip install 'sagaflow-framework[cli]'")
    from sagaflow.cli.app import run

    sys.exit(run(sys.argv[1:]))
