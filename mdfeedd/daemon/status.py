"""How everything is, as one dict of JSON values: what `/status`, `/readyz`, `mdfeedd status`, `mdfeedd top` and the page show.

    shared memory ─► rings ─► feeds, consumers, who writes and reads ──┐
    /proc         ─► CPU time and memory of those processes            ├─► snapshot(): a dict
    supervisor, where there is one ─► states, restarts, last errors ───┘

Without a supervisor (another process, or none is left) the same keys are there, and `daemon` is None: what
only it knows (restarts, why a process ended) is null, 0 or "". Counters go up; who wants rates takes two snapshots.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon.channels import SILENCE_S
from mdfeedd.daemon.child import State
from mdfeedd.daemon.troubles import troubles_of
from mdfeedd.ring import RingError
from mdfeedd.ring._ring import clock_ns
from mdfeedd.ring.inspect import inspect, list_rings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mdfeedd.daemon.child import Child
    from mdfeedd.daemon.plan import ChildPlan, Plan
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.inspect import ConsumerInfo, RingInfo
    from mdfeedd.ring.latency import Latency
    from mdfeedd.ring.lines import LineInfo

MAX_RINGS: Final = 1024
"""Rings of one folder that are looked at."""
BEAT_LIMIT_S: Final = 10.0
"""A supervisor whose loop has not run for as long is not healthy."""
FORMAT: Final = 1
"""Of the dict; raised when a key changes its meaning or goes."""
_NS: Final = 1e-9
_PARKED: Final = 2**64 - 1
"""The cursor of a reader that keeps its slot and reads elsewhere."""


def snapshot(shm_dir: str, supervisor: Supervisor | None = None) -> dict[str, Any]:
    """Everything of one moment. Never raises for a ring that cannot be read: it is in ``unreadable``.

    ``feeds``, ``rings``, ``consumers`` and ``processes`` are lists in the order of the plan, then by name;
    times are seconds; ``faults`` are those that make the daemon not ready (see `faults_of`), ``troubles`` all
    that is wrong as far as one snapshot shows it (see `troubles`).
    """
    infos, unreadable = look(shm_dir, () if supervisor is None else rings_of(supervisor.plan))
    children = [] if supervisor is None else list(supervisor.children)
    feeds = _feeds(children, infos)
    if supervisor is not None:
        _as_judged(feeds, supervisor)
    shown = {
        "format": FORMAT,
        "time_s": time.time(),
        "shm_dir": shm_dir,
        "daemon": None if supervisor is None else _daemon(supervisor),
        "feeds": feeds,
        "rings": [_ring(info) for info in infos.values()],
        "consumers": _consumers(children, infos),
        "processes": _processes(children, infos),
        "unreadable": unreadable,
    }
    shown["faults"] = faults_of(shown)
    shown["ready"] = not shown["faults"]
    shown["troubles"] = troubles_of(shown)
    return shown


def rings_of(plan: Plan) -> set[str]:
    """Those that the plan's children write, or may."""
    return {ring for child in (*plan.feeds, *plan.consumers) for ring in child.may_write}


def readers_of(plans: Iterable[ChildPlan], ring: str) -> set[str]:
    """The planned readers of a ring. Only names would not do: on the ring that another configuration has left
    lies a dead reader that may have had the name of one of ours.
    """
    return {plan.name for plan in plans if ring in plan.rings}


def look(
    shm_dir: str, ours: Collection[str] = ()
) -> tuple[dict[str, RingInfo], list[dict[str, str]]]:
    """Every ring of the folder by name, and which could not be looked at, with the reason.

    Of more than `MAX_RINGS`, `ours` and the first by name: anybody may make files there.
    """
    infos: dict[str, RingInfo] = {}
    unreadable: list[dict[str, str]] = []
    try:
        found = list_rings(shm_dir)
        names = sorted(sorted(found, key=lambda name: name not in ours)[:MAX_RINGS])
    except RingError as error:
        return {}, [{"ring": "", "error": str(error)}]
    for name in names:
        try:
            infos[name] = inspect(name, shm_dir)
        except (
            RingError,
            ValueError,
        ) as error:  # another user's, another version's, or no ring at all
            unreadable.append({"ring": name, "error": str(error)})
    return infos, unreadable


def shown_consumers(info: RingInfo, ours: Iterable[str]) -> list[ConsumerInfo]:
    """The readers of a ring that matter: the living, and of the daemon's own the latest that died."""
    names = set(ours)
    shown: dict[str, ConsumerInfo] = {}
    for consumer in info.consumers:
        if consumer.alive or (consumer.name in names and consumer.name not in shown):
            shown[consumer.name] = consumer
    return list(shown.values())


def faults_of(shown: dict[str, Any]) -> list[dict[str, str]]:
    """Why the daemon is not ready: each feed that should have a ring and has none with a living writer that works.

    Each has `name`, `fault` (``given up``, ``down`` or ``hangs``) and `text`, one sentence. A feed that ended
    as it should, or is stopped, is no fault; without a supervisor, only a writer that died is one.
    """
    faults = []
    for feed in shown["feeds"]:
        name, state, limit_s = feed["name"], feed["state"], feed["hang_s"]
        why = f": {feed['last_failure']}" if feed["last_failure"] else ""
        if state == State.FAILED.value:
            fault, text = "given up", f"feed {name} was given up{why}"
        elif state in (State.FINISHED.value, State.STOPPED.value, "closed"):
            continue
        elif not feed["writer_alive"]:
            fault, text = "down", f"feed {name} has no ring with a living writer{why}"
        elif limit_s and feed["silent_s"] >= limit_s:
            fault, text = "hangs", f"feed {name} gave no sign of life for {feed['silent_s']:.1f} s"
        else:
            continue
        faults.append({"name": name, "fault": fault, "text": text})
    return faults


def _daemon(supervisor: Supervisor) -> dict[str, Any]:
    import mdfeedd  # noqa: PLC0415 - the package's own namespace is not needed before this

    age_s = supervisor.beat_age_s
    return {
        "version": mdfeedd.__version__,
        "pid": os.getpid(),
        "heartbeat_age_s": age_s,
        "healthy": age_s < BEAT_LIMIT_S,
        "stopping": supervisor.stopping,
        "config_taken": supervisor.config_ok,
        "config_time_s": supervisor.config_time_s,
        "config_sha256": supervisor.plan.fingerprint(),
    }


# ---------------------------------------------------------------------------------------- feeds and rings


def _feeds(children: list[Child], infos: dict[str, RingInfo]) -> list[dict[str, Any]]:
    """The plan's feeds, then those of others that have a ring of their name."""
    ours = [
        feed_row(child.name, infos.get(child.name), child) for child in children if _is_feed(child)
    ]
    made = {ring for child in children for ring in child.plan.may_write}
    others = (info for name, info in infos.items() if info.feed == name and name not in made)
    return ours + [feed_row(info.name, info, None) for info in others if _kind(info) == "tick"]


def _as_judged(feeds: list[dict[str, Any]], supervisor: Supervisor) -> None:
    """Who ends a feed that hangs also counts what it publishes as signs of life: no feed is told to hang that does not."""
    for feed in feeds:
        if feed["managed"]:
            feed["silent_s"] = min(feed["silent_s"], supervisor.vigil.silent_s(feed["name"]))


def _is_feed(child: Child) -> bool:
    return child.kind == "feed"


def feed_row(name: str, info: RingInfo | None, child: Child | None) -> dict[str, Any]:
    """One feed: what its ring says, and what its supervisor knows of it, if it has one."""
    state = child.state.value if child is not None else _state(info)
    now_ns = clock_ns()
    beat_age_s = 0.0 if info is None else _age_s(now_ns - info.heartbeat_ns)
    return {
        "name": name,
        "vendor": "" if child is None else child.plan.plugin,
        "shard": None if child is None else child.plan.shard,
        "managed": child is not None,
        "state": state,
        "writer_alive": info is not None and info.writer_alive,
        "silent_s": beat_age_s,
        "heartbeat_age_s": beat_age_s,
        "hang_s": 0.0 if child is None else child.plan.hang_s,
        "listened_s": 0.0 if info is None else _listened_s(info, child),
        "silence_s": SILENCE_S if child is None else _silence_s(child.plan),
        "published": 0 if info is None else info.tail,
        "instruments": 0 if info is None else info.instruments_count,
        "counters": {} if info is None else info.counters,
        "lines": [] if info is None else [_line(line, now_ns) for line in info.lines],
        "last_failure": "" if child is None else child.last_failure,
    }


def _listened_s(info: RingInfo, child: Child | None) -> float:
    """For how long at most its process has listened: no longer than there is the ring, which may be older."""
    ring_s = _age_s(time.time_ns() - info.created_ns)
    if child is None:
        return ring_s
    return min(ring_s, time.monotonic() - child.started) if child.pid else 0.0


def _silence_s(plan: ChildPlan) -> float:
    """The option of that name, of a vendor that has one."""
    given = plan.options.get("silence_s")
    return float(given) if isinstance(given, int | float) else SILENCE_S


def _line(line: LineInfo, now_ns: int) -> dict[str, Any]:
    """A line of a feed: how much it brought, and for how long nothing (null: none yet, or a recording)."""
    key, values = line.key, dict(line.values)
    latest_ns = values.pop("last_packet_ns")
    silent_s = _age_s(now_ns - latest_ns) if latest_ns else None
    told = {"channel": key.channel, "kind": key.kind, "side": key.side, "silent_s": silent_s}
    return told | values


def absent_feed(plan: ChildPlan) -> dict[str, Any]:
    """A feed of a configuration that nobody runs and that has no ring."""
    return feed_row(plan.name, None, None) | {"vendor": plan.plugin, "shard": plan.shard}


def _state(info: RingInfo | None) -> str:
    return "missing" if info is None else info.state_text


def _kind(info: RingInfo) -> str:
    """What its records are: tick, bar, depth, order, or what another program calls them."""
    return info.layout.partition(":")[0]


def _age_s(age_ns: int) -> float:
    return max(0, age_ns) * _NS


def _ring(info: RingInfo) -> dict[str, Any]:
    lags = [c.lag for c in info.consumers if c.alive and c.same_ring]
    return {
        "name": info.name,
        "feed": info.feed,
        "kind": _kind(info),
        "state": info.state_text,
        "writer_alive": info.writer_alive,
        "pid": info.pid,
        "epoch": info.epoch,
        "heartbeat_age_s": _age_s(info.heartbeat_age_ns),
        "published": info.tail,
        "capacity": info.capacity,
        "slot_size": info.slot_size,
        "size_bytes": info.total_size,
        "batches": info.batches,
        "wakes": info.wakes,
        "instruments": info.instruments_count,
        "arrival_latency": _latency(info.arrival_latency),
        "venue_latency": _latency(info.venue_latency),
        "readers": sum(c.alive for c in info.consumers),
        "largest_lag": max(lags, default=0),
    }


def _latency(latency: Latency | None) -> dict[str, Any] | None:
    """Since the ring was made, or the reader attached; who wants that of late takes the difference of `buckets`,
    whose upper bounds are `mdfeedd.ring.latency.BOUNDS_S`.
    """
    if latency is None:
        return None
    return {
        "samples": latency.samples,
        "p50_s": latency.quantile_s(0.50),
        "p99_s": latency.quantile_s(0.99),
        "sum_s": latency.sum_ns * _NS,
        "buckets": list(latency.buckets),
    }


# ------------------------------------------------------------------------------ consumers and processes


def _consumers(children: list[Child], infos: dict[str, RingInfo]) -> list[dict[str, Any]]:
    """A row per reader and ring. Those of the plan are there before they have attached, too."""
    ours = {child.name: child for child in children if not _is_feed(child)}
    plans = [child.plan for child in ours.values()]
    rows = {}
    for info in infos.values():
        readers = readers_of(plans, info.name)
        for c in shown_consumers(info, readers):
            child = ours[c.name] if c.name in readers else None
            rows[info.name, c.name] = _consumer(info, c, child)
    planned = [(ring, child) for child in ours.values() for ring in child.plan.rings]
    first = [
        rows.pop(key) if (key := (ring, child.name)) in rows else _absent(ring, child)
        for ring, child in planned
    ]
    return first + list(rows.values())


def _consumer(info: RingInfo, c: ConsumerInfo, child: Child | None) -> dict[str, Any]:
    return {
        "name": c.name,
        "ring": info.name,
        "type": "" if child is None else child.plan.plugin,
        "managed": child is not None,
        "alive": c.alive,
        "parked": c.cursor == _PARKED,
        "pid": c.pid,
        "heartbeat_age_s": _age_s(time.monotonic_ns() - c.heartbeat_ns),
        "read": c.records,
        "reads": c.reads,
        "lost": c.lost,
        "overruns": c.overruns,
        "sleeps": c.sleeps,
        "lag": c.lag,
        "lag_share": min(1.0, c.lag / info.capacity),
        "unsafe": c.unsafe,
        "latency": _latency(c.latency),
        "counters": c.counters,
        "last_failure": "" if child is None else child.last_failure,
    }


def _absent(ring: str, child: Child) -> dict[str, Any]:
    """A consumer of the plan that has no slot in the registry of its ring."""
    numbers = ("pid", "read", "reads", "lost", "overruns", "sleeps", "lag", "unsafe")
    return {
        "name": child.name,
        "ring": ring,
        "type": child.plan.plugin,
        "managed": True,
        "alive": False,
        "parked": False,
        "heartbeat_age_s": 0.0,
        "lag_share": 0.0,
        "latency": None,
        "counters": {},
        "last_failure": child.last_failure,
    } | dict.fromkeys(numbers, 0)


def _processes(children: list[Child], infos: dict[str, RingInfo]) -> list[dict[str, Any]]:
    """The plan's processes; without a supervisor, those that write or read a ring now."""
    now_s = time.monotonic()
    rows = [
        {
            "name": child.name,
            "kind": child.kind,
            "state": child.state.value,
            "pid": child.pid,
            "uptime_s": now_s - child.started if child.pid else 0.0,
            "restarts": child.restarts,
            "hangs": child.hangs,
            "last_exit": child.last_exit,
            "last_failure": child.last_failure,
            "cpus": list(child.plan.cpus),
            **_usage(child.pid),
        }
        for child in children
    ]
    known = {child.pid for child in children}
    for name, kind, pid in _seen(infos):
        if pid not in known:
            known.add(pid)
            rows.append(_stranger(name, kind, pid))
    return rows


def _seen(infos: dict[str, RingInfo]) -> list[tuple[str, str, int]]:
    """Name, kind and pid of whoever holds a lock in shared memory: writers first."""
    writers = [(i.feed, "feed", i.pid) for i in infos.values() if i.writer_alive]
    readers = [(c.name, "reader", c.pid) for i in infos.values() for c in i.consumers if c.alive]
    return writers + readers


def _stranger(name: str, kind: str, pid: int) -> dict[str, Any]:
    """A process that no supervisor of ours started: its pid is that of its own namespace."""
    return {
        "name": name,
        "kind": kind,
        "state": "running",
        "pid": pid,
        "uptime_s": None,
        "restarts": None,
        "hangs": None,
        "last_exit": "",
        "last_failure": "",
        "cpus": [],
        **_usage(pid),
    }


def _usage(pid: int) -> dict[str, Any]:
    """CPU seconds used so far and resident bytes; null where the process cannot be seen."""
    none = {"cpu_s": None, "rss_bytes": None, "threads": None}
    if not pid:
        return none
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return none
    fields = text.rpartition(") ")[2].split()  # after the command, which may hold anything: proc(5)
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return {
        "cpu_s": (int(fields[11]) + int(fields[12])) / ticks_per_s,
        "rss_bytes": int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        "threads": int(fields[17]),
    }
