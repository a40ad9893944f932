"""Where rings lie: names, paths, removal, and what a forked child must let go of.

A ring NAME is the file ``mdfeedd.NAME`` and its registry ``mdfeedd.NAME.readers`` in one flat folder,
``/dev/shm`` unless told otherwise: POSIX shared-memory objects by another door, made by `mdfeedd.h`. A feed may
keep ``mdfeedd.NAME.resume`` beside them, which only it writes and reads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import weakref
from pathlib import Path
from typing import Final, Protocol

from mdfeedd.ring._ring import ABI
from mdfeedd.ring.errors import RingBusy, RingDenied, RingError, RingMissing

DEFAULT_DIRECTORY: Final = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system
PREFIX: Final = "mdfeedd."
REGISTRY_SUFFIX: Final = ".readers"
TEMPORARY_SUFFIX: Final = ".new"
RESUME_SUFFIX: Final = ".resume"
"""What a feed remembers beside its ring, for the process after it."""
_NO_RINGS: Final = (REGISTRY_SUFFIX, TEMPORARY_SUFFIX, RESUME_SUFFIX)
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEAD: Final = struct.Struct("<8sI")  # magic, abi_major: the same place in every version
_MAGICS: Final = (b"MDFRING1", b"MDFREG01")
_FLOCK: Final = struct.Struct("hhqqi4x")  # type, whence, start, length, pid: struct flock on Linux


def check_name(name: str) -> str:
    """`name`, if it can name a ring; raises `ValueError`."""
    if not _NAME.fullmatch(name) or name.endswith(_NO_RINGS):
        raise ValueError(
            f"{name!r} cannot name a ring: 1 to 64 of A-Z a-z 0-9 . _ - "
            f"and not ending in {', '.join(_NO_RINGS[:-1])} or {_NO_RINGS[-1]}"
        )
    return name


def ring_path(name: str, directory: str = DEFAULT_DIRECTORY) -> Path:
    """The ring's file."""
    return Path(directory).absolute() / (PREFIX + check_name(name))


def registry_path(name: str, directory: str = DEFAULT_DIRECTORY) -> Path:
    """The file of the ring's consumers."""
    path = ring_path(name, directory)
    return path.with_name(path.name + REGISTRY_SUFFIX)


def resume_path(name: str, directory: str = DEFAULT_DIRECTORY) -> Path:
    """The file that the ring's feed may keep for the process after it."""
    path = ring_path(name, directory)
    return path.with_name(path.name + RESUME_SUFFIX)


def list_rings(directory: str = DEFAULT_DIRECTORY) -> list[str]:
    """Names of the rings in a folder, sorted. Raises `RingMissing` if there is no such folder."""
    try:
        entries = os.listdir(directory)
    except OSError as error:
        raise RingMissing(f"cannot list {directory}: {error.strerror}") from error
    names = (e.removeprefix(PREFIX) for e in entries if e.startswith(PREFIX))
    return sorted(n for n in names if not n.endswith(_NO_RINGS))


def remove(name: str, directory: str = DEFAULT_DIRECTORY) -> None:
    """Unlink a ring that has no living writer, and its registry.

    Readers that are attached keep their mapping. Raises `RingMissing`, `RingBusy`, `RingDenied`.
    """
    path = ring_path(name, directory)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RingMissing(f"no ring {name} in {directory}") from None
    except PermissionError as error:
        raise RingDenied(f"cannot remove {path}: {error.strerror}") from error
    try:
        lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                raise RingBusy(f"{path} has a living writer: stop it first") from None
            raise RingError(f"cannot lock {path}: {error.strerror}") from error
        for victim in (
            path,
            registry_path(name, directory),
            path.with_name(path.name + TEMPORARY_SUFFIX),
            resume_path(name, directory),
        ):
            victim.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _without_waiting(path: str, flags: int) -> int:
    """Opens for `open`; a pipe that somebody has left in the place of a ring does not stop us."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def foreign_abi(name: str, directory: str = DEFAULT_DIRECTORY) -> int | None:
    """The major ABI of a ring, or of its registry, that this version can neither read nor write; None of others.

    None, too, of what is not there, cannot be read, or is no ring.
    """
    for path in (ring_path(name, directory), registry_path(name, directory)):
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                head = file.read(_HEAD.size)
        except OSError:
            continue
        if len(head) == _HEAD.size:
            magic, major = _HEAD.unpack(head)
            if magic in _MAGICS and major != ABI[0]:
                return int(major)
    return None


def clear_foreign(name: str, directory: str = DEFAULT_DIRECTORY) -> int | None:
    """Remove a ring of which `foreign_abi` says something, if it has no living writer; gives back what it said.

    Raises `RingBusy`, `RingDenied`. Readers that are attached keep their mapping, and see no more of it.
    """
    major = foreign_abi(name, directory)
    if major is None:
        return None
    try:
        remove(name, directory)
    except RingMissing:  # its registry alone was left
        registry_path(name, directory).unlink(missing_ok=True)
    return major


class _ForkAware(Protocol):
    def abandon(self) -> None: ...


_open: weakref.WeakSet[_ForkAware] = weakref.WeakSet()


def track(handle: _ForkAware) -> None:
    """Have ``handle.abandon()`` called in every forked child.

    A child shares its parent's locks through the inherited descriptors: it must close them (never
    unlock), or a dead parent would look alive for as long as the child lives.
    """
    _open.add(handle)


def _after_fork_in_child() -> None:
    for handle in list(_open):
        handle.abandon()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
