"""What the doctor reads of a machine, from invented files and from this one, and what a plan asks for."""

from __future__ import annotations

import json
import math
import os

import pytest

from mdfeedd.cli import doctor_facts, main
from mdfeedd.cli.doctor_facts import gather, wants_of
from mdfeedd.cli.doctor_host import Pin, Wants
from mdfeedd.daemon import config
from mdfeedd.ring import Writer
from mdfeedd.sim.cme.lines import config_xml, unicast_lines

FILES = {
    "proc/sys/net/core/rmem_max": "212992\n",
    "proc/sys/net/core/netdev_max_backlog": "1000\n",
    "proc/sys/net/ipv4/igmp_max_memberships": "20\n",
    "proc/meminfo": "MemTotal: 8000 kB\nSwapTotal:       2048 kB\n",
    "proc/self/mounts": "root / ext4 rw 0 0\ntmpfs /dev tmpfs rw 0 0\nshm /dev/shm ramfs rw 0 0\n",
    "proc/self/status": "Name:\tx\nCapEff:\t0000000000803000\n",
    "proc/interrupts": (
        "           CPU0       CPU1\n"
        "  24:          0         10   PCI-MSI  eth1-rx-0\n"
        "  25:          0          0   PCI-MSI  eth1-rx-1\n"
        " NMI:          1          1   Non-maskable interrupts\n"
    ),
    "proc/irq/24/smp_affinity_list": "1\n",
    "sys/devices/system/cpu/isolated": "1\n",
    "sys/devices/system/cpu/nohz_full": "(null)\n",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0-1\n",
    "sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "0-1\n",
    "sys/devices/system/node/online": "0-1\n",
    "sys/kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise never [deny] force\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def no_unit(monkeypatch):
    monkeypatch.setattr(doctor_facts, "_unit", dict)


@pytest.mark.usefixtures("no_unit")
def test_files_of_a_machine(root):
    facts = gather("/dev/shm", Wants(), root)
    assert (facts.rmem_max_bytes, facts.backlog_packets, facts.memberships) == (212_992, 1000, 20)
    assert facts.swap_bytes == 2 << 20
    assert facts.shm_type == "ramfs"
    assert facts.shm_total_bytes >= facts.shm_free_bytes > 0
    assert facts.capabilities == {"NET_ADMIN", "NET_RAW", "SYS_NICE"}
    assert facts.irqs == {"24 (eth1-rx-0)": frozenset({1})}
    assert (facts.isolated, facts.tickless) == ({1}, frozenset())
    assert facts.siblings == {0: {0, 1}, 1: {0, 1}}
    assert facts.governors == {0: "powersave"}
    assert facts.nodes == {0, 1}
    assert facts.huge_pages == "shmem_enabled is deny"
    assert facts.whose == ""


@pytest.mark.usefixtures("no_unit")
def test_machine_that_shows_nothing(tmp_path):
    facts = gather(str(tmp_path / "none"), Wants(), tmp_path)
    assert facts.rmem_max_bytes is facts.swap_bytes is facts.shm_type is None
    assert not facts.irqs
    assert not facts.capabilities
    assert facts.online
    assert not facts.nodes
    assert facts.huge_pages == "unknown"


def test_limits_are_those_of_the_service_where_it_is_installed(root, monkeypatch):
    shown = {
        "LoadState": "loaded", "LimitNOFILE": "16384", "LimitMEMLOCK": "infinity", "LimitRTPRIO": "20",
        "AmbientCapabilities": "cap_net_raw",
    }  # fmt: skip
    monkeypatch.setattr(doctor_facts, "_unit", lambda: shown)
    facts = gather("/dev/shm", Wants(), root)
    assert (facts.whose, facts.files, facts.rtprio) == ("mdfeedd.service", 16_384, 20)
    assert math.isinf(facts.memlock_bytes)
    assert facts.capabilities == {"NET_RAW"}


def test_this_machine():
    """Whatever it is: all of it can be read without an error, and loopback is an interface that is up."""
    facts = gather("/dev/shm", Wants(interfaces=("lo", "mdfeedd-none")))
    assert facts.online >= os.sched_getaffinity(0)
    assert facts.clock is not None
    (lo,) = facts.nics
    assert (lo.name, lo.up) == ("lo", True)
    assert lo.hardware_stamps in (False, None), "loopback has no card that could stamp"


def test_what_a_plan_asks_for(tmp_path, shm_dir):
    (tmp_path / "config.xml").write_text(config_xml(310, unicast_lines()))
    cme = {
        "config_xml": str(tmp_path / "config.xml"), "channels": [310], "mode": "packet_ring",
        "receive_buffer_bytes": 33_554_432, "hardware_timestamps": True, "cpu": 3, "cache_dir": "",
    }  # fmt: skip
    feeds = [
        {
            "name": "cme",
            "vendor": "cme",
            "capacity": 1 << 16,
            "priority": "fifo-10",
            "options": cme,
        },
        {
            "name": "sim",
            "vendor": "synthetic",
            "capacity": 1 << 10,
            "cpus": [1, 2],
            "numa_node": 1,
            "huge_pages": True,
        },
        {"name": "old", "vendor": "synthetic", "capacity": 1 << 20},
    ]
    bars = {
        "name": "bars",
        "type": "bars",
        "rings": ["cme"],
        "options": {"ring": "b", "capacity": 512},
    }
    plan = config.check({"shm_dir": shm_dir, "feeds": feeds, "consumers": [bars]})
    with Writer("old", 1 << 20, directory=shm_dir):
        wants = wants_of(plan)
    assert wants.ring_bytes == (1 << 16) * 64 + (1 << 10) * 64 + 512 * 128, "one is there already"
    assert wants.buffer_bytes == 33_554_432
    assert wants.live
    assert (wants.packet_rings, wants.hardware_stamps) == (("cme",), ("cme",))
    assert wants.pins == (Pin("feed cme", (3,)), Pin("feed sim", (1, 2)))
    assert wants.real_time == {"feed cme": 10}
    assert wants.interfaces == ("lo",)
    assert (wants.nodes, wants.huge_pages) == ({"feed sim": 1}, ("sim",))


def doctor(shm_dir, *more):
    return main(["doctor", "--shm-dir", shm_dir, *more])


def test_json(shm_dir, capsys):
    with Writer("cme", directory=shm_dir) as writer:
        writer.beat()
        status = doctor(shm_dir, "--json")
    shown = json.loads(capsys.readouterr().out)
    assert [(ring["name"], ring["state"]) for ring in shown["rings"]] == [("cme", "live")]
    assert shown["host"][0]["check"] == "shared memory"
    assert set(shown["host"][0]) == {"check", "severity", "found", "wanted", "costs", "mend"}
    assert (status, shown["troubles"]) == (0, [])


def test_configuration_that_asks_for_more_than_there_is(shm_dir, tmp_path, capsys):
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(
        f"shm_dir: {shm_dir}\nfeeds:\n  - {{name: sim, vendor: synthetic, cpus: [4000]}}\n"
    )
    assert main(["doctor", "-c", str(file)]) == 1
    out = capsys.readouterr().out
    assert "trouble: pinning of feed sim: there is no CPU 4000, wanted some of " in out
    assert "          costs: it is not pinned at all\n          mend:  lscpu -e\n" in out


def test_configuration_that_cannot_be_read(tmp_path, capsys):
    assert main(["doctor", "-c", str(tmp_path / "none.yaml")]) == 78
    assert "cannot be read" in capsys.readouterr().err
