"""What systemd itself says of the unit: it is understood whole, and it exposes little."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mdfeedd.daemon.child import Limits
from mdfeedd.daemon.plan import Exit
from mdfeedd.daemon.scheduling import real_time_level
from mdfeedd.daemon.vigil import ROUND_S

UNITS = Path(__file__).resolve().parents[3] / "systemd"
COMMAND = "/opt/mdfeedd/bin/mdfeedd"
EXPOSURE = 15
"""Tenths; the unit has 13."""
EXPOSURE_WITH_PACKETS = 19

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a command that exists."""
    path = tmp_path / "mdfeedd.service"
    path.write_text((UNITS / "mdfeedd.service").read_text().replace(COMMAND, "/bin/true"))
    return path


def with_drop_in(unit: Path, name: str) -> Path:
    text = (UNITS / "drop-ins" / f"{name}.conf").read_text()
    unit.write_text(unit.read_text() + text)
    return unit


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], check=False, capture_output=True, text=True
    )


def exposure(unit: Path, threshold: int) -> subprocess.CompletedProcess[str]:
    return analyze("security", "--offline=true", f"--threshold={threshold}", "--no-pager", unit)


@pytest.mark.parametrize("drop_in", ["", "packet-ring", "address-filter"])
def test_every_line_is_understood(unit, drop_in):
    if drop_in:
        with_drop_in(unit, drop_in)
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_line_that_is_not_understood_would_be_seen(unit):
    unit.write_text(unit.read_text() + "\n[Service]\nProtectEverything=yes\n")
    assert "ProtectEverything" in analyze("verify", "--man=no", unit).stderr


def test_exposure(unit):
    done = exposure(unit, EXPOSURE)
    assert done.returncode == 0, done.stdout
    assert re.search(r"exposure level for mdfeedd.service: 1\.\d OK", done.stdout)
    assert exposure(unit, 5).returncode != 0, "the threshold has no meaning"


def test_exposure_of_the_drop_ins(unit):
    assert exposure(with_drop_in(unit, "packet-ring"), EXPOSURE_WITH_PACKETS).returncode == 0


def test_exposure_with_filtered_addresses_is_less(unit):
    assert exposure(with_drop_in(unit, "address-filter"), EXPOSURE - 2).returncode == 0


def setting(key: str) -> str:
    text = (UNITS / "mdfeedd.service").read_text()
    (value,) = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    return value


def test_systemd_gives_the_supervisor_the_time_that_it_takes():
    limits = Limits()
    assert float(setting("TimeoutStopSec").rstrip("s")) > limits.stop_s
    assert float(setting("TimeoutStartSec").rstrip("s")) > 4 * limits.ready_s, (
        "a chain of consumers"
    )
    assert float(setting("WatchdogSec").rstrip("s")) > 2 * ROUND_S
    assert float(setting("TimeoutAbortSec").rstrip("s")) > limits.abort_s


def test_what_cannot_heal_is_not_started_again():
    statuses = {int(word) for word in setting("RestartPreventExitStatus").split()}
    assert {Exit.CONFIG, Exit.CREDENTIALS} < statuses


def test_real_time_of_the_unit_is_what_the_examples_may_ask_for():
    example = (UNITS.parent / "config" / "mdfeedd.yaml").read_text()
    config_levels = [real_time_level(p) for p in re.findall(r"priority: (\S+)", example)]
    assert max(config_levels) <= int(setting("LimitRTPRIO"))


def test_sysctl_file_names_settings_of_this_kernel():
    text = (UNITS / "sysctl.d" / "60-mdfeedd.conf").read_text()
    names = re.findall(r"^([a-z_.0-9]+) = \d+$", text, re.MULTILINE)
    assert {"net.core.rmem_max", "net.ipv4.igmp_max_memberships"} < set(names)
    for name in names:
        assert (Path("/proc/sys") / name.replace(".", "/")).exists()


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers here")
def test_user_is_made(tmp_path):
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", UNITS / "sysusers.d" / "mdfeedd.conf"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = (tmp_path / "etc" / "passwd").read_text().split(":")
    assert (line[0], line[5]) == ("mdfeedd", "/var/lib/mdfeedd")
    assert int(line[2]) < 1000, "a system user's shared memory outlives its sessions"
