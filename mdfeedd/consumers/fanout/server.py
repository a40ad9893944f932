"""The WebSocket server: connections, their tokens, messages and senders. One event loop.

    HTTP request ─► admit: path, origin, token, max_clients ─► handshake ─► Client
    Client: messages ─► wants ─► snapshot of what is new ─┐
            Hub.publish ─► Filter ─► Part ────────────────┴─► Backlog ─► sender ─► socket

A sender waits when its client's socket is full, and only it: the others and the rings go on, and the
client's backlog is conflated.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import socket
import urllib.parse
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.consumers.fanout.backlog import Backlog
from mdfeedd.consumers.fanout.parts import Encoder, Lapped, Part, RingNow
from mdfeedd.consumers.fanout.snapshot import Snapshot
from mdfeedd.consumers.fanout.wants import (
    MAX_WILD,
    BadMessage,
    Command,
    Filter,
    is_wild,
    parse,
    parse_query,
)
from mdfeedd.sinks.jsontext import JsonText

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

    from mdfeedd.consumers.fanout.options import FanoutOptions
    from mdfeedd.ring import Instruments

    Records = npt.NDArray[np.void]

__all__ = ["Hub", "serve"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.fanout")

FORMATS: Final = ("json", "binary")
HANDSHAKE_S: Final = 10.0  # for all of it, however slowly it comes
MAX_HANDSHAKES: Final = 64  # under way at a time
MAX_FIELDS: Final = 64  # of a query
CLOSE_S: Final = 2.0  # for the closing handshake of each client when the consumer stops
_HERE: Final = {"localhost", "127.0.0.1", "::1"}
_INTERNAL_ERROR, _TRY_AGAIN_LATER = 1011, 1013  # RFC 6455 and its registry


@dataclass(slots=True)
class Given:
    """What clients of one ring have been given, for its counters."""

    records: int = 0
    bytes: int = 0
    frames: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Source:
    """One ring as clients see it."""

    now: RingNow
    instruments: Instruments
    last: Snapshot


@dataclass(slots=True, eq=False)
class Client:
    """One connection."""

    connection: ServerConnection
    backlog: Backlog
    encoder: Encoder
    wanted: dict[tuple[str, str], int] = field(default_factory=dict)
    key: frozenset[tuple[tuple[str, str], int]] = frozenset()
    filter: Filter | None = None
    awake: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """Rings on one side, clients on the other. Everything here runs in one event loop."""

    def __init__(self, options: FanoutOptions) -> None:
        self._options = options
        self._sources: dict[str, _Source] = {}
        self._filters: dict[frozenset[tuple[tuple[str, str], int]], tuple[Filter, int]] = {}
        self.text: JsonText = JsonText(before=b",")
        self.clients: set[Client] = set()
        self.given: dict[str, Given] = {}

    # ------------------------------------------------------------------------------------- the rings

    def ring(self, now: RingNow, instruments: Instruments, dtype: np.dtype[Any]) -> None:
        """A ring appeared, or another writer or ring took its name over."""
        before = self._sources.get(now.name)
        last = Snapshot(dtype)
        if before is not None and before.now.ring_id == now.ring_id:
            last = before.last
        self._sources[now.name] = _Source(now, instruments, last)
        self.given.setdefault(now.name, Given())
        for client in self.clients:
            self._offer(client, now)

    def publish(self, ring: str, records: Records, instruments: Instruments) -> None:
        """Records of a ring, for whoever wants them. They are kept: not to be written to again."""
        source = self._sources[ring]
        source.instruments = instruments
        source.last.take(records)
        parts: dict[Filter, Part | None] = {}
        for client in self.clients:
            chosen = client.filter
            if chosen is None:
                continue
            if chosen not in parts:
                picked = chosen.pick(ring, records, instruments)
                parts[chosen] = None if picked is None else Part(source.now, picked, instruments)
            part = parts[chosen]
            if part is not None:
                self._offer(client, part)

    def lapped(self, ring: str, records: int) -> None:
        """So many records of a ring were lost before they could be read."""
        for client in self.clients:
            self._offer(client, Lapped(ring, records))

    def pending(self, ring: str) -> int:
        """Records of a ring that wait for clients."""
        return sum(client.backlog.pending(ring) for client in self.clients)

    def _offer(self, client: Client, item: Part | Lapped | RingNow) -> None:
        for ring, dropped in client.backlog.offer(item).items():
            self.given[ring].dropped += dropped
        client.awake.set()

    # ----------------------------------------------------------------------------------- the clients

    def hello(self) -> str:
        """The first thing that a client is told."""
        rings = [
            {"name": name, "ring_id": source.now.ring_id, "epoch": source.now.epoch}
            for name, source in self._sources.items()
        ]
        return json.dumps({"type": "hello", "version": 1, "rings": rings})

    def command(self, client: Client, command: Command) -> dict[str, Any]:
        """Carry a client's message out; the answer. Raises `BadMessage`."""
        if command.op == "ping":
            return {"type": "pong"}
        self.check_number(command)
        if command.op == "subscribe":
            return self._subscribe(client, command)
        for place in command.places:
            if place not in client.wanted:
                raise BadMessage(f"not subscribed: {json.dumps(place[1])} of ring {place[0]}")
        for place in command.places:
            client.wanted.pop(place, None)
        self._refilter(client)
        return {"type": "unsubscribed", "symbols": list(command.symbols)}

    def check_number(self, command: Command) -> None:
        """Raises `BadMessage` where it is about more subscriptions than a client may have."""
        most = self._options.max_subscriptions
        if command.number > most:
            raise BadMessage(f"a client has at most {most} subscriptions")

    def _subscribe(self, client: Client, command: Command) -> dict[str, Any]:
        most = self._options.max_subscriptions
        wanted = client.wanted | dict.fromkeys(command.places, command.kinds)
        if len(wanted) > most:
            raise BadMessage(f"a client has at most {most} subscriptions")
        if sum(is_wild(symbol) for _, symbol in wanted) > MAX_WILD:
            raise BadMessage(f"a client has at most {MAX_WILD} patterns with * or ?")
        client.wanted = wanted
        self._refilter(client)
        self._offer_snapshot(client, Filter(dict.fromkeys(command.places, command.kinds)))
        return {"type": "subscribed", "symbols": list(command.symbols)}

    def _offer_snapshot(self, client: Client, fresh: Filter) -> None:
        for name, source in self._sources.items():
            picked = fresh.pick(name, source.last.records(), source.instruments)
            if picked is not None:
                part = Part(source.now, picked, source.instruments, snapshot=True)
                self._offer(client, part)

    def _refilter(self, client: Client) -> None:
        """Give the client the filter of its subscriptions, shared with those who have the same."""
        self.forget(client)
        if client.wanted:
            client.key = frozenset(client.wanted.items())
            found, users = self._filters.get(client.key, (None, 0))
            client.filter = found or Filter(client.wanted)
            self._filters[client.key] = (client.filter, users + 1)

    def forget(self, client: Client) -> None:
        """Let go of a client's filter."""
        if client.filter is not None:
            found, users = self._filters.pop(client.key)
            if users > 1:
                self._filters[client.key] = (found, users - 1)
            client.filter = None


class _Sessions:
    """Connections of a hub: admission, messages, senders."""

    def __init__(self, hub: Hub, options: FanoutOptions, token: str) -> None:
        self._hub = hub
        self._options = options
        self._token = token.encode()
        self._waiting: dict[ServerConnection, None] = {}

    def came(self, connection: ServerConnection) -> None:
        """Of those whose handshake is not done the oldest makes room, so that silent ones keep nobody out."""
        if len(self._waiting) >= MAX_HANDSHAKES:
            oldest = next(iter(self._waiting))
            self.done_waiting(oldest)
            oldest.transport.abort()
        self._waiting[connection] = None

    def done_waiting(self, connection: ServerConnection) -> None:
        """Its handshake is done, or it is gone."""
        self._waiting.pop(connection, None)

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """None to let the WebSocket handshake go on, else an answer in one sentence."""
        try:
            url = urllib.parse.urlsplit(request.path)
            query = urllib.parse.parse_qs(
                url.query, keep_blank_values=True, max_num_fields=MAX_FIELDS
            )
        except ValueError:
            return connection.respond(HTTPStatus.BAD_REQUEST, "that is no path and query\n")
        if url.path != "/":
            return connection.respond(HTTPStatus.NOT_FOUND, "there is only /\n")
        refusal = self._refusal(request, query)
        if refusal is not None:
            return connection.respond(*refusal)
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            n = len(self._hub.clients)
            return connection.respond(
                HTTPStatus.OK, f"mdfeedd fan-out: {n} clients; connect by WebSocket\n"
            )
        if len(self._hub.clients) >= self._options.max_clients:
            told = f"there are {self._options.max_clients} clients already\n"
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, told)
        if query.get("format", ["json"])[-1] not in FORMATS:
            return connection.respond(HTTPStatus.BAD_REQUEST, "format is json or binary\n")
        try:
            command = parse_query(query)
            if command is not None:
                self._hub.check_number(command)
        except BadMessage as error:
            return connection.respond(HTTPStatus.BAD_REQUEST, f"{error}\n")
        return None

    def _refusal(
        self, request: Request, query: dict[str, list[str]]
    ) -> tuple[HTTPStatus, str] | None:
        origin = request.headers.get("Origin")
        ours = origin is None or origin in self._options.origins or _host_of(origin) in _HERE
        if origin is not None and not ours:
            told = origin.encode("ascii", "backslashreplace").decode()
            return HTTPStatus.FORBIDDEN, f"pages of {told} may not connect (origins)\n"
        if self._token:
            header = request.headers.get("Authorization", "")
            shown = query.get("token", [header.removeprefix("Bearer ")])[-1]
            if not hmac.compare_digest(shown.encode(errors="surrogateescape"), self._token):
                told = "a token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN\n"
                return HTTPStatus.UNAUTHORIZED, told
        return None

    async def serve(self, connection: ServerConnection) -> None:
        """One client, until it goes."""
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415  optional

        self.done_waiting(connection)
        request = connection.request
        assert request is not None
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        binary = query.get("format", ["json"])[-1] == "binary"
        client = Client(
            connection,
            Backlog(self._options.queue_records),
            Encoder(self._hub.text, binary=binary),
        )
        sender: asyncio.Task[None] | None = None
        if len(self._hub.clients) >= self._options.max_clients:  # several came at once
            return await connection.close(_TRY_AGAIN_LATER, "too many clients")
        self._hub.clients.add(client)
        log.info("%s connected, %d clients", _peer(connection), len(self._hub.clients))
        try:
            await connection.send(self._hub.hello())
            command = parse_query(query)
            if command is not None:
                await self._answer(client, command)
            sender = asyncio.create_task(self._send(client))
            async for message in connection:
                await self._message(client, message)
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("a client could not be served")
            await connection.close(_INTERNAL_ERROR, "internal error")
        finally:
            self._hub.clients.discard(client)
            self._hub.forget(client)
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        return None

    async def _message(self, client: Client, message: str | bytes) -> None:
        try:
            command = parse(message)
        except BadMessage as error:
            told = {"type": "error", "message": str(error)}
            await client.connection.send(json.dumps(told))
        else:
            await self._answer(client, command)

    async def _answer(self, client: Client, command: Command) -> None:
        try:
            answer = self._hub.command(client, command)
        except BadMessage as error:
            answer = {"type": "error", "message": str(error)}
        if command.id is not None:
            answer["id"] = command.id
        await client.connection.send(json.dumps(answer))

    async def _send(self, client: Client) -> None:
        """Send what waits for a client, as fast as it reads."""
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415  optional

        try:
            while True:
                await client.awake.wait()
                client.awake.clear()
                while (item := client.backlog.take()) is not None:
                    if isinstance(item, Part):
                        await self._send_part(client, item)
                    else:
                        await client.connection.send(item.text())
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("a client could not be served")
            await client.connection.close(_INTERNAL_ERROR, "internal error")

    async def _send_part(self, client: Client, part: Part) -> None:
        given = self._hub.given[part.ring.name]
        for frame in client.encoder.frames(part):
            if isinstance(frame, tuple):
                await client.connection.send(frame[0], text=True)
                given.bytes += len(frame[0])
            else:
                await client.connection.send(frame)
                given.bytes += len(frame)
            given.frames += 1
        given.records += len(part)


def _host_of(origin: str) -> str | None:
    try:
        return urllib.parse.urlsplit(origin).hostname
    except ValueError:
        return None


def _peer(connection: ServerConnection) -> str:
    address = connection.remote_address
    return ":".join(map(str, address[:2])) if isinstance(address, tuple) else str(address)


async def serve(hub: Hub, options: FanoutOptions, token: str) -> Server:
    """Listen. Raises `OSError` when the address cannot be had."""
    from websockets.asyncio.server import ServerConnection  # noqa: PLC0415  optional
    from websockets.asyncio.server import serve as listen  # noqa: PLC0415

    sessions = _Sessions(hub, options, token)

    library_log = logging.getLogger("mdfeedd.consumers.fanout.websockets")
    library_log.setLevel(logging.CRITICAL)  # tells of every port scan; what matters we tell

    class Connection(ServerConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            sessions.came(self)

        def connection_lost(self, exc: Exception | None) -> None:
            sessions.done_waiting(self)
            super().connection_lost(exc)

    async def session(connection: ServerConnection) -> None:
        own: socket.socket | None = connection.transport.get_extra_info("socket")
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer_bytes)
        await sessions.serve(connection)

    return await listen(
        session,
        options.host,
        options.port,
        process_request=sessions.admit,
        create_connection=Connection,
        open_timeout=HANDSHAKE_S,
        server_header=None,
        compression=None,
        max_size=options.max_message_bytes,
        ping_interval=options.ping_interval_s,
        ping_timeout=options.ping_timeout_s,
        close_timeout=CLOSE_S,
        logger=library_log,
    )
