"""What is wrong with a configuration file: every problem with its position, as people read it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PROBLEMS: Final = 100
"""Problems told of one file; more of them help nobody."""

_LINE_WIDTH: Final = 110
"""Characters of a source line that are shown around the caret."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position in the file: line and column from 1; line 0 means that there is no file."""

    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence about one place. `source` is the line of the file, without its end."""

    file: str
    mark: Mark
    sentence: str
    source: str = ""

    def __str__(self) -> str:
        """``file:line:col: error: sentence``, the source line, and a caret under the column."""
        if not self.mark.line:
            return f"{self.file}: error: {self.sentence}"
        head = f"{self.file}:{self.mark.line}:{self.mark.column}: error: {self.sentence}"
        if not self.source.strip():
            return head
        start = max(0, self.mark.column - 1 - _LINE_WIDTH // 2)
        shown = self.source[start : start + _LINE_WIDTH].replace("\t", " ")
        return f"{head}\n    {shown}\n    {' ' * (self.mark.column - 1 - start)}^"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` are in file order; ``str()`` is all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(slots=True)
class Problems:
    """Collects the problems of one file. `lines` are its source lines."""

    file: str
    lines: list[str] = field(default_factory=list)
    found: list[Problem] = field(default_factory=list)

    def add(self, mark: Mark, sentence: str) -> None:
        """Note one problem."""
        inside = 0 < mark.line <= len(self.lines)
        source = self.lines[mark.line - 1] if inside else ""
        self.found.append(Problem(self.file, mark, sentence, source))

    def raise_if_any(self) -> None:
        """Raise `ConfigError` with what was found, in file order, each once."""
        if not self.found:
            return
        ordered = sorted(dict.fromkeys(self.found), key=lambda problem: problem.mark)
        kept = ordered[:MAX_PROBLEMS]
        if len(ordered) > MAX_PROBLEMS:
            more = f"{len(ordered) - MAX_PROBLEMS} more problems are not shown"
            kept.append(Problem(self.file, Mark(), more))
        raise ConfigError(kept)


def suggest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or `` (known: a, b)``: the end of a sentence about an unknown name."""
    names = sorted(known)
    folded = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{folded[close[0]]}'?)"
    return f" (known: {', '.join(names)})" if names else ""
