"""What is really in the Parquet files: counted in their footers, not taken from anybody's counters."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdfeedd.cli.trouble import Trouble

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


def count(out: Path, lives: Iterable[tuple[str, range]]) -> Stored:
    """Count the rows of the files in `out` that were made in these lives (ring id as hex, epochs) of rings.

    Raises `OSError` for a file that cannot be read, or is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = Stored()
    for ring_id, epochs in lives:
        for path in sorted(out.glob(f"*/feed=*/date=*/*-{ring_id}.parquet")):
            if int(path.name.partition("-")[0]) not in epochs:
                continue
            try:
                rows = pq.read_metadata(path).num_rows
            except pa.ArrowInvalid as error:
                raise OSError(f"{path} is no Parquet file: {error}") from error
            stored.rows[path.relative_to(out).parts[0]] += rows
            stored.files.append(path)
            stored.bytes += path.stat().st_size
    return stored


def make_folder(out: Path) -> list[Path]:
    """Make the folder and write into it, once; the folders that were made. Raises `Trouble`."""
    made: list[Path] = []
    try:
        if out.exists() and not out.is_dir():
            raise Trouble(f"{out} is a file, not a folder")
        made += [path for path in (out, *out.parents) if not path.exists()]
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".mdfeedd-probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        remove_empty(made)
        raise Trouble(f"cannot write to the folder {out}: {error.strerror}") from None
    return made


def remove_empty(made: list[Path]) -> None:
    """Remove those folders, inner ones first, in which nothing is."""
    for path in made:
        with contextlib.suppress(OSError):  # there is something in it, or it is not there
            path.rmdir()
