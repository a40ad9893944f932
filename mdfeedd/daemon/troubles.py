"""What is wrong now, in sentences, out of one snapshot of `status` or two: for `/status`, the page, `top` and scripts.

    snapshot(s) ─► troubles_of ─► [{"name", "trouble", "text"}, ...]   the gravest first; none: all is well

Counters only go up, so what happened once and is over is no trouble: of two snapshots what grew between them is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon.channels import channels_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    Shown = dict[str, Any]
    Trouble = dict[str, str]

BEHIND_SHARE: Final = 0.5
"""A reader with so much of its ring before it is about to lose some."""
LINE_MUTE_S: Final = 30.0
"""A line that brought nothing for so long while another of its channel did."""
LINE_EXPECTED: Final = 1000
"""Packets of another line after which one should have brought its first."""
SILENT_S: Final = 30.0
"""A living writer that no supervisor watches, and that gave no sign of life for so long."""
_ENDED: Final = ("finished", "stopped")


def troubles_of(shown: Shown, before: Shown | None = None) -> list[Trouble]:
    """Each trouble with the `name` of whom it is, its kind (`trouble`) and a sentence (`text`)."""
    return [
        *([_trouble("", "file", shown["mistakes"])] if shown.get("mistakes") else []),
        *_of_daemon(shown),
        *({"name": f["name"], "trouble": f["fault"], "text": f["text"]} for f in shown["faults"]),
        *_of_feeds(shown, before),
        *_of_consumers(shown, before),
        *_of_processes(shown),
        *(_trouble(u["ring"], "unreadable", u["error"]) for u in shown["unreadable"]),
    ]


def _trouble(name: str, kind: str, text: str) -> Trouble:
    return {"name": name, "trouble": kind, "text": text}


def _of_daemon(shown: Shown) -> Iterator[Trouble]:
    daemon = shown["daemon"]
    if daemon is None:
        return
    if not daemon["healthy"]:
        text = f"the supervisor's loop has not run for {daemon['heartbeat_age_s']:.0f} s"
        yield _trouble("", "daemon hangs", text)
    if not daemon["config_taken"]:
        text = "the configuration file was refused at the last reload; the one before it goes on"
        yield _trouble("", "configuration", text)


def _of_feeds(shown: Shown, before: Shown | None) -> Iterator[Trouble]:
    was = {} if before is None else {feed["name"]: feed["published"] for feed in before["feeds"]}
    for feed in shown["feeds"]:
        name, counters = feed["name"], feed["counters"]
        publishes = feed["published"] > was.get(name, feed["published"])
        silent = feed["silent_s"] >= SILENT_S and not publishes
        if not feed["managed"] and feed["writer_alive"] and silent:
            text = f"feed {name} was last seen {feed['silent_s']:.0f} s ago"
            yield _trouble(name, "silent", text)
        if not feed["writer_alive"]:
            continue
        if books := counters.get("unproven_books", 0):
            text = f"feed {name}: a gap is open, {books:,} books may be wrong now"
            yield _trouble(name, "gap open", text)
        if topics := counters.get("failed_topics", 0):
            yield _trouble(name, "topics", f"feed {name}: {topics:,} topics bring nothing")
        now_s = shown["time_s"] - feed["heartbeat_age_s"]
        yield from (
            _trouble(name, "channel silent", text) for text in _silent_channels(feed, now_s)
        )
        yield from (_trouble(name, "line mute", text) for text in _mute_lines(feed))


def _silent_channels(feed: Shown, now_s: float) -> Iterator[str]:
    """All lines of a channel: nothing is missing, as far as anybody knows, and nothing comes."""
    for channel in channels_of(feed):
        if not channel.is_silent or channel.silent_s is None:
            continue
        since = time.strftime("%F %T UTC", time.gmtime(now_s - channel.silent_s))
        lines = f"line{'s'[: len(channel.sides) > 1]} {' and '.join(channel.sides)}"
        never = "" if channel.heard else ", and was never heard"
        yield (
            f"feed {feed['name']}: channel {channel.number} has been silent for {channel.silent_s:.0f} s,"
            f" since {since}{never}: no packet on {lines}, no heartbeat either; if the venue is open, look"
            " at the groups, the sources, the interfaces and the network's memberships"
        )


def _mute_lines(feed: Shown) -> Iterator[str]:
    """Of incremental lines: what the one that is left loses is lost. A channel that is mute as a whole: see above."""
    lines = [line for line in feed.get("lines", ()) if line["kind"] == "incremental"]
    for line in lines:
        others = [o for o in lines if o["channel"] == line["channel"] and o is not line]
        named = f"feed {feed['name']}: line {line['channel']} {line['kind']} {line['side']}"
        heard = any(o["silent_s"] is not None and o["silent_s"] < LINE_MUTE_S for o in others)
        if line["silent_s"] is not None:
            if heard and line["silent_s"] >= LINE_MUTE_S:
                yield f"{named} has been mute for {line['silent_s']:.0f} s, and the other has not"
        elif heard and any(o["received_packets"] > LINE_EXPECTED for o in others):
            yield f"{named} has brought nothing yet, and the other has"


def _of_consumers(shown: Shown, before: Shown | None) -> Iterator[Trouble]:
    capacity = {ring["name"]: ring["capacity"] for ring in shown["rings"]}
    then = {} if before is None else {(c["name"], c["ring"]): c for c in before["consumers"]}
    ended = {p["name"] for p in shown["processes"] if p["state"] in _ENDED}
    for consumer in shown["consumers"]:
        name, ring = consumer["name"], consumer["ring"]
        who, counters = f"consumer {name} on {ring}", consumer["counters"]
        if not consumer["alive"]:
            if consumer["managed"] and name not in ended:
                why = f": {consumer['last_failure']}" if consumer["last_failure"] else ""
                yield _trouble(name, "down", f"{who} does not read{why}")
            continue
        was = then.get((name, ring))
        if was is not None and (lost := consumer["lost"] - was["lost"]) > 0:
            yield _trouble(name, "loses", f"{who} has just lost {lost:,} records: it is too slow")
        if was is not None and (raised := _raised(counters, was["counters"])) > 0:
            times = "once" if raised == 1 else f"{raised:,} times"
            text = f"{who}: its function has just raised {times}; the log has what and where"
            yield _trouble(name, "raises", text)
        elif was is not None and _refuses(counters, was["counters"]):
            pending = counters.get("pending_records", 0)
            text = f"{who}: its sink refuses what it is given, {pending:,} records wait"
            yield _trouble(name, "refused", text)
        room = capacity.get(ring, 0)
        behind = counters.get("behind_records", 0)
        if not consumer["parked"] and consumer["lag_share"] > BEHIND_SHARE:
            text = f"{who} is {consumer['lag']:,} records behind, of {room:,} that the ring holds"
            yield _trouble(name, "behind", text)
        elif behind > room > 0:
            text = f"{who} has {behind:,} records of the journal before it"
            yield _trouble(name, "behind", text)


def _raised(now: dict[str, int], then: dict[str, int]) -> int:
    """Exceptions of functions of the user's, which have no sink and keep nothing."""
    return now.get("callback_errors", 0) - then.get("callback_errors", 0)


def _refuses(now: dict[str, int], then: dict[str, int]) -> bool:
    """Whether a sink refuses: it has just done so, or rests after it, takes nothing and has ever more before it."""

    def grown(*names: str) -> int:
        return sum(now.get(name, 0) - then.get(name, 0) for name in names)

    if grown("failed_flushes") > 0:
        return True
    takes_nothing = now.get("failed_flushes", 0) > 0 and not grown("flushes")
    return takes_nothing and grown("pending_records", "behind_records") > 0


def _of_processes(shown: Shown) -> Iterator[Trouble]:
    feeds = {fault["name"] for fault in shown["faults"]}
    for process in shown["processes"]:
        name, state = process["name"], process["state"]
        if state not in ("failed", "backoff") or name in feeds:
            continue
        what = "was given up" if state == "failed" else "waits to be started again"
        why = f": {process['last_failure']}" if process["last_failure"] else ""
        yield _trouble(name, state, f"{process['kind']} {name} {what}{why}")
