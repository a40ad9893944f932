"""TCP between a Databento feed and its gateway, on virtual time: cuts, delays, resets, silence.

::

    Session.advance ─► Send, Close, Reset ─► in flight (delay, cut anywhere) ─► far ══ socketpair ══ near ─► the feed
          ▲                                                                                                 │
          └──────────────────────────── in flight ◄── send ─────────────────────────────────────────────────┘

The bytes that arrive lie in a real socket, so the pump reads them as it does in earnest. What the process took is
known to the byte, and it is the truth that the checker goes by: what was sent and never taken came to nobody.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.feeds.databento.session import _pump
from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.sim.databento.stream import Close, HalfClose, Reset, Send

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from mdfeedd.sim.databento.account import SessionAccount
    from mdfeedd.sim.databento.core import GatewayCore
    from mdfeedd.sim.databento.session import Session
    from mdfeedd.sim.whole.world import World

__all__ = ["Connection", "Net", "stand_ins"]

NS: Final = 1_000_000_000
RECEIVE_S: Final = 0.5
"""In the place of the socket's receive time-out, which nothing but a stop and the heartbeat goes by."""
DIAL_NS: Final = 30_000_000
MOST_PIECES: Final = 4
WINDOW_BYTES: Final = 6144
"""So much at most lies in the socket: no receive makes more ticks than a small ring holds."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network is. delay: one way, at most; jitter, pieces: of what is sent at once."""

    delay_ns: int
    jitter_ns: int
    pieces: int

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """From a network that nobody notices to one that is felt."""
        return cls(
            rng.choice((0, 200_000, 5_000_000, 40_000_000)),
            rng.choice((0, 100_000, 20_000_000)),
            rng.choice((1, 1, 2, MOST_PIECES)),
        )


class Connection:
    """One connection over its whole life, and what the process took of it.

    opened_ns: when the gateway began to send of a schema and instrument. `taken`: bytes that the process took; of
    the last of them, from `sure` on, nobody can say whether they were decoded, should it have been killed.
    """

    def __init__(self, net: Net, session: Session | None, account: SessionAccount) -> None:
        self.account = account
        self.session = session
        self.stream: bytearray = bytearray()
        self.taken: int = 0
        self.sure: int = 0
        self.shaken: int = 0  # bytes that were taken before the pump took over
        self.opened_ns: dict[tuple[str, int], int] = {}
        self.life = 0
        self.dialled_ns: int = net.world.now_ns
        self.left_ns: int = 2**62  # when the process had no more of it
        self.died: bool = False  # with its process
        self.closed: bool = False  # by the process
        self.over: bool = False  # nothing arrives any more
        self._net = net
        self._world = net.world
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        # numbered in the order in which they left
        self._in_flight: deque[tuple[int, Any]] = deque()
        self._sent = 0
        self._held = bytearray()  # arrived, and no room for it
        self._arrives_ns = 0
        self._parts: deque[bytes] = deque()  # of what the process has sent, under way
        self._heard_ns = 0
        self._held_until_ns = 0
        self._wake = 0

    # the gateway's side

    def turn(self) -> None:
        """Let the gateway do what is due, and come back when there is more."""
        session = self.session
        if session is None:
            return
        now_ns = self._world.now_ns
        for action in session.advance(now_ns):
            self._act(action)
        for schema, flow in session.flows.items():
            for instrument_id in flow.instrument_ids:
                self.opened_ns.setdefault((schema, instrument_id), now_ns)
        self._wake += 1
        next_ns = session.next_ns
        if next_ns is not None and not session.is_ended:
            wake = self._wake
            self._world.at(next_ns, "", lambda: self._again(wake))

    def _again(self, wake: int) -> None:
        if wake == self._wake:
            self.turn()

    def _act(self, action: Any) -> None:
        if isinstance(action, Send):
            for piece in self._net.cut(action.data):
                self._fly(piece)
        elif isinstance(action, Reset):
            self._net.note(f"the gateway resets connection {self.account.number}")
            if self._net.rng.random() < 0.5:
                self._in_flight.clear()  # it overtakes what is under way
            self._fly(action)
        elif isinstance(action, Close | HalfClose):
            self._net.note(f"the gateway closes connection {self.account.number}")
            self._fly(action)

    def _fly(self, what: Any) -> None:
        delay_ns = self._net.delay_ns()
        self._arrives_ns = max(self._arrives_ns, self._world.now_ns + delay_ns, self._held_until_ns)
        self._sent += 1
        number = self._sent
        self._in_flight.append((number, what))
        self._world.at(self._arrives_ns, "", lambda: self._arrive(number))

    def _arrive(self, number: int) -> None:
        if self.over or not self._is_in_flight(number):
            return
        if self._world.now_ns < self._held_until_ns:
            self._world.at(self._held_until_ns, "", lambda: self._arrive(number))
            return
        while self._is_in_flight(number):
            self._land(self._in_flight.popleft()[1])

    def _is_in_flight(self, number: int) -> bool:
        """Nor did one that was sent after it land: they come in order."""
        return bool(self._in_flight) and self._in_flight[0][0] <= number

    def _land(self, what: Any) -> None:
        if self.over or self.closed:
            return
        if isinstance(what, bytes):
            self.stream += what
            self._held += what
            self._fill()
        elif isinstance(what, Reset):
            self._reset()
        else:
            self.over = True
            self._fill()

    def _fill(self) -> None:
        """Into the socket, as far as there is room."""
        room = self._net.window_bytes - (len(self.stream) - len(self._held) - self.taken)
        if self._held and room > 0:
            with contextlib.suppress(BlockingIOError):  # full of small pieces: when some were taken
                del self._held[: self._far.send(self._held[:room])]
        if self.over and not self._held:
            with contextlib.suppress(OSError):
                self._far.shutdown(socket.SHUT_WR)

    def _reset(self) -> None:
        self.over = True
        if self._held:  # there was no room for it yet
            del self.stream[-len(self._held) :], self._held[:]
        with contextlib.suppress(OSError):
            self._near.send(b"!")  # unread at the other end, whose close is a reset then
        self._far.close()

    # the network's

    def cut_off(self) -> None:
        """A reset by something in between; what is under way is lost, and the gateway hears of it, too."""
        if self.over or self.closed:
            return
        self._net.note(f"connection {self.account.number} is cut")
        self._in_flight.clear()
        self._reset()
        self._lose("reset by the network")

    def hold(self, seconds: float) -> None:
        """Nothing arrives for so long."""
        self._held_until_ns = max(self._held_until_ns, self._world.now_ns + round(seconds * NS))

    def release(self) -> None:
        """What was held arrives now."""
        self._held_until_ns = 0

    def _lose(self, why: str) -> None:
        if self.session is not None and not self.session.is_ended:
            self.session.lost(why)

    # the process's side

    @property
    def is_quiet(self) -> bool:
        """Nothing is under way, and all that has arrived was taken."""
        return not self._in_flight and self.taken == len(self.stream)

    def ready(self) -> bool:
        """Whether a receive would return at once."""
        return self.taken < len(self.stream) or self.over

    def fileno(self) -> int:
        """Of the near end."""
        return self._near.fileno()

    def recv(self, size: int) -> bytes:
        """As of a socket with a receive time-out. Whoever comes back for more has done with what there was."""
        self.sure = self.taken
        self._world.pause(RECEIVE_S, self.ready)
        data = self._near.recv(size)
        self.took(self.taken + len(data), sure=False)
        self.shaken = self.taken
        return data

    def took(self, taken: int, *, sure: bool) -> None:
        """So many bytes were received in all."""
        self.sure = taken if sure else self.taken
        self.taken = taken
        if self._held:
            self._fill()

    def send(self, data: bytes | bytearray, _flags: int = 0) -> int:
        """All of it, or a part."""
        if self.over:
            raise ConnectionResetError(104, "Connection reset by peer")
        size = self._net.rng.randint(1, len(data)) if self._net.weather.pieces > 1 else len(data)
        part = bytes(data[:size])
        self._heard_ns = max(self._heard_ns, self._world.now_ns + self._net.delay_ns())
        self._parts.append(part)
        self._world.at(self._heard_ns, "", self._hear)
        return size

    def _hear(self) -> None:
        part = self._parts.popleft()
        if self.session is not None and not self.session.is_ended:
            self.session.receive(part, self._world.now_ns)
            self.turn()

    def close(self) -> None:
        """By the process, or by the kernel in its stead."""
        if self.closed:
            return
        self.closed = True
        self.left_ns = self._world.now_ns
        if not self.died and self.taken == self.shaken:  # no pump has some of it yet
            self.sure = self.taken
        self._near.close()
        self._far.close()
        self._lose("the client closed")
        self._net.forget(self)

    def die(self) -> None:
        """The process is gone."""
        self.died = not self.closed
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Net:
    """The gateway's host and the way there."""

    def __init__(
        self, world: World, core: GatewayCore, rng: random.Random, who: str, *, packed: bool
    ) -> None:
        self.window_bytes: int = WINDOW_BYTES // 6 if packed else WINDOW_BYTES
        self.world = world
        self.core = core
        self.rng = rng
        self.weather: Weather = Weather.drawn(rng)
        self.connections: list[Connection] = []
        self.down_until_ns: int = 0
        self.by_number: dict[int, Connection] = {}
        self._open: dict[int, Connection] = {}  # by descriptor
        self._who = who

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.world.note(self._who, text)

    @property
    def connection(self) -> Connection | None:
        """The present one."""
        return next(reversed(self._open.values()), None)

    def of(self, descriptor: int) -> Connection:
        """The connection of a descriptor."""
        return self._open[descriptor]

    def delay_ns(self) -> int:
        """Of something sent now."""
        weather = self.weather
        return weather.delay_ns + (
            self.rng.randrange(weather.jitter_ns) if weather.jitter_ns else 0
        )

    def cut(self, data: bytes) -> list[bytes]:
        """In pieces, cut anywhere."""
        n = self.rng.randint(1, self.weather.pieces)
        ends = sorted({self.rng.randint(1, len(data)) for _ in range(n - 1)} | {len(data)})
        return [data[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def dial(self) -> Connection | None:
        """A connection; None if the host cannot be reached."""
        if self.world.now_ns < self.down_until_ns:
            return None
        session = self.core.connect(self.world.now_ns)
        account = self.core.sessions[-1]
        made = Connection(self, session, account)
        process = self.world.processes.get(self._who)
        made.life = 0 if process is None else process.life
        self.connections.append(made)
        self._open[made.fileno()] = made
        if session is None:
            made._land(Close())  # noqa: SLF001 - accepted, and closed at once
        else:
            made.turn()
        return made

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        for descriptor in [d for d, one in self._open.items() if one is connection]:
            del self._open[descriptor]

    def die(self) -> None:
        """The process that had all connections is gone."""
        for connection in list(self._open.values()):
            connection.die()

    def heal(self) -> None:
        """From now on it is a good network."""
        self.down_until_ns = 0
        self.weather = Weather(200_000, 0, 1)
        for connection in self._open.values():
            connection.release()


def stand_ins(net: Net) -> tuple[type[Any], type[Any]]:
    """For the feed's `Attempt` and for its `Pump`."""
    world = net.world

    class Attempt:
        """A connect that takes its time."""

        def __init__(self, _host: str, _port: int, _receive_buffer_bytes: int) -> None:
            self._found: list[Connection | None] = []
            self._given_up = False
            world.at(world.now_ns + net.rng.randrange(DIAL_NS), "", self._dial)

        def _dial(self) -> None:
            if not self._given_up:
                self._found.append(net.dial())

        def wait(self, timeout_s: float) -> bool:
            return world.pause(max(timeout_s, RECEIVE_S), lambda: bool(self._found))

        def result(self) -> Connection:
            found = self._found.pop()
            if found is None:
                raise SessionEnd(Ending.UNREACHABLE, "the gateway cannot be reached (simulated)")
            return found

        def give_up(self) -> None:
            self._given_up = True
            for found in self._found:
                if found is not None:
                    found.close()

    class Pump(_pump.Pump):
        """Waits on virtual time, and then receives once, really."""

        def __new__(cls, decoder: Any, writer: Any, bars: Any = None, *, spin_ns: int = 0) -> Any:
            del spin_ns
            return super().__new__(cls, decoder, writer, bars, clock=_clock(world))  # type: ignore[call-arg]

        def __init__(self, *_: Any, **__: Any) -> None:
            self._has_more = False

        def run(self, fd: int, max_ns: int) -> int:
            connection = net.of(fd)
            if not self._has_more:
                world.pause(max(max_ns / NS, RECEIVE_S), connection.ready)
            before = self.received_bytes
            self._has_more = True
            try:
                why = super().run(fd, 0)
                self._has_more = why == _pump.EVENT
            finally:
                if self.received_bytes != before or not self._has_more:
                    connection.took(
                        connection.shaken + self.received_bytes, sure=not self._has_more
                    )
            return why

    return Attempt, Pump


def _clock(world: World) -> Callable[[], tuple[int, int]]:
    return lambda: (world.monotonic_ns, world.wall_ns)
