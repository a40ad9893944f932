"""One connection to the gateway: lines in, then what was subscribed to, out.

    connected ─► greeted ─► challenged ─► authenticating ─► authenticated ─► (subscribed) ─► started ─► described
                                               │ bad key                                       stream until the end

Whatever the client sends waits until it is the gateway's turn: above ten subscriptions a second they are
served later, not refused. Sans-IO; times are the caller's.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.databento import layouts
from mdfeedd.sim.databento.account import Control, Request, Sent
from mdfeedd.sim.databento.events import fire
from mdfeedd.sim.databento.flow import Flow
from mdfeedd.sim.databento.instruments import STYPES, Instrument
from mdfeedd.sim.databento.requests import (
    RequestError,
    parse_line,
    proven_key,
    refusal,
    subscription,
)
from mdfeedd.sim.databento.stream import Close, HalfClose, Reset, Stall, Wire

if TYPE_CHECKING:
    import random

    from mdfeedd.sim.databento.account import SessionAccount
    from mdfeedd.sim.databento.core import GatewayCore
    from mdfeedd.sim.databento.script import Fault
    from mdfeedd.sim.databento.stream import Action
    from mdfeedd.sim.databento.timeline import Record

__all__ = ["LSG_VERSION", "Session"]

LSG_VERSION: Final = "0.9.4"
HEARTBEAT_S: Final = 30
MAX_LINE_BYTES: Final = 65_536
MAX_LINES: Final = 10_000  # that wait
_NS_PER_S: Final = 1_000_000_000
_FOREVER_NS: Final = 2**62
_INVALID: Final = 5
_AGED_OUT: Final = 8
_UNRESOLVED: Final = 4
_SKIPPED: Final = 7
_ACK: Final = 1
MAX_RUNS_AHEAD: Final = 100  # of a flood's market, for one portion of records
_REPLAYED: Final = 3


class Session:
    """Made by `GatewayCore.connect`."""

    def __init__(self, core: GatewayCore, account: SessionAccount, now_ns: int) -> None:
        self.core = core
        self.account = account
        self.rng: random.Random = core.rng(account, "session")
        faults = core.script.of(account.number)
        self.modes: dict[str, Fault] = {fault.kind: fault for fault in faults if fault.is_mode}
        self.pending: list[Fault] = [fault for fault in faults if not fault.is_mode]
        sizes = {kind: fault.size for kind, fault in self.modes.items()}
        self.wire: Wire = Wire(
            account, sizes, core.rng(account, "wire"), keep=core.habits.keep_sent
        )
        self.now_ns: int = now_ns
        self.stage: str = ""
        self.records: int = 0  # market records so far
        self.replayed: int = 0
        self.skip_left: int = 0
        self.omit_left: int = 0
        self.flows: dict[str, Flow] = {}
        self.last_raw: bytes = b""
        self._challenge = f"{self.rng.randrange(2**128):032x}"
        self._input = b""
        self._lines: collections.deque[bytes] = collections.deque()
        self._chunks: list[dict[str, str]] = []
        self._requests: list[Request] = []
        self._refusals: list[str] = []
        self._mappings: list[tuple[int, tuple[int, str], str]] = []
        self._served_ns: collections.deque[int] = collections.deque(
            maxlen=core.habits.max_subscriptions_per_s
        )
        self._quiet_until_ns = 0
        self._started_ns = 0
        self._open_ns = 0  # when the next subscription begins
        self._spoke_ns = now_ns
        self._flush_ns = 0
        self._restarts = core.restarts
        self._heartbeat_ns = HEARTBEAT_S * _NS_PER_S

    # what the shell calls

    def receive(self, data: bytes, now_ns: int) -> None:
        """Bytes from the client; b"" is its end, after which it is not waited for."""
        self.now_ns = max(self.now_ns, now_ns)
        if not data:
            self.lost("the client closed")
            return
        *lines, self._input = (self._input + data).split(b"\n")
        self._lines.extend(lines)
        if len(self._input) > MAX_LINE_BYTES or len(self._lines) > MAX_LINES:
            self._input = b""
            self._lines.clear()
            self.end(Close(), "the client's lines are too long or too many")

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if not self.account.ended:
            self.account.ended, self.account.ended_ns = why, self.now_ns
        self.core.leave(self.account)

    def advance(self, now_ns: int) -> list[Action]:
        """What is to be done now, in order."""
        self.now_ns = max(self.now_ns, now_ns)
        if not self.is_ended and self._restarts != self.core.restarts:
            self.end(Close(), "weekly restart")
        if not self.is_stopped:
            self._serve()
        if not self.is_stopped and self.is_streaming:
            self._play()
        if not self.is_stopped:
            self._flush_in_time()
        actions, self.wire.actions = self.wire.actions, []
        return actions

    @property
    def next_ns(self) -> int | None:
        """When to call `advance` though nothing was received; None: not at all."""
        if self.is_ended:
            return None
        if self._restarts != self.core.restarts:
            return self.now_ns
        if self.now_ns < self._quiet_until_ns:
            return self._quiet_until_ns if self._quiet_until_ns < _FOREVER_NS else None
        if not self.stage or (self._lines and self._may_serve_ns() <= self.now_ns):
            return self.now_ns
        times = [self._may_serve_ns()] if self._lines else []
        if self.is_streaming:
            times += self._stream_times()
        return max(self.now_ns, min(times)) if times else None

    def _stream_times(self) -> list[int]:
        times = [self._spoke_ns + self._heartbeat_ns]
        times += [
            self._started_ns + int(f.after_s * _NS_PER_S)
            for f in self.pending
            if f.after_s is not None
        ]
        if self._flush_ns:
            times.append(self._flush_ns)
        if self._requests:
            times.append(self._open_ns)
        if self._is_limited:
            return times
        market_ns = self.core.market.next_ns
        if self.flows and market_ns is not None:
            times.append(self.now_ns if self.core.habits.flood else market_ns)
        due_ns = (flow.due_ns for flow in self.flows.values())
        return times + [at_ns for at_ns in due_ns if at_ns is not None]

    @property
    def is_ended(self) -> bool:
        """Whether the gateway is through with it."""
        return bool(self.account.ended)

    @property
    def is_stopped(self) -> bool:
        """Whether nothing may be sent now."""
        return self.is_ended or self.now_ns < self._quiet_until_ns

    @property
    def is_streaming(self) -> bool:
        """Whether records flow."""
        return self.stage == "described"

    @property
    def seconds(self) -> float:
        """Since the start of the stream."""
        return (self.now_ns - self._started_ns) / _NS_PER_S

    # what ends or interrupts it

    def end(self, action: Action, why: str) -> None:
        """The last action."""
        self.wire.end(action)
        self.account.ended = "half-closed" if isinstance(action, HalfClose) else why
        self.account.ended_ns = self.now_ns
        if not isinstance(action, HalfClose):
            self.core.leave(self.account)

    def quiet(self, seconds: float) -> None:
        """Nothing is sent for so long; 0: ever more."""
        self.wire.flush()
        self.wire.actions.append(Stall())
        span_ns = int(seconds * _NS_PER_S)
        self._quiet_until_ns = self.now_ns + span_ns if span_ns else _FOREVER_NS

    def _reach(self, stage: str, part: bytes = b"") -> bool:
        """At a stage: its faults. `part` is what would be said next. False if it goes no further now."""
        self.stage = stage
        for fault in [f for f in self.pending if f.at == stage]:
            self.pending.remove(fault)
            self.fire(fault, part)
        return not self.is_ended and self.now_ns >= self._quiet_until_ns

    def fire(self, fault: Fault, part: bytes = b"") -> None:
        """Let a fault happen."""
        if not self.is_ended:
            self.account.faults.append(fault.kind)
            fire(self, fault, part)

    # the handshake

    def _serve(self) -> None:
        """Say and answer as far as it goes."""
        if not self.stage and not self._reach("connected", b"lsg_version=0"):
            return
        if self.stage == "connected":
            self.wire.text(f"lsg_version={LSG_VERSION}")
            if not self._reach("greeted", b"cram=abc"):
                return
        if self.stage == "greeted":
            self.wire.text(f"cram={self._challenge}")
            if not self._reach("challenged"):
                return
        while self._lines and not self.is_stopped and self._may_serve_ns() <= self.now_ns:
            line = self._lines.popleft()
            try:
                if not self._take(parse_line(line)):
                    self._lines.appendleft(line)  # a fault is in the way: again when it is over
            except RequestError as error:
                self._refuse(str(error))

    def _may_serve_ns(self) -> int:
        """When the next line's turn is: subscriptions are served at a limited rate."""
        limit = self.core.habits.max_subscriptions_per_s
        if not self._lines[0].startswith(b"schema=") and b"|schema=" not in self._lines[0]:
            return 0
        return self._served_ns[0] + _NS_PER_S if len(self._served_ns) == limit else 0

    def _take(self, fields: dict[str, str]) -> bool:
        """A line's turn. False if a fault at the stage that it leads to lets it wait."""
        if not fields:
            return True
        if self.stage in ("challenged", "authenticating"):
            taken = self._authenticate(fields)
        elif "schema" in fields:
            taken = self._subscribe(fields)
        elif "start_session" in fields and not self.is_streaming:
            taken = self._start()
        else:
            raise RequestError("Invalid subscription: a line that is none")
        if taken:
            told = {key: value for key, value in fields.items() if key != "auth"}
            self.account.lines.append(told)
        return taken

    def _authenticate(self, fields: dict[str, str]) -> bool:
        if self.stage == "challenged":
            self.account.handshake = {k: v for k, v in fields.items() if k != "auth"}
            if not self._reach("authenticating", b"success=1|sess"):
                return False
        key = proven_key(fields.get("auth", ""), self._challenge, self.core.keys)
        bad = self.modes.get("bad_key")
        if bad is not None or not key:
            text = bad.text if bad is not None and bad.text else "Authentication failed."
            self._dismiss(text)
            return True
        why = refusal(fields, self.core.dataset)
        if why:
            self._dismiss(why)
        elif not self.core.admit(self.account):
            self._dismiss("User has reached their open connection limit")
        else:
            self.wire.text(f"success=1|session_id={self.account.session_id}")
            self._reach("authenticated")
        return True

    def _dismiss(self, why: str) -> None:
        self.wire.text(f"success=0|error={why}")
        self.end(Close(), f"not admitted: {why}")

    # subscriptions

    def _subscribe(self, fields: dict[str, str]) -> bool:
        if self.stage == "authenticated" and not self._reach("subscribed"):
            return False
        self._served_ns.append(self.now_ns)
        self._chunks.append(fields)
        if fields.get("is_last", "1") != "1":
            return True
        chunks, self._chunks = self._chunks, []
        late = self.is_streaming
        request = subscription(chunks, self.core.market.schemas, late=late)
        self.account.requests.append(request)
        if late and not self._requests:
            self._open(request)
        else:  # in the order in which they came
            self._requests.append(request)
        return True

    def _refuse(self, why: str) -> None:
        """Of an invalid line: told in the stream, at its start if there is none yet."""
        if self.is_streaming:
            self.error(_INVALID, why, is_fatal=True)
        elif self.stage in ("challenged", "authenticating"):
            self._dismiss(why)
        else:
            self._refusals.append(why)

    def _start(self) -> bool:
        """The metadata, and what was subscribed to."""
        fields, habits = self.account.handshake, self.core.habits
        version = self.modes["version"].code if "version" in self.modes else habits.version
        wire = self.wire
        wire.version = self.account.version = min(version, layouts.LATEST)
        wire.ts_out = fields.get("ts_out") == "1"
        wire.is_json = fields.get("encoding") == "json"
        wire.pretty = fields.get("pretty_px") == "1", fields.get("pretty_ts") == "1"
        data = layouts.metadata(
            self.core.dataset,
            version=version,
            start_ns=self.now_ns if habits.start_is_now else 0,
            ts_out=wire.ts_out,
        )
        if self.stage != "started" and not self._reach("started", data):
            return False
        if version > layouts.LATEST:
            self.account.broken_at = 0
        if fields.get("compression") == "zstd":
            wire.compress()
        if not wire.is_json:
            wire.loose(data)
        self._heartbeat_ns = _heartbeat_ns(fields, habits.heartbeat_s)
        self._started_ns = self._spoke_ns = self.now_ns
        self._open_ns = self.now_ns + self._late_ns
        if self._reach("described"):
            self._open_all()
        return True

    def _open_all(self) -> None:
        if self._refusals:
            self.error(_INVALID, self._refusals[0], is_fatal=True)
        while self._requests and not self.is_ended and self.now_ns >= self._open_ns:
            self._open_ns += self._late_ns
            self._open(self._requests.pop(0))

    @property
    def _late_ns(self) -> int:
        """What a subscription waits for after the metadata, or after the one before."""
        late = self.modes.get("late_open")
        return int(late.seconds * _NS_PER_S) if late is not None else 0

    def _open(self, request: Request) -> None:
        """Acknowledge a subscription, map its symbols, begin its flow."""
        market_ns = self.core.market_ns(self.now_ns)
        start_ns = None if request.late else request.start_ns
        timeline = self.core.market.timeline(request.schema)
        if start_ns is not None and self._is_too_old(start_ns, market_ns, request.schema):
            self.error(_AGED_OUT, f"Replay data aged out for {request.schema}", is_fatal=True)
            return
        if "no_ack" not in self.modes:
            text = f"Subscription request {request.id} for {request.schema} data succeeded"
            self.system(_ACK, text.replace("  ", " "))
        found: dict[int, Instrument] = {}
        for symbol in request.symbols:
            resolved = self.core.market.symbols.resolve(request.stype, symbol)
            if not resolved:
                self.error(_UNRESOLVED, f"Failed to resolve symbol: {symbol}", is_fatal=False)
            for item in resolved:
                found[item.instrument_id] = item
                self._map(item, STYPES[request.stype], symbol)
        flow = self.flows.get(request.schema)
        if flow is None:
            flow = self.flows[request.schema] = Flow(timeline, market_ns)
        new = flow.add(found, start_ns, market_ns)
        if request.snapshot:
            flow.snapshot.extend(self.core.market.snapshot(new, market_ns))

    def _is_too_old(self, start_ns: int, market_ns: int, schema: str) -> bool:
        if "aged_out" in self.modes:
            return True
        timeline = self.core.market.timeline(schema)
        oldest_ns = market_ns - int(self.core.habits.replay_s * _NS_PER_S)
        if timeline.first:
            oldest_ns = max(oldest_ns, timeline[timeline.first].due_ns)
        return 0 < start_ns < oldest_ns

    def _map(self, item: Instrument, stype: int, symbol: str) -> None:
        """Tell what an instrument_id stands for: now, or late if a fault says so."""
        name = self.core.renamed.get(item.instrument_id, item.raw_symbol)
        self.wire.symbols[item.instrument_id] = name
        late = self.modes.get("data_before_mapping")
        if late is not None and self.records < late.count:
            self._mappings.append((item.instrument_id, (stype, symbol), name))
        else:
            self.mapping(item.instrument_id, (stype, symbol), name)

    # the stream

    def _play(self) -> None:
        """Faults that are due, records, and a heartbeat if there was nothing for long."""
        if (
            self._requests or self._refusals
        ):  # it is not their time yet, or a fault kept them from it
            self._open_all()
        self._fire_due()
        budget = self.core.habits.chunk_records
        if self.core.habits.flood and not self._is_limited:
            self._flood(budget)
        market_ns = self.core.market_ns(self.now_ns)
        for flow in list(self.flows.values()):
            if not self.is_stopped:
                budget -= self._pump(flow, budget, market_ns)
        self._fire_due()
        if not self.is_stopped and self.now_ns - self._spoke_ns >= self._heartbeat_ns:
            self.system(0, "Heartbeat")

    def _flood(self, wanted: int) -> None:
        """Have the market go on until there is enough."""
        for _ in range(MAX_RUNS_AHEAD):
            waiting = sum(len(flow.timeline) - flow.position for flow in self.flows.values())
            if waiting >= wanted or not self.flows or not self.core.run_ahead(wanted):
                break

    @property
    def _is_limited(self) -> bool:
        limit = self.core.habits.limit_records
        return limit is not None and self.records >= limit

    def _pump(self, flow: Flow, budget: int, market_ns: int) -> int:
        """Up to so many records of a schema that are due; returns how many."""
        done = 0
        self.account.forgotten += flow.catch_up()
        while flow.snapshot and done < budget and not self._is_limited:
            self._fire_due()
            if self.is_stopped:
                return done
            self._deliver(flow.snapshot.popleft(), snapshot=True)
            done += 1
        while not flow.snapshot and done < budget and not self._is_limited:
            if flow.has_replay and not flow.is_complete and not flow.is_replaying:
                flow.is_complete = True
                self.system(_REPLAYED, f"Finished {flow.timeline.schema} replay")
            if flow.next_ns is None or flow.next_ns > market_ns:
                break
            record = flow.timeline[flow.position]
            if flow.wants(record):
                self._fire_due()
                if self.is_stopped:
                    return done
                self._deliver(record, replayed=flow.is_replaying)
                done += 1
            flow.position += 1
        return done

    def _fire_due(self) -> None:
        for fault in list(self.pending):
            if self.is_stopped:
                break
            if fault.due(self.records, self.replayed, self.seconds):
                self.pending.remove(fault)
                self.fire(fault)

    def _deliver(self, record: Record, *, replayed: bool = False, snapshot: bool = False) -> None:
        """A market record on its way, or in the account of what is left out."""
        if replayed and "other_replay" in self.modes:
            record = _later(record, self.modes["other_replay"].size)
        sent = Sent(
            record.raw, record.schema, replayed, record.index_ns, record.instrument_id, snapshot
        )
        is_live = not replayed and not snapshot
        if self.omit_left and replayed:
            self.omit_left -= 1
            self.account.omitted.append(sent)
            return
        if self.skip_left and is_live and record.schema in layouts.SKIPPABLE:
            self.skip_left -= 1
            self.account.skipped.append(sent)
            if not self.skip_left:
                self.error(_SKIPPED, "Skipped records after slow reading", is_fatal=False)
            return
        self.last_raw = record.raw
        self.wire.market(record.raw, sent, self.now_ns)
        self._spoke()
        self.records += 1
        self.replayed += replayed
        if self._mappings and self.records >= self.modes["data_before_mapping"].count:
            mappings, self._mappings = self._mappings, []
            for waiting in mappings:
                self.mapping(*waiting)

    def _spoke(self) -> None:
        self._spoke_ns = self.now_ns

    def _flush_in_time(self) -> None:
        """What is not compressed goes at once, the rest in the rhythm of the gateway's habits."""
        habits, wire = self.core.habits, self.wire
        if not wire.is_compressed or not habits.flush_s or wire.waiting >= habits.flush_records:
            wire.flush()
        elif wire.waiting and not self._flush_ns:
            self._flush_ns = self.now_ns + int(habits.flush_s * _NS_PER_S)
        elif self.now_ns >= self._flush_ns:
            wire.flush()
        if not wire.waiting:
            self._flush_ns = 0

    def _note(self, kind: str, code: int, text: str) -> None:
        self.account.controls.append(Control(kind, code, text, self.records))
        self._spoke()

    def system(self, code: int, text: str) -> None:
        """A system message."""
        self.wire.control(layouts.system(self.now_ns, code, text, self.wire.version), self.now_ns)
        self._note("system", code, text)

    def error(self, code: int, text: str, *, is_fatal: bool) -> None:
        """An error; a fatal one ends the session."""
        raw = layouts.error(self.now_ns, code, text, version=self.wire.version)
        self.wire.control(raw, self.now_ns)
        self._note("error", code, text)
        if is_fatal:
            self.end(Close(), f"error {code}: {text}")

    def mapping(self, instrument_id: int, asked: tuple[int, str], raw_symbol: str) -> None:
        """What an instrument_id stands for."""
        raw = layouts.mapping(self.now_ns, instrument_id, asked, raw_symbol, self.wire.version)
        self.wire.control(raw, self.now_ns)
        self._note("mapping", instrument_id, raw_symbol)

    def stray(self, raw: bytes) -> None:
        """A record that is no market record, and maybe none at all."""
        if self.wire.is_json:
            self.wire.loose(b'{"hd":{"rtype":%d}}\n' % raw[1])
        else:
            self.wire.control(raw, self.now_ns)
        self._spoke()

    def destroy(self, data: bytes) -> None:
        """Bytes after which the stream cannot be read."""
        self.wire.loose(data + b"\n" if self.wire.is_json else data)
        if self.account.broken_at is None:
            self.account.broken_at = self.records
            self.account.controls_until = len(self.account.controls)
        self._spoke()

    def mapped(self) -> list[int]:
        """The instruments of all subscriptions."""
        return sorted({i for flow in self.flows.values() for i in flow.instrument_ids})

    def close(self, *, part: bytes = b"", reset: bool = False) -> None:
        """FIN or RST, perhaps in the middle of something."""
        if part:
            self.wire.part(part)
        self.end(Reset() if reset else Close(), "reset" if reset else "closed")


def _later(record: Record, by_ns: int) -> Record:
    """The same, received a little later."""
    values = layouts.unpack(record.raw)
    if "ts_recv" not in values:
        return record
    values["ts_recv"] += by_ns
    raw = layouts.pack(record.raw[1], values)
    return record._replace(raw=raw, index_ns=record.index_ns + by_ns)


def _heartbeat_ns(fields: dict[str, str], override_s: float | None) -> int:
    if override_s is not None:
        return int(override_s * _NS_PER_S)
    return int(fields.get("heartbeat_interval_s", HEARTBEAT_S)) * _NS_PER_S
