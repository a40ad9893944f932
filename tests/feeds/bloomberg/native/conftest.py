"""Three ways from messages to a ring: the decoder in Python, its kernel, and the SDK's C interface over a double."""

from __future__ import annotations

import ctypes
import datetime as dt
import random
import struct
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mdfeedd.feeds.bloomberg import codec
from mdfeedd.feeds.bloomberg.moment import Now, Tell
from mdfeedd.feeds.bloomberg.native import decoder as quick
from mdfeedd.feeds.bloomberg.native._plane import Library, Walker
from mdfeedd.feeds.bloomberg.native.loaded import NativePlane
from mdfeedd.feeds.bloomberg.native.quick import QuickPlane
from mdfeedd.feeds.bloomberg.plane import PythonPlane
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.bloomberg.content import Special
from mdfeedd.sim.bloomberg.events import Item, Kind, Occurrence
from mdfeedd.sim.bloomberg.messages import Instrument, Style, image, quote, trade
from mdfeedd.sim.bloomberg.stand_in import blpapi
from mdfeedd.sim.bloomberg.topics import DEFAULT_TOPICS, topics

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE = Path(__file__).with_name("double.c")
NO_MESSAGE, NO_ELEMENTS = 1, 2
FOR_EVER = 2**32 - 1
NO_ELEMENT, IS_ARRAY, IS_NULL, FAILS, NO_TEXT = 1, 2, 4, 8, 16
BOOL, INT32, INT64, FLOAT64, STRING, DATE, TIME, DECIMAL, DATETIME, ENUMERATION, SEQUENCE = (
    1, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15,
)  # fmt: skip
ENUMERATIONS = ("MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE")
DATE_PARTS, OFFSET_PART, TIME_PARTS = 0x07, 0x08, 0xF0
START_NS = 1_772_463_600_000_000_000


def compile_double(folder: Path, name: str, *flags: str) -> Path:
    """Compiled under a name; `flags` leave symbols out."""
    path = folder / name
    command = ["gcc", "-std=c11", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", *flags]
    subprocess.run([*command, SOURCE, "-o", path], check=True)
    return path


class Double:
    """The double, loaded, as the package blpapi would have loaded Bloomberg's library."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.library = ctypes.CDLL(self.path)
        self.library.double_event.restype = ctypes.c_void_p
        self.library.double_event.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        self.library.double_free.argtypes = [ctypes.c_void_p]

    def event(self, raw: bytes) -> int:
        return self.library.double_event(raw, len(raw))

    def free(self, address: int) -> None:
        self.library.double_free(address)

    def set(self, name: str, value: int) -> None:
        ctypes.c_int.in_dll(self.library, name).value = value

    @property
    def iterators(self) -> int:
        return ctypes.c_long.in_dll(self.library, "double_iterators").value


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory) -> Double:
    return Double(compile_double(tmp_path_factory.mktemp("double"), "libblpapi3_64.so"))


def _stamp(value: Any) -> bytes:
    date, time = isinstance(value, dt.date), isinstance(value, dt.datetime | dt.time)
    offset = value.utcoffset() if time else None
    parts = (DATE_PARTS if date else 0) | (TIME_PARTS if time else 0)
    parts |= OFFSET_PART if offset is not None else 0
    h, m, s, us = (value.hour, value.minute, value.second, value.microsecond) if time else (0,) * 4
    day = (value.month, value.day, value.year) if date else (0, 0, 0)
    minutes = 0 if offset is None else round(offset.total_seconds() / 60)
    return struct.pack(
        "<BBBBHBBHhI", parts, h, m, s, us // 1000, *day, minutes, us % 1000 * 1_000_000
    )


def encode_value(name: str, value: Any) -> tuple[int, int, bytes]:
    """Type, trouble and bytes of a field."""
    if value is None:
        return FLOAT64, IS_NULL, b""
    if value is Special.NULL_SEQUENCE or isinstance(value, dict):
        return SEQUENCE, IS_NULL, b""
    if value is Special.NO_PARTS:
        return DATETIME, 0, bytes(16)
    if isinstance(value, list):
        return FLOAT64, IS_ARRAY, b""
    if isinstance(value, Decimal):
        return DECIMAL, 0, b""
    if isinstance(value, bool):
        return BOOL, 0, struct.pack("<i", value)
    if isinstance(value, float):
        return FLOAT64, 0, struct.pack("<d", value)
    if isinstance(value, int):
        return INT32 if abs(value) < 2**31 else INT64, 0, struct.pack("<q", value)
    if isinstance(value, str):
        return ENUMERATION if name in ENUMERATIONS else STRING, 0, value.encode()
    kind = (
        DATETIME if isinstance(value, dt.datetime) else TIME if isinstance(value, dt.time) else DATE
    )
    return kind, 0, _stamp(value)


def encode_field(name: str, kind: int, trouble: int, value: bytes) -> bytes:
    return struct.pack("<BBBBI", len(name), kind, trouble, 0, len(value)) + name.encode() + value


def encode(items: Iterable[Item], troubles: Any = None, message_troubles: Any = None) -> bytes:
    """The script of an event; troubles by (message, field) and by message."""
    items = list(items)
    out = [struct.pack("<I", len(items))]
    for i, item in enumerate(items):
        cid = item.cid.value() if isinstance(item.cid, blpapi.CorrelationId) else item.cid
        number = cid if isinstance(cid, int) else 0
        trouble = (message_troubles or {}).get(i, 0)
        kind = 1 if isinstance(cid, int) else 2
        out.append(struct.pack("<IIQII", trouble, kind, number, item.recap, len(item.content)))
        for name, value in item.content.items():
            kind, own, raw = encode_value(name, value)
            out.append(encode_field(name, kind, own | (troubles or {}).get((i, name), 0), raw))
    return b"".join(out)


class Event(blpapi.Event):
    """An event with a handle, as the real ones have."""

    __slots__ = ("handle",)

    def __init__(self, items: list[Item], handle: Any = 0) -> None:
        super().__init__(Occurrence(Kind.SUBSCRIPTION_DATA, items))
        self.handle = handle

    def _handle(self) -> Any:
        return self.handle


class Listening(Tell):
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __call__(self, kind: str, sentence: str, now: Now, *, routine: bool = False, each: bool = False) -> None:  # fmt: skip
        self.said.append((kind, sentence))


class Way:
    """One of the three, into a ring of its own."""

    def __init__(self, name: str, directory: str, path: str, cids: int = 4, **options: Any) -> None:
        proofs, doubts = options.pop("proofs", 0), options.pop("doubts", FOR_EVER)
        self.name = name
        self.tell = Listening()
        parts: Any = codec if name == "model" else quick
        self.staging = parts.Staging(16)
        self.decoder = parts.Decoder(self.staging, **options)
        self.touches = [parts.Touch(i + 1) for i in range(cids)]
        for i, touch in enumerate(self.touches):
            self.decoder.open(i + 1, touch)
        self.writer = Writer(name, capacity=1 << 14, directory=directory)
        self.reader = Reader(name, start="oldest", directory=directory)
        make = PythonPlane if name == "model" else QuickPlane
        self.python = make(self.decoder, self.tell)
        self.planes: list[Any] = [self.python]
        if name == "native":
            library = Library(path, doubts=doubts)
            walker = Walker(self.decoder.kernel, self.writer, library, self.python, proofs=proofs)
            self.walker = walker
            self.planes.insert(0, NativePlane(walker, self.tell))
        self.by_planes = [0] * len(self.planes)

    def use(self, event: Any, now: Now) -> None:
        """As a line does it."""
        for i, plane in enumerate(self.planes):
            if plane.use(event, now):
                self.by_planes[i] += 1
                break
        if len(self.staging):
            self.writer.publish(self.staging.ticks())
            self.staging.clear()

    def ticks(self) -> bytes:
        """All that came into the ring, without numbers."""
        out = b""
        while len(batch := self.reader.read(4096, timeout=0)):
            records = batch.records.copy()
            records["seq"] = 0
            out += records.tobytes()
        assert not self.reader.lost
        return out

    def state(self) -> dict[str, Any]:
        """All that is known, by the names of the model."""
        names = (
            "messages", "skipped", "unknown", "unmapped", "torn", "recovered", "last_ns", "latency_ns",
        )  # fmt: skip
        found = {name: getattr(self.decoder, name) for name in names}
        counts = {
            name: getattr(self.staging, name) for name in ("quotes", "trades", "others", "gaps")
        }
        touches = [{n: getattr(t, n) for n in codec.Touch.__slots__} for t in self.touches]
        for touch in touches:  # in C it is saturated, of which no tick tells
            for side in ("bid_size", "ask_size"):
                touch[side] = min(touch[side], 2**64 - 1)
            bid, ask, *sizes = touch["shown"]
            touch["shown"] = (bid, ask, *(min(size, 2**64 - 1) for size in sizes))
        events = self.decoder.take_events()
        return (
            found | counts | {"touches": touches, "events": events, "bad": self.python.unreadable}
        )

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


class Ways:
    """All of them, fed with the same."""

    def __init__(self, double: Double, directory: str, **options: Any) -> None:
        self.double = double
        self.all = [
            Way(n, directory, double.path, **options) for n in ("model", "kernel", "native")
        ]
        self.model, self.kernel, self.native = self.all
        self.now = Now(1, START_NS)

    def use(self, items: list[Item], *, after_ns: int = 1_000_000, **troubles: Any) -> None:
        self.now = Now(self.now.monotonic_ns + after_ns, self.now.wall_ns + after_ns)
        address = self.double.event(encode(items, **troubles))
        try:
            for way in self.all:
                way.use(Event(items, address), self.now)
        finally:
            self.double.free(address)
        assert self.double.iterators == 0

    def agree(self, seed: Any = "") -> int:
        """How many ticks there were, the same in all."""
        wanted, state = self.model.ticks(), self.model.state()
        for way in self.all[1:]:
            got = way.ticks()
            assert got == wanted, f"{way.name}, seed {seed}"
            assert way.state() == state, f"{way.name}, seed {seed}"
        return len(wanted) // 64

    def close(self) -> None:
        for way in self.all:
            way.close()


@pytest.fixture
def make_ways(double: Double, shm_dir: str) -> Any:
    made: list[Ways] = []

    def make(**options: Any) -> Ways:
        made.append(Ways(double, shm_dir, **options))
        return made[-1]

    yield make
    for ways in made:
        ways.close()


@pytest.fixture
def ways(make_ways: Any) -> Ways:
    return make_ways()


@pytest.fixture
def make_item() -> Any:
    """A message of a cid."""

    def make(content: dict[str, Any], cid: int = 1, recap: int = 0, fragment: int = 0) -> Item:
        return Item("MarketDataEvents", content, blpapi.CorrelationId(cid), recap, fragment)

    return make


@pytest.fixture
def make_event() -> Any:
    return Event


@pytest.fixture
def make_double() -> Any:
    """Others, with symbols left out."""
    return lambda folder, name, *flags: Double(compile_double(folder, name, *flags))


@pytest.fixture
def listening() -> Listening:
    return Listening()


@pytest.fixture
def make_bytes() -> Any:
    return encode


@pytest.fixture
def make_script(make_item: Any) -> Any:
    """A script of ordinary and of odd messages."""

    def make(seed: int) -> bytes:
        rng = random.Random(seed)
        items = []
        for item in [Instrument(topic) for topic in topics(DEFAULT_TOPICS[:3])] * 4:
            item.bid, item.ask = rng.randrange(10**12), rng.randrange(10**12)
            item.traded(rng.randrange(10**12), rng.randrange(10**6), rng.randrange(10**6), START_NS)
            contents = [quote(item, side, START_NS, Style()) for side in ("BID", "ASK")]
            contents += [trade(item, START_NS, Style(), of) for of in ("NEW", "CANCEL", "CORRECT")]
            items += [make_item(content, rng.randrange(1, 5)) for content in contents]
        items.append(make_item(image(item, START_NS, Style()), 1, 1))
        return encode(items)

    return make
