"""The file systems that feeds and consumers fill: how much they hold, and how much is left.

The folders are those that the configuration names. Whether a folder is there yet does not matter: what
counts is the file system that it will be on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.daemon.plan import ChildPlan, Plan

__all__ = ["Room", "folders", "room"]

_KEYS: Final = {"journal": "path", "parquet": "path", "databento": "record"}
"""By consumer type, sink type or vendor: the option that names the folder."""


class Room(NamedTuple):
    """Of a file system, in bytes. free: to us, who are not root."""

    size_bytes: int
    free_bytes: int


def folders(plan: Plan) -> Iterator[tuple[ChildPlan, str]]:
    """Who writes where, by the configuration."""
    for child in (*plan.feeds, *plan.consumers):
        plugin, options = child.plugin, child.options
        if plugin == "batch":
            plugin, options = options.get("sink_type", ""), options.get("sink_options", {})
        path = options.get(_KEYS.get(plugin, ""))
        if isinstance(path, str) and path:
            yield child, path


def room(path: str) -> Room | None:
    """Of the file system on which a folder is, or will be; None where nobody can say."""
    place = Path(path).absolute()
    for folder in (place, *place.parents):
        try:
            found = os.statvfs(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)
    return None
