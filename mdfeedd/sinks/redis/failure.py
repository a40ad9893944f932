"""What went wrong, in one sentence, from an exception of redis-py or the error reply of the server."""

from __future__ import annotations

from typing import Final

from mdfeedd.sinks.protocol import SinkError

__all__ = ["refused", "unreachable"]

#: Begin of an error reply, or what it contains where a script of an old server wraps it: sentence.
_REFUSALS: Final = (
    ("WRONGPASS", "refuses the user or the password"),
    ("NOAUTH", "wants a password (the option password says where it is)"),
    ("NOPERM", "does not permit it"),
    ("READONLY", "is a read-only replica"),
    ("OOM", "is full (maxmemory), and evicts nothing"),
    ("LOADING", "is loading its data"),
    ("MISCONF", "cannot write to its disk, and takes nothing until it can"),
    ("WRONGTYPE", "has something of another type under one of the sink's keys"),
    ("BUSY", "is busy with a script"),
    ("MASTERDOWN", "is a replica that has lost its master"),
    ("CLUSTERDOWN", "belongs to a cluster that is down"),
    ("MOVED", "is a node of a cluster, and another has these keys"),
    ("NOREPLICAS", "has too few replicas to take anything"),
)
#: What a reply contains, in lower case, where redis-py or the server has taken the word away.
_PHRASES: Final = (
    ("authentication required", "NOAUTH"),
    ("invalid username-password pair", "WRONGPASS"),
    ("invalid password", "WRONGPASS"),
    ("without any password configured", "WRONGPASS"),
    ("user executing the script can't", "NOPERM"),
    ("acl failure", "NOPERM"),
    ("used memory > 'maxmemory'", "OOM"),
    ("read only replica", "READONLY"),
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
    lower = text.lower()
    for phrase, word in _PHRASES:
        if phrase in lower:
            text = f"{word} {text}"
            break
    for word, sentence in _REFUSALS:
        if text.startswith(word) or f" {word} " in text:
            if word == "MOVED":  # the reply ends with the node: all keys of a ring are in one slot
                told = f", {text.rpartition(' ')[2]}: name that one{told}"
            return SinkError(f"redis {address} {sentence}{told}", retriable=True)
    return SinkError(f"redis {address} answers{told}: {text}", retriable=True)
