"""The API key: read once, from where the configuration says, and never shown."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.secret import MAX_SECRET_BYTES, Reference, SecretError, read

__all__ = ["KEY_CHARACTERS", "Key", "read_key"]

KEY_CHARACTERS: Final = 32
BUCKET_CHARACTERS: Final = 5
MAX_FILE_BYTES: Final = MAX_SECRET_BYTES


class Key:
    """A key that does not print itself. Raises `SessionEnd` for what cannot be one.

    foreign: of another gateway than Databento's own, whose keys may have any length.
    """

    __slots__ = ("_bucket", "_text")

    def __init__(self, text: str, source: str, *, foreign: bool = False) -> None:
        is_long = len(text) >= BUCKET_CHARACTERS if foreign else len(text) == KEY_CHARACTERS
        if not is_long or not text.isascii() or not text.isprintable():
            wanted = f"{BUCKET_CHARACTERS} or more" if foreign else str(KEY_CHARACTERS)
            raise SessionEnd(
                Ending.KEY,
                f"what {source} holds is no API key: a key has {wanted} characters, this has {len(text)}",
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


def read_key(env: str, file: str, credential: str, *, foreign: bool = False) -> Key:
    """The key from the first of these that is given: systemd credential, file, environment variable.

    Raises `SessionEnd` (KEY) with a sentence that says what to do.
    """
    reference = Reference(credential, file, env)
    from_env = not (credential or file)
    if from_env and not os.environ.get(env, "").strip():
        raise SessionEnd(
            Ending.KEY,
            f"there is no API key: set the environment variable {env}, or say where it is by the option key",
        )
    try:
        data = read(reference, "API key", MAX_FILE_BYTES)
    except SecretError as error:
        raise SessionEnd(Ending.KEY, str(error)) from None
    return Key(data.decode("ascii", "replace").strip(), str(reference), foreign=foreign)
