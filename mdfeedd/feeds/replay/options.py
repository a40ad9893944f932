"""The configuration keys of a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.feeds.cme.lines import Line
from mdfeedd.feeds.readers import MIN_CONSUMERS_HELP
from mdfeedd.options import nearest, refuse, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_FILES", "SCHEMAS", "Line", "ReplayOptions"]

MAX_FILES: Final = 512  # open at once when merged: each has a decoder and a piece of its file
MAX_SPEED: Final = 1e6
#: DBN's numbers of the schemas that records do not tell themselves.
SCHEMAS: Final = {"tbbo": 3, "ohlcv-1s": 5, "ohlcv-1m": 6, "ohlcv-1h": 7, "ohlcv-1d": 8}


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and how."""

    paths: tuple[str, ...] = field(
        metadata={
            "help": "files: DBN (.dbn, .dbn.zst, fragments, JSON lines), or captures (pcap, pcapng, .gz, .zst); "
            "or folders of journals"
        }
    )
    vendor: Literal["auto", "databento", "cme", "journal"] = field(
        default="auto",
        metadata={
            "help": "whose data: databento (DBN), cme (captures), journal; auto: told by content"
        },
    )
    speed: Literal["max"] | float = field(
        default="max", metadata={"help": "max, or 1 for the recording's own pace, 2 for twice ..."}
    )
    min_consumers: int | None = field(default=None, metadata={"help": MIN_CONSUMERS_HELP})
    min_bar_consumers: int | None = field(
        default=None, metadata={"help": "the same for the ring NAME.bars, before the first bar"}
    )
    min_consumers_limit_s: float = field(
        default=30.0,
        metadata={"help": "for so long; then it goes on, but gives up where a number is said"},
    )
    stall_limit_s: float = field(
        default=30.0, metadata={"help": "leave a consumer behind that has not moved for so long"}
    )
    version: int | None = field(
        default=None, metadata={"help": "DBN version (1 to 3) of files of records without metadata"}
    )
    schema: str | None = field(
        default=None,
        metadata={"help": "of records without metadata, where it matters: tbbo, ohlcv-1s ..."},
    )
    channels: tuple[int, ...] = field(
        default=(), metadata={"help": "of captures: these channels only; empty: all there are"}
    )
    config_xml: str = field(
        default="", metadata={"help": "CME's config.xml, to tell the lines of captures apart"}
    )
    lines: tuple[Line, ...] = field(
        default=(), metadata={"help": "the lines of captures by hand; empty: told by content"}
    )
    secdef: str = field(
        default="", metadata={"help": "CME's secdef.dat, for captures without definitions"}
    )
    symbols: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "instruments of captures by name, with * and ?, or by SecurityID; see assets"
        },
    )
    groups: tuple[str, ...] = field(
        default=(), metadata={"help": "instruments of captures by security group; see assets"}
    )
    assets: tuple[str, ...] = field(
        default=(),
        metadata={"help": "by product; one of the three suffices, none: all instruments"},
    )
    depth: bool = field(
        default=False, metadata={"help": "of captures, also NAME.depth: ten levels a side"}
    )
    orders: bool = field(
        default=False, metadata={"help": "of captures, also NAME.orders: the order book"}
    )

    def __post_init__(self) -> None:
        refuse(
            self._check_paths(),
            self._check_speed(),
            self._check_limits(),
            self._check_version(),
            self._check_schema(),
        )

    def _check_paths(self) -> Iterator[str]:
        if not 1 <= len(self.paths) <= MAX_FILES:
            yield f"paths: must be 1 to {MAX_FILES} files, not {len(self.paths)}"

    def _check_speed(self) -> Iterator[str]:
        if self.speed != "max" and not 0 < self.speed <= MAX_SPEED:
            yield f"speed: must be max, or above 0 and at most {MAX_SPEED:.0f}"

    def _check_limits(self) -> Iterator[str]:
        limits = ("min_consumers", "min_bar_consumers", "min_consumers_limit_s", "stall_limit_s")
        for key, value in values(self, limits):
            if value is not None and not value >= 0:
                yield f"{key}: must be 0 or more, not {value}"

    def _check_version(self) -> Iterator[str]:
        if self.version not in (None, 1, 2, 3):
            yield f"version: must be 1 to 3, not {self.version}"

    def _check_schema(self) -> Iterator[str]:
        if self.schema is not None and self.schema not in SCHEMAS:
            meant = nearest(self.schema, SCHEMAS)
            yield f"schema: must be one of {', '.join(SCHEMAS)}, not {self.schema!r}{meant}"
