"""``systemctl start mdfeedd`` on a real systemd: starts, kills, hangs, reloads, stops, credentials, refusals.

The unit is the one of the repository, as `mdfeedd install-service` puts it in place, with shorter times.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON: Final = "/opt/mdfeedd/bin/python"

CONFIG = """
feeds:
  - name: demo
    vendor: synthetic
    options: {rate: 500, instruments: 4, seed: 7}
consumers:
  - name: bars
    type: bars
    rings: [demo]
    options: {ring: demo-bars, intervals_s: [1]}
"""
STORE = """
  - name: store
    type: batch
    rings: [demo]
    options: {sink: {type: parquet, path: /var/lib/mdfeedd/store}}
"""
MORE = "  - {name: more, vendor: synthetic, options: {rate: 100, instruments: 1}}\nconsumers:"
FILE = "/etc/mdfeedd/mdfeedd.yaml"
CREDENTIALS = "/etc/mdfeedd/cred"
DROP_INS = "/etc/systemd/system/mdfeedd.service.d"
REFUSED = "the last reload was refused"
"""As the status text says it."""


@pytest.fixture
def service(box):
    """The box with the service down, nothing left of the test before, and `CONFIG` in place."""
    box.run("systemctl", "stop", "mdfeedd", check=False)
    box.run("systemctl", "reset-failed", "mdfeedd", check=False)
    box.run("sh", "-c", "rm -rf /dev/shm/mdfeedd.* /var/lib/mdfeedd/*")
    box.write(FILE, CONFIG)
    box.mark()
    yield box
    box.run("systemctl", "stop", "mdfeedd", check=False)


def start(box) -> int:
    """Returns when systemd says that it is started; the main pid."""
    box.run("systemctl", "start", "mdfeedd")
    return int(box.property("MainPID"))


def look(box, ring: str = "demo", user: str = "") -> dict[str, object]:
    """What the header of a ring says."""
    code = (
        "import json, sys; from mdfeedd.ring.inspect import inspect; i = inspect(sys.argv[1]); "
        "print(json.dumps({'pid': i.pid, 'tail': i.tail, 'epoch': i.epoch, 'state': i.state_text}))"
    )
    return json.loads(box.run(PYTHON, "-c", code, ring, user=user).stdout)


def scrape(box, path: str = "metrics") -> str:
    code = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/{path}').read().decode())"
    return box.run(PYTHON, "-c", code, user="alice").stdout


def value(text: str, metric: str, **labels: str) -> float:
    given = ",".join(f'{key}="{labels[key]}"' for key in labels)
    return float(re.search(rf"^{metric}\{{{re.escape(given)}\}} (\S+)$", text, re.MULTILINE)[1])


def children(box) -> dict[str, int]:
    """The pid of each child by its name, as the kernel has them."""
    lines = box.run("ps", "-eo", "pid,args").stdout.splitlines()
    worker = re.compile(r" *(\d+) \S+ -m mdfeedd\.daemon\.worker (?:feed|consumer) (\S+)")
    found = [worker.match(line) for line in lines]
    return {match[2]: int(match[1]) for match in found if match}


READER = """
import os, sys, threading
from mdfeedd import Reader
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
with Reader("demo", "now", "outside", wait=60) as reader:
    expected = 0
    while True:
        batch = reader.read(timeout=0.2)
        if len(batch):
            first = int(batch.records["seq"][0])
            if expected and first != expected + batch.lost:
                print("broken", expected, first, flush=True)
            expected = int(batch.records["seq"][-1]) + 1
        print(reader.epoch, expected, reader.lost, flush=True)
"""


class Outside:
    """A reader of another user's, that is attached all the time."""

    def __init__(self, box) -> None:
        self.lines: list[str] = []
        self._box = box
        self.process = subprocess.Popen(
            box.command(PYTHON, "-c", READER, user="alice"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)

    def goes_on(self, epoch: int) -> None:
        """It receives what the writer of this epoch publishes, in the one sequence."""

        def received() -> bool:
            assert self.process.poll() is None, "the reader has ended"
            seen = [line.split() for line in self.lines[-2:]]
            return len(seen) == 2 and int(seen[0][0]) >= epoch and int(seen[0][1]) < int(seen[1][1])

        self._box.until(received, f"ticks of epoch {epoch}")
        assert not [line for line in self.lines if "broken" in line]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self._thread.join()
        self.process.stdout.close()


@pytest.fixture
def outside(service) -> Iterator[Outside]:
    start(service)
    reader = Outside(service)
    yield reader
    reader.close()


# ------------------------------------------------------------------------------------------ install


def test_installed_means_a_user_folders_and_a_unit_with_this_interpreter(service) -> None:
    shown = service.run("stat", "-c", "%a %U", "/etc/mdfeedd", CREDENTIALS).stdout
    assert shown.splitlines() == ["755 root", "700 root"]
    assert "mdfeedd" in service.run("id", "-nG", "mdfeedd").stdout
    start = service.run("systemctl", "show", "mdfeedd", "-P", "ExecStart").stdout
    assert f"argv[]=/opt/mdfeedd/bin/mdfeedd run -c {FILE}" in start


def test_uninstalled_stops_it_and_keeps_what_is_yours(service) -> None:
    start(service)
    try:
        out = service.run("/opt/mdfeedd/bin/mdfeedd", "install-service", "--uninstall").stdout
        assert children(service) == {}
        assert "holds files of yours" in out, "the shorter times of these tests"
        assert service.run("systemctl", "start", "mdfeedd", check=False).returncode != 0
        assert look(service)["state"] == "closed", "the ring is still there"
        service.run("test", "-f", FILE)
    finally:
        service.run("/opt/mdfeedd/bin/mdfeedd", "install-service")
    start(service)


# -------------------------------------------------------------------------------------------- start


def test_started_means_that_the_rings_are_there(service) -> None:
    start(service)
    assert look(service)["state"] == "live", "READY came before the ring"
    assert look(service, "demo-bars")["state"] == "live"
    text = service.property("StatusText")
    assert re.fullmatch(r"1 feed running, 1 consumer running, \S+( [kM])? ticks/s, 0 gaps", text)
    shown = service.run("systemctl", "status", "mdfeedd", "--no-pager").stdout
    assert "worker feed demo" in shown
    assert "worker consumer bars" in shown
    rate = service.until(
        lambda: re.search(r", ([\d.]+) (k )?ticks/s", service.property("StatusText")), "a rate"
    )
    assert rate
    service.until(lambda: " 0 ticks/s" not in service.property("StatusText"), "a rate above 0")


def test_group_may_read_and_others_may_not(service) -> None:
    start(service)
    code = "from mdfeedd import Reader; print(len(Reader('demo', wait=30).read(timeout=30)))"
    assert int(service.run(PYTHON, "-c", code, user="alice").stdout) > 0
    done = service.run(PYTHON, "-c", code, user="mallory", check=False)
    assert done.returncode != 0
    assert "RingDenied" in done.stderr


def test_scrape(service) -> None:
    start(service)
    text = scrape(service)
    assert value(text, "mdfeedd_ring_tick_published_total", ring="demo") > 0
    assert value(text, "mdfeedd_child_restart_total", child="demo", kind="feed") == 0
    assert json.loads(scrape(service, "healthz"))["healthy"] is True


# ------------------------------------------------------------------------------------ kills and hangs


def test_feed_killed_comes_back_alone_and_a_reader_outside_goes_on(service, outside) -> None:
    main, before = service.property("MainPID"), children(service)
    outside.goes_on(1)
    service.run("kill", "-9", str(before["demo"]))
    outside.goes_on(2)
    after = service.until(lambda: (c := children(service)).get("demo") and c, "the feed again")
    assert after["demo"] != before["demo"]
    assert after["bars"] == before["bars"]
    assert service.property("MainPID") == main
    assert service.property("NRestarts") == "0"
    (line,) = [e for e in service.journal() if "killed by SIGKILL; restart" in e["MESSAGE"]]
    assert (line["PRIORITY"], line["SYSLOG_IDENTIFIER"]) == ("4", "mdfeedd")
    assert line["MDFEEDD_KIND"] == "supervisor"
    chosen = service.run(
        "journalctl", "-u", "mdfeedd", "MDFEEDD_NAME=demo", "-o", "json", "--no-pager"
    )
    entries = [json.loads(entry) for entry in chosen.stdout.splitlines()]
    assert {entry["_PID"] for entry in entries} >= {str(before["demo"]), str(after["demo"])}
    assert {entry["MDFEEDD_KIND"] for entry in entries} == {"feed"}


def test_main_process_killed_takes_all_down_and_all_come_back(service, outside) -> None:
    main, before = service.property("MainPID"), children(service)
    outside.goes_on(1)
    service.run("kill", "-9", main)
    outside.goes_on(2)
    service.until(lambda: service.property("SubState") == "running", "the service again")
    assert service.property("MainPID") not in ("0", main)
    assert service.property("NRestarts") == "1"
    after = children(service)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values()), "nobody may be left of the old ones"


def with_keys(keys: str) -> str:
    """`CONFIG` with more keys of its feed."""
    return CONFIG.replace("    vendor: synthetic\n", f"    vendor: synthetic\n{keys}")


def test_child_that_hangs_is_replaced_and_the_daemon_stays(service, outside) -> None:
    service.write(FILE, with_keys("    hang_s: 2\n"))
    service.run("systemctl", "restart", "mdfeedd")
    main, before = service.property("MainPID"), children(service)
    outside.goes_on(2)
    service.run("kill", "-STOP", str(before["demo"]))
    outside.goes_on(3)
    assert service.property("MainPID") == main
    assert service.property("NRestarts") == "0"
    text = scrape(service)
    assert value(text, "mdfeedd_child_hang_total", child="demo", kind="feed") == 1
    assert value(text, "mdfeedd_child_hang_total", child="bars", kind="consumer") == 0
    (line,) = [e for e in service.journal() if "no sign of life for" in e["MESSAGE"]]
    assert line["PRIORITY"] == "3"


def test_supervisor_that_hangs_is_replaced_by_systemd(service, outside) -> None:
    drop_in = f"{DROP_INS}/watchdog.conf"
    service.write(drop_in, "[Service]\nWatchdogSec=2s\n")
    try:
        service.run("systemctl", "daemon-reload")
        service.run("systemctl", "restart", "mdfeedd")
        main = service.property("MainPID")
        outside.goes_on(2)
        service.run("kill", "-STOP", main)
        outside.goes_on(3)
        service.until(lambda: service.property("SubState") == "running", "the service again")
        assert service.property("MainPID") not in ("0", main)
    finally:
        service.run("rm", "-f", drop_in)
        service.run("systemctl", "daemon-reload")
    assert [e for e in service.journal() if "Watchdog timeout" in e["MESSAGE"]]


# -------------------------------------------------------------------------------------------- reload


def test_bad_file_fails_the_reload_and_the_old_configuration_runs_on(service) -> None:
    main = start(service)
    before = children(service)
    service.write(FILE, "feeds:\n  - {name: demo, vendor: nobody}\n")
    assert service.run("systemctl", "reload", "mdfeedd", check=False).returncode != 0
    messages = [entry["MESSAGE"] for entry in service.journal()]
    assert [m for m in messages if m.startswith(f"{FILE}:2:26: error: feeds[0].vendor")]
    assert int(service.property("MainPID")) == main
    service.run("kill", "-HUP", str(main))  # as somebody does who does not ask systemd
    service.until(lambda: REFUSED in service.property("StatusText"), "the refusal in the status")
    assert service.property("ActiveState") == "active"
    assert children(service) == before
    service.write(FILE, CONFIG)
    service.run("systemctl", "reload", "mdfeedd")
    service.until(lambda: REFUSED not in service.property("StatusText"), "the status well again")
    assert children(service) == before


def test_reload_starts_what_is_new_and_touches_nobody_else(service) -> None:
    main = start(service)
    before = children(service)
    service.write(FILE, CONFIG.replace("consumers:", MORE))
    service.run("systemctl", "reload", "mdfeedd")
    service.until(lambda: "2 feeds running" in service.property("StatusText"), "the second feed")
    after = children(service)
    assert after.pop("more")
    assert after == before
    assert int(service.property("MainPID")) == main
    assert service.property("ActiveState") == "active"


# ---------------------------------------------------------------------------------------------- stop


def test_stop_flushes_everything_and_a_reader_waits_for_the_next_start(service) -> None:
    pytest.importorskip("pyarrow")
    service.write(FILE, CONFIG + STORE)
    start(service)
    reader = Outside(service)
    try:
        reader.goes_on(1)
        service.run("systemctl", "stop", "mdfeedd")
        assert service.property("Result") == "success", "it took longer than it may, or worse"
        assert service.property("ExecMainStatus") == "0"
        assert children(service) == {}
        ring = look(service)
        assert ring["state"] == "closed"
        code = (
            "import pyarrow.dataset as d; print(sum(d.dataset('/var/lib/mdfeedd/store/' + t)"
            ".count_rows() for t in ('quotes', 'trades')))"
        )
        assert int(service.run(PYTHON, "-c", code).stdout) == ring["tail"]
        start(service)
        reader.goes_on(2)
    finally:
        reader.close()


# ------------------------------------------------------------------------- credentials, and what stays down

SECRET = "db-simulated0000000000000000000k"
GATEWAY = """
feeds:
  - name: databento
    vendor: databento
    options:
      dataset: GLBX.MDP3
      gateway: 127.0.0.1:13000
      key: {credential: databento-key}
      subscriptions: [{schema: mbp-1, symbols: [ALL_SYMBOLS]}]
"""


@pytest.fixture
def gateway(service):
    """`mdfeedd sim databento` in the box, and its key as a credential."""
    service.run(
        "systemd-run", "--unit=gateway", f"--setenv={service.LIBRARIES}",
        "-p", "StandardOutput=null", "-p", "StandardError=null",  # it tells its key
        "/opt/mdfeedd/bin/mdfeedd", "sim", "databento",
    )  # fmt: skip
    service.write(FILE, GATEWAY)
    yield service
    service.run("systemctl", "stop", "gateway")
    service.run("sh", "-c", f"rm -f {CREDENTIALS}/*")


def test_feed_gets_its_key_as_a_credential_and_the_journal_does_not(gateway) -> None:
    gateway.write(f"{CREDENTIALS}/databento-key", SECRET, 0o600)
    start(gateway)
    gateway.until(lambda: look(gateway, "databento")["tail"], "ticks of the gateway")
    everything = gateway.run("journalctl", "-b", "-o", "json", "--all", "--no-pager").stdout
    assert SECRET not in everything
    shown = (
        gateway.run("ps", "-eo", "args").stdout + gateway.run("systemctl", "show", "mdfeedd").stdout
    )
    assert SECRET not in shown


def stays_down(box, status: int) -> None:
    """Failed with this status, and not tried again."""
    box.until(lambda: box.property("ActiveState") == "failed", f"failed with {status}")
    assert box.property("ExecMainStatus") == str(status)
    assert box.property("NRestarts") == "0"


def test_wrong_key_stays_down(gateway) -> None:
    gateway.write(f"{CREDENTIALS}/databento-key", "db-wrong000000000000000000000000k", 0o600)
    gateway.run("systemctl", "start", "mdfeedd", check=False)
    stays_down(gateway, 77)


def test_bad_configuration_stays_down(service) -> None:
    service.write(FILE, "feeds: []\n")
    assert service.run("systemctl", "start", "mdfeedd", check=False).returncode != 0
    stays_down(service, 78)
    assert not [entry for entry in service.journal() if "Traceback" in entry["MESSAGE"]]


def test_no_folder_of_credentials_stays_down(service) -> None:
    service.run("mv", CREDENTIALS, f"{CREDENTIALS}.away")
    try:
        assert service.run("systemctl", "start", "mdfeedd", check=False).returncode != 0
        stays_down(service, 243)
    finally:
        service.run("mv", f"{CREDENTIALS}.away", CREDENTIALS)


# ------------------------------------------------------------------------------------------- sandbox


def test_child_is_pinned_and_made_nicer_within_the_sandbox(service) -> None:
    service.write(FILE, with_keys("    cpus: [0]\n    priority: nice+4\n"))
    start(service)
    pids = children(service)
    shown = service.run("ps", "-o", "ni=,args=", "-p", str(pids["demo"])).stdout.split()
    assert shown[0] == "4"
    status = service.run("cat", f"/proc/{pids['demo']}/status").stdout
    assert re.search(r"^Cpus_allowed_list:\s+0$", status, re.MULTILINE)
    assert not [e for e in service.journal() if "refuses" in e["MESSAGE"]]


def test_real_time_that_the_unit_does_not_allow_is_told_and_the_feed_runs(service) -> None:
    service.write(FILE, with_keys("    priority: fifo-99\n"))
    start(service)
    (line,) = [e for e in service.journal() if "the kernel refuses fifo-99" in e["MESSAGE"]]
    assert "LimitRTPRIO=99" in line["MESSAGE"]
    assert line["PRIORITY"] == "4"
    assert look(service)["state"] == "live"


NICE = """[Service]
AmbientCapabilities=CAP_SYS_NICE
CapabilityBoundingSet=CAP_SYS_NICE
PrivateUsers=no
"""


def test_real_time_that_is_allowed_is_the_feed_s_alone(service) -> None:
    """By capability: LimitRTPRIO= is not given out in here."""
    service.write(f"{DROP_INS}/nice.conf", NICE)
    service.write(FILE, with_keys("    priority: fifo-10\n"))
    try:
        service.run("systemctl", "daemon-reload")
        start(service)
        pids = children(service)
        shown = {
            name: service.run("ps", "-o", "cls=,rtprio=", "-p", str(pid)).stdout.split()
            for name, pid in pids.items()
        }
        assert shown == {"demo": ["FF", "10"], "bars": ["TS", "-"]}
    finally:
        service.run("rm", "-f", f"{DROP_INS}/nice.conf")
        service.run("systemctl", "daemon-reload")


PROBE = """[Service]
Type=oneshot
Restart=no
WatchdogSec=0
ExecStart=
ExecStart={python} -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)'
"""


def test_packet_ring_needs_its_drop_in(service) -> None:
    service.write(f"{DROP_INS}/probe.conf", PROBE.format(python=PYTHON))
    try:
        service.run("systemctl", "daemon-reload")
        assert service.run("systemctl", "start", "mdfeedd", check=False).returncode != 0
        service.run("systemctl", "reset-failed", "mdfeedd")
        service.run("/opt/mdfeedd/bin/mdfeedd", "install-service", "--drop-in", "packet-ring")
        service.run("systemctl", "start", "mdfeedd")
    finally:
        service.run("rm", "-f", f"{DROP_INS}/probe.conf", f"{DROP_INS}/packet-ring.conf")
        service.run("systemctl", "daemon-reload")
