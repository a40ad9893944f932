"""What clients say: control lines as maps, proofs of a key, subscriptions."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.databento.account import Request
from mdfeedd.sim.databento.instruments import STYPES
from mdfeedd.sim.databento.layouts import ALL_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["RequestError", "parse_line", "proven_key", "refusal", "subscription"]

KEY_CHARACTERS: Final = 32
BUCKET_CHARACTERS: Final = 5
MAX_SYMBOLS: Final = 500  # of a line
MIN_HEARTBEAT_S: Final = 5
MAX_HEARTBEAT_S: Final = 1_800
_ENCODINGS: Final = ("dbn", "json")
_COMPRESSIONS: Final = ("none", "zstd")
_BEHAVIOURS: Final = ("skip", "warn")


class RequestError(ValueError):
    """A line that the gateway refuses, with what it says about it."""


def parse_line(line: bytes) -> dict[str, str]:
    """``a=1|b=2|c`` as a map; a key alone has the value ""."""
    try:
        text = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise RequestError("a control line is not UTF-8") from None
    parts = (part.partition("=") for part in text.split("|") if part)
    return {key: value for key, _, value in parts}


def proven_key(auth: str, challenge: str, keys: Iterable[str]) -> str:
    """The key whose digest was given; "" if it is none of them."""
    digest, _, bucket = auth.partition("-")  # hexadecimal; a key may have a hyphen
    for key in keys:
        expected = hashlib.sha256(f"{challenge}|{key}".encode()).hexdigest()
        if key[-BUCKET_CHARACTERS:] == bucket and hmac.compare_digest(
            digest.encode(), expected.encode()
        ):
            return key
    return ""


def refusal(fields: dict[str, str], dataset: str) -> str:
    """Why the rest of an authentication is refused; "" if it is not. Unknown keys are nobody's business."""
    if fields.get("dataset") != dataset:
        return f"Unknown dataset: {fields.get('dataset', '')}"
    for key, allowed in (
        ("encoding", _ENCODINGS),
        ("compression", _COMPRESSIONS),
        ("slow_reader_behavior", _BEHAVIOURS),
        ("ts_out", ("0", "1")),
    ):
        if key in fields and fields[key] not in allowed:
            return f"Invalid {key}: {fields[key]}"
    beat = fields.get("heartbeat_interval_s", str(MIN_HEARTBEAT_S))
    if not beat.isdecimal() or not MIN_HEARTBEAT_S <= int(beat) <= MAX_HEARTBEAT_S:
        return f"Invalid heartbeat_interval_s: {beat}"
    return ""


def subscription(
    chunks: Sequence[dict[str, str]], schemas: Sequence[str], *, late: bool
) -> Request:
    """A subscription out of the lines up to that with is_last=1."""
    first = chunks[0]
    schema, stype = first.get("schema", ""), first.get("stype_in", "raw_symbol")
    symbols: list[str] = []
    for chunk in chunks:
        named = [symbol for symbol in chunk.get("symbols", "").split(",") if symbol]
        if not named or len(named) > MAX_SYMBOLS:
            raise RequestError(f"Invalid subscription: {len(named)} symbols in a request")
        symbols += named
        if (chunk.get("schema", ""), chunk.get("stype_in", "raw_symbol")) != (schema, stype):
            raise RequestError("Invalid subscription: requests of one id differ")
    if schema not in ALL_SCHEMAS:
        raise RequestError(f"Invalid subscription: unknown schema {schema}")
    if schema not in schemas:
        raise RequestError(f"Invalid subscription: {schema} is not available for this dataset")
    if stype not in STYPES:
        raise RequestError(f"Invalid subscription: unknown stype_in {stype}")
    snapshot = first.get("snapshot", "0") == "1"
    start = first.get("start")
    if start is not None and not start.isdecimal():
        raise RequestError(f"Invalid subscription: start {start}")
    if snapshot and start is not None:
        raise RequestError("Invalid subscription: snapshot excludes start")
    if snapshot and schema != "mbo":
        raise RequestError("Invalid subscription: snapshot is for mbo only")
    return Request(
        schema=schema,
        stype=stype,
        symbols=tuple(symbols),
        start_ns=None if start is None else int(start),
        snapshot=snapshot,
        id=first.get("id", ""),
        late=late,
    )
