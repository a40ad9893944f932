"""The child of ``mdfeedd check --blpapi``: what Bloomberg's package does here, one JSON object a line.

    python -m mdfeedd.cli.blpapi_trial FOLDER FIRST     FOLDER: where the package is, if not installed, or ""

    {"package": version, "where": file, "stand_in": bool}    or {"missing": sentence}, and then nothing
    {"fact": number, "holds": bool, "tried": bool, "got": words}         for each from FIRST on
    {"native": bool, "told": words}

A process of its own, because the package brings native code, which may end it, hang, or write what it likes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from mdfeedd.feeds.bloomberg.ending import SessionEnd
from mdfeedd.feeds.bloomberg.native.loaded import Unusable, open_library
from mdfeedd.feeds.bloomberg.sdk import load
from mdfeedd.sim.bloomberg.behaviour import FACTS, first_event, run

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(folder: str, first: int, out: TextIO) -> None:
    """Tell all of it."""
    for found in trial(folder, first):
        print(json.dumps(found), file=out, flush=True)


def trial(folder: str, first: int) -> Iterator[dict[str, Any]]:
    """What there is to tell, as soon as it is known."""
    try:
        blpapi = load(folder)
    except SessionEnd as end:
        yield {"missing": f"{end.text}: {end.ending.then.hint}"}
        return
    yield {
        "package": str(getattr(blpapi, "__version__", "of an unknown version")),
        "where": str(getattr(blpapi, "__file__", "")),
        "stand_in": bool(getattr(blpapi, "IS_STAND_IN", False)),
    }
    for number, fact in enumerate(FACTS[first:], first):
        (outcome,) = run(blpapi, [fact])
        yield {"fact": number, "holds": outcome.holds, "tried": outcome.tried, "got": outcome.got}
    usable, told = native(blpapi)
    yield {"native": usable, "told": told}


def native(blpapi: Any) -> tuple[bool, str]:
    """Whether the feed can take market data by the SDK's C interface, and by which library, or why not."""
    try:
        library = open_library(blpapi)
        event = first_event(blpapi)
        found, wanted = library.count(event), len(list(event))
    except Unusable as why:
        return False, str(why)
    except Exception as error:  # noqa: BLE001 - the package raises what it likes; it is told
        return False, f"no event to try it on: {type(error).__name__}: {error}"
    if found != wanted:
        return False, f"{library.path}: finds {found} messages where the package finds {wanted}"
    return True, f"{library.path} has every symbol and goes through an event as the package does"


if __name__ == "__main__":
    told: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is not ours
    main(sys.argv[1], int(sys.argv[2]), told)
    told.close()
    os._exit(0)  # the package's own teardown may hang
