"""Pulls an image: a script, because docker's client sets no limit of time to a pull, and a process can be ended."""

from __future__ import annotations

import sys
from contextlib import closing

from docker.errors import DockerException
from testcontainers.core.docker_client import DockerClient


def main(name: str) -> str | None:
    """Pull the image; return what went wrong."""
    try:
        with closing(DockerClient().client) as daemon:
            daemon.images.pull(name)
    except DockerException as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
