"""What is not as it should be of the SDK's library leads to the Python path: with one sentence, and with all ticks."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.moment import Now
from mdfeedd.feeds.bloomberg.native import loaded
from mdfeedd.feeds.bloomberg.native._codec import FIELDS
from mdfeedd.feeds.bloomberg.native._plane import Library, Unusable
from mdfeedd.sim.bloomberg.stand_in import blpapi

NOW = Now(1, 1_772_463_600_000_000_000)
QUOTE = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 7.0, "BID_SIZE": 1}


class Wrong:
    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __call__(self) -> Any:
        if isinstance(self.handle, Exception):
            raise self.handle
        return self.handle


@pytest.mark.parametrize(
    "handle",
    [
        None,
        0,
        -1,
        1 << 64,
        "abc",
        1.5,
        True,
        ctypes.c_void_p(),
        ctypes.c_double(2.0),
        RuntimeError("no"),
    ],
    ids=[
        "None",
        "zero",
        "negative",
        "too large",
        "text",
        "float",
        "bool",
        "null",
        "double",
        "raises",
    ],
)
def test_wrong_handle(ways, make_item, make_event, handle):
    event = make_event([make_item(QUOTE)])
    ways.model.use(event, NOW)

    class Odd(type(event)):
        _handle = Wrong(handle)

    odd = Odd([make_item(QUOTE)])
    ways.native.use(odd, NOW)
    ways.native.use(odd, NOW)
    assert ways.native.planes[0].off
    assert ways.native.by_planes == [0, 2]
    assert [kind for kind, _ in ways.native.tell.said] == ["native"]
    assert ways.native.ticks() == ways.model.ticks() != b""


@pytest.mark.parametrize("kind", [ctypes.c_void_p, ctypes.c_uint64, "pointer"])
def test_handles_of_ctypes(ways, make_item, make_event, make_bytes, kind):
    items, double = [make_item(QUOTE)], ways.double
    address = double.event(make_bytes(items))
    plain: Any = ctypes.c_void_p(address)
    handle = (
        ctypes.cast(plain, ctypes.POINTER(ctypes.c_char)) if kind == "pointer" else kind(address)
    )
    if kind is ctypes.c_uint64:  # a number, which is no pointer
        ways.native.use(make_event(items, handle), NOW)
        assert ways.native.planes[0].off
    else:
        ways.native.use(make_event(items, handle), NOW)
        assert ways.native.by_planes == [1, 0]
        assert ways.native.decoder.kernel.quick == 1
    double.free(address)
    assert len(ways.native.ticks()) == 64


def test_library_does_not_iterate(ways, double, make_item, make_event):
    double.set("double_iterates", 0)
    try:
        ways.native.use(make_event([make_item(QUOTE)], 4096), NOW)
    finally:
        double.set("double_iterates", 1)
    assert ways.native.planes[0].off
    assert len(ways.native.ticks()) == 64


def test_event_without_an_end(ways, double, make_item, make_event, make_bytes):
    items = [make_item(QUOTE)]
    address = double.event(make_bytes(items))
    double.set("double_endless", 1)
    try:
        ways.native.use(make_event(items, address), NOW)
    finally:
        double.set("double_endless", 0)
        double.free(address)
    assert ways.native.planes[0].off
    assert ways.native.by_planes == [1, 0]
    assert "no end" in ways.native.tell.said[0][1]
    assert double.iterators == 0


def prices(make_item: Any, n: int) -> list[Any]:
    return [make_item(QUOTE | {"BID": 1.0 + i}) for i in range(n)]


def test_library_is_relied_on_after_so_many_proofs(make_ways, make_item):
    ways = make_ways(proofs=10)
    taken = []
    take = ways.native.python.take
    ways.native.python.take = lambda message, now: (taken.append(message), take(message, now))
    trades = [
        make_item(
            {"MKTDATA_EVENT_TYPE": "TRADE", "MKTDATA_EVENT_SUBTYPE": "NEW", "LAST_PRICE": 1.0}
        )
    ] * 4
    ways.use(prices(make_item, 7))
    assert (len(taken), ways.native.walker.proofs) == (7, (3, 10))
    ways.use([make_item({"MKTDATA_EVENT_TYPE": "X"}), *prices(make_item, 9), *trades])
    assert (len(taken), ways.native.walker.proofs) == (15, (0, 6))
    assert not ways.native.tell.said
    ways.use(trades * 2)
    ways.use(prices(make_item, 5) + trades)
    assert (len(taken), ways.native.walker.proofs) == (21, (0, 0))
    assert ways.native.tell.said == [
        ("native", "the native path reads messages as the package does")
    ]
    assert ways.agree() == 21 + 16
    assert ways.native.by_planes == [4, 0]


def test_library_gives_other_prices_than_the_package(make_ways, make_item):
    ways = make_ways(proofs=10)
    ways.use(prices(make_item, 4))
    ways.double.set("double_lies", 1)
    try:
        ways.use(prices(make_item, 9))
        ways.use(prices(make_item, 3))
    finally:
        ways.double.set("double_lies", 0)
    assert ways.agree() == 16  # as the package has them
    assert ways.native.planes[0].off
    assert ways.native.by_planes == [2, 1]
    assert [sentence for _, sentence in ways.native.tell.said] == [
        "market data take the Python path from now on: the SDK's library gives a message otherwise than its package"
    ]


@pytest.mark.parametrize("flag", ["WITHOUT_CID", "WITHOUT_NAMES"])
def test_missing_symbol(make_double, tmp_path, flag):
    if flag == "WITHOUT_NAMES":
        other = make_double(tmp_path, "libother.so")
        other.set("double_names", 0)
        wanted = "gives no names"
    else:
        other = make_double(tmp_path, "libother.so", f"-D{flag}")
        wanted = "has no blpapi_Message_correlationId"
    with pytest.raises(Unusable, match=wanted):
        Library(other.path)


def test_optional_symbols_are_missing(make_double, tmp_path):
    other = make_double(tmp_path, "libolder.so", "-DWITHOUT_OPTIONAL")
    assert Library(other.path).path == other.path


@pytest.mark.parametrize("name", ["libblpapi3_64.so", "no\0name"])
def test_library_that_is_not_loaded(tmp_path, name):
    with pytest.raises(Unusable, match="not loaded"):
        Library(str(tmp_path / name))


def test_stand_in_gives_no_handles(ways, listening):
    way = ways.native
    assert (
        loaded.native_plane(blpapi, way.decoder, way.writer, way.python, tell=listening, now=NOW)
        is None
    )
    assert listening.said == [
        ("native", "market data take the Python path: the events of this blpapi give no handle")
    ]


PROGRAM = """
import ctypes, sys, types
from mdfeedd.feeds.bloomberg.moment import Now
from mdfeedd.feeds.bloomberg.native import loaded
from mdfeedd.feeds.bloomberg.native.decoder import Decoder, Staging
from mdfeedd.feeds.bloomberg.native.quick import QuickPlane
from mdfeedd.ring import Writer
held = [ctypes.CDLL(path) for path in sys.argv[2:]]
class Event:
    def _handle(self): ...
blpapi = types.SimpleNamespace(Event=Event)
tell = lambda kind, sentence, now, routine=False: print(sentence)
decoder = Decoder(Staging())
with Writer("w", directory=sys.argv[1]) as writer:
    plane = QuickPlane(decoder, tell)
    print(loaded.native_plane(blpapi, decoder, writer, plane, tell=tell, now=Now(1, 1)) is not None)
"""


def find(directory: str, *libraries: str) -> list[str]:
    """In a process of its own: libraries stay in one for good."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, directory, *libraries],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.splitlines()


def test_library_is_found_among_those_of_the_process(shm_dir, double, make_double, tmp_path):
    assert find(shm_dir, double.path) == [
        f"market data take the native path, by {double.path}", "True"
    ]  # fmt: skip
    none = "market data take the Python path: 0 libraries of the name libblpapi3 are loaded"
    assert find(shm_dir) == [none, "False"]
    another = make_double(tmp_path, "libblpapi3_64.so")
    assert find(shm_dir, double.path, another.path)[1] == "False"
    lacking = make_double(tmp_path, "libblpapi3_32.so", "-DWITHOUT_CID")
    said, ok = find(shm_dir, lacking.path)
    assert ok == "False"
    assert said.endswith("it has no blpapi_Message_correlationId")


def test_fields_are_of_those_that_the_decoder_looks_at():
    from mdfeedd.feeds.bloomberg.codec import fields

    assert set(FIELDS) == set(fields.OF_INTEREST) - set(fields.STATISTICS)
    head = FIELDS.index(fields.BID_TIMES[0])
    assert FIELDS[head:] == fields.BID_TIMES + fields.ASK_TIMES + fields.TRADE_TIMES
