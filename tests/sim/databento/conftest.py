"""A client without sockets that does what it is told, and reads what it gets by Databento's own decoder."""

from __future__ import annotations

import hashlib

import databento_dbn as db
import pytest
import zstandard

from mdfeedd.sim.databento import KEY, Close, HalfClose, Reset, Send, Stall

CONTROL = (0x15, 0x16, 0x17)
S = 1_000_000_000


class Caller:
    """`hear` takes the gateway's actions at a time, `run` all until a time."""

    def __init__(self, core, now_ns=None, peer=""):
        self.core = core
        self.now_ns = core.market.start_ns + 10 * S if now_ns is None else now_ns
        self.session = core.connect(self.now_ns, peer)
        self.account = core.sessions[-1]
        self.text = b""
        self.stream = bytearray()
        self.writes = []
        self.ends = []
        self.started = False
        self.zstd = False
        if self.session is not None:
            self.hear()

    def hear(self):
        for action in self.session.advance(self.now_ns):
            if isinstance(action, Send):
                assert not [e for e in self.ends if not isinstance(e, Stall)]
                self.writes.append(action.data)
                if self.started:
                    self.stream += action.data
                else:
                    self.text += action.data
            else:
                self.ends.append(action)

    def run(self, seconds=0.0):
        """As long as the gateway has something to do, up to so much later."""
        until_ns = self.now_ns + int(seconds * S)
        while (next_ns := self.session.next_ns) is not None and next_ns <= until_ns:
            self.now_ns = max(self.now_ns, next_ns)
            self.hear()
        self.now_ns = until_ns
        self.hear()
        return self

    def say(self, line):
        self.session.receive(line.encode() + b"\n", self.now_ns)
        self.hear()
        return self

    @property
    def lines(self):
        return [line.decode() for line in self.text.split(b"\n")]

    def answer(self, key=KEY):
        challenge = self.lines[1].split("|")[0].removeprefix("cram=")
        digest = hashlib.sha256(f"{challenge}|{key}".encode()).hexdigest()
        return f"{digest}-{key[-5:]}"

    def hello(self, key=KEY, **fields):
        fields = {"dataset": self.core.dataset, "encoding": "dbn", "ts_out": "0"} | fields
        self.zstd = fields.get("compression") == "zstd"
        rest = "|".join(f"{k}={v}" for k, v in fields.items())
        return self.say(f"auth={self.answer(key)}|{rest}")

    def subscribe(self, schema="mbp-1", symbols="ALL_SYMBOLS", stype="raw_symbol", **more):
        rest = "".join(f"|{k}={v}" for k, v in more.items())
        return self.say(f"schema={schema}|stype_in={stype}|symbols={symbols}{rest}")

    def start(self, line="start_session=0"):
        self.started = True
        return self.say(line)

    @property
    def dbn(self):
        if not self.zstd:
            return bytes(self.stream)
        return zstandard.ZstdDecompressor().decompressobj().decompress(bytes(self.stream))

    def decoded(self, policy=db.VersionUpgradePolicy.AS_IS):
        return db.DBNDecoder(upgrade_policy=policy).write_and_decode(self.dbn)

    def records(self, **how):
        """Market records of the stream, without ts_out."""
        metadata, *rest = self.decoded(**how)
        assert isinstance(metadata, db.Metadata)
        every = [raw(r, metadata.ts_out) for r in rest]
        return [r for r in every if r[1] not in CONTROL]

    def controls(self, kind):
        return [r for r in self.decoded()[1:] if isinstance(r, kind)]

    @property
    def ending(self):
        return [type(e) for e in self.ends]


def raw(record, ts_out):
    data = bytes(record)
    return bytes([data[0] - 2]) + data[1:-8] if ts_out else data


@pytest.fixture
def call():
    return Caller


@pytest.fixture
def endings():
    return {"close": [Close], "reset": [Reset], "half": [HalfClose], "stall": [Stall]}


@pytest.fixture(scope="session")
def market_bytes():
    """Databento's record, as the gateway's market had it."""
    return raw
