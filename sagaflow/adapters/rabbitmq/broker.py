"""Where the broker is, as its URL says."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from sagaflow.errors import Unavailable

PORTS = {"amqp": 5672, "amqps": 5671}

_FORM = (
    "the URL of RabbitMQ must be of the form amqp://user:password@host:5672/vhost (or amqps://); "
    "in the password, write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25"
)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker to connect to. Its password is in `url` and nowhere else."""

    url: str = field(repr=False)
    host: str
    port: int
    user: str
    virtual_host: str

    @classmethod
    def at(cls, url: str) -> Broker:
        """The broker of this URL.

        Raises:
            Unavailable: there can be none, or its certificate would not be verified.
        """
        parts, port = _split(url)
        if "no_verify_ssl" in parse_qs(parts.query, keep_blank_values=True):
            raise Unavailable(
                "no_verify_ssl in the URL of RabbitMQ is refused: anyone could then pose as the broker; "
                "name the certificate of your authority instead: amqps://...?cafile=/path/ca.pem"
            )
        return cls(
            url=url,
            host=parts.hostname or "",
            port=port,
            user=unquote(parts.username or "guest"),
            virtual_host=unquote(parts.path[1:]) or "/",
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _split(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Unavailable(_FORM) from None  # its text may hold a part of the password
    # A password that is not quoted ends the host too early, and what follows would be shown as the host's.
    is_torn = bool(parts.fragment) or ("@" in parts.path + parts.query and "@" not in parts.netloc)
    if parts.scheme not in PORTS or not parts.hostname or is_torn:
        raise Unavailable(_FORM)
    return parts, port or PORTS[parts.scheme]
