"""Secrets: where they are read from, and how they are kept from being shown.

    configuration: a name only ──► Reference ──► read ──► bytes ──► Secret, or a vendor's own keeper
                                                   │
      $CREDENTIALS_DIRECTORY/NAME, a file, a variable      SecretError: one sentence, without what was read

Read when it is needed, by the process that needs it: the supervisor and its plans know names. No message carries
what was read. A secret has a limit in bytes; an empty one is none. Imports nothing of ours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_SECRET_BYTES", "Reference", "Secret", "SecretError", "read", "read_token"]

MAX_SECRET_BYTES: Final = 4096
"""Of a password, a key or a token."""
UNIT_PREFIX: Final = "mdfeedd_"
"""What systemd puts before the name of each file of a folder: ``LoadCredential=mdfeedd:/etc/mdfeedd/cred``."""


class SecretError(Exception):
    """A secret cannot be had. One sentence that says where it was looked for."""


class Secret:
    """A text that only `reveal` gives."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for the client library that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "<Secret>"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not copied to anywhere")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is: the first of these that is given. None of them: there is no secret."""

    credential: str = ""
    """A systemd credential (LoadCredential=)."""
    file: str = ""
    env: str = ""

    def __bool__(self) -> bool:
        return bool(self.credential or self.file or self.env)

    def __str__(self) -> str:
        if self.credential:
            return f"the credential {self.credential}"
        return self.file or f"the environment variable {self.env}"


def read(reference: Reference, noun: str, limit_bytes: int = MAX_SECRET_BYTES) -> bytes:
    """What the reference leads to, as it is there. `noun` names it in sentences. Raises `SecretError`."""
    data = _bytes(reference, noun, limit_bytes)
    if len(data) > limit_bytes:
        raise SecretError(
            f"what {reference} holds is no {noun}: it has more than {limit_bytes} bytes"
        )
    if not data.strip(b"\r\n"):
        raise SecretError(f"there is no {noun} in {reference}: it is empty")
    return data


def read_token(reference: Reference) -> str:
    """The token that clients have to show; "" where there is no reference. Raises `SecretError`."""
    if not reference:
        return ""
    try:
        token = read(reference, "token").decode().strip()
    except UnicodeDecodeError:
        raise SecretError(f"the token in {reference} is not UTF-8") from None
    if not token:  # blank: it would admit everybody
        raise SecretError(f"there is no token in {reference}: it is empty")
    return token


def _bytes(reference: Reference, noun: str, limit_bytes: int) -> bytes:
    """As much as there may be, and one byte more."""
    path = reference.file
    if reference.credential:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise SecretError(
                f"{reference} was not passed: LoadCredential= in the unit is what passes it"
            )
        path = os.path.join(folder, reference.credential)
        if not os.path.exists(path):
            path = os.path.join(folder, UNIT_PREFIX + reference.credential)
    if path:
        try:
            with open(path, "rb") as file:
                return file.read(limit_bytes + 1)
        except OSError as error:
            raise SecretError(
                f"the {noun} cannot be read from {reference}: {error.strerror}"
            ) from None
    data = os.environb.get(reference.env.encode(), b"")
    if not data:
        raise SecretError(f"there is no {noun}: {reference} is not set")
    return data
