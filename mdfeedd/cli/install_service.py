"""``mdfeedd install-service``: systemd's files put in place, with the path of this very interpreter, each step explained."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

DROP_INS: Final = ("packet-ring", "address-filter")
UNIT: Final = "mdfeedd.service"
SHARE: Final = "share/mdfeedd"
"""Below the prefix of the environment, where a wheel carries what is not Python."""
COMMAND: Final = "/opt/mdfeedd/bin/mdfeedd"
"""As the unit names it in the repository."""
CONFIG: Final = "etc/mdfeedd/mdfeedd.yaml"
SCHEMA: Final = "etc/mdfeedd/mdfeedd.schema.json"
STEP_LIMIT_S: Final = 60.0
"""For one command of the system."""

_PLACES: Final = {
    UNIT: ("etc/systemd/system/mdfeedd.service", "the service itself"),
    "sysusers.d/mdfeedd.conf": ("etc/sysusers.d/mdfeedd.conf", "its user and group"),
    "tmpfiles.d/mdfeedd.conf": ("etc/tmpfiles.d/mdfeedd.conf", "the folders below /etc/mdfeedd"),
    "sysctl.d/60-mdfeedd.conf": ("etc/sysctl.d/60-mdfeedd.conf", "buffers for multicast"),
}
MAN_PAGE: Final = "usr/local/share/man/man1/mdfeedd.1"
_DROP_IN_FOLDER: Final = "etc/systemd/system/mdfeedd.service.d"
_HIDDEN: Final = {"/home": "ProtectHome=yes", "/root": "ProtectHome=yes", "/run/user": "ProtectHome=yes",
                  "/tmp": "PrivateTmp=yes", "/var/tmp": "PrivateTmp=yes"}  # fmt: skip  # noqa: S108

_EPILOG: Final = """\
Puts the unit, its user, its folders, its kernel settings and the manual page in place, and tells what each is for.
What is there already and the same is left alone; a configuration that is there is never touched; neither is a
drop-in (systemctl edit mdfeedd), which is where your changes belong. Nothing is started: that is said at the end.

--root DIR puts the files below DIR, for an image; what changes a running system is then left out.

exit status:
  0 done   1 it cannot be done, with the reason

examples:
  sudo /opt/mdfeedd/bin/mdfeedd install-service
  mdfeedd install-service --dry-run                       what it would do
  sudo mdfeedd install-service --drop-in packet-ring      for CME feeds with mode: packet_ring
  sudo mdfeedd install-service --uninstall
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "install-service",
        help="put the systemd service in place, or take it away",
        description="Put the systemd service in place, or take it away.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", default="/", metavar="DIR", help="below this folder, not below /")
    parser.add_argument(
        "--command",
        dest="program",  # `command` is which command of ours it is
        metavar="CMD",
        help="what the unit starts, where it is not this installation's own mdfeedd",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--drop-in",
        action="append",
        default=[],
        choices=DROP_INS,
        help="also this addition to the unit (may be given again)",
    )
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="stop and disable the service, and take its files away; configuration, data and rings stay",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Install or uninstall."""
    root = Path(arguments.root).absolute()
    if not root.is_dir():
        raise Trouble(f"{root}: is not a folder (--root)")
    job = _Job(root, dry=arguments.dry_run)
    if job.live and not job.dry and os.geteuid() != 0:
        again = " ".join([program(), *sys.argv[1:]])
        raise Trouble(
            f"this writes to /etc and needs root: sudo {again}; "
            f"--dry-run shows what it would do, --root DIR does it elsewhere"
        )
    try:
        if arguments.uninstall:
            uninstall(job)
        else:
            install(job, arguments.program, arguments.drop_in)
    except OSError as error:
        raise Trouble(f"{error.filename or root}: {error.strerror or error}") from None
    return 0


@dataclass(slots=True)
class _Job:
    """Where to, and whether really."""

    root: Path
    dry: bool

    @property
    def live(self) -> bool:
        """It is the running system."""
        return self.root == Path("/")

    def say(self, done: str, would: str, text: str) -> None:
        """One line of what was done, or would be."""
        print(f"  {would if self.dry else done} {text}")

    def write(self, place: str, text: str, purpose: str) -> None:
        """A file in place, whole or not at all; nothing if it is there as it should be."""
        path = self.root / place
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == text:
                print(f"  {path}: is as it should be ({purpose})")
                return
        there = path.exists()
        if not self.dry:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            new.write_text(text, encoding="utf-8")
            new.chmod(0o644)
            new.replace(path)
        self.say(
            "replaced" if there else "wrote",
            "would replace" if there else "would write",
            f"{path} ({purpose})",
        )

    def remove(self, place: str) -> None:
        """A file or an empty folder; nothing if it is not there, or not empty."""
        path = self.root / place
        if path.is_dir():
            if any(path.iterdir()):
                print(f"  left {path}: it holds files of yours")
                return
            if not self.dry:
                path.rmdir()
        elif path.exists():
            if not self.dry:
                path.unlink()
        else:
            return
        self.say("removed", "would remove", str(path))

    def command(self, words: list[str], purpose: str, *, needed: bool = True) -> None:
        """Run one of the system's commands. One that fails is told; raises `Trouble` where it is needed."""
        line = " ".join(words)
        if not self.live:
            print(f"  left out, as this is not the running system: {line} ({purpose})")
            return
        if not self.dry:
            failure = _failure(words)
            if failure and needed:
                raise Trouble(f"{line}: {failure}")
            if failure:
                print(f"  failed: {line}: {failure} ({purpose})")
                return
        self.say("ran", "would run", f"{line} ({purpose})")


def _failure(words: list[str]) -> str:
    """Why it did not work, or nothing."""
    try:
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=STEP_LIMIT_S
        )
    except FileNotFoundError:
        return "there is no such command here"
    except subprocess.TimeoutExpired:
        return f"did not end within {STEP_LIMIT_S:.0f} s"
    lines = done.stderr.strip().splitlines()
    return "" if not done.returncode else lines[-1] if lines else f"exit status {done.returncode}"


# ------------------------------------------------------------------------------------------ install


def install(job: _Job, command: str | None, drop_ins: list[str]) -> None:
    """Everything in place, and what to do next. Raises `Trouble`."""
    from mdfeedd.cli.man import manual

    source = service_files()
    if command is None:
        command = program()
        if why := hidden():
            raise Trouble(why)
    elif not command.startswith("/"):
        raise Trouble(f"--command {command}: a unit needs an absolute path")
    print(f"the service will run {command}")
    for name, (place, purpose) in _PLACES.items():
        text = (source / name).read_text(encoding="utf-8")
        job.write(place, text.replace(COMMAND, command) if name == UNIT else text, purpose)
    for name in drop_ins:
        text = (source / "drop-ins" / f"{name}.conf").read_text(encoding="utf-8")
        job.write(f"{_DROP_IN_FOLDER}/{name}.conf", text, "an addition to the unit")
    job.command(["systemd-sysusers", "mdfeedd.conf"], "makes the user mdfeedd")
    job.command(
        ["systemd-tmpfiles", "--create", "mdfeedd.conf"], "makes /etc/mdfeedd/cred, for root"
    )
    job.command(
        ["sysctl", "-q", "-p", "/etc/sysctl.d/60-mdfeedd.conf"],
        "sets the buffers; at the next boot it happens by itself",
        needed=False,
    )
    example = source.parent / "config" / "mdfeedd.yaml"
    if (job.root / CONFIG).exists():
        print(f"  left {job.root / CONFIG} as it is")
    elif example.is_file():
        job.write(
            CONFIG, example.read_text(encoding="utf-8"), "an example that runs; make it yours"
        )
    schema = example.with_name("mdfeedd.schema.json")
    if schema.is_file():
        job.write(SCHEMA, schema.read_text(encoding="utf-8"), "what editors know of its keys")
    job.write(MAN_PAGE, manual(), "the manual page: man mdfeedd")
    job.command(["systemctl", "daemon-reload"], "has systemd read the unit")
    print(_NEXT.format(command=command))


_NEXT: Final = """
next:
  write /etc/mdfeedd/mdfeedd.yaml, and try it:   {command} check -c /etc/mdfeedd/mdfeedd.yaml
  put each secret into a file of its own:        install -m 600 /dev/stdin /etc/mdfeedd/cred/databento-key
    (key: {{credential: databento-key}} in the configuration; read at the next start)
  look at the machine:                           {command} doctor -c /etc/mdfeedd/mdfeedd.yaml
  start it, now and at each boot:                systemctl enable --now mdfeedd
  let somebody read the rings:                   usermod -aG mdfeedd USER
"""


def program() -> str:
    """The command of this installation, as a unit can start it."""
    script = Path(sys.executable).with_name("mdfeedd")
    if script.is_file() and os.access(script, os.X_OK):
        return str(script)
    return f"{sys.executable} -m mdfeedd"


def hidden() -> str:
    """Why the service could not see this installation, or nothing."""
    import mdfeedd

    needed = (
        Path(sys.executable).absolute(),
        Path(sys.executable).resolve(),
        Path(sys.base_prefix).resolve(),
        Path(mdfeedd.__file__).resolve(),
    )
    for path in needed:
        for folder, reason in _HIDDEN.items():
            if path.is_relative_to(folder):
                return (
                    f"{path} lies where the service cannot look ({reason}): make an environment for it, "
                    f"/usr/bin/python3 -m venv /opt/mdfeedd && /opt/mdfeedd/bin/pip install 'mdfeedd[all]', "
                    f"and run /opt/mdfeedd/bin/mdfeedd install-service"
                )
    return ""


def service_files() -> Path:
    """The folder that holds the unit: of the wheel, or of the checkout. Raises `Trouble`."""
    for folder in _candidates():
        if (folder / UNIT).is_file():
            return folder
    raise Trouble(
        "the files of the service are missing in this installation: install mdfeedd again"
    )


def _candidates() -> Iterator[Path]:
    import mdfeedd

    yield Path(mdfeedd.__file__).resolve().parents[1] / "systemd"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("mdfeedd") or ():
            if file.name == UNIT and SHARE in file.as_posix():
                yield Path(str(file.locate())).resolve().parent


# ---------------------------------------------------------------------------------------- uninstall


def uninstall(job: _Job) -> None:
    """Everything away that `install` put there, but what is the user's. Raises `Trouble`."""
    unit = job.root / _PLACES[UNIT][0]
    if unit.exists():
        job.command(["systemctl", "disable", "--now", UNIT], "stops it, at the next boot too")
    for name in DROP_INS:
        job.remove(f"{_DROP_IN_FOLDER}/{name}.conf")
    job.remove(_DROP_IN_FOLDER)
    for place in (*(place for place, _ in _PLACES.values()), SCHEMA, MAN_PAGE):
        job.remove(place)
    job.command(["systemctl", "daemon-reload"], "has systemd forget the unit")
    print("  left: /etc/mdfeedd, /var/lib/mdfeedd, the user mdfeedd (userdel mdfeedd),")
    print(f"        and the rings in /dev/shm ({program()} doctor --remove NAME)")
