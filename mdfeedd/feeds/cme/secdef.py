"""CME's secdef.dat: all instruments of all channels, one FIX message (35=d) a line.

A line is ``tag=value`` fields, each ended by SOH; groups repeat their tags. The file comes plain, as .gz or as
.zip, told apart by its first bytes. It has well over half a million lines, so it is streamed, and a line of
another channel is left after one look. Tags that are read, with an example::

    35   message type      d            1180  channel (ApplID)    310
    48   SecurityID        118          55    symbol              ESU4
    1151 security group    ES           6937  asset               ES
    207  exchange          XCME         15    currency            USD
    167  security type     FUT          461   CFI code            FFIXSX
    969  price increment   25.000000000 9787  display factor      0.010000000
    1147 contract size     50.000000000 980   action              A (D: deleted, left out)
    1149 high limit, 1148 low limit, 1143 max variation, 9779 user-defined (Y), 1682 trading status
    779  last update, 1145 event time   YYYYMMDDhhmmss and decimals of a second, UTC
    865  event type        5 activation, 7 last trade; 1145 follows (in old files 866, a date, and 1145, the time)
    1022 feed type         GBX, GBI: book, implied; its 264 follows: depth

Prices are exact to 1e-9. What cannot be used is counted, and the first `MAX_PROBLEMS` of it told with the
number of the line; it is never a reason to give up the rest.
"""

from __future__ import annotations

import calendar
import gzip
import io
import re
import time
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from mdfeedd.feeds.cme.definitions import STATUS_NONE, WIDTHS, Definition
from mdfeedd.tick import PRICE_UNDEF, to_fixed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["MAX_LINE_BYTES", "MAX_PROBLEMS", "Secdef", "SecdefError"]

MAX_LINE_BYTES: Final = 64 << 10
"""CME's longest have some thousand bytes."""
MAX_LINES: Final = 20_000_000
"""CME's file has less than a million."""
MAX_PROBLEMS: Final = 10
_MAX_ENTRIES: Final = 64
_BUFFER_BYTES: Final = 1 << 20

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_SOH: Final = b"\x01"
_ACTIVATION: Final = b"5"
_LAST_TRADE: Final = b"7"
_DELETED: Final = b"D"
_YES: Final = b"Y"
_BOOK: Final = b"GBX"
_IMPLIED: Final = b"GBI"
_I32_MAX: Final = (1 << 31) - 1
_TIME: Final = re.compile(rb"(\d{14})(\d{0,9})")
_TIME_OF_DAY: Final = re.compile(rb"(\d{1,9})")


class SecdefError(OSError):
    """The file cannot be read at all. One sentence with its name."""


class Secdef:
    """Iterate for the `Definition`s of `channels` (None: of all). Iterating again reads the file again.

    After that: `lines` seen, `used`, `deleted`, `other_channels`, `other_messages` and `errors` add up,
    `problems` are the first errors, each ``path:line: sentence``, and `faults` all there is to say.

    Raises `SecdefError` where the file cannot be opened. One that ends too early or breaks off within its
    compression is an error like others: what came before is used.
    """

    def __init__(self, path: str | Path, channels: Collection[int] | None = None) -> None:
        self.path: str = str(path)
        self._channels = channels
        self._reset()

    def _reset(self) -> None:
        self.lines: int = 0
        self.used: int = 0
        self.deleted: int = 0
        self.other_channels: int = 0
        self.other_messages: int = 0
        self.errors: int = 0
        self.problems: list[str] = []

    @property
    def foreign(self) -> bool:
        """Whether it was read and no line of it was a FIX message: it is another file."""
        return self.errors > 0 and self.errors >= self.lines

    @property
    def faults(self) -> list[str]:
        """A sentence for each problem, for the number of those beyond `MAX_PROBLEMS`, and for a file of no use."""
        if self.foreign:
            return [f"{self.path}: no line is a FIX message: this is not CME's secdef.dat"]
        found = list(self.problems)
        if self.errors > len(found):
            found.append(f"{self.path}: {self.errors} lines cannot be used")
        if not self.used:
            named = ", ".join(map(str, sorted(self._channels or ())))
            found.append(f"{self.path}: defines nothing of channel {named or 'any'}")
        return found

    def __iter__(self) -> Iterator[Definition]:
        self._reset()
        with self._open() as file:
            yield from self._definitions(file)

    def _open(self) -> IO[bytes]:
        path = Path(self.path)
        try:
            with path.open("rb") as file:
                magic = file.read(len(_ZIP))
            if magic.startswith(_GZIP):
                return cast("IO[bytes]", gzip.open(path, "rb"))
            if magic == _ZIP:
                return self._open_zip(path)
            return path.open("rb", buffering=_BUFFER_BYTES)
        except OSError as error:
            reason = error.strerror or error
            raise SecdefError(f"{self.path}: cannot be read: {reason}") from error

    def _open_zip(self, path: Path) -> IO[bytes]:
        try:
            archive = zipfile.ZipFile(path)
            names = [item for item in archive.infolist() if not item.is_dir()]
            if len(names) != 1:
                sentence = f"must have one file in it, found {len(names)}"
                raise SecdefError(f"{self.path}: the archive {sentence}")
            return io.BufferedReader(cast("io.RawIOBase", archive.open(names[0])), _BUFFER_BYTES)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise SecdefError(f"{self.path}: no usable zip archive: {error}") from error

    def _definitions(self, file: IO[bytes]) -> Iterator[Definition]:
        for _ in range(MAX_LINES):
            try:
                line = file.readline(MAX_LINE_BYTES)
            except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
                self._object(f"the file breaks off here: {error}")
                return
            if not line:
                return
            self.lines += 1
            if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
                self._object(f"more than {MAX_LINE_BYTES} bytes in one line")
                if not self._skip_line(file):
                    return
                continue
            try:
                definition = self._definition(_SOH + line.rstrip(b"\r\n") + _SOH)
            except ValueError as error:
                self._object(str(error))
                continue
            if definition is not None:
                self.used += 1
                yield definition
        self._object(f"more than {MAX_LINES} lines: the rest is not read")

    def _skip_line(self, file: IO[bytes]) -> bool:
        """To the end of an endless line; False if the file breaks off in it, which is told."""
        try:
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
            self._object(f"the file breaks off here: {error}")
            return False
        return True

    def _object(self, sentence: str) -> None:
        self.errors += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self.path}:{max(1, self.lines)}: {sentence}")

    def _definition(self, line: bytes) -> Definition | None:
        """The definition of a line that begins and ends with SOH, or None after counting why not.

        Raises `ValueError` for a line that contradicts itself.
        """
        kind = _field(line, b"35")
        if kind is None:
            raise ValueError("no FIX message: it has no tag 35")
        if kind != b"d":
            self.other_messages += 1
            return None
        channel = _integer(line, b"1180")
        if self._channels is not None and channel not in self._channels:
            self.other_channels += 1
            return None
        if _field(line, b"980") == _DELETED:
            self.deleted += 1
            return None
        symbol = _text(line, b"55", "symbol")
        if not symbol:
            raise ValueError("tag 55: a symbol is missing")
        events, depths = _events(line), _depths(line)
        return Definition(
            channel=channel,
            security_id=_integer(line, b"48"),
            symbol=symbol,
            group=_text(line, b"1151", "group"),
            asset=_text(line, b"6937", "asset"),
            exchange=_text(line, b"207", "exchange"),
            currency=_text(line, b"15", "currency"),
            security_type=_text(line, b"167", "security_type"),
            cfi=_text(line, b"461", "cfi"),
            tick_size=_price(line, b"969"),
            display_factor=_price(line, b"9787"),
            multiplier=_price(line, b"1147"),
            high_limit=_price(line, b"1149", PRICE_UNDEF),
            low_limit=_price(line, b"1148", PRICE_UNDEF),
            max_variation=_price(line, b"1143", PRICE_UNDEF),
            activation=events.get(_ACTIVATION, 0),
            expiration=events.get(_LAST_TRADE, 0),
            depth=depths.get(_BOOK, 0),
            implied_depth=depths.get(_IMPLIED, 0),
            trading_status=min(_integer(line, b"1682", STATUS_NONE), STATUS_NONE),
            user_defined=_field(line, b"9779") == _YES,
            last_update=_time(line, b"779"),
        )


def _field(line: bytes, tag: bytes, start: int = 0) -> bytes | None:
    """The value of the first field of this tag, or None. The line begins and ends with SOH."""
    needle = b"\x01%b=" % tag
    at = line.find(needle, start)
    if at < 0:
        return None
    at += len(needle)
    return line[at : line.index(_SOH, at)]


def _text(line: bytes, tag: bytes, name: str) -> str:
    value = (_field(line, tag) or b"").strip()
    if len(value) > WIDTHS[name] or not value.isascii():
        most = f"{WIDTHS[name]} ASCII characters at the most"
        raise ValueError(f"tag {tag.decode()}: must be {most}, not {_shown(value)}")
    return value.decode("ascii")


def _integer(line: bytes, tag: bytes, default: int | None = None) -> int:
    value = _field(line, tag)
    if value is None:
        if default is None:
            raise ValueError(f"tag {tag.decode()} is missing")
        return default
    if not value.isdigit() or len(value) > 10 or int(value) > _I32_MAX:
        raise ValueError(f"tag {tag.decode()}: not a number of 31 bits: {_shown(value)}")
    return int(value)


def _price(line: bytes, tag: bytes, default: int = 0) -> int:
    value = _field(line, tag)
    try:
        return _fixed(value) if value else default
    except ValueError:
        raise ValueError(f"tag {tag.decode()}: not a price: {_shown(value or b'')}") from None


@lru_cache(4096)
def _fixed(value: bytes) -> int:
    return to_fixed(value.decode("ascii"))


def _time(line: bytes, tag: bytes) -> int:
    value = _field(line, tag)
    return _unix_ns(value, tag.decode()) if value else 0


@lru_cache(4096)
def _unix_ns(value: bytes, tag: str) -> int:
    """UNIX ns of YYYYMMDDhhmmss and decimals of a second."""
    match = _TIME.fullmatch(value)
    try:
        parts = match and time.strptime(match[1].decode(), "%Y%m%d%H%M%S")
    except ValueError:
        parts = None
    if match is None or parts is None:
        raise ValueError(f"tag {tag}: not a time (YYYYMMDDhhmmss): {_shown(value)}")
    return calendar.timegm(parts) * 1_000_000_000 + int(match[2].ljust(9, b"0"))


def _groups(line: bytes, tag: bytes) -> Iterator[bytes]:
    """The entries of a repeating group whose entries begin with `tag`. The last one goes on to the end."""
    needle = b"\x01%b=" % tag
    at = line.find(needle)
    for _ in range(_MAX_ENTRIES):
        if at < 0:
            return
        end = line.find(needle, at + 1)
        yield line[at : end + 1] if end >= 0 else line[at:]
        at = end


def _events(line: bytes) -> dict[bytes, int]:
    """UNIX ns by event type."""
    found = {}
    for entry in _groups(line, b"865"):
        kind, date, moment = _field(entry, b"865"), _field(entry, b"866"), _field(entry, b"1145")
        if kind not in (_ACTIVATION, _LAST_TRADE):
            continue
        if date is not None:
            of_day = _TIME_OF_DAY.fullmatch(moment or b"0")
            if of_day is None:
                raise ValueError(f"tag 1145: not a time of day: {_shown(moment or b'')}")
            moment = date + of_day[1].rjust(9, b"0")
        if moment:
            found[kind] = _unix_ns(moment, "1145")
    return found


def _depths(line: bytes) -> dict[bytes, int]:
    """Levels a side by feed type."""
    found = {}
    for entry in _groups(line, b"1022"):
        kind, depth = _field(entry, b"1022"), _field(entry, b"264")
        if kind is not None and depth is not None and depth.isdigit() and len(depth) < 3:
            found[kind] = int(depth)
    return found


def _shown(value: bytes) -> str:
    text = value[:40].decode("ascii", "backslashreplace")
    return repr(text + "..." if len(value) > 40 else text)
