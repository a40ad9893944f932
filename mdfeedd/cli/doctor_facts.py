"""Looks at the machine and at a plan for `doctor_host`: reads /proc, /sys and a few system calls, changes nothing.

What cannot be read, in a container for example, stays unknown and is not judged.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import getpass
import math
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli.doctor_host import HUGE_PAGES_DENIED, Clock, Facts, Nic, Pin, Wants
from mdfeedd.daemon.numa import nodes, parse_list
from mdfeedd.daemon.room import ring_bytes
from mdfeedd.daemon.scheduling import real_time_level, usable_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.daemon.plan import ChildPlan, Plan

UNIT: Final = "mdfeedd.service"
COMMANDS: Final = ("chronyc", "cpupower", "ethtool", "grubby", "timedatectl", "update-grub")
COMMAND_LIMIT_S: Final = 10.0
MAX_INTERFACES: Final = 64
FIRST_ORDINARY_UID: Final = 1000
COLLAPSE_SINCE: Final = (6, 1)
"""Linux with MADV_COLLAPSE, by which a ring gets them."""
_SOCKETS: Final = frozenset({"cme", "databento"})
"""Vendors whose `receive_buffer_bytes` are those of a socket."""
_NOT_LIVE: Final = frozenset({"synthetic", "replay"})

_CAPABILITIES: Final = {"NET_ADMIN": 12, "NET_RAW": 13, "SYS_NICE": 23}
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x40
_SIOCETHTOOL: Final = 0x8946
_GET_TS_INFO: Final = 0x41
_TS_INFO: Final = "=IIiI3II3I"
_RX_HARDWARE, _RAW_HARDWARE = 1 << 2, 1 << 6


def gather(shm_dir: str, wants: Wants, root: Path = Path("/")) -> Facts:
    """The machine as it is now, below `root` for what is a file."""
    proc, sys_cpu = root / "proc", root / "sys/devices/system/cpu"
    total, free = _space(shm_dir)
    whose, limits, capabilities = _rights(proc)
    uid = os.getuid()
    ordinary = FIRST_ORDINARY_UID <= uid < 65_534
    user = _user()
    lingers = None
    if ordinary and (root / "run/systemd/seats").is_dir():  # logind is at work
        lingers = (root / "var/lib/systemd/linger" / user).exists()
    return Facts(
        shm_dir=shm_dir,
        shm_type=_type_of(proc, shm_dir),
        shm_total_bytes=total,
        shm_free_bytes=free,
        rmem_max_bytes=_number(proc / "sys/net/core/rmem_max"),
        backlog_packets=_number(proc / "sys/net/core/netdev_max_backlog"),
        memberships=_number(proc / "sys/net/ipv4/igmp_max_memberships"),
        swap_bytes=_swap(proc),
        clock=_clock(),
        online=frozenset(usable_cpus()),
        isolated=_cpus(sys_cpu / "isolated"),
        tickless=_cpus(sys_cpu / "nohz_full"),
        siblings=_siblings(sys_cpu),
        governors=_governors(sys_cpu),
        nodes=frozenset(nodes(root / "sys/devices/system/node")),
        huge_pages=_huge_pages(root / "sys/kernel/mm"),
        irqs=_irqs(proc),
        whose=whose,
        files=limits["NOFILE"],
        memlock_bytes=limits["MEMLOCK"],
        rtprio=limits["RTPRIO"],
        capabilities=capabilities,
        nics=tuple(_nics(wants.interfaces, proc)),
        user=user,
        ordinary_user=ordinary,
        lingers=lingers,
        commands=frozenset(name for name in COMMANDS if shutil.which(name)),
    )


# -------------------------------------------------------------------------------------------- files


def _text(path: Path) -> str:
    """What is in it; nothing if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _cpus(path: Path) -> frozenset[int]:
    with contextlib.suppress(ValueError):  # "(null)" is how some kernels say none
        return frozenset(parse_list(_text(path)))
    return frozenset()


def _space(directory: str) -> tuple[int, int]:
    """Total and free, bytes."""
    try:
        stat = os.statvfs(directory)
    except OSError:
        return 0, 0
    return stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize


def _type_of(proc: Path, directory: str) -> str | None:
    """The file system that holds a folder: the longest mount point above it."""
    best: tuple[int, str | None] = (-1, None)
    for line in _text(proc / "self/mounts").splitlines():
        words = line.split()
        if len(words) > 2 and Path(directory).is_relative_to(words[1]):
            best = max(best, (len(words[1]), words[2]), key=lambda found: found[0])
    return best[1]


def _swap(proc: Path) -> int | None:
    found = re.search(r"^SwapTotal: +(\d+) kB", _text(proc / "meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _siblings(sys_cpu: Path) -> dict[int, frozenset[int]]:
    return {
        number: _cpus(path / "topology/thread_siblings_list")
        for number, path in _each_cpu(sys_cpu)
        if (path / "topology/thread_siblings_list").exists()
    }


def _governors(sys_cpu: Path) -> dict[int, str]:
    named = ((n, _text(path / "cpufreq/scaling_governor")) for n, path in _each_cpu(sys_cpu))
    return {number: governor for number, governor in named if governor}


def _each_cpu(sys_cpu: Path) -> Iterable[tuple[int, Path]]:
    for path in sorted(sys_cpu.glob("cpu[0-9]*")):
        yield int(path.name.removeprefix("cpu")), path


def _huge_pages(folder: Path) -> str:
    """As `Facts.huge_pages` has it."""
    if not folder.is_dir():
        return "unknown"
    setting = _text(folder / "transparent_hugepage/shmem_enabled")
    if not setting:
        return "this kernel has no transparent huge pages"
    if "[deny]" in setting:
        return HUGE_PAGES_DENIED
    release = os.uname().release
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is not None and (int(found[1]), int(found[2])) < COLLAPSE_SINCE:
        return f"this is Linux {release}"
    return "yes"


def _irqs(proc: Path) -> dict[str, frozenset[int]]:
    """Of devices: the interrupts that have come at least once."""
    found = {}
    for line in _text(proc / "interrupts").splitlines():
        words = line.split()
        if not words or not words[0].rstrip(":").isdigit():
            continue
        number = words[0].rstrip(":")
        counts = [int(word) for word in words[1:] if word.isdigit()]
        if any(counts):
            name = f"{number} ({words[-1]})"
            found[name] = _cpus(proc / "irq" / number / "smp_affinity_list")
    return found


# ------------------------------------------------------------------------------------------- rights


def _rights(proc: Path) -> tuple[str, dict[str, float], frozenset[str]]:
    """Limits and capabilities, and whose: of the service where it is installed, else of this process."""
    shown = _unit()
    if shown.get("LoadState") == "loaded":
        limits = {
            name: _limit(shown.get(f"Limit{name}", "")) for name in ("NOFILE", "MEMLOCK", "RTPRIO")
        }
        ambient = shown.get("AmbientCapabilities", "").upper().split()
        return UNIT, limits, frozenset(word.removeprefix("CAP_") for word in ambient)
    limits = {
        name: _limit(resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0])
        for name in ("NOFILE", "MEMLOCK", "RTPRIO")
    }
    found = re.search(r"^CapEff:\s+([0-9a-f]+)$", _text(proc / "self/status"), re.MULTILINE)
    mask = int(found[1], 16) if found else 0
    return "", limits, frozenset(name for name, bit in _CAPABILITIES.items() if mask >> bit & 1)


def _unit() -> dict[str, str]:
    """What systemd has of the service; nothing where there is no systemd."""
    if not Path("/run/systemd/system").is_dir():
        return {}
    names = "LoadState,LimitNOFILE,LimitMEMLOCK,LimitRTPRIO,AmbientCapabilities"
    try:
        done = subprocess.run(
            ["systemctl", "show", UNIT, "-p", names],
            check=False, capture_output=True, text=True, timeout=COMMAND_LIMIT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in lines}


def _limit(value: str | int) -> float:
    number = -1 if value in ("infinity", "") else int(value)
    return (
        math.inf if number in (-1, resource.RLIM_INFINITY) or number >= 1 << 63 else float(number)
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, in a container
        return str(os.getuid())


# --------------------------------------------------------------------------------- clock and network


def _clock() -> Clock | None:
    """By adjtimex(2), which anybody may ask."""
    longs = (
        ctypes.c_long * 64
    )()  # struct timex: modes, offset, freq, maxerror, esterror, status, ...
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(longs))
    if state < 0:
        return None
    status = longs[5] & 0xFFFF_FFFF
    return Clock(state != _TIME_ERROR and not status & _STA_UNSYNC, longs[3])


def _nics(names: Iterable[str], proc: Path) -> Iterable[Nic]:
    from mdfeedd.feeds.multicast.host import filter_warning, interface_named

    for name in list(names)[:MAX_INTERFACES]:
        interface = interface_named(name)
        if interface is not None:
            strict = filter_warning(name, proc / "sys") is not None
            yield Nic(name, interface.ready, _hardware_stamps(name), strict)


def _hardware_stamps(name: str) -> bool | None:
    """Does the card stamp what it receives? By the ethtool ioctl; None where it does not say."""
    info = array.array("B", struct.pack(_TS_INFO, _GET_TS_INFO, *[0] * 10))
    request = struct.pack("16sP16x", name.encode(), info.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            fcntl.ioctl(probe, _SIOCETHTOOL, request)
    except OSError:
        return None
    able: int = struct.unpack(_TS_INFO, info.tobytes())[1]
    return able & (_RX_HARDWARE | _RAW_HARDWARE) == _RX_HARDWARE | _RAW_HARDWARE


# --------------------------------------------------------------------------------------------- plan


def wants_of(plan: Plan) -> Wants:
    """What a checked configuration asks of its machine."""
    children = [*plan.feeds, *plan.consumers]
    options = {child.name: child.options for child in plan.feeds}
    receiving = [feed.options for feed in plan.feeds if feed.plugin in _SOCKETS]
    return Wants(
        configured=True,
        ring_bytes=ring_bytes(plan),
        buffer_bytes=max((int(o.get("receive_buffer_bytes", 0)) for o in receiving), default=0),
        live=any(feed.plugin not in _NOT_LIVE for feed in plan.feeds),
        packet_rings=tuple(n for n, o in options.items() if o.get("mode") == "packet_ring"),
        hardware_stamps=tuple(n for n, o in options.items() if o.get("hardware_timestamps")),
        pins=tuple(pin for child in children if (pin := _pin(child)) is not None),
        real_time={c.label: n for c in children if (n := real_time_level(c.priority))},
        interfaces=tuple(sorted({name for feed in plan.feeds for name in _interfaces(feed)})),
        nodes={c.label: c.numa_node for c in children if c.numa_node is not None},
        huge_pages=tuple(feed.name for feed in plan.feeds if feed.huge_pages),
    )


def _pin(child: ChildPlan) -> Pin | None:
    cpus = child.cpus
    if not cpus and isinstance(child.options.get("cpu"), int):
        cpus = (child.options["cpu"],)
    return Pin(child.label, cpus, child.options.get("mode") == "busy") if cpus else None


def _interfaces(feed: ChildPlan) -> Iterable[str]:
    """By name, of the lines that the feed receives; those that cannot be told are left out."""
    from mdfeedd.daemon import plugins
    from mdfeedd.daemon.plan import revive
    from mdfeedd.feeds.multicast.errors import ReceiverError
    from mdfeedd.feeds.multicast.host import find_interface
    from mdfeedd.feeds.multicast.lines import LineSpec

    options: Any = revive(plugins.load(feed.target).Options, feed.options)
    plan = getattr(options, "plan", None)
    lines = getattr(plan(), "lines", ()) if callable(plan) else ()
    for number, line in enumerate(lines):
        given = line.interface
        if given and not given[0].isdigit():
            yield given
            continue
        with contextlib.suppress(ReceiverError):
            yield find_interface(LineSpec(number, line.address, line.port, interface=given)).name
