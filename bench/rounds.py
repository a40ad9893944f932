"""One round of one transport: two spawned processes, the phases in turn, the figures back to the parent.

Latency is that of an idle transport: the next message is sent when its time has come *and* the receiver has
told, in a word of shared memory, that it has the one before. So a receiver that the machine took the processor
from spoils one figure and not the hundred behind it. Either side keeps its own times, so that nothing but a look
at the clock lies between them and the transport.
"""

from __future__ import annotations

import mmap
import os
import statistics
import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from numpy.typing import ArrayLike

from transport import BATCH, SPAWN, Transport

PATIENCE_S = 120  # a phase that takes longer has failed
GAP_NS = {"spin": 50_000, "blocking": 500_000}
MESSAGES = {"spin": 4_000, "blocking": 1_000}
LOOKS = 1_000  # at the clock, to know what one takes


def quantiles_us(latencies_ns: ArrayLike) -> dict[str, float]:
    """Median and 99th percentile, in µs."""
    p50, p99 = np.percentile(latencies_ns, [50, 99]) / 1e3
    return {"p50_us": round(float(p50), 3), "p99_us": round(float(p99), 3)}


def _clock_cost_ns() -> int:
    """What a look at the clock takes by itself: between the times of two, one behind the other, lies one look."""
    clock, costs = time.perf_counter_ns, []
    for _ in range(LOOKS):
        start = clock()
        end = clock()
        costs.append(end - start)
    return int(statistics.median(costs))


def _seen(transport: Transport) -> memoryview:
    """The word in which the receiver tells how many messages it has had."""
    fd = os.open(f"{transport.directory}/{transport.id}.seen", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        return memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("q")
    finally:
        os.close(fd)


def _send_timed(transport: Transport, send: Any, messages: int, gap_ns: int) -> list[int]:
    """A numbered message every `gap_ns`; returns when each was given to `send`, in ns."""
    clock, number = time.perf_counter_ns, memoryview(transport.record.view(np.int64))
    seen, given = _seen(transport), []
    already, due = seen[0], clock() + gap_ns
    for sent in range(already, already + messages):
        number[1] = sent
        while clock() < due or seen[0] < sent:
            pass
        now = clock()
        send()
        given.append(now)
        due = now + gap_ns
    while seen[0] < already + messages:
        pass
    return given


def _receive_timed(transport: Transport, receive: Any, messages: int) -> list[int]:
    """When each message was there, in ns, less a look at the clock; a falsy one is none."""
    clock, number_of = time.perf_counter_ns, transport.number_of
    seen, there = _seen(transport), []
    already = seen[0]
    for expected in range(already, already + messages):
        while not (message := receive()):
            pass
        now = clock()
        if (number := number_of(message)) != expected:
            raise ValueError(f"message {number} came in the place of {expected}")
        there.append(now)
        seen[0] = expected + 1
    look_ns = _clock_cost_ns()
    return [at_ns - look_ns for at_ns in there]


def _singles(transport: Any, scale: float) -> int:
    return int(transport.singles * scale) // BATCH * BATCH


def _messages(phase: str, scale: float) -> int:
    return int(MESSAGES[phase] * scale)


def _send(transport: Any, phase: str, scale: float) -> Any:
    clock = time.perf_counter_ns
    if phase == "single":
        n, start = _singles(transport, scale), clock()
        transport.send_single(n)
        return n, start
    if phase == "batch":
        n, start = int(transport.batches * scale) * BATCH, clock()
        transport.send_batch(n)
        return n, start
    send = transport.sender() if phase == "spin" else transport.waking_sender()
    return _send_timed(transport, send, _messages(phase, scale), GAP_NS[phase])


def _receive(transport: Any, phase: str, scale: float) -> Any:
    if phase == "single":
        transport.receive_single(_singles(transport, scale))
    elif phase == "batch":
        transport.receive_batch(int(transport.batches * scale) * BATCH)
    else:
        receive = transport.poller() if phase == "spin" else transport.waiter()
        return _receive_timed(transport, receive, _messages(phase, scale))
    return time.perf_counter_ns()


def _side(
    transport: Any,
    out: Connection,
    *,
    sends: bool,
    cpu: int,
    phases: list[str],
    scale: float,
    gate: Barrier,
) -> None:
    """A child: open, then every phase behind the gate; each phase's outcome goes to the parent."""
    try:
        if transport.pinned:
            os.sched_setaffinity(0, {cpu})
        transport.prepare()
        transport.open_sender() if sends else transport.open_receiver()
        for phase in phases:
            gate.wait(PATIENCE_S)
            out.send((_send if sends else _receive)(transport, phase, scale))
        gate.wait(PATIENCE_S)
        transport.close()
    except BaseException:  # noqa: BLE001 - whatever it was, the parent must be told
        gate.abort()
        out.send({"error": traceback.format_exc(limit=3)})


def run_round(
    kind: type[Transport], directory: str, cpus: tuple[int, int], only: Iterable[str], scale: float
) -> dict[str, Any]:
    """Figures by phase: M records/s for single and batch, quantiles in µs for spin and blocking."""
    phases = [p for p in kind.phases if p in only]
    if not phases:
        return {}
    transport = kind(directory)
    gate = SPAWN.Barrier(2)
    ends, children = [], []
    for sends, cpu in zip((True, False), cpus, strict=True):
        here, there = SPAWN.Pipe(duplex=False)
        plan = {"sends": sends, "cpu": cpu, "phases": phases, "scale": scale, "gate": gate}
        child = SPAWN.Process(target=_side, args=(transport, there), kwargs=plan)
        child.start()
        there.close()
        ends.append(here)
        children.append(child)
    figures: dict[str, Any] = {}
    try:
        for phase in phases:
            sent, received = (_outcome(end) for end in ends)
            if phase in {"single", "batch"}:
                n, start = sent
                figures[phase] = round(n * 1e3 / (received - start), 4)
            else:
                figures[phase] = quantiles_us(np.subtract(received, sent))
        for child in children:
            child.join(PATIENCE_S)
    except RuntimeError as error:
        figures["error"] = str(error)
    finally:
        for child in children:
            if child.is_alive():
                child.kill()
            child.join()
    return figures


def _outcome(end: Connection) -> Any:
    try:
        if not end.poll(PATIENCE_S):
            raise RuntimeError(f"nothing came for {PATIENCE_S} s")
        outcome = end.recv()
    except EOFError:
        raise RuntimeError("a process ended without a word") from None
    if isinstance(outcome, dict) and "error" in outcome:
        raise RuntimeError(outcome["error"])
    return outcome


def median_of(rounds: list[dict[str, Any]], phase: str, key: str | None = None) -> float | None:
    """Median over the rounds that have the figure, or None."""
    values = column(rounds, phase, key)
    return round(statistics.median(values), 4) if values else None


def column(rounds: list[dict[str, Any]], phase: str, key: str | None = None) -> list[float]:
    """The figure of every round that has it."""
    found = (r[phase] for r in rounds if phase in r)
    return [f[key] if key else f for f in found]


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    """Median of the rounds' ratios: the two of a round were measured in the same seconds."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=False) if b]
    return round(statistics.median(ratios), 3) if ratios else None
