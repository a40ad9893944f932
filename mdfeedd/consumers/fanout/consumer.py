"""`FanoutConsumer`: rings into a hub, and the hub's server, in one event loop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mdfeedd.consumers.episode import Episode
from mdfeedd.consumers.event_loop import loop_factory
from mdfeedd.consumers.fanout.options import FanoutOptions
from mdfeedd.consumers.fanout.parts import RingNow
from mdfeedd.consumers.fanout.server import Hub, serve
from mdfeedd.consumers.layout import layout_in
from mdfeedd.ring import Reader, RingMissing
from mdfeedd.secret import Reference, SecretError, read_token
from mdfeedd.sinks import SinkError

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from mdfeedd.ring import RecordBatch

__all__ = ["FanoutConsumer"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.fanout")

ATTACH_RETRY_S: Final = 0.2  # how often a ring that does not exist yet is looked for
IDLE_S: Final = 0.05  # longest sleep: bounds the notice of `stop`
SETTLE_S: Final = 0.25  # how often counters are published
WARM_UP_S: Final = 5.0  # for what the rings hold, before the first client may come


def _require_websockets() -> None:
    try:
        import websockets  # noqa: F401, PLC0415  optional
    except ImportError as error:
        raise SinkError(
            "the fan-out needs the package websockets: pip install 'mdfeedd[fanout]'",
            retriable=False,
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class FanoutConsumer:
    """See the package. `name` is the consumer's name in the registry of each ring.

    `run` raises `OSError` when the address cannot be listened at, `SinkError` for a token that
    cannot be read and without the package websockets, and `RingError`.
    `port`, once it listens, is the one that it has.
    """

    Options: ClassVar[type[Any]] = FanoutOptions

    def __init__(
        self, name: str, options: FanoutOptions, rings: Sequence[str], directory: str
    ) -> None:
        self._name = name
        self._options = options
        self._rings = list(rings)
        self._directory = directory
        self._hub = Hub(options)
        self._warm: set[str] = set()
        self._halted = False
        self.port: Any = 0

    def run(self, stop: threading.Event) -> None:
        """Read and send until `stop` is set, or with follow off until all rings ended."""
        options = self._options
        _require_websockets()
        token = self._token()
        if not token and not _is_loopback(options.host):
            log.warning("whoever reaches %s may connect: there is no token", options.host or "it")
        self._halted = False
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._run(stop, token))

    def _token(self) -> str:
        """What clients must show; "" if nothing."""
        options = self._options
        where = Reference(options.token_credential, options.token_file, options.token_env)
        try:
            return read_token(where)
        except SecretError as error:
            raise SinkError(str(error), retriable=False) from None

    async def _run(self, stop: threading.Event, token: str) -> None:
        readers = {asyncio.create_task(self._read(ring, stop)) for ring in self._rings}
        server = None
        try:
            await self._warm_up(readers)
            server = await serve(self._hub, self._options, token)
            self.port = next(iter(server.sockets)).getsockname()[1]
            log.info("listening at ws://%s:%d/", self._options.host, self.port)
            while readers and not stop.is_set():
                done, readers = await asyncio.wait(
                    readers, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    await task  # raises what it raised
        finally:
            self._halted = True
            if server is not None:
                server.close()
                await server.wait_closed()
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _warm_up(self, readers: set[asyncio.Task[None]]) -> None:
        """Let the rings that are there be read to their ends, so that the first snapshot is whole."""
        end = time.monotonic() + WARM_UP_S
        while time.monotonic() < end and len(self._warm) < len(self._rings):
            done, _ = await asyncio.wait(
                readers, timeout=IDLE_S / 10, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return

    # ------------------------------------------------------------------------------------- one ring

    async def _read(self, name: str, stop: threading.Event) -> None:
        reader = await self._attach(name, stop)
        if reader is None:
            return
        lost = Episode(log, f"ring '{name}': %d records lost, the feed was faster")
        settle_at = 0.0
        life: tuple[bytes, int] | None = None
        with reader:
            while not (stop.is_set() or self._halted):
                batch = reader.read(self._options.batch_size, timeout=0)
                now = time.monotonic()
                lost.add(batch.lost, now)
                if (reader.ring_id, reader.epoch) != life:
                    life = (reader.ring_id, reader.epoch)
                    self._enter(name, reader, batch)
                if batch.lost:
                    self._hub.lapped(name, batch.lost)
                if now >= settle_at:
                    settle_at = now + SETTLE_S
                    self._settle(name, reader)
                if len(batch):
                    self._hub.publish(name, batch.records, batch.instruments)
                    reader.ack(batch.last_seq)
                    await asyncio.sleep(0)  # the senders
                    continue
                self._warm.add(name)
                if not self._options.follow and reader.ended:
                    break
                if not batch.lost:
                    lost.settle(now)
                    await reader.wait(IDLE_S)
            self._settle(name, reader)
            lost.settle(time.monotonic(), over=True)

    def _enter(self, name: str, reader: Reader, batch: RecordBatch) -> None:
        now = RingNow(name, reader.ring_id.hex(), reader.epoch)
        instruments = batch.instruments if len(batch) else reader.instruments
        self._hub.ring(now, instruments, batch.records.dtype)

    def _settle(self, name: str, reader: Reader) -> None:
        given = self._hub.given[name]
        counters = reader.counters
        counters.set("stored_records", given.records)
        counters.set("stored_bytes", given.bytes)
        counters.set("flushes", given.frames)
        counters.set("dropped_records", given.dropped)
        counters.set("pending_records", self._hub.pending(name))

    async def _attach(self, name: str, stop: threading.Event) -> Reader | None:
        """Open the ring, once it exists; None if it is not waited for any more."""
        give_up = time.monotonic() + self._options.wait_s
        while not (stop.is_set() or self._halted):
            try:
                dtype, _ = layout_in(name, self._directory)
                return Reader(
                    name,
                    start="oldest",  # for the snapshot; nobody is connected yet
                    consumer=self._name,
                    dtype=dtype,
                    follow=self._options.follow,
                    directory=self._directory,
                )
            except RingMissing:
                self._warm.add(name)
                if not self._options.follow and time.monotonic() >= give_up:
                    log.warning("never appeared: ring '%s'", name)
                    return None
            await asyncio.sleep(ATTACH_RETRY_S)
        return None


if TYPE_CHECKING:
    from mdfeedd.consumers.protocol import Consumer

    _conforms: type[Consumer] = FanoutConsumer
