"""A password for a store: read from where the configuration says, and never shown.

The configuration holds only where a secret is: the name of a systemd credential, of a file or of
an environment variable. It is read at each connect, so that one that was changed is found without
a restart. No message of ours carries it; `Secret` does not print, copy or pickle itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mdfeedd.sinks.protocol import SinkError

__all__ = ["MAX_SECRET_BYTES", "Secret", "read_secret"]

MAX_SECRET_BYTES: Final = 4096


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


def read_secret(env: str = "", file: str = "", credential: str = "") -> Secret | None:
    """The secret from the first of these that is given: systemd credential, file, variable.

    None where none is given. Raises `SinkError`, retriable, with a sentence that says what to do: a
    file may come later, and a set variable or a passed credential comes with the next start.
    """
    if credential:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise SinkError(
                f"the credential {credential} was not passed: "
                f"LoadCredential= in the unit is what passes it",
                retriable=True,
            )
        return _from_file(Path(folder) / credential, f"the credential {credential}")
    if file:
        return _from_file(Path(file), file)
    if not env:
        return None
    text = os.environ.get(env, "")
    if not text:
        raise SinkError(
            f"there is no password: the environment variable {env} is not set", retriable=True
        )
    return Secret(text)


def _from_file(path: Path, source: str) -> Secret:
    """What the file holds, without the line end that editors add."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SinkError(
            f"the password cannot be read from {source}: {error.strerror}", retriable=True
        ) from None
    if len(data) > MAX_SECRET_BYTES:
        raise SinkError(
            f"what {source} holds is no password: it has more than {MAX_SECRET_BYTES} bytes",
            retriable=True,
        )
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SinkError(f"the password in {source} is not UTF-8", retriable=True) from None
    if not text:
        raise SinkError(f"there is no password in {source}: it is empty", retriable=True)
    return Secret(text)
