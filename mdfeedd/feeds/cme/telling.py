"""What the codec has noticed, as sentences for people: once per episode, then how often. No I/O but the log.

The codec's events are facts about packets; here they get the channel's name, the line, the consequence and
what to do. The first one of a kind on a channel is logged at once. While more of the kind follow within
`EPISODE_S`, they are counted, and the count is told at the end of that time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mdfeedd.feeds.cme.codec import Event
    from mdfeedd.feeds.cme.lines import Line

__all__ = ["EPISODE_S", "OF_A_RECORDING", "SENTENCES", "Teller"]

EPISODE_S: Final = 10.0
"""Of one kind on one channel, so much is told at most this often."""

ROUTINE: Final = frozenset({"STARTED", "DEFINITIONS", "RECOVERED", "EPOCH", "ALIVE", "LINE_BACK"})
"""What is no reason to look after it; all else is a warning."""

SENTENCES: Final[dict[str, str]] = {
    "STARTED": "joined at packet {first}",
    "DEFINITIONS": "the definition line was read once round: {first} instruments",
    "GAP": "packets {first} to {last} ({n}) are lost on all lines; what they may have changed is"
    " flagged STALE until it is proven right",
    "RECOVERED": "recovered from the loss of packets {first} to {last}",
    "RESET": "reset by the venue: all its books are empty and begin anew",
    "EPOCH": "the venue's sequence began anew (a new week, or a restart): all books are empty",
    "SILENT": "all lines are silent for {seconds:.0f} s, without heartbeats too: what is shown may be old; check the"
    " groups, the interfaces and the network's memberships",
    "ALIVE": "packets arrive again after {seconds:.0f} s",
    "LINE_BACK": "{line} delivers again",
    "MALFORMED": "{line} brings packets that contradict their own layout; they are not used",
    "MISPLACED": "{line} brings packets of another kind of line; they are not used: check its group"
    " and port",
    "MISMATCH": "packet {first} differs between the lines; the one that came first was used: check"
    " whose group each line is",
    "RPT_FAULT": "RptSeq of {instrument} jumped to {first} though no packet was lost; its book is"
    " flagged STALE",
    "ENTRY_FAULT": "packet {first} has an entry of {instrument} that makes no sense: a trade is left out, a"
    " book is flagged STALE",
    "CROSSED": "the book of {instrument} is crossed while it trades, at packet {first}",
    "QUEUE_OVERFLOW": "more than {first} updates wait for snapshots; they were thrown away and recovery"
    " begins again: raise recovery_entries, if the snapshot lines are heard at all",
    "ORDER_OVERFLOW": "more than {first} orders; those beyond are left out of the order books",
    "FULL": "no room for {instrument} after {first} instruments: select fewer, or raise"
    " max_instruments and the feed's instruments_capacity, or make room where the rings lie"
    " ('mdfeedd doctor' tells how full it is)",
    "UNKNOWN_TEMPLATE": "messages of template {id} (schema {first}) are newer than this version of"
    " mdfeedd; they are skipped",
}
"""By the name of the `EventCode`."""

OF_A_RECORDING: Final[dict[str, str]] = {
    **SENTENCES,
    "SILENT": "nothing was recorded for {seconds:.0f} s, no heartbeat either: what is shown may be old",
}
"""The same, where there is no network to look after."""

_OTHER: Final = "{code} (first {first}, last {last}, {instrument})"


class _Words(NamedTuple):
    level: int
    sentence: str
    lost: int  # packets, of a loss


class Teller:
    """Logs events.

    `labels` are the channels' names, `lines` the lines by number, `name` gives an instrument's name from its
    channel and SecurityID; `sentences` are `SENTENCES` or `OF_A_RECORDING`.
    """

    def __init__(
        self,
        labels: Mapping[int, str],
        lines: Mapping[int, Line],
        name: Callable[[int, int], str],
        logger: logging.Logger,
        sentences: Mapping[str, str] = SENTENCES,
    ) -> None:
        self._labels = labels
        self._lines = lines
        self._name = name
        self._logger = logger
        self._sentences = sentences
        self._until_s: dict[tuple[str, int], float] = {}
        self._more: dict[tuple[str, int], tuple[int, int, _Words]] = {}

    def tell(self, event: Event, now_s: float) -> None:
        """Log the event, or count it as one more of a running episode."""
        key = (event.code.name, event.channel)
        words = self._words(event)
        if now_s < self._until_s.get(key, now_s):
            count, lost, _ = self._more.get(key, (0, 0, words))
            self._more[key] = (count + 1, lost + words.lost, words)
            return
        self._until_s[key] = now_s + EPISODE_S
        self._log(event.channel, words, "")

    def settle(self, now_s: float) -> None:
        """Tell the counts of episodes whose time is over. Call it now and then."""
        for key in list(self._more):
            if now_s >= self._until_s[key]:
                self._until_s[key] = now_s + EPISODE_S
                self._tell_more(key, f" in {EPISODE_S:g} s")

    def finish(self) -> None:
        """Tell what is still only counted."""
        for key in list(self._more):
            self._tell_more(key, "")

    def _tell_more(self, key: tuple[str, int], within: str) -> None:
        count, lost, words = self._more.pop(key)
        in_all = f", of {lost} packets in all" if lost else ""
        more = f" (the last of {count} such{within}{in_all})" if count > 1 else ""
        self._log(key[1], words, more)

    def _words(self, event: Event) -> _Words:
        code = event.code.name
        n = event.last - event.first + 1
        line = self._lines.get(event.line)
        sentence = self._sentences.get(code, _OTHER).format(
            code=code,
            first=event.first,
            last=event.last,
            n=n,
            line=f"line {line}" if line is not None else f"line {event.line}",
            seconds=event.first / 1e9,
            id=event.security_id,
            instrument=self._name(event.channel, event.security_id) if event.security_id else "",
        )
        level = logging.INFO if code in ROUTINE else logging.WARNING
        return _Words(level, sentence, n if code == "GAP" else 0)

    def _log(self, channel: int, words: _Words, more: str) -> None:
        label = self._labels.get(channel, "")
        name = f"channel {channel} ({label})" if label else f"channel {channel}"
        self._logger.log(words.level, "%s: %s%s", name, words.sentence, more)
