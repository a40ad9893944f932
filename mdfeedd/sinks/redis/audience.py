"""Who listens: notices subscribers that the server has cut off because they were slow.

Redis cuts a subscriber whose output buffer has grown too large, and tells nobody but its own log.
Newer servers count such cuts (INFO stats); on the others a subscriber that went away while bytes
waited for it is what can be seen.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from mdfeedd.sinks.redis.store import Store

__all__ = ["Audience"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.redis")

WATCH_S: Final = 1.0
_CUT: Final = "client_output_buffer_limit_disconnections"


class Audience:
    """The subscribers of one server, looked at every `WATCH_S`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, tuple[str, int]] = {}  # client id: address, bytes that wait for it
        self._cuts: int | None = None
        self._next = 0.0
        self._denied = False
        self.cut_off: int = 0

    def watch(self, now: float) -> None:
        """Look, if it is time. Raises `SinkError` when the server cannot be reached."""
        if now < self._next or self._denied:
            return
        self._next = now + WATCH_S
        connections = self._store.connections
        try:
            stats = self._store.call("INFO", "stats")
            clients = self._store.call("CLIENT", "LIST", "TYPE", "pubsub")
        except SinkError:
            if self._store.connections == connections and self._store.connected:
                self._denied = True  # by an ACL: then nobody watches
                return
            raise
        self._compare(stats, _waiting(clients))

    def _compare(self, stats: object, waiting: dict[str, tuple[str, int]]) -> None:
        gone = {one: told for one, told in self._waiting.items() if one not in waiting}
        self._waiting = waiting
        cuts = stats.get(_CUT) if isinstance(stats, dict) else None
        if cuts is not None:
            cut = int(cuts) - (int(cuts) if self._cuts is None else self._cuts)
            self._cuts = int(cuts)
            if cut > 0:
                self.cut_off += cut
                log.warning(
                    "redis %s has cut off %d slow clients (client-output-buffer-limit): they have "
                    "lost messages",
                    self._store.address,
                    cut,
                )
            return
        for address, waited in gone.values():
            if waited:
                self.cut_off += 1
                log.warning(
                    "redis %s: the subscriber %s went away while %d bytes waited for it: it was "
                    "slow, and was cut off, perhaps (client-output-buffer-limit)",
                    self._store.address,
                    address,
                    waited,
                )


def _waiting(clients: object) -> dict[str, tuple[str, int]]:
    """From CLIENT LIST: id to address and bytes that wait."""
    text = clients.decode("utf-8", "replace") if isinstance(clients, bytes) else clients
    rows = text if isinstance(text, list) else []
    if isinstance(text, str):
        rows = [
            dict(word.partition("=")[::2] for word in line.split()) for line in text.splitlines()
        ]
    return {
        str(row["id"]): (str(row.get("addr", "?")), int(row.get("omem", 0)))
        for row in rows
        if "id" in row
    }
