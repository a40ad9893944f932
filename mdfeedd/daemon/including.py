"""A configuration of several files: the one that was asked for, and the parts that it includes.

    mdfeedd.yaml ── include: conf.d/*.yaml ──► conf.d/10-cme.yaml     feeds and consumers are appended,
                                               conf.d/20-stores.yaml  in the order of the files' names

A part is written like a whole file and checked like one; what is no list (`shm_dir`, `symbols` ...) stands in one
of the files only. Each node keeps the file that it came from, so that a mistake is told where it is. Patterns are relative to
the file that says `include`; one that matches nothing is no mistake, a file or a folder that is not there is one.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon import yaml12
from mdfeedd.daemon.problems import Mark, Problem, Problems
from mdfeedd.daemon.yaml12 import Node

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["INCLUDE_KEY", "MAX_DEPTH", "MAX_PARTS", "MAX_TOTAL_BYTES", "join", "read"]

INCLUDE_KEY: Final = "include"
LISTS: Final = ("feeds", "consumers")
"""The keys whose items are appended."""
ENDINGS: Final = ("*.yaml", "*.yml")
"""What is taken of a folder."""
MAX_PARTS: Final = 256
"""Files that are included, all levels together."""
MAX_DEPTH: Final = 8
"""Files that include each other in a row."""
MAX_TOTAL_BYTES: Final = 16 << 20
"""Of all parts."""


def read(path: str | Path) -> bytes | Problem:
    """The bytes of a file, one more than it may have at most; a problem where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(yaml12.MAX_BYTES + 1)
    except OSError as error:
        return Problem(str(path), Mark(), f"cannot be read: {error.strerror}")


def join(root: Node, problems: Problems) -> Node:
    """The whole configuration: the root with the feeds and consumers of the files that it includes."""
    if not isinstance(root.value, dict) or INCLUDE_KEY not in root.value:
        return root
    return _Joiner(problems).join(root)


@dataclass(slots=True)
class _Joiner:
    problems: Problems
    first: dict[str, Mark] = field(default_factory=dict)
    """Where each file was included first, by its real path."""
    total_bytes: int = 0

    def join(self, root: Node) -> Node:
        whole = Node(dict(root.value), root.mark, dict(root.keys))
        self._take(whole, root, self.problems.file, (os.path.realpath(self.problems.file),))
        whole.value.pop(INCLUDE_KEY, None)
        return whole

    def _take(self, whole: Node, node: Node, file: str, inside: tuple[str, ...]) -> None:
        """Append the parts that the file of `node` names. `inside`: the files being read, outermost first."""
        for pattern in self._patterns(node.value[INCLUDE_KEY]):
            for path in self._files(pattern, file):
                part = self._part(path, pattern.mark, inside)
                if part is None:
                    continue
                self._append(whole, part)
                if INCLUDE_KEY in part.value:
                    self._take(whole, part, path, (*inside, os.path.realpath(path)))

    def _patterns(self, node: Node) -> list[Node]:
        if node.value is None:
            return []
        items = node.value if isinstance(node.value, list) else [node]
        for item in items:
            if not isinstance(item.value, str) or not item.value or "\0" in item.value:
                self.problems.add(item.mark, _MUST)
        return [item for item in items if isinstance(item.value, str) and item.value]

    def _files(self, pattern: Node, file: str) -> list[str]:
        """The files that a pattern names, by their names. What is not there is told."""
        path = os.path.join(os.path.dirname(file), pattern.value)
        if glob.has_magic(pattern.value):
            return _by_name(found for found in glob.iglob(path) if not os.path.isdir(found))
        if os.path.isdir(path):
            folder = glob.escape(path)
            return _by_name(
                found for ending in ENDINGS for found in glob.iglob(os.path.join(folder, ending))
            )
        if not os.path.exists(path):
            self.problems.add(pattern.mark, f"{INCLUDE_KEY}: there is no file or folder {path}")
            return []
        return [path]

    def _part(self, path: str, mark: Mark, inside: tuple[str, ...]) -> Node | None:
        """The mapping of an included file; None after telling why there is none."""
        if refusal := self._refusal(path, inside):
            self.problems.add(mark, f"{INCLUDE_KEY}: {refusal}")
            return None
        self.first[os.path.realpath(path)] = mark
        data = read(path)
        if isinstance(data, Problem):
            self.problems.add(mark, f"{INCLUDE_KEY}: {path} {data.sentence}")
            return None
        self.total_bytes += len(data)
        node, found = yaml12.parse(data, path)
        self.problems.include(found)
        if node is None or node.value is None:  # told already, or nothing but comments
            return None
        if not isinstance(node.value, dict):
            sentence = "a part must be a mapping of keys to values, as the whole file is"
            self.problems.add(node.mark, sentence)
            return None
        return node

    def _refusal(self, path: str, inside: tuple[str, ...]) -> str:
        real = os.path.realpath(path)
        if real in inside:
            return f"{path} includes itself" + (
                " through other files" if real != inside[-1] else ""
            )
        if real in self.first:
            return f"{path} is included twice, first in {_place(self.first[real], self.problems)}"
        if len(inside) > MAX_DEPTH:
            return f"{path} would be file {len(inside)} in a row, at most {MAX_DEPTH} are read"
        if len(self.first) >= MAX_PARTS:
            return f"{path} is one too many: at most {MAX_PARTS} files are read"
        if self.total_bytes > MAX_TOTAL_BYTES:
            return f"{path} is not read: there are more than {MAX_TOTAL_BYTES} bytes already"
        return ""

    def _append(self, whole: Node, part: Node) -> None:
        for key, item in part.value.items():
            known = whole.value.get(key)
            if key == INCLUDE_KEY or (key in LISTS and item.empty):
                continue
            if known is None or (key in LISTS and known.empty):
                whole.value[key] = item
                whole.keys[key] = part.keys[key]
            elif key in LISTS:
                self._extend(whole, key, item)
            else:
                where = _place(whole.keys[key], self.problems)
                self.problems.add(
                    part.keys[key], f"the key '{key}' is given twice, first in {where}"
                )

    def _extend(self, whole: Node, key: str, item: Node) -> None:
        known = whole.value[key]
        if not isinstance(item.value, list):
            self.problems.add(item.mark, f"{key}: must be a list")
        elif isinstance(known.value, list):  # else it is told where the list is checked
            whole.value[key] = Node([*known.value, *item.value], known.mark)


_MUST: Final = (
    f"{INCLUDE_KEY}: must be a file, a folder or a pattern such as conf.d/*.yaml, or a list"
)


def _by_name(paths: Iterable[str]) -> list[str]:
    """In the order of the files' names, not more of them than can be refused one by one."""
    found = sorted(paths, key=lambda path: (os.path.basename(path), path))
    return found[: MAX_PARTS + 1]


def _place(mark: Mark, problems: Problems) -> str:
    return f"{mark.file or problems.file}:{mark.line}"
