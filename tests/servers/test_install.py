"""Installing servers: their services stay stopped."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.install import no_service_started


def test_services_are_forbidden_to_start_only_meanwhile(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"

    with no_service_started(policy):
        assert subprocess.run([policy, "postgresql", "start"], check=False).returncode == 101

    assert not policy.exists()


def test_a_policy_of_the_machine_is_left_as_it_is(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")

    with no_service_started(policy):
        assert policy.read_text() == "theirs"

    assert policy.read_text() == "theirs"
