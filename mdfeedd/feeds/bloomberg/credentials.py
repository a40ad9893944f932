"""What identifies us: read when a session begins, from systemd's credentials, and never shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd

if TYPE_CHECKING:
    from mdfeedd.feeds.bloomberg.options import BloombergOptions

__all__ = ["MAX_BYTES", "Credentials", "read_credentials"]

MAX_BYTES: Final = 1 << 20


class Credentials:
    """Certificates, their password and a token; empty where the configuration names none."""

    __slots__ = ("client", "password", "token", "trust")

    def __init__(
        self, client: bytes = b"", password: str = "", trust: bytes = b"", token: str = ""
    ) -> None:
        self.client = client
        self.password = password
        self.trust = trust
        self.token = token

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce__(self) -> str:
        raise TypeError("credentials are not copied to anywhere")


def read_credentials(options: BloombergOptions) -> Credentials:
    """All that the options name. Raises `SessionEnd` (NO_CREDENTIALS)."""
    return Credentials(
        _read(options.tls_client_credential),
        _text(options.tls_password_credential),
        _read(options.tls_trust_credential),
        _text(options.token_credential) if options.auth == "token" else "",
    )


def _read(name: str) -> bytes:
    if not name:
        return b""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise SessionEnd(Ending.NO_CREDENTIALS, f"credential {name} was not passed")
    try:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SessionEnd(
            Ending.NO_CREDENTIALS, f"credential {name} cannot be read: {error.strerror}"
        ) from None
    if not data or len(data) > MAX_BYTES:
        raise SessionEnd(Ending.NO_CREDENTIALS, f"credential {name} is of {len(data)} bytes")
    return data


def _text(name: str) -> str:
    return _read(name).decode("utf-8", "replace").rstrip("\r\n")
