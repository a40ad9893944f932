"""``mdfeedd top``: feeds, readers and processes, live."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.attached import Sight
    from mdfeedd.cli.top_view import View

MOST_S: Final = 3600.0

_EPILOG: Final = """\
Asks the daemon (GET /status); where none answers, or none is left, shared memory tells the same without restarts.
Nothing is registered anywhere, and no process is asked to count. Ctrl-C ends it.

feeds: 'twice' is the share of packets that another line had brought already (a half where A and B are well, 0 where
one of them is mute), 'lost' the packets that no line brought, 'doubtful' the books that may be wrong now, 'venue'
the arrival of the latest packet less the venue's sending time (two clocks), 'p50' and 'p99' arrival to ring.
lines: 'first' is the share of its packets that a line brought before the other (both make 100 %: much less than a
half is the slower way), 'lost now' what it lost of late on its way, whether or not the other line had it, 'dropped'
what came and was not read in time, 'silent' the time since its latest packet.
readers: 'lag' is committed and not read (parked: it reads a journal of the ring), 'unsafe' committed and not yet
stored, 'refused' batches that the sink did not take, 'p50' and 'p99' from the ring to the reader. Latencies and
troubles are those of the last ten seconds.

exit status:
  0 shown   1 it cannot be shown   78 configuration   130 Ctrl-C

examples:
  mdfeedd top
  mdfeedd top -c /etc/mdfeedd/mdfeedd.yaml --interval 0.5
  mdfeedd top --once                  one screen, with the rates of one interval
  mdfeedd top --json | jq .bottleneck one JSON object a line
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "top",
        help="show feeds, readers and processes live: rates, gaps, lag, latency, CPU, the bottleneck",
        description="Show feeds, readers and processes live.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="what should run, and where it answers"
    )
    parser.add_argument("--once", action="store_true", help="one screen as text, then end")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a screen")
    parser.add_argument(
        "--interval", type=units.number(0, MOST_S), default=1.0, metavar="S",
        help="seconds between two looks (1)",
    )  # fmt: skip
    units.add_shm_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show until Ctrl-C, or once."""
    views = _views(arguments)
    if arguments.json:
        for view in views:
            print(json.dumps(view.as_json(), ensure_ascii=False), flush=True)
        return 0
    try:
        from rich.console import Console
        from rich.live import Live

        from mdfeedd.cli.top_draw import draw
    except ImportError:
        raise Trouble("the table needs rich: pip install 'mdfeedd[cli]' (or use --json)") from None
    console = Console(highlight=False)
    if arguments.once or not console.is_terminal:
        for view in views:
            console.print(
                draw(view, console.width, console.height if console.is_terminal else 1000)
            )
        return 0
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for view in views:
            live.update(draw(view, console.width, console.height), refresh=True)
    return 0


def _views(arguments: argparse.Namespace) -> Iterator[View]:
    """A view each interval; with --once only the second, which has rates. Raises `Trouble` for a folder that
    cannot be listed from the start; one that goes later is told on the screen.
    """
    from mdfeedd.cli.attached import Attachment
    from mdfeedd.cli.top_view import History

    attachment, history = Attachment.of(arguments), History()
    first = True
    while True:
        sight = attachment.look()
        if first:
            _check_folder(sight)
        view = history.take(sight.shown, answered=sight.answered)
        if not (arguments.once and first):
            yield view
            if arguments.once:
                return
        first = False
        time.sleep(arguments.interval)


def _check_folder(sight: Sight) -> None:
    """An empty screen would say that nothing runs."""
    for unreadable in sight.shown["unreadable"]:
        if not unreadable["ring"] and not sight.answered:
            raise Trouble(unreadable["error"])
