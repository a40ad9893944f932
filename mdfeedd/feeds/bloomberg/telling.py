"""Sentences for the log: the first of a kind at once, many more of it within ten seconds as a number."""

from __future__ import annotations

import logging
from typing import Final

from mdfeedd.feeds.bloomberg.moment import NS, Now, Tell

__all__ = ["AT_ONCE", "EACH", "EPISODE_S", "Teller"]

EPISODE_S: Final = 10
AT_ONCE: Final = 10
"""Of one kind, so many are told in full in one episode."""
EACH: Final = 2000
"""The same of those that should be told one by one, as a topic's failure: thousands may fail together."""


class _Episode:
    __slots__ = ("last", "level", "more", "told", "until_ns")

    def __init__(self, until_ns: int) -> None:
        self.until_ns = until_ns
        self.told = self.more = 0
        self.last = ""
        self.level = logging.WARNING


class Teller(Tell):
    """Logs, as the feed of a name."""

    def __init__(self, name: str, logger: logging.Logger) -> None:
        self._name = name
        self._logger = logger
        self._episodes: dict[str, _Episode] = {}

    def __call__(
        self, kind: str, sentence: str, now: Now, *, routine: bool = False, each: bool = False
    ) -> None:
        """Log the sentence, or count it as one more of a running episode."""
        episode = self._episodes.get(kind)
        if episode is None or now.monotonic_ns >= episode.until_ns:
            self._finish(episode)
            episode = _Episode(now.monotonic_ns + EPISODE_S * NS)
            self._episodes[kind] = episode
        episode.level = logging.INFO if routine else logging.WARNING
        if episode.told < (EACH if each else AT_ONCE):
            episode.told += 1
            self._log(episode.level, sentence)
        else:
            episode.more += 1
            episode.last = sentence

    def settle(self, now: Now) -> None:
        """Tell the numbers of episodes that are over. Call it now and then."""
        for kind in [k for k, e in self._episodes.items() if now.monotonic_ns >= e.until_ns]:
            self._finish(self._episodes.pop(kind))

    def finish(self) -> None:
        """Tell what is still only counted."""
        for episode in self._episodes.values():
            self._finish(episode)
        self._episodes.clear()

    def _finish(self, episode: _Episode | None) -> None:
        if episode is not None and episode.more:
            more = f" (the last of {episode.more} more such)" if episode.more > 1 else ""
            self._log(episode.level, episode.last + more)

    def _log(self, level: int, sentence: str) -> None:
        self._logger.log(level, "%s: %s", self._name, sentence)
