"""Users of a RabbitMQ, with no more rights than they are given."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.servers.handle import Server


@dataclass(frozen=True)
class User:
    """Somebody, with the patterns of what may be configured, written and read."""

    name: str
    configure: str
    write: str
    read: str
    password: str = field(default_factory=lambda: secrets.token_hex(8))

    def url(self, of: str) -> str:
        """The URL of a broker, as this user."""
        parts = urlsplit(of)
        return parts._replace(netloc=f"{self.name}:{self.password}@{parts.hostname}:{parts.port}").geturl()


def import_definitions(rabbitmq: Server, definitions: Mapping[str, Any], users: Sequence[User] = ()) -> None:
    """Have a broker import definitions, and make users."""
    made = {
        **definitions,
        "users": [
            {
                "name": user.name,
                "password_hash": _hashed(user.password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for user in users
        ],
        "permissions": [
            {
                "user": user.name,
                "vhost": "/",
                "configure": user.configure,
                "write": user.write,
                "read": user.read,
            }
            for user in users
        ],
    }
    rabbitmq.run("sh", "-c", 'printf %s "$1" | rabbitmqctl import_definitions', "sh", json.dumps(made))


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
