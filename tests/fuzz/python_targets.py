"""What reads bytes of others' in Python: each target takes any bytes, and ends well or by the error it names.

one(data) ─► nothing: it was read, or refused as it should be
          ─► raises: a finding
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import struct
import tempfile
import urllib.parse
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdfeedd.consumers.bars._bars import BarBuilder
from mdfeedd.consumers.fanout.options import FanoutOptions
from mdfeedd.consumers.fanout.server import Hub
from mdfeedd.consumers.fanout.wants import BadMessage, Command, parse, parse_query
from mdfeedd.daemon import config, exposition
from mdfeedd.daemon.admission import Admission
from mdfeedd.daemon.http_message import END, Refused, encode
from mdfeedd.daemon.http_message import Response as HttpResponse
from mdfeedd.daemon.http_message import parse as parse_request
from mdfeedd.daemon.metrics import RingCollector
from mdfeedd.daemon.plan import Plan
from mdfeedd.daemon.showing import as_written, to_yaml
from mdfeedd.daemon.status import snapshot
from mdfeedd.daemon.troubles import troubles_of
from mdfeedd.feeds.databento.codec import (
    DbnDecoder,
    DbnError,
    JsonLines,
    LocalInstruments,
    Symbology,
)
from mdfeedd.feeds.databento.session.ending import SessionEnd
from mdfeedd.feeds.databento.session.key import Key
from mdfeedd.feeds.databento.session.lsg import Greeting, Handshake
from mdfeedd.feeds.kafka.codec import (
    Astray,
    ChunkHead,
    Merger,
    Repartitioned,
    Translator,
    WireError,
)
from mdfeedd.journal import JournalCorrupt, JournalReader, JournalWriter, WriterOptions
from mdfeedd.ring import Instrument, Reader, RingError, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.databento import KEY
from mdfeedd.sinks.kafka.wire import DefinitionKey, Stored, encode_instrument
from mdfeedd.sinks.packed import pack_header, unpack
from mdfeedd.strategy._last import LastTable
from mdfeedd.tick import QUOTE, TICK, TRADE, Kind, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONFIGS = Path(__file__).resolve().parents[2] / "config"


@dataclass(frozen=True)
class PythonTarget:
    """A function of bytes, inputs to begin with, and words that mean something to it."""

    one: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...] = field(default=())


@cache
def folder() -> str:
    """Of this process, for rings and journals; it goes with it."""
    made = tempfile.mkdtemp(prefix="mdfeedd-fuzz-", dir=os.environ.get("FUZZ_DIR", "/dev/shm"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


# ------------------------------------------------------------------------------------- Databento


def lsg_lines(data: bytes) -> None:
    """Control lines of the gateway, in pieces."""
    one = Handshake(Greeting("GLBX.MDP3", "fuzz"), Key(KEY, "fuzz"))
    with contextlib.suppress(SessionEnd):
        for at in range(0, len(data), 7):
            one.receive(data[at : at + 7])


def lsg_seeds() -> list[bytes]:
    return [
        b"lsg_version=0.9.4\ncram=0123456789abcdef\nsuccess=1|session_id=1760000001\nDBN\x03",
        b"lsg_version=0.9.4|cram=abc|\r\nsuccess=0|error=Authentication failed.\n",
    ]


def dbn_stream(data: bytes) -> None:
    """A DBN stream with all that Python does with it: metadata, mappings, definitions, events."""
    decoder = DbnDecoder(Symbology(LocalInstruments()), version=None, max_orders=1000)
    with contextlib.suppress(DbnError):
        for at in range(0, len(data), 97):
            decoder.decode(data[at : at + 97])
            decoder.take_events()
        decoder.finish()


def dbn_seeds() -> list[bytes]:
    """Metadata of each version, and records whose contents Python reads."""
    made = []
    for version, symbol_bytes in ((1, 22), (2, 71), (3, 71)):
        name = b"ESZ6".ljust(symbol_bytes, b"\0")
        fixed = struct.pack("<16sHQQQ", b"GLBX.MDP3", 0xFFFF, 0, 2**64 - 1, 0)
        fixed += struct.pack("<Q", 0) if version == 1 else b""
        fixed += struct.pack("<BBB", 0xFF, 0, 0)
        fixed += struct.pack("<H", symbol_bytes) if version > 1 else b""
        fixed = fixed.ljust(100, b"\0")
        lists = struct.pack("<IIII", 0, 1, 0, 0)[:8] + name + struct.pack("<II", 0, 0)
        body = fixed + lists + struct.pack("<I", 0)
        made.append(b"DBN" + bytes([version]) + struct.pack("<I", len(body)) + body)
    for rtype, words in ((0x15, 80), (0x16, 44), (0x17, 76), (0x13, 100), (0x01, 20)):
        record = struct.pack("<BBHIQ", words, rtype, 1, 7, 10**18).ljust(words * 4, b"A")
        made.append(made[2] + record)
    return made


def dbn_json(data: bytes) -> None:
    """Records as JSON lines, as the replay of a file takes them."""
    lines = JsonLines()
    with contextlib.suppress(DbnError):
        for at in range(0, len(data), 61):
            lines.feed(data[at : at + 61])
        lines.finish()


def dbn_json_seeds() -> list[bytes]:
    head = {"ts_event": "1700000000000000000", "rtype": 0, "publisher_id": 1, "instrument_id": 7}
    trade: dict[str, Any] = {
        "ts_recv": "1700000000000000001", "hd": head, "action": "T", "side": "B", "depth": 0, "price": "5000.25",
        "size": 3, "flags": 128, "ts_in_delta": 1, "sequence": 9, "symbol": "ESZ6",
    }  # fmt: skip
    return [
        json.dumps(trade).encode() + b"\n",
        json.dumps({"hd": head | {"rtype": 34}}).encode() + b"\n\n",
    ]


# ----------------------------------------------------------------------------------- the journal


def journal_segments(data: bytes) -> None:
    """Any bytes as segments: read, gone on with, read again. Never a record that is not one."""
    path = Path(tempfile.mkdtemp(dir=folder()))
    try:
        for number, segment in enumerate(_segments(data), 1):
            (path / f"{number:010d}-1-{1 + 100 * (number - 1)}.mdj").write_bytes(segment)
        with contextlib.suppress(JournalCorrupt):
            before = _read(path)
            writer = JournalWriter(path, "ring", WriterOptions(segment_bytes=1 << 16, fsync="none"))
            first = writer.next_seq
            writer.begin(
                "aa" * 16, feed="feed", layout=layout_of(TICK), record_bytes=64, next_seq=first, epoch=1
            )  # fmt: skip
            writer.close()
            assert set(before) <= set(_read(path))
    finally:
        shutil.rmtree(path)


def _segments(data: bytes) -> list[bytes]:
    """Two segments at most: where the second begins is in the first two bytes."""
    cut = int.from_bytes(data[:2], "little") * 8
    rest = data[2:]
    return [rest[:cut], rest[cut:]] if 0 < cut < len(rest) else [rest]


def _read(path: Path) -> list[int]:
    seen: list[int] = []
    with JournalReader(path) as reader:
        while len(batch := reader.read(100)) or batch.lost:
            seen += batch.records["seq"].tolist()
    assert seen == sorted(set(seen))
    return seen


def journal_seeds() -> list[bytes]:
    path = Path(tempfile.mkdtemp(dir=folder()))
    writer = JournalWriter(path, "ring", WriterOptions(segment_bytes=1 << 16, fsync="none"))
    writer.begin(
        "aa" * 16, feed="feed", layout=layout_of(TICK), record_bytes=64, next_seq=1, epoch=1
    )
    for first in (1, 51, 101):
        records = np.zeros(50, TICK)
        records["seq"] = np.arange(first, first + 50)
        writer.append(records, 1)
        writer.commit()
    writer.close()
    whole = b"".join(p.read_bytes() for p in sorted(path.glob("*.mdj"))).rstrip(b"\0")
    shutil.rmtree(path)
    return [b"\0\0" + whole, (len(whole) // 16).to_bytes(2, "little") + whole]


# ------------------------------------------------------------------------------------- the ring


@cache
def _sound_ring() -> tuple[bytes, bytes]:
    """A ring and its registry, with ticks of two kinds, instruments and a consumer."""
    with Writer("fuzz", 256, directory=folder(), instruments_capacity=48) as writer:
        ids = [writer.instruments.add(symbol) for symbol in ("ESZ6", "NQZ6")]
        rows = np.zeros(100, QUOTE)
        rows["kind"], rows["instrument_id"], rows["ts_recv"] = Kind.QUOTE, ids[0], 10**18
        trades = np.zeros(100, TRADE)
        trades["kind"], trades["instrument_id"] = Kind.TRADE, ids[1]
        writer.publish(np.concatenate([rows.view(TICK), trades.view(TICK)]))
        with Reader("fuzz", "oldest", "me", directory=folder()) as reader:
            reader.read(50)
    names = [Path(folder(), name) for name in ("mdfeedd.fuzz", "mdfeedd.fuzz.readers")]
    ring, registry = (name.read_bytes() for name in names)
    return ring, registry


class _NoSupervisor:
    """As much of a supervisor as the exporter looks at."""

    plan = Plan(shm_dir="")
    children: tuple[Any, ...] = ()
    beat_age_s = 0.0
    config_ok = True
    config_time_s = 0.0
    find = None


def ring_bytes(data: bytes) -> None:
    """A ring of which bytes are wrong, looked at by all that looks at rings. Each change: place, 8 bytes."""
    ring, registry = map(bytearray, _sound_ring())
    for at in range(0, len(data) - 10, 11):
        target = registry if data[at] & 1 else ring
        place = int.from_bytes(data[at + 1 : at + 3], "little") * (8 if data[at] & 2 else 1)
        place = min(place, len(target) - 8)
        target[place : place + 8] = data[at + 3 : at + 11]
    Path(folder(), "mdfeedd.fuzz").write_bytes(ring)
    Path(folder(), "mdfeedd.fuzz.readers").write_bytes(registry)
    _look_at_ring()


def _look_at_ring() -> None:
    shm_dir = folder()
    with contextlib.suppress(RingError):
        inspect("fuzz", shm_dir)
    shown = snapshot(shm_dir)
    troubles_of(shown, shown)
    json.dumps(shown)
    supervisor: Any = _NoSupervisor()
    supervisor.plan = Plan(shm_dir=shm_dir)
    exposition.render(RingCollector(supervisor).tables(), exposition.content_type(""))
    with (
        contextlib.suppress(RingError, TypeError),
        Reader("fuzz", "oldest", "me", directory=shm_dir, follow=False) as reader,
    ):
        for _ in range(3):
            batch = reader.read(100, timeout=0)
            with contextlib.suppress(ValueError):  # a kind or a side that there is not
                for tick in batch if batch.records.dtype == TICK else ():
                    repr(tick)
            reader.instruments.refresh()
        reader.read(10, timeout=0.0001)
    with (
        contextlib.suppress(RingError),
        Reader("fuzz", "resume", "me", directory=shm_dir) as reader,
    ):
        assert reader.next_seq <= 2**64


def ring_seeds() -> list[bytes]:
    """Of each field that says something, one change."""
    fields = (
        0,
        8,
        16,
        24,
        32,
        40,
        48,
        96,
        136,
        144,
        152,
        256,
        1024,
        1152,
        1280,
        1304,
        1664,
        1672,
        4608,
        7680,
        8192,
        8216,
    )
    slots = (0, 8, 128, 4096, 4152, 4160, 4168, 4192, 4224)
    return [
        *(bytes([0]) + place.to_bytes(2, "little") + b"\xff" * 8 for place in fields),
        *(bytes([1]) + place.to_bytes(2, "little") + b"\xff" * 8 for place in slots),
        bytes([0]) + (1152).to_bytes(2, "little") + (10**6).to_bytes(8, "little"),
        bytes([0]) + (8216).to_bytes(2, "little") + b"\x00" * 4 + b"\xc8\x07\xff\xff",
    ]


# ----------------------------------------------------------------------- what the daemon is told


def configuration(data: bytes) -> None:
    """A configuration file: a plan, which means the same when written out, or problems with their places."""
    try:
        plan = config.parse(data.decode(errors="replace"), "x.yaml")
    except config.ConfigError as error:
        told = [str(problem) for problem in error.problems]
    else:
        told = ["none"]
        assert config.parse(to_yaml(as_written(plan)), "x.yaml") == plan
    assert told
    assert all(told)


def configuration_seeds() -> list[bytes]:
    return [
        *(path.read_bytes() for path in sorted(CONFIGS.glob("*-sim.yaml"))),
        b"feeds:\n  - {name: f, vendor: synthetic}\nmetrics: {port: 0, token: {env: T}, names: [a]}\n",
    ]


def http_request(data: bytes) -> None:
    """The head of a request, who may ask, and the answer."""
    head = data if data.endswith(END) else data + END
    try:
        request = parse_request(head)
        Admission("sesame", "feeds.example", ("scrape.me",)).admit(request)
        response = HttpResponse(request.path.encode())
    except Refused as refused:
        response = HttpResponse(
            f"{refused}\n".encode(), status=refused.status, headers=refused.headers
        )
    assert encode(response).count(END) >= 1


def http_seeds() -> list[bytes]:
    return [
        b"GET /metrics?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9464\r\nAccept: */*;q=0.5\r\n\r\n",
        b"HEAD / HTTP/1.0\r\nAuthorization: Bearer sesame\r\nHost: [::1]:9464\r\n\r\n",
    ]


def websocket_message(data: bytes) -> None:
    """A client's message and its query string, carried out."""
    text = data.decode(errors="replace")
    hub = Hub(FanoutOptions(max_subscriptions=50))
    client: Any = _Client()
    for read in (lambda: parse(text), lambda: _of_query(text)):
        with contextlib.suppress(BadMessage):
            command = read()
            if command is not None:
                json.dumps(hub.command(client, command), allow_nan=False)
                json.dumps(command.id, allow_nan=False)
    hub.forget(client)
    assert len(client.wanted) <= 50


class _Client:
    """What a `Hub` knows of a client."""

    def __init__(self) -> None:
        self.wanted: dict[tuple[str, str], int] = {}
        self.key: frozenset[tuple[tuple[str, str], int]] = frozenset()
        self.filter = None


def _of_query(text: str) -> Command | None:
    try:
        query = urllib.parse.parse_qs(text, keep_blank_values=True, max_num_fields=64)
    except ValueError:  # as the server refuses it
        return None
    return parse_query(query)


def websocket_seeds() -> list[bytes]:
    return [
        b'{"op": "subscribe", "symbols": ["ES*", "NQZ6"], "kinds": ["trade"], "rings": ["cme"], "id": 7}',
        b'{"op": "unsubscribe", "symbols": ["ES*"]}',
        b'{"op": "ping", "id": "x"}',
        b"symbols=ES*,NQ?6&kinds=quote,trade&rings=cme",
    ]


def kafka_message(data: bytes) -> None:
    """A broker's message: headers by lines, an empty line, the value; or of an instrument its key and value."""
    head, _, value = data.partition(b"\n\n")
    lines = head.split(b"\n")
    with Writer("kafka", 256, directory=folder(), instruments_capacity=16) as writer:

        def add(instrument: Instrument) -> int:
            return writer.instruments.add(instrument.symbol, **instrument.attributes())

        translator, merger = Translator(add), Merger([0, 1], "ticks")
        with contextlib.suppress(WireError):
            translator.define(lines[0], value)
        with contextlib.suppress(
            WireError, RingError, ValueError
        ):  # an instrument that no table takes
            rows = np.zeros(1, TICK)
            rows["instrument_id"] = 1
            translator.define(DefinitionKey("aa" * 16, 1, 1).encode(), value)
            translator.translate("aa" * 16, 1, rows)
        headers = [
            (name.decode("ascii", "replace"), text)
            for name, _, text in (line.partition(b"=") for line in lines)
        ]
        for partition in (0, 1):
            with contextlib.suppress(WireError, Repartitioned, Astray):
                merger.receive(partition, 0, headers, value)
        with contextlib.suppress(RingError):
            while (block := merger.take()) is not None:
                translator.translate(block.ring_id, block.epoch, block.records.copy())
    with contextlib.suppress(WireError):
        Stored.decode(value)


def kafka_seeds() -> list[bytes]:
    rows = np.zeros(3, TICK)
    rows["seq"], rows["instrument_id"] = (1, 2, 3), 1
    ring_id = "aa" * 16
    told = ChunkHead("raw", "ticks", "cme", ring_id, 1, 1, 3, None, 3, 2).encode()
    head = b"\n".join(name.encode() + b"=" + bytes(text) for name, text in told)
    known = Instrument(1, 7, 1, 0, 1, 0, 0, "USD", "XCME", "cme", "ESZ6", "ESZ6")
    key = DefinitionKey(ring_id, 1, 1).encode()
    return [head + b"\n\n" + rows.tobytes(), key + b"\n\n" + encode_instrument(known)]


def ticks(data: bytes) -> None:
    """Any bytes as ticks, into bars and last values: numbers are the writer's word, and index nothing."""
    rows = np.frombuffer(data[: len(data) // 64 * 64], TICK)
    bars = BarBuilder((1, 60), flat=True, flat_limit=5, instruments_limit=8, out_size=16)
    with contextlib.suppress(ValueError):  # more instruments than there may be
        bars.update(rows)
    bars.mark_gap()
    bars.flush()
    last = LastTable()
    last.take(rows)
    last.lapped(0)
    assert len(last.records()) == len(last) <= len(rows)


def tick_seeds() -> list[bytes]:
    quote, trade = np.zeros(4, QUOTE), np.zeros(4, TRADE)
    for rows, kind in ((quote, Kind.QUOTE), (trade, Kind.TRADE)):
        rows["kind"], rows["instrument_id"] = kind, (1, 2, 3, 1)
        rows["ts_event"] = 10**18 + np.arange(4) * 10**9
    trade["price"], trade["size"] = 10**9, 5
    return [quote.tobytes() + trade.tobytes(), trade.tobytes()]


def packed_message(data: bytes) -> None:
    """A packed message of another host's, as clients read it."""
    with contextlib.suppress(ValueError):
        unpack(data)


def packed_seeds() -> list[bytes]:
    rows = np.zeros(3, TICK)
    rows["seq"] = (1, 2, 3)
    return [pack_header("aa" * 16, 1, 0, rows) + rows.tobytes()]


PYTHON_TARGETS = {
    "lsg": PythonTarget(lsg_lines, lsg_seeds, (b"cram=", b"success=1", b"|", b"=", b"\n", b"lsg_version=")),
    "dbn-python": PythonTarget(dbn_stream, dbn_seeds, (b"DBN\x03", b"\x01\x00\x00\x00")),
    "dbn-json": PythonTarget(dbn_json, dbn_json_seeds, (b'"', b"{", b"}", b"1e999", b"null", b"-1", b"[")),
    "journal": PythonTarget(journal_segments, journal_seeds),
    "ring-python": PythonTarget(ring_bytes, ring_seeds),
    "config": PythonTarget(configuration, configuration_seeds, (b": ", b"- ", b"{", b"}", b"[", b"&a ", b"*a", b"!!", b"|\n")),
    "http": PythonTarget(http_request, http_seeds, (b"Host: ", b"HTTP/1.1", b"Bearer ", b"Content-Length: 1\r\n")),
    "websocket": PythonTarget(websocket_message, websocket_seeds, (b'"op"', b"NaN", b"1e999", b"[", b"*", b"&symbols=", b"%ff")),
    "packed": PythonTarget(packed_message, packed_seeds),
    "kafka": PythonTarget(kafka_message, kafka_seeds, (b"n=", b"prev=", b"null", b"[", b'"', b"999999999999999999999")),
    "ticks": PythonTarget(ticks, tick_seeds),
}  # fmt: skip
