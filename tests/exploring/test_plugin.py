"""The pytest plugin, and every snippet of docs/testing.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server
from tests.servers.databases import create_database, drop_database

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.DOTALL)
TRIP = SNIPPETS[0]

FORGETFUL = TRIP.replace("DELETE FROM taken WHERE who = $1", "SELECT $1")
"""Its undo does nothing."""


@pytest.fixture(autouse=True)
def setting(pytester: pytest.Pytester) -> None:
    """Without it, pytest-asyncio warns."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")


@pytest.fixture
def trips(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the first test of the page."""
    pytester.makepyfile(test_trip=TRIP)
    return pytester


def test_importing_the_plugin_imports_nothing_of_sagaflow() -> None:
    program = (
        "import sys, pytest; pytest.main(['--version']); import pytest_sagaflow;"
        "print([name for name in sys.modules if name.split('.')[0] == 'sagaflow'])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


def test_a_run_without_sagas_imports_nothing_of_sagaflow(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing():
            assert "pytest_sagaflow" in sys.modules
            assert "sagaflow" not in sys.modules
    """)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*sagaflow =*")


def test_the_summary_says_what_was_explored(trips: pytest.Pytester) -> None:
    result = trips.runpytest_inprocess("--sagaflow-histories=100")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"=+ sagaflow =+",
            r"test_trip.py::test_trip: \d+ histories: one in which all goes well, \d+ in which one thing goes wrong.*",
            r"\d+ histories in which went wrong:",
            r" +\d+ x crash-after at broker.publish",
        ]
    )


def test_histories_are_bounded_by_the_option_before_the_marker_and_the_test(trips: pytest.Pytester) -> None:
    marked = TRIP.replace("def test_trip", "import pytest\n\n\n@pytest.mark.sagaflow(histories=0)\ndef test_trip")
    trips.makepyfile(test_trip=marked)
    singles = _histories(trips.runpytest_inprocess())
    assert _histories(trips.runpytest_inprocess(f"--sagaflow-histories={singles + 7}")) == singles + 7


def _histories(result: pytest.RunResult) -> int:
    result.assert_outcomes(passed=1)
    found = re.search(r"^(\d+) histories in which", result.stdout.str(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_counterexample_is_a_story_with_the_command_that_replays_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_trip=FORGETFUL)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    told = result.stdout.str()
    assert "What goes wrong in this history:\n    action 1 of meals.cook says no" in told
    assert "an undo that forgets?" in told
    assert "Traceback" not in told
    assert "sagaflow/testing" not in told
    assert re.search(r"FAILED test_trip.py::test_trip - assert 1 == 0", told)
    found = re.search(r"pytest '(test_trip.py::test_trip)' --sagaflow-replay='(.*)'", told)
    assert found is not None
    again = pytester.runpytest_inprocess(found[1], f"--sagaflow-replay={found[2]}")
    again.assert_outcomes(failed=1)
    pytester.makepyfile(test_trip=TRIP)
    mended = pytester.runpytest_inprocess(found[1], f"--sagaflow-replay={found[2]}")
    mended.assert_outcomes(passed=1)
    mended.stdout.fnmatch_lines(
        ["*one history, replayed. It ended: 1 COMPENSATED.", "*the undo of seats.take is done*"]
    )


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_it_works_in_async_tests(mode: str, pytester: pytest.Pytester) -> None:
    mark = "import pytest\n\n\n@pytest.mark.asyncio\n" if mode == "strict" else ""
    pytester.makepyfile(test_trip=TRIP.replace("def test_trip", f"{mark}async def test_trip"))
    result = pytester.runpytest_inprocess("-p", "asyncio", f"--asyncio-mode={mode}", "--sagaflow-histories=0")
    result.assert_outcomes(passed=1)
    assert "histories in which went wrong" in result.stdout.str()


def test_every_snippet_of_the_page_runs(pytester: pytest.Pytester, postgres: Server) -> None:
    url = create_database(postgres.url)
    try:
        schema = f"""
import asyncio, asyncpg


async def make() -> None:
    connection = await asyncpg.connect({url!r})
    await connection.execute("CREATE TABLE IF NOT EXISTS taken (who TEXT PRIMARY KEY)")
    await connection.close()


asyncio.run(make())
"""
        page = "\n\n".join(SNIPPETS).replace("postgresql://localhost/trip_test", url)
        pytester.makepyfile(test_page=page + schema)
        pytester.runpytest_subprocess("--sagaflow-histories=50").assert_outcomes(passed=page.count("\ndef test_"))
        assert len(SNIPPETS) == 3
    finally:
        drop_database(postgres.url, url)
