"""The definitions that a feed begins with and leaves behind: secdef.dat and the cache of the last run.

Neither is needed. Whatever is wrong with them is one warning, and the instruments get their names when the
definition line has come round.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, Protocol

from mdfeedd.feeds.cme.cache import CacheError, DefinitionsCache
from mdfeedd.feeds.cme.secdef import Secdef, SecdefError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mdfeedd.feeds.cme.definitions import Definition
    from mdfeedd.feeds.cme.options import CmeOptions

__all__ = ["RENEW_NS", "KnownDefinitions"]

RENEW_NS: Final = 24 * 3600 * 1_000_000_000
"""The cache is written anew at this age too, if the venue has repeated all of it: it is not older than that."""

logger: logging.Logger = logging.getLogger("mdfeedd.cme.definitions")


class _Handler(Protocol):
    def define(self, channel_id: int, definition: Definition) -> None: ...
    def definitions(self) -> Sequence[Definition]: ...
    def needs_definitions(self, channel_id: int) -> bool: ...
    @property
    def counts(self) -> dict[str, int]: ...


class KnownDefinitions:
    """Gives definitions to a codec at the start, and keeps what it has learnt since."""

    def __init__(self, feed: str, options: CmeOptions, channels: Collection[int]) -> None:
        self._secdef = options.secdef
        self._cache = DefinitionsCache(options.cache_dir, feed) if options.cache_dir else None
        self._interval_s = options.cache_interval_s
        self._channels = frozenset(channels)
        self._found: dict[tuple[int, int], Definition] = {}
        self._saved = 0  # the codec's count of definitions when they were last saved
        self._saved_ns = 0
        self._next_s = 0.0
        self._writing: threading.Thread | None = None
        self._unwritable = False

    def read(self, now_ns: int) -> int:
        """Read the files, which may take seconds; of each instrument the newer of two. How many are known."""
        found = self._found
        for definition in (*self._from_cache(now_ns), *self._from_secdef()):
            key = (definition.channel, definition.security_id)
            if key not in found or found[key].last_update <= definition.last_update:
                found[key] = definition
        return len(found)

    def give(self, handler: _Handler, now_s: float) -> None:
        """Define what was read."""
        for definition in self._found.values():
            handler.define(definition.channel, definition)
        self._found.clear()
        self._saved = handler.counts["definitions"]
        self._next_s = now_s + self._interval_s

    def _from_secdef(self) -> list[Definition]:
        if not self._secdef:
            return []
        secdef = Secdef(self._secdef, self._channels)
        try:
            found = list(secdef)
        except SecdefError as error:
            logger.warning("%s; going on without it", error)
            return []
        for fault in secdef.faults:
            logger.warning("%s", fault)
        logger.info("%s: %d of %d lines used", secdef.path, secdef.used, secdef.lines)
        return found

    def _from_cache(self, now_ns: int) -> list[Definition]:
        if self._cache is None:
            return []
        try:
            definitions = self._cache.load(now_ns, self._channels)
        except CacheError as error:
            logger.warning("%s; going on without it", error)
            return []
        if definitions:
            logger.info("%s: %d definitions", self._cache.path, len(definitions))
        return definitions

    def keep(self, handler: _Handler, now_ns: int, now_s: float) -> None:
        """Save the definitions, if there are new ones and it is time. In the background."""
        if self._cache is None or now_s < self._next_s:
            return
        self._next_s = now_s + self._interval_s
        if self._writing is None or not self._writing.is_alive():
            self._begin(handler, now_ns)

    def close(self, handler: _Handler, now_ns: int) -> None:
        """Save what is new, and wait until it is on disk."""
        if self._writing is not None:
            self._writing.join()
        if self._cache is not None:
            self._begin(handler, now_ns)
        if self._writing is not None:
            self._writing.join()

    def _begin(self, handler: _Handler, now_ns: int) -> None:
        count = handler.counts["definitions"]
        confirmed = not any(handler.needs_definitions(channel) for channel in self._channels)
        aged = now_ns - self._saved_ns > RENEW_NS
        if count == self._saved and not (confirmed and aged):
            return
        self._saved, self._saved_ns = count, now_ns
        taken = handler.definitions()  # here, between two runs of the codec; written meanwhile
        self._writing = threading.Thread(
            target=self._save, args=(taken, now_ns), name="definitions"
        )
        self._writing.start()

    def _save(self, definitions: Sequence[Definition], now_ns: int) -> None:
        assert self._cache is not None
        try:
            self._cache.save(definitions, now_ns)
        except CacheError as error:
            if not self._unwritable:
                logger.warning("%s; the next start will wait for the definition line", error)
            self._unwritable = True
        else:
            self._unwritable = False
