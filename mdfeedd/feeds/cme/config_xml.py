"""CME's own config.xml: which channels there are, and the groups, ports and senders of their lines.

What is read of it::

    configuration  environment  updated
      channel  id  label
        products / product  code / group  code
        connections / connection  id
          type  feed-type      I N S SMBO are ours; H (TCP replay) and unknown ones are left out
          protocol             UDP/IP, TCP/IP
          ip  port  feed       group, port, A or B
          host-ip *            the senders

Everything else is ignored. A channel with a mistake in it is kept out, with the mistake, until somebody asks
for it: a typing error in channel 999 is no reason to lose channel 310. Entities are refused, so a small file
cannot become a large one. Errors are `ConfigXmlError`: ``file:line:column: sentence``.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, cast
from xml.parsers import expat

from mdfeedd.feeds.cme.lines import FeedName, Line, SideName, check_channel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Channel", "ConfigXmlError", "Configuration", "parse", "read"]

MAX_BYTES: Final = 16 << 20
"""Of a file. CME's has well below 1 MiB."""
MAX_CHANNELS: Final = 1024
MAX_LINES: Final = 64
"""Connections of one channel. CME's have nine."""
MAX_DEPTH: Final = 32
_MAX_TEXT: Final = 256
"""Characters kept of an element's text."""
_MAX_LISTED: Final = 64
"""Channels listed in a sentence, at most."""

FEED_TYPES: Final[dict[str, FeedName]] = {
    "I": "incremental",
    "N": "definition",
    "S": "snapshot",
    "SMBO": "orders",
}
_UDP: Final = "UDP/IP"
_CHANNEL: Final = ("configuration", "channel")
_CONNECTION: Final = (*_CHANNEL, "connections", "connection")
_PRODUCT: Final = (*_CHANNEL, "products", "product")


class ConfigXmlError(ValueError):
    """A config.xml that cannot be used. One sentence, with file, line and column where there is one."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel and its lines, in the order of the file.

    `assets` and `groups` are the products (tag 6937) and security groups (tag 1151) that the file lists for
    it. `problems` say what is wrong with it; `lines` is then what could be read.
    """

    id: int
    label: str
    lines: tuple[Line, ...]
    assets: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole file. `environment` and `updated` are as CME wrote them, and may be empty."""

    path: str
    channels: Mapping[int, Channel]
    environment: str = ""
    updated: str = ""

    def channel(self, channel_id: int) -> Channel:
        """A channel with all its lines.

        Raises `ConfigXmlError` if there is none of this number, with near ones, or a mistake in it.
        """
        found = self.channels.get(channel_id)
        if found is None:
            raise ConfigXmlError(f"{self.path}: no channel {channel_id}{self._near(channel_id)}")
        if found.problems:
            raise ConfigXmlError(found.problems[0])
        return found

    def _near(self, channel_id: int) -> str:
        known = sorted(self.channels)
        if not known:
            return ", and no other"
        if len(known) <= _MAX_LISTED:
            return f"; it has {', '.join(map(str, known))}"
        near = difflib.get_close_matches(str(channel_id), map(str, known), 5, 0.5)
        near = near or [str(min(known, key=lambda one: abs(one - channel_id)))]
        return f" among {len(known)}; near it: {', '.join(near)}"


def read(path: str | Path) -> Configuration:
    """Read a file. Raises `ConfigXmlError`, also where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigXmlError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(data, str(path))


def parse(data: bytes, path: str = "config.xml") -> Configuration:
    """Parse the bytes of a file; `path` is for the errors. Raises `ConfigXmlError`."""
    if len(data) > MAX_BYTES:
        raise ConfigXmlError(f"{path}: more than {MAX_BYTES} bytes is no config.xml of CME")
    return _Parser(path).run(data)


@dataclass(slots=True)
class _Connection:
    """One connection while it is read. Texts are stripped."""

    name: str
    line: int
    column: int
    feed_type: str = ""
    protocol: str = ""
    address: str = ""
    port: str = ""
    side: str = ""
    sources: tuple[str, ...] = ()


class _Parser:
    """Takes expat's calls and builds channels."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stack: list[str] = []
        self._text: list[str] = []
        self._channels: dict[int, Channel] = {}
        self._root: dict[str, str] = {}
        self._channel: int | None = None
        self._label = ""
        self._lines: list[Line] = []
        self._assets: set[str] = set()
        self._groups: set[str] = set()
        self._problems: list[str] = []
        self._connection: _Connection | None = None
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        parser.ExternalEntityRefHandler = self._entity
        self._parser = parser

    def run(self, data: bytes) -> Configuration:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            place = f"{self._path}:{error.lineno}:{error.offset + 1}"
            raise ConfigXmlError(f"{place}: not well-formed XML: {reason}") from None
        except ConfigXmlError:
            raise
        except (LookupError, ValueError) as error:  # of an encoding that Python or expat has not
            reason = str(error)[:_MAX_TEXT]
            raise ConfigXmlError(f"{self._path}:1:1: cannot be decoded: {reason}") from None
        if not self._channels:
            raise ConfigXmlError(f"{self._path}: no channel in it")
        root = self._root
        environment, updated = root.get("environment", ""), root.get("updated", "")
        return Configuration(self._path, self._channels, environment, updated)

    # ------------------------------------------------------------------------------- expat's calls

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._stack.append(name)
        self._text.clear()
        if len(self._stack) > MAX_DEPTH:
            self._fail(f"elements are nested more than {MAX_DEPTH} deep")
        place = tuple(self._stack)
        if len(place) == 1:
            if place != _CHANNEL[:1]:
                self._fail(f"the root must be <configuration>, not <{name}>")
            self._root = attributes
        elif place == _CHANNEL:
            self._start_channel(attributes)
        elif place == _CONNECTION:
            parser = self._parser
            line, column = parser.CurrentLineNumber, parser.CurrentColumnNumber + 1
            self._connection = _Connection(attributes.get("id", "without id"), line, column)
        elif place == (*_CONNECTION, "type") and self._connection is not None:
            self._connection.feed_type = attributes.get("feed-type", "").strip().upper()
        elif place == _PRODUCT:
            self._assets.add(attributes.get("code", ""))
        elif place == (*_PRODUCT, "group"):
            self._groups.add(attributes.get("code", ""))

    def _end(self, name: str) -> None:
        place = tuple(self._stack)
        text = "".join(self._text).strip()
        self._text.clear()
        self._stack.pop()
        connection = self._connection
        if place == _CHANNEL:
            self._end_channel()
        elif place == _CONNECTION:
            self._end_connection()
        elif place[:-1] == _CONNECTION and connection is not None:
            if name == "protocol":
                connection.protocol = text.upper()
            elif name == "ip":
                connection.address = text
            elif name == "host-ip" and text:
                connection.sources = (*connection.sources, text)
            elif name == "port":
                connection.port = text
            elif name == "feed":
                connection.side = text.upper()

    def _characters(self, text: str) -> None:
        if len(self._text) < _MAX_TEXT:
            self._text.append(text[:_MAX_TEXT])

    def _entity(self, *_arguments: object) -> NoReturn:
        self._fail("entities are not allowed here")

    # ------------------------------------------------------------------------------------ channels

    def _start_channel(self, attributes: dict[str, str]) -> None:
        self._lines, self._assets, self._groups, self._problems = [], set(), set(), []
        self._label = attributes.get("label", "")
        text = attributes.get("id", "")
        try:
            number = int(text)
            check_channel("id", number)
        except ValueError:
            self._fail(f"a channel needs a number as its id, found {text!r}")
        if number in self._channels:
            self._fail(f"channel {number} is there twice")
        if len(self._channels) >= MAX_CHANNELS:
            self._fail(f"more than {MAX_CHANNELS} channels")
        self._channel = number

    def _end_channel(self) -> None:
        assert self._channel is not None
        self._channels[self._channel] = Channel(
            self._channel,
            self._label,
            tuple(self._lines),
            frozenset(self._assets - {""}),
            frozenset(self._groups - {""}),
            tuple(self._problems),
        )

    def _end_connection(self) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        if connection.protocol not in ("", _UDP):
            return  # TCP replay
        if not connection.feed_type:
            self._object(connection, "has no feed-type")
        elif connection.feed_type in FEED_TYPES:
            self._add_line(connection, FEED_TYPES[connection.feed_type])

    def _add_line(self, connection: _Connection, feed: FeedName) -> None:
        for element, text in (
            ("ip", connection.address),
            ("port", connection.port),
            ("feed", connection.side),
        ):
            if not text:
                self._object(connection, f"has no <{element}>")
                return
        if not connection.port.isascii() or not connection.port.isdigit():
            self._object(connection, f"port: not a number: {connection.port!r}")
            return
        assert self._channel is not None
        try:
            line = Line(
                channel=self._channel,
                feed=feed,
                address=connection.address,
                port=int(connection.port[:_MAX_TEXT]),
                side=cast("SideName", connection.side),
                sources=tuple(dict.fromkeys(connection.sources)),
            )
        except ValueError as error:
            self._object(connection, str(error))
            return
        if any((other.feed, other.side) == (line.feed, line.side) for other in self._lines):
            self._object(connection, f"is the second {feed} line {line.side}")
        elif len(self._lines) >= MAX_LINES:
            self._object(connection, f"is one of more than {MAX_LINES}")
        else:
            self._lines.append(line)

    def _object(self, connection: _Connection, sentence: str) -> None:
        place = f"{self._path}:{connection.line}:{connection.column}"
        told = f"{place}: channel {self._channel}, connection {connection.name}: {sentence}"
        if len(self._problems) < MAX_LINES:
            self._problems.append(told)

    def _fail(self, sentence: str) -> NoReturn:
        parser = self._parser
        line, column = parser.CurrentLineNumber, parser.CurrentColumnNumber + 1
        raise ConfigXmlError(f"{self._path}:{line}:{column}: {sentence}")
