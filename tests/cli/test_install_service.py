"""`mdfeedd install-service` below a folder, dry, without rights; and that a wheel carries what it installs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mdfeedd.cli import install_service, main

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = "/opt/feeds/bin/mdfeedd"
UNIT = "etc/systemd/system/mdfeedd.service"
PLACES = {
    UNIT,
    "etc/sysusers.d/mdfeedd.conf",
    "etc/tmpfiles.d/mdfeedd.conf",
    "etc/sysctl.d/60-mdfeedd.conf",
    "etc/mdfeedd/mdfeedd.yaml",
    "etc/mdfeedd/mdfeedd.schema.json",
    "usr/local/share/man/man1/mdfeedd.1",
}


def install(root: Path, *more: str) -> int:
    return main(["install-service", "--root", str(root), "--command", COMMAND, *more])


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_files_are_in_place_with_the_command(tmp_path, capsys):
    assert install(tmp_path) == 0
    assert files(tmp_path) == PLACES
    unit = (tmp_path / UNIT).read_text()
    assert f"\nExecStart={COMMAND} run -c /etc/mdfeedd/mdfeedd.yaml\n" in unit
    assert f"\nExecReload={COMMAND} check -c /etc/mdfeedd/mdfeedd.yaml\n" in unit
    assert "/opt/mdfeedd" not in unit
    assert all((tmp_path / place).stat().st_mode & 0o777 == 0o644 for place in PLACES)
    out = capsys.readouterr().out
    assert f"wrote {tmp_path / UNIT} (the service itself)" in out
    assert "left out, as this is not the running system: systemctl daemon-reload" in out
    assert "systemctl enable --now mdfeedd" in out


def test_example_that_is_put_in_place_is_a_configuration_that_runs(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    install(tmp_path)
    assert main(["check", "-c", str(tmp_path / "etc/mdfeedd/mdfeedd.yaml")]) == 0


def test_again_changes_nothing_and_keeps_your_configuration(tmp_path, capsys):
    install(tmp_path)
    own = tmp_path / "etc/mdfeedd/mdfeedd.yaml"
    own.write_text("mine")
    drop_in = tmp_path / "etc/systemd/system/mdfeedd.service.d/override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("mine too")
    capsys.readouterr()
    assert install(tmp_path) == 0
    assert (own.read_text(), drop_in.read_text()) == ("mine", "mine too")
    out = capsys.readouterr().out
    assert out.count("is as it should be") == 6
    assert f"left {own} as it is" in out


def test_unit_of_an_older_version_is_replaced(tmp_path, capsys):
    install(tmp_path)
    (tmp_path / UNIT).write_text("[Service]\n")
    install(tmp_path)
    assert f"replaced {tmp_path / UNIT}" in capsys.readouterr().out
    assert "Type=notify" in (tmp_path / UNIT).read_text()


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert install(tmp_path, "--dry-run", "--drop-in", "packet-ring") == 0
    assert files(tmp_path) == set()
    out = capsys.readouterr().out
    assert f"would write {tmp_path / UNIT}" in out
    assert "mdfeedd.service.d/packet-ring.conf" in out


def test_drop_in(tmp_path):
    install(tmp_path, "--drop-in", "packet-ring", "--drop-in", "address-filter")
    folder = tmp_path / "etc/systemd/system/mdfeedd.service.d"
    assert "CAP_NET_RAW" in (folder / "packet-ring.conf").read_text()
    assert "IPAddressDeny=any" in (folder / "address-filter.conf").read_text()


def test_uninstall_leaves_what_is_yours(tmp_path, capsys):
    install(tmp_path, "--drop-in", "packet-ring")
    own = tmp_path / "etc/systemd/system/mdfeedd.service.d/override.conf"
    own.write_text("mine")
    assert main(["install-service", "--root", str(tmp_path), "--uninstall", "--dry-run"]) == 0
    assert len(files(tmp_path)) == len(PLACES) + 2
    assert main(["install-service", "--root", str(tmp_path), "--uninstall"]) == 0
    left = {"etc/mdfeedd/mdfeedd.yaml", "etc/systemd/system/mdfeedd.service.d/override.conf"}
    assert files(tmp_path) == left
    assert "holds files of yours" in capsys.readouterr().out
    own.unlink()
    assert main(["install-service", "--root", str(tmp_path), "--uninstall"]) == 0
    assert not own.parent.exists()


def test_without_rights(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["install-service"]) == 1
    err = capsys.readouterr().err
    assert "needs root: sudo " in err
    assert "--dry-run" in err


def test_folder_that_may_not_be_written(tmp_path, monkeypatch, capsys):
    def refuse(self, *_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert install(tmp_path) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_root_that_is_no_folder(tmp_path, capsys):
    assert install(tmp_path / "none") == 1
    assert "is not a folder" in capsys.readouterr().err


def test_command_must_be_absolute(tmp_path, capsys):
    assert main(["install-service", "--root", str(tmp_path), "--command", "mdfeedd"]) == 1
    sentence = capsys.readouterr().err
    assert sentence.startswith("mdfeedd install-service: --command mdfeedd: ")
    assert "absolute" in sentence


@pytest.mark.parametrize(
    ("place", "reason"),
    [("/home/alice/venv/bin/python", "ProtectHome=yes"), ("/tmp/v/bin/python", "PrivateTmp=yes")],
)
def test_installation_that_the_service_could_not_see(tmp_path, monkeypatch, capsys, place, reason):
    monkeypatch.setattr(sys, "executable", place)
    assert main(["install-service", "--root", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert f"{place} lies where the service cannot look ({reason})" in err
    assert "python3 -m venv /opt/mdfeedd" in err
    assert files(tmp_path) == set()


def test_command_of_the_system_that_fails(tmp_path, monkeypatch, capsys):
    """One that is needed ends it with a sentence; one that is not is told."""
    job = install_service._Job(Path("/"), dry=False)
    with pytest.raises(install_service.Trouble, match="false: exit status 1"):
        job.command(["false"], "never works")
    job.command(["mdfeedd-no-such-command"], "of no use", needed=False)
    told = "failed: mdfeedd-no-such-command: there is no such command here (of no use)"
    assert told in capsys.readouterr().out


def test_command_of_the_system_that_does_not_end_or_says_why(monkeypatch):
    monkeypatch.setattr(install_service, "STEP_LIMIT_S", 0.1)
    job = install_service._Job(Path("/"), dry=False)
    with pytest.raises(install_service.Trouble, match="sleep 60: did not end within 0 s"):
        job.command(["sleep", "60"], "never ends")
    monkeypatch.undo()
    with pytest.raises(install_service.Trouble, match="No such file or directory"):
        job.command(["ls", "/nowhere"], "says why")


def test_installation_without_the_files_of_the_service(monkeypatch):
    monkeypatch.setattr(install_service, "_candidates", lambda: iter([Path("/nowhere")]))
    with pytest.raises(install_service.Trouble, match="install mdfeedd again"):
        install_service.service_files()


def test_program_without_a_script_beside_the_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    assert install_service.program() == f"{tmp_path}/python3 -m mdfeedd"
    (tmp_path / "mdfeedd").touch(0o755)
    assert install_service.program() == f"{tmp_path}/mdfeedd"


# ------------------------------------------------------------------------------------------ the wheel


def test_wheel_would_carry_every_file_of_the_service():
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        carried = tomllib.load(file)["tool"]["setuptools"]["data-files"]
    found = {
        f"{folder}/{path.name}".removeprefix("share/mdfeedd/"): path.relative_to(REPOSITORY)
        for folder, patterns in carried.items()
        for pattern in patterns
        for path in REPOSITORY.glob(pattern)
    }
    there = {
        path.relative_to(REPOSITORY) for path in REPOSITORY.glob("systemd/**/*") if path.is_file()
    }
    assert there <= set(found.values())
    assert all(str(path) == place for place, path in found.items()), (
        "places differ from the repository's"
    )


SETUP = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "mdfeedd"
version = "0"
[tool.setuptools.packages.find]
include = ["mdfeedd*"]
[tool.setuptools.data-files]
"""


def test_wheel_that_was_installed_finds_its_files(tmp_path):
    """A wheel of this project's data and of the command, built and installed; compiled modules are not needed."""
    for needed in ("setuptools", "pip"):
        pytest.importorskip(needed)
    source, target = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        carried = tomllib.load(file)["tool"]["setuptools"]["data-files"]
    lines = "".join(f'"{folder}" = {patterns}\n' for folder, patterns in carried.items())
    (source / "pyproject.toml").write_text(SETUP + lines)
    for name in ("systemd", "config"):
        (source / name).symlink_to(REPOSITORY / name)
    package = source / "mdfeedd"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli" / "__init__.py").touch()
    for name in ("install_service", "trouble"):
        text = (REPOSITORY / "mdfeedd" / "cli" / f"{name}.py").read_text()
        (package / "cli" / f"{name}.py").write_text(text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True)
    build = "import sys; from setuptools.build_meta import build_wheel as b; print(b(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", build, tmp_path],
        check=True,
        capture_output=True,
        text=True,
        cwd=source,
    )
    wheel = tmp_path / built.stdout.splitlines()[-1]
    pip = [sys.executable, "-m", "pip", "--python", target / "bin" / "python", "-q", "install"]
    subprocess.run([*pip, "--no-index", "--no-deps", wheel], check=True)
    code = "from mdfeedd.cli.install_service import service_files as f; print(f())"
    done = subprocess.run(
        [target / "bin" / "python", "-c", code], check=True, capture_output=True, text=True, cwd="/"
    )
    assert Path(done.stdout.strip()) == target / "share" / "mdfeedd" / "systemd"
