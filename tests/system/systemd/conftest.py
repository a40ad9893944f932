"""A real systemd, booted for these tests as PID 1 of private namespaces; they are skipped where that cannot be."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[3]
BOOT = Path(__file__).with_name("boot.sh")
PATIENCE_S = 60.0
"""For what comes in a second or two on a machine that has time."""
NEEDED = (
    "/lib/systemd/systemd", "systemctl", "journalctl", "systemd-sysusers", "unshare", "nsenter", "setpriv", "ip", "ps", "awk"
)  # fmt: skip
ENVIRONMENT = "/opt/mdfeedd"
PYTHON = f"{ENVIRONMENT}/bin/python"
OWN_PYTHON = not Path(sys.base_prefix).is_relative_to("/usr")
"""The interpreter is not the distribution's, so it is taken along ..."""
LIBRARIES = f"LD_LIBRARY_PATH={'/opt/box/python/lib' if OWN_PYTHON else ''}"
"""... and where it finds itself in there."""


def why_not() -> str:
    """Why no systemd can be booted here, or nothing."""
    if os.geteuid() != 0:
        return "only root may boot a systemd"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"not installed here: {', '.join(missing)}"
    systems = Path("/proc/filesystems").read_text()
    absent = [name for name in ("overlay", "cgroup2") if f"\t{name}\n" not in systems]
    return f"the kernel has no {' and no '.join(absent)}" if absent else ""


class Box:
    """The booted system. Paths are those inside."""

    LIBRARIES = LIBRARIES

    def __init__(self, work: Path) -> None:
        self.work = work
        self.pid = 0
        self._cursor = ""
        self._stack = contextlib.ExitStack()

    def boot(self, mounts: Mapping[str, str]) -> None:
        """Boot with these folders of outside (by their names inside); skips the test if it cannot be done."""
        pairs = [word for inside, outside in mounts.items() for word in (outside, inside)]
        log = self._stack.enter_context((self.work / "boot.log").open("wb"))
        outer = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
                "/bin/bash", str(BOOT), str(self.work), *pairs,
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self._stack.callback(outer.wait)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and outer.poll() is None:
            self.pid = child_of(
                child_of(outer.pid)
            )  # the shell's, which is unshare; and that one's
            if self.pid and self._is_up():
                return
            time.sleep(0.05)
        told = (self.work / "boot.log").read_text(errors="replace").strip().splitlines()
        pytest.skip(f"systemd does not boot here: {told[-1] if told else 'no reason was given'}")

    def _is_up(self) -> bool:
        try:
            comm = Path(f"/proc/{self.pid}/comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return False
        if comm != "systemd":
            return False
        return self.run("systemctl", "is-active", "box.target", check=False).stdout == "active\n"

    def run(
        self, *words: str, check: bool = True, user: str = "", give: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command inside, as root or as `user` with all its groups."""
        done = subprocess.run(
            self.command(*words, user=user), check=False, capture_output=True, text=True,
            input=give or "", timeout=2 * PATIENCE_S,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (
                f"{shlex.join(words)}: {done.stdout}{done.stderr}\n{self.log()}"
            )
        return done

    def command(self, *words: str, user: str = "") -> list[str]:
        """How a command inside is started from outside."""
        become = (
            ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"] if user else []
        )
        return [
            "nsenter", "-t", str(self.pid), "-m", "-C", "-u", "-i", "-n", "-p", "-r", "-w",
            "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            LIBRARIES, "LANG=C.UTF-8", "HOME=/tmp", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", *become, *words,
        ]  # fmt: skip

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file inside, replaced at once as an editor does."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", f"{path}.new", give=text)
        self.run("mv", f"{path}.new", path)

    def property(self, name: str) -> str:
        """One of the service's, as systemd has it."""
        return self.run("systemctl", "show", "mdfeedd", "-P", name).stdout.strip()

    def until(self, condition: Any, what: str) -> Any:
        """Wait until the condition gives something."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline, f"never came: {what}\n{self.log()}"
            time.sleep(0.05)
        return found

    def mark(self) -> None:
        """`journal` begins here."""
        shown = self.run("journalctl", "-n", "0", "--show-cursor", "--no-pager").stdout
        self._cursor = shown.partition("-- cursor: ")[2].strip()

    def journal(self) -> list[dict[str, Any]]:
        """What systemd's journal has of the service since `mark`, oldest first."""
        self.run("journalctl", "--sync")
        words = ["-u", "mdfeedd", "-o", "json", "--no-pager", "--after-cursor", self._cursor]
        lines = self.run("journalctl", *words).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def log(self) -> str:
        """The journal as text."""
        shown = ["journalctl", "-u", "mdfeedd", "-o", "short-monotonic", "--no-pager", "-n", "60"]
        return subprocess.run(
            self.command(*shown), check=False, capture_output=True, text=True
        ).stdout

    def close(self) -> None:
        """Away with it and all its processes."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
        self._stack.close()
        shutil.rmtree(self.work, ignore_errors=True)


def child_of(pid: int) -> int:
    """The first child of a process; 0 for none."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[0]) if found else 0


def mounts_of(paths: Sequence[str]) -> dict[str, str]:
    """The interpreter that runs this, and all that it imports from."""
    mounts = {f"/opt/box/path{i}": path for i, path in enumerate(paths)}
    if OWN_PYTHON:
        mounts["/opt/box/python"] = str(Path(sys.base_prefix).resolve())
    return mounts


def make_environment(box: Box, paths: Sequence[str]) -> None:
    """`/opt/mdfeedd`: an environment with this interpreter and this checkout, and the command."""
    base = "/opt/box/python" if OWN_PYTHON else sys.base_prefix
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    box.write(
        f"{ENVIRONMENT}/pyvenv.cfg", f"home = {base}/bin\ninclude-system-site-packages = false\n"
    )
    lines = "".join(f"/opt/box/path{i}\n" for i in range(len(paths)))
    box.write(f"{ENVIRONMENT}/lib/{version}/site-packages/box.pth", lines)
    box.run("mkdir", "-p", f"{ENVIRONMENT}/bin")
    box.run("ln", "-s", f"{base}/bin/{version}", PYTHON)
    script = f"#!{PYTHON}\nimport sys\nfrom mdfeedd.cli import main\nsys.exit(main())\n"
    box.write(f"{ENVIRONMENT}/bin/mdfeedd", script, 0o755)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A booted systemd in which `mdfeedd install-service` has been run, with two people, alice and mallory.

    alice is in the group mdfeedd. The unit's times are shortened by a drop-in.
    """
    if reason := why_not():
        pytest.skip(reason)
    site = [path for path in sys.path if Path(path).is_dir() and "site-packages" in path]
    paths = [*dict.fromkeys([str(REPOSITORY), *site])]
    closed = [path for path in paths if not os.stat(path).st_mode & 1]
    if closed:
        pytest.skip(f"other users may not read {closed[0]}")
    made = Box(Path(tempfile.mkdtemp(prefix="mdfeedd-box-")))
    try:
        made.boot(mounts_of(paths))
        make_environment(made, paths)
        made.run(f"{ENVIRONMENT}/bin/mdfeedd", "install-service")
        people = ["u alice 60001", "m alice mdfeedd", "u mallory 60002"]
        made.run("systemd-sysusers", "--inline", *people)
        made.write(
            "/etc/systemd/system/mdfeedd.service.d/short.conf",
            f"[Service]\nEnvironment={LIBRARIES}\nTimeoutAbortSec=1s\nRestartSec=100ms\n",
        )
        made.run("systemctl", "daemon-reload")
        yield made
    finally:
        made.close()
