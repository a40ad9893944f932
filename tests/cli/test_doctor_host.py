"""Invented machines, and what is said of them; every command that is printed exists."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from mdfeedd.cli import install_service
from mdfeedd.cli.doctor_facts import COMMANDS
from mdfeedd.cli.doctor_host import Clock, Facts, Finding, Nic, Pin, Severity, Wants, judge

OK, ADVICE, TROUBLE = Severity.OK, Severity.ADVICE, Severity.TROUBLE
GOOD = Facts(
    shm_type="tmpfs",
    shm_total_bytes=16 << 30,
    shm_free_bytes=15 << 30,
    rmem_max_bytes=64 << 20,
    backlog_packets=16_384,
    memberships=512,
    swap_bytes=0,
    clock=Clock(True, 40),
    online=frozenset(range(8)),
    isolated=frozenset({2, 3}),
    tickless=frozenset({2, 3}),
    siblings={cpu: frozenset({cpu, cpu ^ 4}) for cpu in range(8)},
    governors=dict.fromkeys(range(8), "performance"),
    irqs={"24 (eth1-rx-0)": frozenset({0, 1})},
    files=16_384,
    memlock_bytes=512 << 20,
    rtprio=20,
    nics=(Nic("eth1", hardware_stamps=True),),
    user="alice",
    commands=frozenset(COMMANDS),
)
LIVE = Wants(
    configured=True,
    ring_bytes=8 << 20,
    buffer_bytes=64 << 20,
    live=True,
    pins=(Pin("feed cme", (2,)),),
    real_time={"feed cme": 10},
    interfaces=("eth1",),
)
NOTHING = Wants()


def but(**changes: object) -> Facts:
    return dataclasses.replace(GOOD, **changes)


def wanting(**changes: object) -> Wants:
    return dataclasses.replace(LIVE, **changes)


TWO_PINS = (Pin("feed cme", (2,)), Pin("feed b", (2, 3)))
TWINS = (Pin("feed cme", (2,)), Pin("feed b", (6,)))
BY_SERVICE = {"whose": "mdfeedd.service", "user": "root"}

CASES = {
    # name: (facts, wants, check, severity, part of what was found, part of the mend)
    "shm full, rings wanted": (
        but(shm_free_bytes=1 << 20), LIVE, "shared memory", TROUBLE, "1.05 MB free", "mount -o remount,size="),
    "shm small, nothing wanted": (
        but(shm_total_bytes=64 << 20, shm_free_bytes=1 << 20), NOTHING, "shared memory", ADVICE, "", "remount,size=191m"),
    "shm has room for the rings and little more": (
        but(shm_free_bytes=32 << 20), LIVE, "shared memory", ADVICE, "33.6 MB free", "remount"),
    "shm on a disk": (but(shm_type="ext4"), LIVE, "shared memory", TROUBLE, "is ext4", "mount -t tmpfs"),
    "huge pages": (
        but(huge_pages="this is Linux 5.15"), wanting(huge_pages=("cme",)), "huge pages", TROUBLE, "Linux 5.15", ""),
    "huge pages denied": (
        but(huge_pages="shmem_enabled is deny"), wanting(huge_pages=("cme",)), "huge pages", TROUBLE, "deny", "echo never"),
    "huge pages given": (but(huge_pages="yes"), wanting(huge_pages=("cme",)), "huge pages", OK, "gives them", ""),
    "node": (
        but(nodes=frozenset({0, 1})), wanting(nodes={"feed cme": 1}), "NUMA node of feed cme", OK, "1, of 0-1", ""),
    "node that is not there": (
        but(nodes=frozenset({0})), wanting(nodes={"feed cme": 1}), "NUMA node of feed cme", TROUBLE, "no node 1", "lscpu"),
    "buffers": (but(rmem_max_bytes=212_992), LIVE, "receive buffers", TROUBLE, "212,992", "rmem_max=67108864"),
    "buffers, nothing wanted": (but(rmem_max_bytes=212_992), NOTHING, "receive buffers", ADVICE, "212,992", "sysctl"),
    "buffers of an administrator": (
        but(rmem_max_bytes=1, capabilities=frozenset({"NET_ADMIN"})), LIVE, "receive buffers", OK, "need not heed", ""),
    "backlog": (but(backlog_packets=1000), NOTHING, "packet backlog", ADVICE, "1,000", "netdev_max_backlog=16384"),
    "memberships": (but(memberships=20), LIVE, "multicast groups", ADVICE, "is 20", "igmp_max_memberships=512"),
    "clock free": (but(clock=Clock(False, 16_000_000)), LIVE, "clock", TROUBLE, "nothing keeps", "timedatectl"),
    "clock free, no live feed": (but(clock=Clock(False, 0)), wanting(live=False), "clock", ADVICE, "", "timedatectl"),
    "clock wide": (but(clock=Clock(True, 30_000)), LIVE, "clock", ADVICE, "up to 30.0 ms off", "chronyc"),
    "clock free, no tools": (
        but(clock=Clock(False, 0), commands=frozenset()), LIVE, "clock", TROUBLE, "", "apt-get install chrony"),
    "swap": (but(swap_bytes=2 << 30), LIVE, "swap", ADVICE, "2.15 GB", "swapoff -a"),
    "governor": (
        but(governors={0: "powersave", 1: "performance"}), NOTHING, "CPU governor", ADVICE, "powersave on CPU 0",
        "cpupower frequency-set -g performance"),
    "governor without cpupower": (
        but(governors={0: "schedutil"}, commands=frozenset()), NOTHING, "CPU governor", ADVICE, "", "tee /sys/devices"),
    "pinned to what is not there": (
        GOOD, wanting(pins=(Pin("feed cme", (2, 9)),)), "pinning of feed cme", TROUBLE, "no CPU 9", "lscpu"),
    "pinned among others": (
        but(isolated=frozenset()), LIVE, "pinning of feed cme", ADVICE, "CPU 2 is not isolated",
        "grubby --update-kernel=ALL --args='isolcpus=2 nohz_full=2'"),
    "pinned among others, Debian": (
        but(isolated=frozenset(), commands=frozenset({"update-grub"})), LIVE, "pinning of feed cme", ADVICE,
        "not isolated", "&& update-grub"),
    "pinned, ticking": (
        but(tickless=frozenset()), LIVE, "pinning of feed cme", ADVICE, "has the timer tick", "nohz_full=2"),
    "pinned, interrupted": (
        but(irqs={"24 (eth1-rx-0)": frozenset({2}), "9 (acpi)": frozenset({0})}), LIVE, "pinning of feed cme", ADVICE,
        "interrupts may come to it: 24 (eth1-rx-0)", "echo 0-1,3-7 > /proc/irq/24/smp_affinity_list"),
    "two on one CPU": (GOOD, wanting(pins=TWO_PINS), "pinning of feed cme", ADVICE, "CPU 2 with feed b", "lscpu"),
    "spinning beside another": (
        GOOD, wanting(pins=(Pin("feed cme", (2,), spins=True), TWO_PINS[1])), "pinning of feed cme", TROUBLE,
        "shares CPU 2", "lscpu"),
    "two on one core": (GOOD, wanting(pins=TWINS), "pinning of feed cme", ADVICE, "a core with feed b", "lscpu"),
    "real time refused": (
        but(rtprio=0), LIVE, "real time", TROUBLE, "this process: rtprio 0", "echo 'alice - rtprio 10' >> /etc/security"),
    "real time with CAP_SYS_NICE": (but(rtprio=0, capabilities=frozenset({"SYS_NICE"})), LIVE, "real time", OK, "", ""),
    "real time of the service": (
        but(rtprio=5, **BY_SERVICE), LIVE, "real time", TROUBLE, "mdfeedd.service: rtprio 5", "LimitRTPRIO=10"),
    "descriptors": (but(files=1024), NOTHING, "limits", ADVICE, "nofile 1024", "alice - nofile 16384"),
    "packet ring": (
        GOOD, wanting(packet_rings=("cme",)), "packet ring", TROUBLE, "this process has no CAP_NET_RAW, and cme",
        "mdfeedd install-service --drop-in packet-ring"),
    "packet ring allowed": (
        but(capabilities=frozenset({"NET_RAW"}), **BY_SERVICE), wanting(packet_rings=("cme",)), "packet ring", OK,
        "mdfeedd.service has", ""),
    "card down": (but(nics=(Nic("eth1", up=False),)), LIVE, "interface eth1", TROUBLE, "down", "ip link set dev eth1 up"),
    "card missing": (but(nics=()), LIVE, "interface eth1", TROUBLE, "not there", "ip link show"),
    "strict filter": (
        but(nics=(Nic("eth1", strict_filter=True),)), LIVE, "interface eth1", TROUBLE, "is strict",
        "sysctl -w net.ipv4.conf.eth1.rp_filter=2"),
    "no stamps": (but(nics=(Nic("eth1", hardware_stamps=False),)), LIVE, "interface eth1", ADVICE, "no hardware", "ethtool"),
    "no stamps, wanted": (
        but(nics=(Nic("eth1", hardware_stamps=False),)), wanting(hardware_stamps=("cme",)), "interface eth1", TROUBLE,
        "no hardware", "ethtool -T eth1"),
    "session ends": (
        but(ordinary_user=True, lingers=False), NOTHING, "session", ADVICE, "alice does not linger",
        "loginctl enable-linger alice"),
    "session lingers": (but(ordinary_user=True, lingers=True), NOTHING, "session", OK, "outlive", ""),
}  # fmt: skip


def the(findings: list[Finding], check: str, severity: Severity) -> Finding:
    found = [f for f in findings if f.check == check and f.severity is severity]
    assert found, [(f.check, f.severity.value, f.found) for f in findings]
    return found[0]


@pytest.mark.parametrize("name", CASES)
def test_machine(name):
    facts, wants, check, severity, found, mend = CASES[name]
    findings = judge(facts, wants)
    finding = the(findings, check, severity)
    assert found in finding.found
    assert mend in finding.mend
    if severity is not OK:
        assert finding.wanted
        assert finding.costs
    others = [f for f in findings if f.check != check and f.severity is not OK]
    assert all(f.check.startswith("pinning") for f in others), "one cause, one finding"


@pytest.mark.parametrize("wants", [LIVE, NOTHING], ids=["live", "nothing"])
def test_machine_that_is_as_it_should_be(wants):
    findings = judge(GOOD, wants)
    assert {f.severity for f in findings} == {OK}
    assert {f.check for f in findings} > {"shared memory", "receive buffers", "clock", "limits"}
    assert all(not f.costs and not f.mend for f in findings)


def test_without_a_configuration_nothing_is_trouble():
    worst = Facts(
        shm_type="ext4", rmem_max_bytes=1, backlog_packets=1, memberships=1, swap_bytes=1,
        clock=Clock(False, 0), governors={0: "powersave"}, files=1, user="bob", ordinary_user=True, lingers=False,
    )  # fmt: skip
    assert {f.severity for f in judge(worst, NOTHING)} == {ADVICE}


def test_what_is_unknown_is_not_judged():
    """In a sandbox without /proc/sys and /sys, say."""
    findings = judge(Facts(shm_total_bytes=16 << 30, shm_free_bytes=16 << 30), LIVE_UNPINNED)
    assert {f.check for f in findings} == {"shared memory", "limits"}


LIVE_UNPINNED = dataclasses.replace(LIVE, pins=(), real_time={}, interfaces=())

OPTIONAL = {*COMMANDS, "apt-get", "loginctl", "update-grub"}
"""Printed where `Facts.commands` has them, or where their system is at work."""
SHELL = {"echo", "printf"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[5]])
def test_command_that_mends_it_exists(name):
    mend = the(judge(*CASES[name][:2]), *CASES[name][2:4]).mend
    for command in re.split(r" && | \| ", mend):
        words = command.split()
        if words[0] == "mdfeedd":
            assert words[1:3] == ["install-service", "--drop-in"]
            assert words[3] in install_service.DROP_INS
        else:
            assert words[0] in SHELL | OPTIONAL or shutil.which(words[0]), command
        if words[0] == "sysctl":
            key = words[-1].partition("=")[0].replace("eth1", "lo")
            assert (Path("/proc/sys") / key.replace(".", "/")).exists(), key
