"""Put in each bug in turn and see whether the tests notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import Inapplicable, Mutation

ROOT: Final = Path(__file__).parents[2]

PASSED: Final = 0
FAILED: Final = 1
"""What pytest says when tests ran and one failed; any other code says that they could not run."""

TIMEOUT_SECONDS: Final = 300.0


def main(arguments: Sequence[str]) -> int:
    """Put in the bugs that are asked for; the exit code is 0 if every one was caught."""
    if arguments == ["--list"]:
        print("\n".join(mutation.name for mutation in MUTATIONS))
        return 0
    chosen = [one for one in MUTATIONS if not arguments or any(word in one.name for word in arguments)]
    if not chosen:
        print(f"no mutation has one of these words in its name: {' '.join(arguments)}; --list tells the names")
        return 2
    with TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        _copy(tree)
        if not _tests_pass_without(chosen, tree):
            return 2
        survivors = [mutation.name for mutation in chosen if not _is_caught(mutation, tree)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught" + "".join(f"\n  not: {one}" for one in survivors))
    return 1 if survivors else 0


def _copy(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def _tests_pass_without(chosen: Sequence[Mutation], tree: Path) -> bool:
    """Whether the tests pass before there is any bug; otherwise their failing would mean nothing."""
    for arguments in dict.fromkeys(mutation.noticed_by for mutation in chosen):
        code, output = _run(arguments, tree)
        if code != PASSED:
            print(f"without any bug, pytest {' '.join(arguments)} ends with {code}:\n{output}")
            return False
    return True


def _is_caught(mutation: Mutation, tree: Path) -> bool:
    begin = monotonic()
    file = tree / mutation.path
    before = file.read_bytes()
    try:
        mutation.put_into(tree)
        code, output = _run(mutation.noticed_by, tree)
    except Inapplicable as error:
        print(f"NOT APPLICABLE  {error}", flush=True)
        return False
    finally:
        file.write_bytes(before)
    if code not in (PASSED, FAILED):
        print(f"pytest ended with {code}:\n{output}", flush=True)
    word = "caught  " if code == FAILED else "SURVIVED"
    print(f"{word}  {mutation.name}  ({monotonic() - begin:.0f} s)", flush=True)
    return code == FAILED


def _run(arguments: Sequence[str], tree: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=tree, env=_environment(tree), capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    return done.returncode, done.stdout[-3_000:] + done.stderr[-1_000:]


def _environment(tree: Path) -> Mapping[str, str]:
    """What the tests run, and what the processes run that they start, is the copy."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tree), str(tree / "examples")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
