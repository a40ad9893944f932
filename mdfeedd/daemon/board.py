"""Last prices and bars for the status page, read from shared memory when somebody asks; registers nowhere.

    rings of ticks and bars ─► the records since the last look, `LOOK_RECORDS` at most ─► last of each instrument
                                                          └─► `/last`: JSON objects as the fan-out sends them

What nobody asks for costs nothing. A look reads only the newest records of a ring: of a fast one an instrument
that trades seldom may be missing until it does; whoever must have all reads the ring.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import list_rings
from mdfeedd.ring.look import Look
from mdfeedd.ring.segment import ring_path
from mdfeedd.tick import BAR, TICK, layout_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdfeedd.consumers.fanout.snapshot import Snapshot
    from mdfeedd.ring import Instruments
    from mdfeedd.sinks.jsontext import JsonText

    Records = npt.NDArray[np.void]

MAX_RINGS: Final = 256
"""Rings whose records are shown."""
LOOK_RECORDS: Final = 8192
"""Records of a ring that one look reads at most."""
MAX_TICKS: Final = 600
"""Last quotes, trades and statuses of a ring that are told: the newest."""
MAX_BARS: Final = 300
"""Bars of a ring that are told: the newest."""
FRESH_S: Final = 0.25
"""An answer as young is given again."""
_LAYOUTS: Final = {layout_of(TICK): TICK, layout_of(BAR): BAR}


@dataclass(slots=True)
class _Known:
    """What was seen of one life of a ring."""

    ring_id: bytes
    next_seq: int
    last: Snapshot
    bars: Records


class Board:
    """Remembers the last values between looks. `answer` may be called from any thread."""

    def __init__(self, shm_dir: str) -> None:
        self._shm_dir = shm_dir
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._text: JsonText | None = None
        self._answer = b""
        self._at = -FRESH_S

    def answer(self) -> bytes:
        """JSON: `rings`, each with its `ring`, `kind` (tick or bar) and `records`, oldest first."""
        with self._lock:
            if time.monotonic() - self._at >= FRESH_S:
                self._answer = self._look()
                self._at = time.monotonic()
            return self._answer

    def _look(self) -> bytes:
        try:
            names = list_rings(self._shm_dir)[:MAX_RINGS]
        except RingError:
            names = []
        self._known = {name: known for name, known in self._known.items() if name in names}
        rings = [ring for name in names if (ring := self._ring(name)) is not None]
        return b'{"rings":[' + b",".join(rings) + b"]}\n"

    def _ring(self, name: str) -> bytes | None:
        """One ring's JSON; None of one that cannot be read, or holds neither ticks nor bars."""
        try:
            with Look(ring_path(name, self._shm_dir)) as look:
                header = look.header()
                dtype = _LAYOUTS.get(header["layout"])
                if dtype is None:
                    return None
                known = self._of_life(name, header["ring_id"], dtype)
                end = header["tail"] + 1
                start = max(known.next_seq, end - min(LOOK_RECORDS, header["capacity"] // 2), 1)
                instruments = look.begin(dtype, start)
                self._read(look, known, end)
                return self._json(name, dtype, known, instruments)
        except (RingError, ValueError):  # gone again, another user's, or no ring at all
            return None

    def _of_life(self, name: str, ring_id: bytes, dtype: np.dtype[Any]) -> _Known:
        from mdfeedd.consumers.fanout.snapshot import Snapshot  # noqa: PLC0415 - when it is asked for

        known = self._known.get(name)
        if known is None or known.ring_id != ring_id:
            known = self._known[name] = _Known(ring_id, 1, Snapshot(dtype), np.empty(0, BAR))
        return known

    @staticmethod
    def _read(look: Look, known: _Known, end: int) -> None:
        """Take what there was when the look began."""
        for batch in look.until(end, LOOK_RECORDS):
            if batch.records.dtype == BAR:
                known.bars = np.concatenate([known.bars, batch.records])[-MAX_BARS:]
            else:
                known.last.take(batch.records)
        known.next_seq = look.next_seq

    def _json(
        self, name: str, dtype: np.dtype[Any], known: _Known, instruments: Instruments
    ) -> bytes:
        from mdfeedd.sinks.jsontext import JsonText  # noqa: PLC0415 - see above

        if self._text is None:
            self._text = JsonText(before=b",")
        bars = dtype == BAR
        records = known.bars if bars else known.last.records()[-MAX_TICKS:]
        lines = bytes(self._text.lines(records, instruments)[0])[1:] if len(records) else b""
        head = json.dumps({"ring": name, "kind": "bar" if bars else "tick"})[:-1].encode()
        return head + b',"records":[' + lines + b"]}"
