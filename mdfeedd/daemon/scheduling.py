"""Where and how urgently one child runs: its CPUs, memory and scheduling class, and who goes first when memory ends.

Applied by the worker to itself before it builds its feed or consumer, so that all its threads inherit it. What
the kernel or the unit refuses is told in one sentence, and the child runs as the kernel likes: data that come
late are better than none.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon import numa
from mdfeedd.daemon.numa import parse_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.daemon.plan import ChildPlan

NORMAL: Final = "normal"
MAX_CPU: Final = 8191
"""The largest number of a CPU that Linux can be built for."""
CONSUMER_OOM_SHIFT: Final = 250
"""Consumers are so much more likely to be killed than feeds when the machine runs out of memory."""

_PRIORITY: Final = re.compile(r"(?P<word>fifo|rr)-(?P<level>\d+)|nice(?P<nice>[+-]\d+)|batch|idle")
_RT_LEVELS: Final = range(1, 100)
_NICE_LEVELS: Final = range(-20, 20)
_POLICIES: Final = {"fifo": os.SCHED_FIFO, "rr": os.SCHED_RR}
_CLASSES: Final = {"batch": os.SCHED_BATCH, "idle": os.SCHED_IDLE}
_FORMS: Final = "normal, fifo-1 to fifo-99, rr-1 to rr-99, nice-20 to nice+19, batch or idle"


def check_priority(text: str) -> str:
    """The same text. Raises `ValueError` for what is none."""
    found = _PRIORITY.fullmatch(text)
    if text != NORMAL and found is None:
        raise ValueError(f"must be {_FORMS}, not '{text}'")
    if found is not None and found["level"] and int(found["level"]) not in _RT_LEVELS:
        raise ValueError(f"must be {_FORMS}, not '{text}'")
    if found is not None and found["nice"] and int(found["nice"]) not in _NICE_LEVELS:
        raise ValueError(f"must be {_FORMS}, not '{text}'")
    return text


def check_cpus(cpus: tuple[int, ...]) -> tuple[int, ...]:
    """The same. Raises `ValueError` where a number cannot be one of a CPU, or comes twice."""
    for place, cpu in enumerate(cpus):
        if not 0 <= cpu <= MAX_CPU:
            raise ValueError(f"a CPU has a number from 0 to {MAX_CPU}, not {cpu}")
        if cpu in cpus[:place]:
            raise ValueError(f"CPU {cpu} is named twice")
    return cpus


def real_time_level(priority: str) -> int:
    """The level of ``fifo-N`` and ``rr-N``, for which RLIMIT_RTPRIO must be as high; else 0."""
    found = _PRIORITY.fullmatch(priority)
    return int(found["level"]) if found is not None and found["level"] else 0


def usable_cpus() -> set[int]:
    """The CPUs that exist and that this process may be put on, whatever it is pinned to now."""
    try:
        text = Path("/sys/devices/system/cpu/online").read_text(encoding="ascii")
        return set(parse_list(text))
    except (OSError, ValueError):  # no /sys: what we are on is all that is known
        return os.sched_getaffinity(0)


def written(cpus: Iterable[int]) -> str:
    """``0-3,8``."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][-1] == cpu - 1:
            runs[-1] = [runs[-1][0], cpu]
        else:
            runs.append([cpu])
    return ",".join("-".join(map(str, run)) for run in runs)


def apply(child: ChildPlan) -> list[str]:
    """Have this process run as the plan says; what was refused, a sentence each."""
    refusals = [
        *_place(child),
        _prioritise(child.priority) if child.priority != NORMAL else "",
    ]
    if child.kind == "consumer":
        _go_first_when_memory_ends()
    return [refusal for refusal in refusals if refusal]


def _place(child: ChildPlan) -> Iterable[str]:
    """On its node, and on its CPUs: without any, on those of the node."""
    cpus, node = child.cpus, child.numa_node
    if node is not None:
        refusal = numa.prefer(node)
        yield refusal
        beside = numa.cpus_of(node)
        if not refusal and cpus and (far := set(cpus) - set(beside)):
            yield f"numa_node: CPU {written(far)} is not of node {node}: its memory is farther away than need be"
        usable = tuple(sorted(usable_cpus() & set(beside)))
        cpus = cpus or (() if refusal else usable)
    if cpus:
        yield _pin(cpus)


def _pin(cpus: tuple[int, ...]) -> str:
    """All threads there are: importing numpy may have started some."""
    there = usable_cpus()
    if missing := set(cpus) - there:
        many = "CPU" if len(missing) == 1 else "CPUs"
        return (
            f"cpus: there is no {many} {written(missing)} here, only {written(there)}: "
            f"not pinned, it runs where the kernel puts it"
        )
    try:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setaffinity(int(thread), cpus)
    except OSError as error:
        return (
            f"cpus: the kernel refuses to pin it to {written(cpus)}: {error.strerror}; is there an "
            f"AllowedCPUs=, or a container that has others?"
        )
    return ""


def _prioritise(priority: str) -> str:
    found = _PRIORITY.fullmatch(priority)
    assert found is not None, "the configuration was checked"
    try:
        if found["nice"]:
            os.setpriority(os.PRIO_PROCESS, 0, int(found["nice"]))
        elif found["word"]:
            level = os.sched_param(int(found["level"]))
            os.sched_setscheduler(0, _POLICIES[found["word"]], level)
        else:
            os.sched_setscheduler(0, _CLASSES[priority], os.sched_param(0))
    except OSError as error:
        need = f"LimitRTPRIO={found['level']}" if found["word"] else "LimitNICE="
        return (
            f"priority: the kernel refuses {priority}: {error.strerror}; it runs without "
            f"(it takes CAP_SYS_NICE, or {need} in the unit)"
        )
    return ""


def _go_first_when_memory_ends() -> None:
    """A consumer that is killed resumes where it was; what a feed misses is lost."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            score = min(1000, int(file.read()) + CONSUMER_OOM_SHIFT)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):  # it is then as likely as the others: no reason to say anything
        return
