"""A password for a store: read from where the configuration says, and never shown.

The configuration holds only where a secret is (see `mdfeedd.secret`). It is read at each connect, so that one
that was changed is found without a restart.
"""

from __future__ import annotations

from mdfeedd.secret import MAX_SECRET_BYTES, Reference, Secret, SecretError, read
from mdfeedd.sinks.protocol import SinkError

__all__ = ["MAX_SECRET_BYTES", "Secret", "read_secret"]


def read_secret(env: str = "", file: str = "", credential: str = "") -> Secret | None:
    """The secret from the first of these that is given: systemd credential, file, variable.

    The line end that editors add is no part of it. None where none is given. Raises `SinkError`, retriable,
    with a sentence that says what to do: a file may come later, and a set variable or a passed credential
    comes with the next start.
    """
    reference = Reference(credential, file, env)
    if not reference:
        return None
    try:
        return Secret(read(reference, "password").decode().rstrip("\r\n"))
    except SecretError as error:
        raise SinkError(str(error), retriable=True) from None
    except UnicodeDecodeError:
        raise SinkError(f"the password in {reference} is not UTF-8", retriable=True) from None
