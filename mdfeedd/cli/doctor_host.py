"""What a machine must be like for market data, told by facts. Sans-IO: facts and wants in, findings out.

    doctor_facts ─► Facts ──┐
                            ├─► judge ─► Finding: found, wanted, what it costs, how to mend it
    a configuration ─► Wants┘

Without a configuration nothing is known to be needed, so nothing worse than ADVICE is said. With one, what it asks
for and the machine does not give is TROUBLE.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import units
from mdfeedd.daemon.scheduling import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LEAST_SHM_BYTES: Final = 64 << 20
"""Docker's default, in which a few rings of the default capacity fit."""
SPARE: Final = 0.1
"""Of the shared-memory file system that should be free when all rings are there."""
WANTED_BUFFER_BYTES: Final = 64 << 20
LEAST_BACKLOG: Final = 10_000
LEAST_FILES: Final = 4096
MAX_CLOCK_ERROR_US: Final = 1000
"""Venues' times are compared with ours: beyond it latencies say nothing."""
MAX_IRQS_NAMED: Final = 4
HUGE_PAGES_DENIED: Final = "shmem_enabled is deny"


class Severity(enum.Enum):
    """How bad a finding is; TROUBLE alone changes the exit status."""

    OK = "ok"
    ADVICE = "advice"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `costs` and `mend` are empty where all is well; `mend` is a command."""

    check: str
    severity: Severity
    found: str
    wanted: str = ""
    costs: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """What adjtimex(2) says."""

    synchronised: bool
    error_us: int
    """The largest error that the kernel believes possible."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One interface by which a feed is received. None: it cannot be found out."""

    name: str
    up: bool = True
    hardware_stamps: bool | None = None
    strict_filter: bool = False
    """Reverse-path filtering is strict."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine, as far as it can be seen from here. None: unknown, and not judged."""

    shm_dir: str = units.SHM_DIR
    shm_type: str | None = None
    """Of the file system."""
    shm_total_bytes: int = 0
    shm_free_bytes: int = 0
    rmem_max_bytes: int | None = None
    backlog_packets: int | None = None
    memberships: int | None = None
    """Groups that one socket may join."""
    swap_bytes: int | None = None
    clock: Clock | None = None
    online: frozenset[int] = frozenset()
    isolated: frozenset[int] = frozenset()
    tickless: frozenset[int] = frozenset()
    """nohz_full."""
    siblings: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """The CPUs that share a core with one, itself included."""
    governors: Mapping[int, str] = field(default_factory=dict)
    nodes: frozenset[int] = frozenset()
    """NUMA nodes; none: the kernel does not tell of any."""
    huge_pages: str = "unknown"
    """Whether a tmpfs can have pages of 2 MiB: yes, unknown, or why not."""
    irqs: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The CPUs that an interrupt may come to, by its number and name."""
    whose: str = ""
    """The unit that the limits and capabilities are of; else those of this process."""
    files: float = math.inf
    memlock_bytes: float = math.inf
    rtprio: float = 0
    capabilities: frozenset[str] = frozenset()
    """Effective ones, such as NET_RAW."""
    nics: tuple[Nic, ...] = ()
    user: str = "root"
    ordinary_user: bool = False
    """Not root and no system user."""
    lingers: bool | None = None
    """The user's processes and shared memory outlive the session."""
    commands: frozenset[str] = frozenset()
    """Those of this machine that a mend may use."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A child that is to run on certain CPUs."""

    label: str
    cpus: tuple[int, ...]
    spins: bool = False


@dataclass(frozen=True, slots=True)
class Wants:
    """What a configuration asks of its machine; without one nothing is."""

    configured: bool = False
    ring_bytes: int = 0
    """Of rings that are not there yet."""
    buffer_bytes: int = 0
    """The largest receive buffer."""
    live: bool = False
    """A feed of a real venue."""
    packet_rings: tuple[str, ...] = ()
    """Feeds with mode packet_ring."""
    hardware_stamps: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()
    real_time: Mapping[str, int] = field(default_factory=dict)
    """The level of each child that asks for one."""
    interfaces: tuple[str, ...] = ()
    nodes: Mapping[str, int] = field(default_factory=dict)
    """The NUMA node of each child that asks for one."""
    huge_pages: tuple[str, ...] = ()
    """Feeds whose rings should lie on them."""


def judge(facts: Facts, wants: Wants) -> list[Finding]:
    """Everything that is to be said, in the order of the report."""
    checks: tuple[Callable[[Facts, Wants], Iterator[Finding]], ...] = (
        _room_for_rings, _huge_pages, _nodes, _receive_buffers, _backlog, _clock, _swap, _governor, _pins, _real_time,
        _files, _packet_rings, _nics, _linger,
    )  # fmt: skip
    return [finding for check in checks for finding in check(facts, wants)]


def _bad(wants: Wants, *, asked: bool = True) -> Severity:
    """Trouble if a configuration asks for it, else advice."""
    return Severity.TROUBLE if wants.configured and asked else Severity.ADVICE


# ------------------------------------------------------------------------------------------- memory


def _room_for_rings(facts: Facts, wants: Wants) -> Iterator[Finding]:
    name, where = "shared memory", facts.shm_dir
    found = (
        f"{units.size(facts.shm_free_bytes)} free of {units.size(facts.shm_total_bytes)} in {where}"
    )
    if facts.shm_type not in (None, "tmpfs", "ramfs", "hugetlbfs"):
        yield Finding(
            name, _bad(wants), f"{where} is {facts.shm_type}", "tmpfs",
            "rings are written to a disk, and every tick may wait for it",
            f"mount -t tmpfs -o size=1g tmpfs {where}",
        )  # fmt: skip
        return
    needed = max(LEAST_SHM_BYTES, wants.ring_bytes)
    spare = int(SPARE * facts.shm_total_bytes) if wants.ring_bytes else 0
    if facts.shm_free_bytes >= needed + spare:
        yield Finding(name, Severity.OK, found)
        return
    short = facts.shm_free_bytes < wants.ring_bytes
    size = _mebibytes(2 * needed + facts.shm_total_bytes - facts.shm_free_bytes)
    yield Finding(
        name, _bad(wants, asked=short), found, f"{units.size(needed + spare)} free",
        "feeds whose rings find no room do not start",
        f"mount -o remount,size={size}m {where}",
    )  # fmt: skip


def _swap(facts: Facts, wants: Wants) -> Iterator[Finding]:
    del wants
    if facts.swap_bytes is None:
        return
    if not facts.swap_bytes:
        yield Finding("swap", Severity.OK, "none")
        return
    yield Finding(
        "swap", Severity.ADVICE, units.size(facts.swap_bytes), "none",
        "pages of rings that were quiet come back from a disk, at the open (mdfeedd.service is kept out of it)",
        "swapoff -a",
    )  # fmt: skip


def _huge_pages(facts: Facts, wants: Wants) -> Iterator[Finding]:
    if not wants.huge_pages or facts.huge_pages == "unknown":
        return
    if facts.huge_pages == "yes":
        yield Finding("huge pages", Severity.OK, "the kernel gives them to a tmpfs")
        return
    denied = facts.huge_pages == HUGE_PAGES_DENIED
    yield Finding(
        "huge pages", _bad(wants), facts.huge_pages, "Linux 6.1 or later with transparent huge pages",
        f"the rings of {', '.join(wants.huge_pages)} lie on pages of 4 KiB: more TLB misses",
        "echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled" if denied else "",
    )  # fmt: skip


def _nodes(facts: Facts, wants: Wants) -> Iterator[Finding]:
    for label, node in wants.nodes.items():
        name, there = f"NUMA node of {label}", written(facts.nodes)
        if node in facts.nodes:
            yield Finding(name, Severity.OK, f"{node}, of {there}")
            continue
        yield Finding(
            name, _bad(wants), f"there is no node {node}", f"one of {there}" if there else "a kernel with NUMA nodes",
            "its memory comes from anywhere, and it runs on any CPU", "lscpu",
        )  # fmt: skip


def _mebibytes(n: float) -> int:
    return math.ceil(n / (1 << 20))


# ------------------------------------------------------------------------------------------ network


def _receive_buffers(facts: Facts, wants: Wants) -> Iterator[Finding]:
    name, limit = "receive buffers", facts.rmem_max_bytes
    if limit is None:
        return
    wanted = wants.buffer_bytes or WANTED_BUFFER_BYTES
    found = f"net.core.rmem_max is {units.count(limit)}"
    if limit >= wanted:
        yield Finding(name, Severity.OK, found)
    elif "NET_ADMIN" in facts.capabilities:
        yield Finding(name, Severity.OK, f"{found}, which CAP_NET_ADMIN need not heed")
    else:
        yield Finding(
            name, _bad(wants, asked=bool(wants.buffer_bytes)), found, units.count(wanted),
            "what comes in while a process is not running, in a burst, is dropped by the kernel",
            _sysctl("net.core.rmem_max", wanted),
        )  # fmt: skip


def _backlog(facts: Facts, wants: Wants) -> Iterator[Finding]:
    if facts.backlog_packets is not None and facts.backlog_packets < LEAST_BACKLOG:
        yield Finding(
            "packet backlog", Severity.ADVICE,
            f"net.core.netdev_max_backlog is {units.count(facts.backlog_packets)}",
            units.count(LEAST_BACKLOG), "a burst is dropped before any socket sees it",
            _sysctl("net.core.netdev_max_backlog", 16_384),
        )  # fmt: skip
    if facts.memberships is not None and facts.memberships < 512 and wants.live:
        yield Finding(
            "multicast groups", Severity.ADVICE,
            f"net.ipv4.igmp_max_memberships is {facts.memberships}", "512",
            "programs that join many channels on one socket are refused (feeds here take a socket for each)",
            _sysctl("net.ipv4.igmp_max_memberships", 512),
        )  # fmt: skip


def _sysctl(name: str, value: int) -> str:
    """Now; for good it is in the file that `mdfeedd install-service` writes."""
    return f"sysctl -w {name}={value}"


def _packet_rings(facts: Facts, wants: Wants) -> Iterator[Finding]:
    if not wants.packet_rings:
        return
    name, whose = "packet ring", facts.whose or "this process"
    if "NET_RAW" in facts.capabilities:
        yield Finding(name, Severity.OK, f"{whose} has CAP_NET_RAW")
        return
    yield Finding(
        name, _bad(wants), f"{whose} has no CAP_NET_RAW, and {', '.join(wants.packet_rings)} needs it",
        "CAP_NET_RAW (mode: packet_ring)", "the feed ends with a refusal",
        "mdfeedd install-service --drop-in packet-ring",
    )  # fmt: skip


def _nics(facts: Facts, wants: Wants) -> Iterator[Finding]:
    for nic in facts.nics:
        name = f"interface {nic.name}"
        if not nic.up:
            yield Finding(
                name, _bad(wants), "down", "up", "nothing comes in",
                f"ip link set dev {nic.name} up",
            )  # fmt: skip
            continue
        if nic.strict_filter:
            key = f"net.ipv4.conf.{nic.name}.rp_filter"
            yield Finding(
                name, _bad(wants), f"{key} is strict", "loose (2)",
                "multicast from a source that is routed elsewhere is dropped without a trace",
                _sysctl(key, 2),
            )  # fmt: skip
        if nic.hardware_stamps is None:
            continue
        if nic.hardware_stamps:
            yield Finding(name, Severity.OK, "up, stamps packets itself")
        else:
            yield Finding(
                name, _bad(wants, asked=bool(wants.hardware_stamps)),
                "up, has no hardware timestamps", "a card that stamps packets",
                "ts_recv is the kernel's: some microseconds late, more under load",
                f"ethtool -T {nic.name}" if "ethtool" in facts.commands else "",
            )  # fmt: skip
    missing = sorted(set(wants.interfaces) - {nic.name for nic in facts.nics})
    for wanted in missing:
        yield Finding(
            f"interface {wanted}", _bad(wants), "not there", wanted, "its lines are not received",
            "ip link show",
        )  # fmt: skip


# --------------------------------------------------------------------------------------------- time


def _clock(facts: Facts, wants: Wants) -> Iterator[Finding]:
    clock = facts.clock
    if clock is None:
        return
    name = "clock"
    if clock.synchronised and clock.error_us <= MAX_CLOCK_ERROR_US:
        yield Finding(
            name, Severity.OK, f"synchronised, at most {units.duration(1e3 * clock.error_us)} off"
        )
        return
    if not clock.synchronised:
        found, wanted = "nothing keeps it", "synchronised"
        costs = "ts_recv cannot be compared with the venue's time, nor with other machines"
    else:
        found = f"synchronised, but up to {units.duration(1e3 * clock.error_us)} off"
        wanted = f"at most {units.duration(1e3 * MAX_CLOCK_ERROR_US)}"
        costs = "latencies below that say nothing"
    mend = "chronyc -n sources" if "chronyc" in facts.commands else "apt-get install chrony"
    if not clock.synchronised and "timedatectl" in facts.commands:
        mend = "timedatectl set-ntp true"
    severity = _bad(wants, asked=wants.live and not clock.synchronised)
    yield Finding(name, severity, found, wanted, costs, mend)


# --------------------------------------------------------------------------------------- processors


def _governor(facts: Facts, wants: Wants) -> Iterator[Finding]:
    del wants
    slow = sorted(cpu for cpu, governor in facts.governors.items() if governor != "performance")
    if not facts.governors:
        return  # a virtual machine, or a kernel that leaves it to the firmware
    if not slow:
        yield Finding("CPU governor", Severity.OK, "performance")
        return
    names = ", ".join(sorted({facts.governors[cpu] for cpu in slow}))
    mend = "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    if "cpupower" in facts.commands:
        mend = "cpupower frequency-set -g performance"
    yield Finding(
        "CPU governor", Severity.ADVICE, f"{names} on CPU {written(slow)}", "performance",
        "the first ticks after a quiet time are decoded at the lowest clock rate", mend,
    )  # fmt: skip


def _pins(facts: Facts, wants: Wants) -> Iterator[Finding]:
    for pin in wants.pins:
        cpus = frozenset(pin.cpus)
        name = f"pinning of {pin.label}"
        findings = [*_pin_place(facts, name, cpus), *_pin_quiet(facts, name, cpus)]
        findings += _pin_shared(facts, wants, pin, name)
        yield from findings or [Finding(name, Severity.OK, f"CPU {written(cpus)}, nobody else's")]


def _pin_place(facts: Facts, name: str, cpus: frozenset[int]) -> Iterator[Finding]:
    if missing := cpus - facts.online:
        yield Finding(
            name, Severity.TROUBLE, f"there is no CPU {written(missing)}", f"some of {written(facts.online)}",
            "it is not pinned at all", "lscpu -e",
        )  # fmt: skip


def _pin_quiet(facts: Facts, name: str, cpus: frozenset[int]) -> Iterator[Finding]:
    """What else the kernel may do on them."""
    there = cpus & facts.online
    if shared := there - facts.isolated:
        yield Finding(
            name, Severity.ADVICE, f"CPU {written(shared)} is not isolated",
            f"isolcpus={written(there)} nohz_full={written(there)} at the next boot",
            "other processes are put there as well, and ticks wait for them",
            _boot_with(facts, f"isolcpus={written(there)} nohz_full={written(there)}"),
        )  # fmt: skip
    elif ticking := there - facts.tickless:
        yield Finding(
            name, Severity.ADVICE, f"CPU {written(ticking)} has the timer tick",
            f"nohz_full={written(there)} at the next boot",
            "an interruption of some microseconds, up to a thousand times a second",
            _boot_with(facts, f"nohz_full={written(there)}"),
        )  # fmt: skip
    noisy = sorted(irq for irq, where in facts.irqs.items() if where & there)
    if noisy and there and not facts.online <= there:
        more = f" and {len(noisy) - MAX_IRQS_NAMED} more" if len(noisy) > MAX_IRQS_NAMED else ""
        number = noisy[0].partition(" ")[0]
        yield Finding(
            name, Severity.ADVICE, f"interrupts may come to it: {', '.join(noisy[:MAX_IRQS_NAMED])}{more}",
            "none", "each takes some microseconds from it",
            f"echo {written(facts.online - there)} > /proc/irq/{number}/smp_affinity_list",
        )  # fmt: skip


def _boot_with(facts: Facts, words: str) -> str:
    """Give the kernel these words; nothing where it is not known how."""
    if "grubby" in facts.commands:
        return f"grubby --update-kernel=ALL --args='{words}'"
    if "update-grub" in facts.commands:
        return f"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{words} /' /etc/default/grub && update-grub"
    return ""


def _pin_shared(facts: Facts, wants: Wants, pin: Pin, name: str) -> Iterator[Finding]:
    """Who else of ours is on the same core."""
    cpus = set(pin.cpus)
    cores = {twin for cpu in cpus for twin in facts.siblings.get(cpu, frozenset({cpu}))}
    for other in wants.pins:
        if other is pin:
            continue
        if same := cpus & set(other.cpus):
            severity = Severity.TROUBLE if pin.spins else Severity.ADVICE
            yield Finding(
                name, severity, f"shares CPU {written(same)} with {other.label}", "CPUs of its own",
                "each waits for the other" + (", and this one never sleeps" if pin.spins else ""),
                "lscpu -e",
            )  # fmt: skip
        elif twins := cores & set(other.cpus):
            yield Finding(
                name, Severity.ADVICE, f"shares a core with {other.label} (CPU {written(twins)})",
                "cores of their own", "both are slower, by a quarter or so", "lscpu -e",
            )  # fmt: skip


def _real_time(facts: Facts, wants: Wants) -> Iterator[Finding]:
    if not wants.real_time:
        return
    label, level = max(wants.real_time.items(), key=lambda item: item[1])
    found = f"{_limits_of(facts)}: rtprio {_limit(facts.rtprio)}"
    if "SYS_NICE" in facts.capabilities or facts.rtprio >= level:
        yield Finding("real time", Severity.OK, found)
        return
    yield Finding(
        "real time", _bad(wants), found, f"{level}, for {label}",
        "it runs without: whatever else runs there comes between",
        _raise(facts, "rtprio", "LimitRTPRIO", level),
    )  # fmt: skip


def _files(facts: Facts, wants: Wants) -> Iterator[Finding]:
    del wants
    found = (
        f"{_limits_of(facts)}: nofile {_limit(facts.files)}, "
        f"memlock {_limit(facts.memlock_bytes / 1024)} KiB, rtprio {_limit(facts.rtprio)}"
    )
    if facts.files >= LEAST_FILES:
        yield Finding("limits", Severity.OK, found)
        return
    yield Finding(
        "limits", Severity.ADVICE, found, f"nofile of {LEAST_FILES}",
        "with many lines, connections or open Parquet files a process runs out of descriptors",
        _raise(facts, "nofile", "LimitNOFILE", 16_384),
    )  # fmt: skip


def _limits_of(facts: Facts) -> str:
    return facts.whose or "this process"


def _raise(facts: Facts, limit: str, key: str, value: int) -> str:
    """How a limit is raised: for the unit, or for a user who logs in again."""
    if facts.whose:
        folder = f"/etc/systemd/system/{facts.whose}.d"
        file = f"{folder}/{limit}.conf"
        return f"mkdir -p {folder} && printf '[Service]\\n{key}={value}\\n' > {file} && systemctl daemon-reload"
    return f"echo '{facts.user} - {limit} {value}' >> /etc/security/limits.d/mdfeedd.conf"


def _limit(value: float) -> str:
    return "unlimited" if math.isinf(value) else f"{value:.0f}"


def _linger(facts: Facts, wants: Wants) -> Iterator[Finding]:
    if not facts.ordinary_user or facts.lingers is None:
        return
    if facts.lingers:
        yield Finding("session", Severity.OK, f"{facts.user} lingers: rings outlive the login")
        return
    del wants
    yield Finding(
        "session", Severity.ADVICE, f"{facts.user} does not linger", "that, or mdfeedd.service",
        "when the last session ends, systemd removes the rings in /dev/shm (RemoveIPC) and ends user services",
        f"loginctl enable-linger {facts.user}",
    )  # fmt: skip
