"""What identifies us: read when a session begins, from where the options say, and never shown or dumped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd
from mdfeedd.feeds.core_file import forbid_core_file
from mdfeedd.secret import Reference, SecretError, read

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
        self.client: bytes = client
        self.password: str = password
        self.trust: bytes = trust
        self.token: str = token

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce__(self) -> str:
        raise TypeError("credentials are not copied to anywhere")


def read_credentials(options: BloombergOptions) -> Credentials:
    """All that the options name. From then on the process leaves no core file, if they name any.

    Raises `SessionEnd` (NO_CREDENTIALS).
    """
    token = options.secret("token") if options.auth == "token" else Reference()
    client = options.secret("tls_client")
    if client or token:  # the three of TLS are given together
        forbid_core_file("what identifies us to Bloomberg")
    return Credentials(
        _read(client, "client certificate"),
        _text(options.secret("tls_password"), "password of the client certificate"),
        _read(options.secret("tls_trust"), "certificate of whom to trust"),
        _text(token, "token"),
    )


def _read(reference: Reference, noun: str) -> bytes:
    if not reference:
        return b""
    try:
        return read(reference, noun, MAX_BYTES)
    except SecretError as error:
        raise SessionEnd(Ending.NO_CREDENTIALS, str(error)) from None


def _text(reference: Reference, noun: str) -> str:
    return _read(reference, noun).decode("utf-8", "replace").rstrip("\r\n")
