"""The configuration keys of a CME feed, and the lines that they come to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from mdfeedd.feeds.cme.config_xml import Channel, ConfigXmlError, read
from mdfeedd.feeds.cme.lines import Line, check_channel, check_interface
from mdfeedd.options import refuse, told, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_CHANNELS",
    "MAX_LINES",
    "MAX_PATTERNS",
    "CmeOptions",
    "Line",
    "LinePlan",
    "Patterns",
    "is_by_name",
    "patterns_of",
]

MAX_CHANNELS: Final = 64
MAX_LINES: Final = 512
MAX_PATTERNS: Final = 256
"""Of each kind."""
MAX_PATTERN: Final = 71
"""Characters of a pattern."""
MAX_CPU: Final = 1023

_RANGES: Final[dict[str, tuple[float, float]]] = {
    "max_wait_ms": (0.01, 1000),
    "passed_by": (0, 1000),
    "reorder_packets": (16, 65_536),
    "max_orders": (16, 1 << 26),
    "recovery_entries": (1024, 1 << 26),
    "max_instruments": (1, 1 << 22),
    "silence_s": (1, 3600),
    "receive_buffer_bytes": (64 << 10, 1 << 30),
    "busy_poll_us": (0, 1_000_000),
    "cache_interval_s": (1, 86_400),
}


class Patterns(TypedDict):
    """Which instruments a `Handler` takes: an instrument that any of the patterns matches."""

    symbols: tuple[str, ...]
    groups: tuple[str, ...]
    assets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinePlan:
    """What the options come to. `labels`, `assets` and `groups` are those of config.xml, if there is one."""

    lines: tuple[Line, ...]
    labels: dict[int, str] = field(default_factory=dict)
    assets: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    @property
    def channels(self) -> tuple[int, ...]:
        """In order of their first line."""
        return tuple(dict.fromkeys(line.channel for line in self.lines))


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class CmeOptions:
    """Which channels and instruments to take, by which lines, and how patiently.

    Raises `ValueError` ("key: reason"), also for a config.xml that cannot be used: it is read to check the
    options, and once more by `plan`.
    """

    config_xml: str = _key("CME's config.xml, for the lines of `channels`", "")
    channels: tuple[int, ...] = _key("channels of config_xml, such as [310, 318]", ())
    lines: tuple[Line, ...] = _key(
        "lines by hand; one replaces config_xml's of its feed and side", ()
    )
    interface_a: str = _key("name or address of the card for the A lines; empty: as routed", "")
    interface_b: str = _key("the same for the B lines", "")

    symbols: tuple[str, ...] = _key(
        "instruments by name, with * and ?, or by SecurityID; see assets", ()
    )
    groups: tuple[str, ...] = _key("instruments by security group; see assets", ())
    assets: tuple[str, ...] = _key(
        "instruments by product; one of the three suffices, none: all", ()
    )
    depth: bool = _key("also write NAME.depth: ten levels a side", False)
    orders: bool = _key("also write NAME.orders: the order book, where a channel carries it", False)

    natural_refresh: bool = _key("after a loss, also trust a book that updates alone rebuilt", True)
    max_wait_ms: float = _key("give a hole up for lost after so long, if one line is mute", 10.0)
    passed_by: int = _key("packets by which both lines must pass a hole; 0: both in order", 0)
    silence_s: float = _key("both lines mute for so long: the feed is stale", 35.0)
    reorder_packets: int = _key("packets of a channel that wait for one before them", 1024)
    recovery_entries: int = _key("updates that wait for snapshots, 48 bytes each", 1_048_576)
    max_orders: int = _key("in all order books, 40 bytes each", 1_048_576)
    max_instruments: int = _key("of all channels, 0.9 KB each when used", 131_072)

    prefault: bool = _key(
        "take all memory at the start (170 MB as it stands here), none in a burst", False
    )

    mode: Literal["blocking", "busy", "packet_ring"] = _key(
        "blocking, busy (spins), or packet_ring (cheapest; needs CAP_NET_RAW)", "blocking"
    )
    receive_buffer_bytes: int = _key("of each line's socket, or of an interface's ring", 64 << 20)
    hardware_timestamps: bool = _key("stamps of the card, where it makes them", False)
    cpu: int | None = _key("run on this processor only; null: on any", None)
    busy_poll_us: int = _key("let the kernel poll the card for so long before it sleeps", 0)

    secdef: str = _key(
        "CME's secdef.dat, .gz or .zip: names before the definition line has them", ""
    )
    cache_dir: str = _key('folder for the definitions known; "": keep none', "/var/lib/mdfeedd")
    cache_interval_s: float = _key("write them, if there are new ones, at most this often", 300.0)

    def __post_init__(self) -> None:
        refuse(
            self._check_ranges(),
            self._check_patterns(),
            self._check_places(),
            self._check_cache(),
            told(self.plan),
        )

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            least, most = _RANGES[key]
            if not least <= value <= most:
                yield f"{key}: must be {least} to {most}, not {value}"
            elif key == "reorder_packets" and value & (value - 1):
                yield f"reorder_packets: must be a power of two, not {value}"

    def _check_patterns(self) -> Iterator[str]:
        for key, patterns in values(self, ("symbols", "groups", "assets")):
            yield from told(partial(_check_patterns, key, patterns))

    def _check_places(self) -> Iterator[str]:
        for key, interface in values(self, ("interface_a", "interface_b")):
            yield from told(partial(check_interface, key, interface))
        if self.cpu is not None and not 0 <= self.cpu <= MAX_CPU:
            yield f"cpu: must be 0 to {MAX_CPU} or null, not {self.cpu}"

    def _check_cache(self) -> Iterator[str]:
        if self.cache_dir and not self.cache_dir.startswith("/"):
            yield f"cache_dir: must be an absolute path, not {self.cache_dir!r}"

    @property
    def patterns(self) -> Patterns:
        """What to select: all, if nothing is said."""
        return patterns_of(self.symbols, self.groups, self.assets)

    def plan(self) -> LinePlan:
        """All lines, interfaces filled in. Raises `ValueError` ("key: reason")."""
        found: dict[tuple[int, str, str], Line] = {}
        labels: dict[int, str] = {}
        assets: set[str] = set()
        groups: set[str] = set()
        for channel in self._configured():
            labels[channel.id] = channel.label
            assets |= channel.assets
            groups |= channel.groups
            found |= {(line.channel, line.feed, line.side): line for line in channel.lines}
        by_hand = set()
        for line in self.lines:
            key = (line.channel, line.feed, line.side)
            if key in by_hand:
                raise ValueError(
                    f"lines: two {line.feed} lines {line.side} of channel {line.channel}"
                )
            by_hand.add(key)
            found[key] = line
        lines = tuple(self._placed(line) for line in found.values())
        self._check_lines(lines)
        return LinePlan(lines, labels, frozenset(assets), frozenset(groups))

    def _configured(self) -> list[Channel]:
        """The channels out of config.xml."""
        if not self.config_xml:
            if self.channels:
                raise ValueError("channels: are looked up in config_xml, which is not given")
            return []
        try:
            configuration = read(self.config_xml)
        except ConfigXmlError as error:
            raise ValueError(f"config_xml: {error}") from None
        if not self.channels:
            raise ValueError("channels: say which of config_xml, such as [310]")
        if len(self.channels) > MAX_CHANNELS:
            raise ValueError(f"channels: at most {MAX_CHANNELS}, not {len(self.channels)}")
        chosen = []
        for number in dict.fromkeys(self.channels):
            check_channel("channels", number)
            try:
                chosen.append(configuration.channel(number))
            except ConfigXmlError as error:
                key = "config_xml" if number in configuration.channels else "channels"
                raise ValueError(f"{key}: {error}") from None
        return chosen

    def _placed(self, line: Line) -> Line:
        key = "interface_a" if line.side == "A" else "interface_b"
        default = getattr(self, key)
        check_interface(key, default)  # else the line would object, to a key of its own
        return dataclasses.replace(line, interface=line.interface or default)

    def _check_lines(self, lines: tuple[Line, ...]) -> None:
        if not lines:
            raise ValueError(
                "lines: there are none: give config_xml and channels, or lines by hand"
            )
        if len(lines) > MAX_LINES:
            raise ValueError(f"lines: at most {MAX_LINES}, not {len(lines)}")
        channels = dict.fromkeys(line.channel for line in lines)
        if len(channels) > MAX_CHANNELS:
            raise ValueError(f"lines: of at most {MAX_CHANNELS} channels, not {len(channels)}")
        live = {line.channel for line in lines if line.feed == "incremental"}
        for channel in channels:
            if channel not in live:
                key = "channels" if channel in self.channels else "lines"
                raise ValueError(f"{key}: channel {channel} has no incremental line")
        places: dict[tuple[str, int], Line] = {}
        for line in lines:
            other = places.setdefault((line.address, line.port), line)
            if other is not line:
                raise ValueError(f"lines: two of them are one: {other} and {line}")


def patterns_of(
    symbols: tuple[str, ...], groups: tuple[str, ...], assets: tuple[str, ...]
) -> Patterns:
    """What a `Handler` selects: all, if nothing is said."""
    chosen = symbols or groups or assets
    return {"symbols": symbols if chosen else ("*",), "groups": groups, "assets": assets}


def is_by_name(patterns: Patterns) -> bool:
    """Whether an instrument can only be chosen once its definition is known: no pattern takes all."""
    given = (*patterns["symbols"], *patterns["groups"], *patterns["assets"])
    return all(pattern.strip("*") for pattern in given)


def _check_patterns(key: str, patterns: tuple[str, ...]) -> None:
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"{key}: at most {MAX_PATTERNS}, not {len(patterns)}")
    for pattern in patterns:
        if not pattern or len(pattern) > MAX_PATTERN or not pattern.isascii():
            raise ValueError(f"{key}: must be 1 to {MAX_PATTERN} ASCII characters, not {pattern!r}")
