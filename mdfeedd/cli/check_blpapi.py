"""``mdfeedd check --blpapi``: does Bloomberg's package here do what the feed relies on?

::

    child: blpapi_trial ── a line per fact ─► a line for the user, and in the end a status
      ▲                                         │ it died, or said nothing for too long: that fact was not tried
      └────────── another, from the next on ────┘
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any, Final

from mdfeedd.cli.trouble import Trouble
from mdfeedd.feeds.bloomberg.options import SIMULATED, STAND_IN
from mdfeedd.sim.bloomberg.behaviour import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.daemon.plan import Plan
    from mdfeedd.sim.bloomberg.behaviour import Fact

__all__ = ["DIFFERS", "check_blpapi", "folders"]

DIFFERS: Final = 1
CONFIG: Final = 78
PATIENCE_S: Final = 60.0
"""Without a word for so long, the child is ended."""
END_S: Final = 5.0
"""For a child that has told all to end."""
MAX_LINE_BYTES: Final = 1 << 16
_MODULE: Final = "mdfeedd.cli.blpapi_trial"
_SEEN: Final = {
    "R": "seen with the real package",
    "S": "read in its source",
    "D": "only documented: nothing here relies on it",
}


def folders(plan: Plan) -> list[str]:
    """Where the Bloomberg feeds of a configuration have their package; "": where it is installed."""
    found = {
        str(child.options.get("blpapi_path", ""))
        for child in plan.feeds
        if child.target.startswith("mdfeedd.feeds.bloomberg.")
    }
    return sorted(STAND_IN if folder == SIMULATED else folder for folder in found)


def check_blpapi(folder: str, patience_s: float = PATIENCE_S) -> int:
    """Print what comes of each fact; 0 if all that could be tried agrees. Raises `Trouble` without a package."""
    agree = differ = untried = 0
    for number, outcome in _outcomes(folder, patience_s):
        fact = FACTS[number]
        if not outcome["tried"]:
            untried += 1
            _say(f"  untried  {fact.name}: cannot be tried here: {outcome['got']}")
        elif outcome["holds"]:
            agree += 1
            _say(f"  ok       {fact.name}")
        else:
            differ += fact.seen != "D"
            _say(f"  differs  {fact.name}: {_difference(fact, outcome['got'])}")
    others = len(FACTS) - agree - differ - untried
    parts = [f"{agree} of {len(FACTS)} facts agree"]
    parts += [f"{differ} differ"] * bool(differ)
    parts += [f"{others} differ of those that are only documented"] * bool(others)
    parts += [f"{untried} cannot be tried here"] * bool(untried)
    _say(", ".join(parts))
    return DIFFERS if differ else 0


def _difference(fact: Fact, got: str) -> str:
    return f"{fact.doing} gives {got}, wanted {fact.wanted} ({_SEEN[fact.seen]})"


def _outcomes(folder: str, patience_s: float) -> Iterator[tuple[int, dict[str, Any]]]:
    """What came of each fact, in their order; the rest that a child has to tell is printed."""
    first, met = 0, False
    while True:
        child = _Child(folder, first, patience_s)
        for line in child.lines():
            if "missing" in line:
                raise Trouble(line["missing"], CONFIG)
            if "package" in line and not met:
                met = True
                what = "the stand-in, not Bloomberg's own: " if line["stand_in"] else ""
                _say(f"blpapi {line['package']} ({what}{line['where']})")
            elif "fact" in line:
                yield first, line
                first += 1
            elif "native" in line:
                _say(f"  native   {'yes' if line['native'] else 'no'}: {line['told']}")
                return
        if not met:
            raise Trouble(f"blpapi cannot be imported: {child.ending}", CONFIG)
        if first == len(FACTS):
            _say(f"  native   no: {child.ending}")
            return
        yield first, {"tried": False, "got": child.ending}
        first += 1


class _Child:
    """A process that tries facts from one on. `ending`: how it ended before it had told all."""

    def __init__(self, folder: str, first: int, patience_s: float) -> None:
        self.ending = ""
        self._command = [sys.executable, "-m", _MODULE, folder, str(first)]
        self._patience_s = patience_s

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it tells, until it ends or says nothing for too long."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            try:
                with process.stdout or contextlib.nullcontext() as out:
                    yield from self._read(out) if out else ()
            finally:
                self._end(process)
                self.ending = self.ending or _how(process.returncode, errors)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """It has ended by itself, or is about to, or has to be ended."""
        try:
            process.wait(0.0 if self.ending else END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self, out: IO[bytes]) -> Iterator[dict[str, Any]]:
        unread = b""
        end_s = time.monotonic() + PATIENCE_S  # until it has started
        while select.select([out], [], [], max(0.0, end_s - time.monotonic()))[0]:
            data = os.read(out.fileno(), MAX_LINE_BYTES)
            if not data:
                return
            *whole, unread = (unread + data).split(b"\n")
            for line in whole:
                yield json.loads(line)
                end_s = time.monotonic() + self._patience_s
        self.ending = f"nothing came of it for {self._patience_s:g} s"


def _how(status: int, errors: IO[bytes]) -> str:
    """How a process ended, with the last that it said."""
    how = f"the process ended with status {status}"
    if status < 0:
        how = f"the process was ended by {signal.Signals(-status).name}"
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip().splitlines()
    return f"{how}: {said[-1]}" if said else how


def _say(text: str) -> None:
    print("".join(c if c.isprintable() else "?" for c in text), flush=True)
