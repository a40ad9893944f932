"""``mdfeedd status``: one short text of how everything is, and an exit status for scripts."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units

if TYPE_CHECKING:
    from mdfeedd.cli.attached import Sight

WELL: Final = 0
WRONG: Final = 1
NOTHING: Final = 3
"""No daemon runs: as `systemctl status` has it."""
MOST_S: Final = 60.0

_EPILOG: Final = """\
Asks the daemon (GET /status); where none answers, shared memory tells what there is. Two looks, --over seconds
apart, give the rates, and show a reader that is losing records and a sink that is refusing them.

exit status:
  0 all is well
  1 something is wrong: a feed is down, a gap is open, a reader or a sink is behind ... a line for each
  3 no daemon runs, and nobody writes or reads a ring

examples:
  mdfeedd status -c /etc/mdfeedd/mdfeedd.yaml || mail -s 'market data' desk@example.com
  mdfeedd status --json | jq -r '.troubles[].text'
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "status",
        help="say in a few lines whether all is well; exit status 1 if not, 3 if no daemon runs",
        description="Say in a few lines whether all is well.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="what should run, and where it answers"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument(
        "--over", type=units.number(0, MOST_S), default=1.0, metavar="S",
        help="seconds between the two looks (1)",
    )  # fmt: skip
    units.add_shm_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look twice, tell, and say by the status how it is."""
    from mdfeedd.cli.attached import Attachment

    attachment = Attachment.of(arguments)
    before = attachment.look()
    if before.anything:
        time.sleep(arguments.over)
    sight = attachment.look()
    status, troubles = judge(sight, before)
    if arguments.json:
        told = sight.shown | {"status": status, "answered": sight.answered, "troubles": troubles}
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(sight, before, troubles)))
    return status


def judge(sight: Sight, before: Sight) -> tuple[int, list[dict[str, str]]]:
    """The exit status and the troubles, of a look and the one before it."""
    from mdfeedd.daemon.troubles import troubles_of

    troubles = troubles_of(sight.shown, before.shown)
    if not sight.anything:
        return NOTHING, troubles
    if sight.asked and not sight.answered:
        text = f"no daemon answers at {sight.asked}: {sight.why}"
        troubles.insert(0, {"name": "", "trouble": "no answer", "text": text})
    return (WRONG if troubles else WELL), troubles


def lines(sight: Sight, before: Sight, troubles: list[dict[str, str]]) -> list[str]:
    """The text."""
    if not sight.anything:
        where = f" at {sight.asked}" if sight.asked else ""
        head = (
            f"no daemon runs{where}, and nobody writes or reads a ring in {sight.shown['shm_dir']}"
        )
        return [head, *(f"trouble: {units.printable(t['text'])}" for t in troubles)]
    shown = sight.shown
    told = [_head(sight), _feeds(shown, before.shown), _consumers(shown)]
    told += [f"trouble: {units.printable(trouble['text'])}" for trouble in troubles]
    return told if troubles else [*told, "all is well"]


def _head(sight: Sight) -> str:
    daemon = sight.shown["daemon"]
    if daemon is None:
        return f"no daemon answers; shared memory in {sight.shown['shm_dir']} tells:"
    restarts = sum(process["restarts"] or 0 for process in sight.shown["processes"])
    stops = ", is stopping" if daemon["stopping"] else ""
    return (
        f"mdfeedd {daemon['version']} runs, pid {daemon['pid']}{stops}; configuration "
        f"{daemon['config_sha256']}; {units.of(restarts, 'restart')}"
    )


def _feeds(shown: dict[str, Any], before: dict[str, Any]) -> str:
    feeds = [f for f in shown["feeds"] if f["managed"] or f["state"] != "closed"]
    left = len(shown["feeds"]) - len(feeds)
    live = sum(feed["writer_alive"] for feed in feeds)
    was = {feed["name"]: feed["published"] for feed in before["feeds"]}
    new = sum(max(0, f["published"] - was.get(f["name"], f["published"])) for f in feeds)
    span_s = shown["time_s"] - before["time_s"]
    rate = units.count(new / span_s) if span_s > 0 else "-"
    gaps = sum(feed["counters"].get("gaps", 0) for feed in feeds)
    told = f"feeds      {live} of {len(feeds)} live, {rate} ticks/s, {units.of(gaps, 'gap')} so far"
    return f"{told}; {units.of(left, 'ring')} of feeds that ended earlier" if left else told


def _consumers(shown: dict[str, Any]) -> str:
    rows = shown["consumers"]
    read = [row for row in rows if row["alive"]]
    if not rows:
        return "consumers  none"
    text = f"consumers  {len(read)} of {len(rows)} read"
    lagging = [row for row in read if not row["parked"] and row["lag"]]
    if not lagging:
        return f"{text}, none has a lag"
    worst = max(lagging, key=lambda row: row["lag_share"])
    return (
        f"{text}, largest lag {units.count(worst['lag'])} records, {worst['lag_share']:.1%} of the ring "
        f"({units.printable(worst['name'])} on {units.printable(worst['ring'])})"
    )
