"""Tables and numbers in Markdown.

    rows of anything ─► table() ─► text of a page

Numbers are written with as many digits as say something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["cell", "code", "number", "table"]


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table, with a line end. Cells are texts or numbers."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    """One cell: on one line, and without a bar of its own."""
    text = value if isinstance(value, str) else number(value)
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """As code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def number(value: float | bool | None) -> str:
    """Four digits of a measured number, all of a counted one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
