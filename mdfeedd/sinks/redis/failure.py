"""What went wrong, in one sentence, from an exception of redis-py or the error reply of the server."""

from __future__ import annotations

from typing import Final

from mdfeedd.sinks.protocol import SinkError

__all__ = ["refused", "unreachable"]

#: Begin of an error reply, or what it contains where a script of an old server wraps it: sentence.
_REFUSALS: Final = (
    ("WRONGPASS", "refuses the user or the password"),
    ("NOAUTH", "wants a password (password_env, password_file or password_credential)"),
    ("NOPERM", "does not permit it"),
    ("READONLY", "is a read-only replica"),
    ("OOM", "is full (maxmemory), and evicts nothing"),
    ("LOADING", "is loading its data"),
    ("MISCONF", "cannot write to its disk, and takes nothing until it can"),
    ("WRONGTYPE", "has something of another type under one of the sink's keys"),
    ("BUSY", "is busy with a script"),
    ("MASTERDOWN", "is a replica that has lost its master"),
    ("CLUSTERDOWN", "belongs to a cluster that is down"),
    ("MOVED", "is the wrong node of its cluster for these keys"),
    ("NOREPLICAS", "has too few replicas to take anything"),
)
_OLD_AUTH: Final = (
    "invalid username-password pair",
    "invalid password",
    "without any password configured",
)


def unreachable(address: str, error: BaseException, timeout_s: float) -> SinkError:
    """The server is down, does not answer, or cut the connection: retriable."""
    if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
        return SinkError(f"redis {address} did not answer within {timeout_s:g} s", retriable=True)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return SinkError(f"redis {address} cannot be reached: {cause.strerror}", retriable=True)
        cause = cause.__cause__ or cause.__context__
    reason = str(error).strip().rstrip(".") or "the connection was closed"
    return SinkError(f"redis {address} cannot be reached: {reason}", retriable=True)


def refused(address: str, text: str, about: str = "") -> SinkError:
    """The server answered with an error. Whatever it is, a human may mend it: retriable."""
    told = f" ({about})" if about else ""
    for word, sentence in _REFUSALS:
        if text.startswith(word) or f" {word} " in text:
            return SinkError(f"redis {address} {sentence}{told}", retriable=True)
    lower = text.lower()
    if "authentication required" in lower:
        return refused(address, "NOAUTH")
    if any(word in lower for word in _OLD_AUTH):
        return SinkError(f"redis {address} refuses the user or the password", retriable=True)
    if "user executing the script can't" in lower:
        return SinkError(f"redis {address} does not permit it{told}: {text}", retriable=True)
    if "max number of clients" in lower:
        return SinkError(f"redis {address} takes no more clients (maxclients)", retriable=True)
    if "maxmemory" in lower:  # redis-py has taken the word away
        return SinkError(f"redis {address} is full (maxmemory), and evicts nothing", retriable=True)
    if "read only replica" in lower:
        return SinkError(f"redis {address} is a read-only replica", retriable=True)
    return SinkError(f"redis {address} answers{told}: {text}", retriable=True)
