"""What is really in the Parquet files: counted in their footers, not taken from anybody's counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TABLES: Final = ("quotes", "trades", "corrections", "bars")


@dataclass(slots=True)
class Stored:
    """Rows by table, and the files that hold them."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    files: list[Path] = field(default_factory=list)
    bytes: int = 0

    @property
    def ticks(self) -> int:
        """Rows that were ticks."""
        return sum(n for table, n in self.rows.items() if table != "bars")


def count(out: Path, lives: Iterable[tuple[str, int]]) -> Stored:
    """Count the rows of the files in `out` that were made in these lives (ring id as hex, epoch) of rings.

    Raises `OSError` for a file that cannot be read, or is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = Stored()
    for ring_id, epoch in lives:
        for path in sorted(out.glob(f"*/feed=*/date=*/{epoch:06d}-*-{ring_id}.parquet")):
            try:
                rows = pq.read_metadata(path).num_rows
            except pa.ArrowInvalid as error:
                raise OSError(f"{path} is no Parquet file: {error}") from error
            stored.rows[path.relative_to(out).parts[0]] += rows
            stored.files.append(path)
            stored.bytes += path.stat().st_size
    return stored


def check_folder(out: Path) -> None:
    """Make the folder and write into it, once. Raises `OSError`."""
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".mdfeedd-probe"
    probe.write_bytes(b"")
    probe.unlink()
