"""Definitions kept between starts, so that instruments have their names before the definition loop comes round.

One file per feed, ``FEED.definitions`` in the state directory: a line of JSON about the rest, then a line of
JSON per definition, its values in the order of `Definition`'s fields::

    {"format": "mdfeedd.cme.definitions", "version": 1, "fields": [...], "written_ns": ...,
     "count": 2, "bytes": 461, "crc32": 2774390123}
    [310, 736, "ESM9", "ES", ...]
    [310, 1691, "ESM8-ESZ8", "ES", ...]

A file is written beside the old one and renamed over it, so there is always a whole one. What is not exactly
this, or has another checksum, is refused as a whole. The venue gives the numbers of expired instruments to
others, at the earliest a trading day later, and begins anew every week: expired instruments are left out, and
a file older than `MAX_AGE_NS` is refused. All this is a hint only: what the venue sends always wins.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.cme.definitions import WIDTHS, Definition

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

__all__ = ["MAX_AGE_NS", "MAX_BYTES", "CacheError", "DefinitionsCache"]

VERSION: Final = 1
MAX_BYTES: Final = 256 << 20
"""A million definitions."""
MAX_HEADER_BYTES: Final = 16 << 10
MAX_AGE_NS: Final = 7 * 24 * 3600 * 1_000_000_000
"""The venue's week."""
MAX_AHEAD_NS: Final = 3600 * 1_000_000_000
"""How far a file may come from the future: clocks are set back."""

_FORMAT: Final = "mdfeedd.cme.definitions"
_SUFFIX: Final = ".definitions"
_FIELDS: Final = tuple(f.name for f in dataclasses.fields(Definition))
_TYPES: Final = tuple(
    {"str": str, "bool": bool}.get(str(f.type), int) for f in dataclasses.fields(Definition)
)
_VALUES: Final = attrgetter(*_FIELDS)


class CacheError(OSError):
    """The file cannot be used. One sentence with its name and the reason."""


class DefinitionsCache:
    """The file of one feed. Opens nothing before `load` or `save`."""

    def __init__(self, directory: str | Path, feed: str) -> None:
        self.path: Path = Path(directory) / (feed + _SUFFIX)

    def load(self, now_ns: int, channels: Container[int]) -> list[Definition]:
        """What was known of the channels; nothing if there is no file.

        Raises `CacheError` for a file that cannot be read, is damaged, of another version, or too old.
        """
        try:
            with self.path.open("rb") as file:
                head = file.readline(MAX_HEADER_BYTES)
                body = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be read: {error.strerror}") from error
        written_ns = self._check(head, body)
        age_ns = now_ns - written_ns
        if not -MAX_AHEAD_NS <= age_ns <= MAX_AGE_NS:
            days = age_ns / (24 * 3600 * 1_000_000_000)
            raise CacheError(
                f"{self.path}: is {days:.1f} days old; its instruments may be others by now"
            )
        return [
            definition
            for definition in self._definitions(body)
            if definition.channel in channels and not 0 < definition.expiration < now_ns
        ]

    def _check(self, head: bytes, body: bytes) -> int:
        """When the file was written, if it is whole and ours."""
        try:
            header = json.loads(head)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise CacheError(f"{self.path}: is no file of definitions")
        if header.get("version") != VERSION or header.get("fields") != list(_FIELDS):
            raise CacheError(f"{self.path}: was written by another version of mdfeedd")
        if header.get("bytes") != len(body):
            raise CacheError(
                f"{self.path}: has {len(body)} bytes of definitions, not {header.get('bytes')}"
            )
        if header.pop("crc32", None) != _checksum(header, body):
            raise CacheError(f"{self.path}: is damaged: its checksum differs")
        written_ns = header.get("written_ns")
        if not isinstance(written_ns, int):
            raise CacheError(f"{self.path}: does not say when it was written")
        return written_ns

    def _definitions(self, body: bytes) -> list[Definition]:
        found = []
        for number, line in enumerate(body.splitlines(), 2):
            try:
                found.append(_definition(json.loads(line)))
            except (ValueError, RecursionError):
                raise CacheError(f"{self.path}:{number}: is no definition") from None
        return found

    def save(self, definitions: Iterable[Definition], now_ns: int) -> int:
        """Replace the file by these definitions, safely on disk; returns how many there are.

        Raises `CacheError`; the old file is then as it was.
        """
        lines = [json.dumps(_VALUES(definition)) for definition in definitions]
        body = "".join(line + "\n" for line in lines).encode()
        header: dict[str, Any] = {
            "format": _FORMAT,
            "version": VERSION,
            "fields": list(_FIELDS),
            "written_ns": now_ns,
            "count": len(lines),
            "bytes": len(body),
        }
        header["crc32"] = _checksum(header, body)
        if len(body) > MAX_BYTES:
            raise CacheError(f"{self.path}: {len(lines)} definitions are too many to keep")
        try:
            self._replace(json.dumps(header).encode() + b"\n" + body)
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be written: {error.strerror}") from error
        return len(lines)

    def _replace(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)


def _checksum(header: dict[str, Any], body: bytes) -> int:
    """Of the header as it is without a checksum, and of the rest."""
    return zlib.crc32(body, zlib.crc32(json.dumps(header).encode()))


def _definition(values: Any) -> Definition:
    """Raises `ValueError` for what is not the values of a definition."""
    if not isinstance(values, list) or len(values) != len(_FIELDS):
        raise ValueError("not the values of a definition")
    if any(type(value) is not kind for value, kind in zip(values, _TYPES, strict=True)):
        raise ValueError("a value of another type")
    definition = Definition(*values)
    if any(len(getattr(definition, name)) > width for name, width in WIDTHS.items()):
        raise ValueError("a text that the wire has no room for")
    if any(not -(1 << 63) <= value < 1 << 63 for value in values if isinstance(value, int)):
        raise ValueError("a number of more than 64 bits")
    return definition
