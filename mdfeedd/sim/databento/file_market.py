"""A market out of a DBN file: its records, when they were due in it or from a time of our own."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import TYPE_CHECKING, Any, Final

import zstandard

from mdfeedd.sim.databento.instruments import Instrument, Symbols
from mdfeedd.sim.databento.layouts import RTYPES, UNDEF_TIME, layout, recode, unpack
from mdfeedd.sim.databento.timeline import BY_RECV, Record, Timeline, snapshot_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["DbnFileError", "FileMarket"]

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_HEAD: Final = struct.Struct("<HQQQ")
_SCHEMA_CODES: Final = dict(
    enumerate(
        ("mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d",
         "definition", "statistics", "status", "imbalance", "", "cmbp-1", "cbbo-1s", "cbbo-1m",
         "tcbbo", "bbo-1s", "bbo-1m")
    )
)  # fmt: skip
_BY_RTYPE: Final = {rtype: schema for schema, rtype in RTYPES.items() if schema != "tbbo"}
_SPANS_NS: Final = {"ohlcv-1s": 1, "ohlcv-1m": 60, "ohlcv-1h": 3_600, "ohlcv-1d": 86_400}
_NS_PER_S: Final = 1_000_000_000
_MIN_BYTES: Final = 116  # of metadata with empty lists


class DbnFileError(ValueError):
    """The file is no DBN that can be played."""


class FileMarket:
    """Records of a `.dbn` or `.dbn.zst` file. start_ns: shift all times so that the first is due then."""

    def __init__(self, path: str | Path, *, start_ns: int | None = None) -> None:
        data = _contents(path)
        self.version: int
        self.dataset: str
        self.dataset, self.version, schema, names, at = _metadata(data, path)
        records = [
            _record(raw, schema, self.version) for raw in _walk(data, at) if raw[1] in _BY_RTYPE
        ]
        if not records:
            raise DbnFileError(f"{path}: holds no market record")
        records.sort(key=lambda r: r.due_ns)  # stable: files are sorted by what their schema is
        shift_ns = 0 if start_ns is None else start_ns - records[0].due_ns
        if shift_ns:
            records = [_shifted(record, shift_ns) for record in records]
        self.start_ns: int = records[0].due_ns
        self.end_ns: int = records[-1].due_ns
        self.schemas: tuple[str, ...] = tuple(sorted({record.schema for record in records}))
        self._timelines = {name: Timeline(name) for name in self.schemas}
        for record in records:
            self._timelines[record.schema].append(record)
        self._due = [record.due_ns for record in records]
        self._at = 0
        self.instruments: tuple[Instrument, ...] = _instruments(records, names)
        self.symbols: Symbols = Symbols(self.instruments)

    @property
    def next_ns(self) -> int | None:
        """When the next record is due."""
        return self._due[self._at] if self._at < len(self._due) else None

    def after_ns(self, events: int) -> int | None:
        """By when so many more records are due, or all."""
        rest = len(self._due) - self._at
        return self._due[self._at + min(events, rest) - 1] if rest else None

    def timeline(self, schema: str) -> Timeline:
        """All of a schema; KeyError if the file has none of it."""
        return self._timelines[schema]

    def records(self, schema: str, from_ns: int, until_ns: int) -> list[Record]:
        """Those whose index time is in [from, until)."""
        return self._timelines[schema].between(from_ns, until_ns)

    def run_until(self, now_ns: int) -> None:
        """They are all there; it is remembered how far they are due."""
        while self._at < len(self._due) and self._due[self._at] <= now_ns:
            self._at += 1

    def snapshot(self, instrument_ids: Sequence[int], at_ns: int) -> list[Record]:
        """The order books of its mbo records."""
        timeline = self._timelines["mbo"]
        return snapshot_rows(timeline.books(timeline.after(at_ns)), instrument_ids, at_ns)


def _contents(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] == _ZSTD:
        reader = zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(data), read_across_frames=True
        )
        try:
            data = reader.read()
        except zstandard.ZstdError as error:
            raise DbnFileError(f"{path}: {error}") from None
    if data[:3] != b"DBN":
        raise DbnFileError(f"{path}: is not DBN")
    return data


def _metadata(data: bytes, path: str | Path) -> tuple[str, int, str, dict[int, str], int]:
    """Data set, version, schema, names by instrument_id, and where the records begin."""
    version, length = data[3], int.from_bytes(data[4:8], "little")
    if version not in (1, 2, 3):
        raise DbnFileError(f"{path}: is DBN version {version}; 1 to 3 can be played")
    body = data[8 : 8 + length]
    if length < _MIN_BYTES or len(body) < length:
        raise DbnFileError(f"{path}: ends within its metadata")
    dataset = body[:16].rstrip(b"\0").decode("utf-8", "replace")
    schema = _SCHEMA_CODES.get(_HEAD.unpack_from(body, 16)[0], "")
    symbol_bytes = 22 if version == 1 else int.from_bytes(body[45:47], "little")
    try:
        names = _names(body, symbol_bytes)
    except struct.error:
        raise DbnFileError(f"{path}: its metadata is cut off") from None
    return dataset, version, schema, names, 8 + length


def _names(body: bytes, symbol_bytes: int) -> dict[int, str]:
    """Raw symbols by instrument_id, out of the mappings."""
    at = 104

    def number() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack_from("<I", body, at - 4)[0])

    def text() -> str:
        nonlocal at
        at += symbol_bytes
        raw = struct.unpack_from(f"{symbol_bytes}s", body, at - symbol_bytes)[0]
        return str(raw.rstrip(b"\0").decode("utf-8", "replace"))

    for _ in range(3):
        count = number()
        at += symbol_bytes * count
    names: dict[int, str] = {}
    for _ in range(number()):
        symbol = text()
        for _ in range(number()):
            at += 8  # the dates
            with contextlib.suppress(ValueError):  # mapped to something that is no instrument_id
                names[int(text())] = symbol
    return names


def _walk(data: bytes, at: int) -> Iterator[bytes]:
    while at < len(data):
        end = at + 4 * data[at]
        if end - at < 16 or end > len(data):
            raise DbnFileError(f"the record at byte {at} is broken or cut off")
        yield data[at:end]
        at = end


def _record(raw: bytes, schema: str, version: int) -> Record:
    raw = recode(raw, 3, version)
    name = "tbbo" if schema == "tbbo" and raw[1] == RTYPES["tbbo"] else _BY_RTYPE[raw[1]]
    fields = unpack(raw)
    event_ns: int = fields["ts_event"]
    index_ns: int = fields.get("ts_recv", event_ns)
    key_ns = index_ns if name in BY_RECV or event_ns == UNDEF_TIME else event_ns
    due_ns = index_ns + _SPANS_NS.get(name, 0) * _NS_PER_S
    return Record(raw, name, fields["instrument_id"], index_ns, key_ns, due_ns)


def _shifted(record: Record, by_ns: int) -> Record:
    kind = layout(record.raw[1])
    values: dict[str, Any] = kind.unpack(record.raw)
    for name in ("ts_event", "ts_recv"):
        if values.get(name, UNDEF_TIME) != UNDEF_TIME:
            values[name] += by_ns
    return Record(
        kind.pack(values),
        record.schema,
        record.instrument_id,
        record.index_ns + by_ns,
        record.key_ns + by_ns,
        record.due_ns + by_ns,
    )


def _instruments(records: list[Record], names: dict[int, str]) -> tuple[Instrument, ...]:
    """Named by the metadata, else by definitions, else made up."""
    known: dict[int, str] = {}
    for record in records:
        if record.schema == "definition":
            symbol = unpack(record.raw)["raw_symbol"].decode("utf-8", "replace")
            known[record.instrument_id] = symbol
        known.setdefault(record.instrument_id, "")
    return tuple(
        Instrument(i, names.get(i) or symbol or f"SIM{i}", 0, 0) for i, symbol in known.items()
    )
