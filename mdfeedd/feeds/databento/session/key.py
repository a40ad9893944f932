"""The API key: read once, from where the configuration says, and never shown."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd

__all__ = ["KEY_CHARACTERS", "Key", "read_key"]

KEY_CHARACTERS: Final = 32
BUCKET_CHARACTERS: Final = 5
MAX_FILE_BYTES: Final = 4096


class Key:
    """A key that does not print itself. Raises `SessionEnd` for what cannot be one."""

    __slots__ = ("_bucket", "_text")

    def __init__(self, text: str, source: str) -> None:
        if len(text) != KEY_CHARACTERS or not text.isascii() or not text.isprintable():
            raise SessionEnd(
                Ending.KEY,
                f"what {source} holds is no API key: a key has {KEY_CHARACTERS} characters, this has {len(text)}",
            )
        self._text = text.encode()
        self._bucket = text[-BUCKET_CHARACTERS:]

    def answer(self, challenge: str) -> str:
        """The answer to the gateway's challenge."""
        digest = hashlib.sha256(challenge.encode() + b"|" + self._text)
        return f"{digest.hexdigest()}-{self._bucket}"

    def __repr__(self) -> str:
        return "<Key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not copied to anywhere")


def read_key(env: str, file: str, credential: str) -> Key:
    """The key from the first of these that is given: systemd credential, file, environment variable.

    Raises `SessionEnd` (KEY) with a sentence that says what to do.
    """
    if credential:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise SessionEnd(
                Ending.KEY,
                f"credential {credential} was not passed: LoadCredential= in the unit is what passes it",
            )
        return _from_file(Path(folder) / credential, f"credential {credential}")
    if file:
        return _from_file(Path(file), file)
    text = os.environ.get(env, "").strip()
    if not text:
        raise SessionEnd(
            Ending.KEY,
            f"there is no API key: set the environment variable {env}, or key_file, or key_credential",
        )
    return Key(text, f"the environment variable {env}")


def _from_file(path: Path, source: str) -> Key:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise SessionEnd(
            Ending.KEY, f"the API key cannot be read from {source}: {error.strerror}"
        ) from None
    return Key(text.decode("ascii", "replace").strip(), source)
