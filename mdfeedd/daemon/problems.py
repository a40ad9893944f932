"""What is wrong with a configuration file: every problem with its position, as people read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdfeedd.options import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PROBLEMS: Final = 100
"""Problems told of one file; more of them help nobody."""

_LINE_WIDTH: Final = 110
"""Characters of a source line that are shown around the caret."""

_NAMES: Final = r"passw(?:or)?d|passphrase|secret|token|api_?key|(?<![a-z])key"
_SECRET_KEY: Final = re.compile(rf"(?:{_NAMES})$", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    rf"""(?P<before>(?:{_NAMES})["']?\s*[:=]\s*)(?![{{\[\s#])(?P<value>"[^"]*"|'[^']*'|[^,}}\s]+)""",
    re.IGNORECASE,
)
_URL_PASSWORD: Final = re.compile(r"(?P<before>//[^/@:\s]*:)(?P<value>[^/@\s]+)(?=@)")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position in the file: line and column from 1; line 0 means that there is no file.

    `file`: of several that were included; empty is the one that was asked for.
    """

    line: int = 0
    column: int = 0
    file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence about one place.

    `source` is the line of the file, without its end and without what may be secret; `meaning` says what
    the key is for.
    """

    file: str
    mark: Mark
    sentence: str
    source: str = ""
    meaning: str = ""

    def __str__(self) -> str:
        """``file:line:col: error: sentence``, the source line, a caret under the column, the meaning."""
        if not self.mark.line:
            return f"{self.file}: error: {self.sentence}"
        lines = [f"{self.file}:{self.mark.line}:{self.mark.column}: error: {self.sentence}"]
        if self.source.strip():
            start = max(0, self.mark.column - 1 - _LINE_WIDTH // 2)
            shown = self.source[start : start + _LINE_WIDTH].replace("\t", " ")
            lines += [f"    {shown}", f"    {' ' * (self.mark.column - 1 - start)}^"]
        if self.meaning:
            lines.append(f"    {self.meaning}")
        return "\n".join(lines)


class ConfigError(Exception):
    """The configuration cannot be used. `problems` are in file order; ``str()`` is all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(slots=True)
class Problems:
    """Collects the problems of one file and of those that it includes. `lines` are its source lines."""

    file: str
    lines: list[str] = field(default_factory=list)
    found: list[Problem] = field(default_factory=list)
    parts: dict[str, list[str]] = field(default_factory=dict)
    """The source lines of each included file, in the order of reading."""

    def add(
        self, mark: Mark, sentence: str, meaning: str = "", *, secret_at: Mark | None = None
    ) -> None:
        """Note one problem. `secret_at`: from there on the line may be secret, and is not shown."""
        file = mark.file or self.file
        lines = self.lines if file == self.file else self.parts.get(file, [])
        inside = 0 < mark.line <= len(lines)
        source = redact(lines[mark.line - 1]) if inside else ""
        if source and secret_at is not None and secret_at.line == mark.line:
            source = source[: secret_at.column - 1] + "***"
        self.found.append(Problem(file, mark, sentence, source, meaning))

    def include(self, part: Problems) -> None:
        """Take over what was found in an included file, and its lines."""
        self.parts[part.file] = part.lines
        self.found += part.found

    def raise_if_any(self) -> None:
        """Raise `ConfigError` with what was found, in file order, each once."""
        if not self.found:
            return
        place = {file: number for number, file in enumerate((self.file, *self.parts))}
        ordered = sorted(
            dict.fromkeys(self.found), key=lambda p: (place.get(p.file, len(place)), p.mark)
        )
        kept = ordered[:MAX_PROBLEMS]
        if len(ordered) > MAX_PROBLEMS:
            more = f"{len(ordered) - MAX_PROBLEMS} more problems are not shown"
            kept.append(Problem(self.file, Mark(), more))
        raise ConfigError(kept)


def suggest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or `` (known: a, b)``: the end of a sentence about an unknown name."""
    names = sorted(known)
    return nearest(name, names) or (f" (known: {', '.join(names)})" if names else "")


def names_secret(key: str) -> bool:
    """Would a key of this name hold a password, a token or a key?"""
    return _SECRET_KEY.search(key) is not None


def redact(text: str) -> str:
    """The text with ``***`` in place of what stands where passwords, tokens and keys do.

    As many asterisks as characters, so that a caret under the text still points at its place.
    """

    def cover(found: re.Match[str]) -> str:
        return found["before"] + "*" * len(found["value"])

    return _URL_PASSWORD.sub(cover, _SECRET_VALUE.sub(cover, text))
