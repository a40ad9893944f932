"""``mdfeedd replay``: recordings through a ring, into files and bars, or to whoever reads the ring."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import replay_lines, units
from mdfeedd.cli.trouble import Trouble, unreadable
from mdfeedd.daemon.plan import Exit

if TYPE_CHECKING:
    from mdfeedd.cli.replay_result import Before
    from mdfeedd.daemon.plan import Plan
    from mdfeedd.daemon.supervisor import Supervisor

BARS: Final = "bars"
STORE: Final = "parquet"
MAX_WAIT_S: Final = 86_400.0  # for the readers of --wait-consumers
MAX_SPEED: Final = 1e6
MAX_NAME: Final = 31  # of a feed
FRAME_S: Final = 0.1
LINE_S: Final = 2.0

_EPILOG: Final = """\
Reads DBN files (.dbn, .dbn.zst, and DBN as JSON lines), or captures of CME's multicast (.pcap, .pcapng, plain or
.gz or .zst), or journals (the folder of a ring), several of them merged in time order, into the ring NAME. Which of
these, they tell themselves.
The replay waits for every reader that is attached to the ring, so none of them loses anything. It ends when the
files end; the summary then counts what was published, and compares it with the rows in the files. Of a file that is
damaged, or ends within a record, what is whole is replayed, and the others go on.

Without --out nothing is stored: the ring stays in shared memory for 'mdfeedd tail NAME --oldest' or a strategy.
With --wait-consumers N the first record waits for N readers.

exit status:
  0 everything is replayed, and in the files if there are any   1 it is not, with the reason
  65 a journal is, but damage or retention has taken records of it
  129 SIGHUP   130 Ctrl-C   143 SIGTERM

examples:
  mdfeedd replay day.dbn.zst --out ticks                    into ticks/{trades,quotes}/feed=NAME/date=.../
  mdfeedd replay day.dbn.zst --out ticks --bars 60          and one-minute bars
  mdfeedd replay a.dbn b.dbn --speed 10 --wait-consumers 1  ten times as fast as it happened, for a strategy
  mdfeedd replay day.pcap --out ticks --bars 60             a capture of CME MDP 3.0; its lines are told by content
  mdfeedd replay a.pcapng.zst b.pcapng.zst --config-xml config.xml --channel 310 --depth
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "replay",
        help="replay DBN files or captures into a ring, Parquet files and bars",
        description="Replay DBN files or captures into a ring, and from there into Parquet files and bars.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files or journals to replay")
    parser.add_argument(
        "--vendor",
        choices=("auto", "databento", "cme", "journal"),
        default="auto",
        help="whose data: databento (DBN), cme (captures), journal; auto: told by content",
    )
    parser.add_argument(
        "--feed",
        type=_feed,
        default="replay",
        metavar="NAME",
        help="name of the feed and its ring (replay)",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default="max",
        metavar="max|X",
        help="as fast as possible (max), or X times as fast as it was recorded",
    )
    parser.add_argument("--out", metavar="DIR", help="store everything as Parquet files there")
    parser.add_argument(
        "--append",
        action="store_true",
        help="add to what --out has of this feed already, though it may be the same",
    )
    parser.add_argument(
        "--bars",
        type=units.whole(1, 604_800),
        metavar="SECONDS",
        help="make bars of this length, into the ring NAME-bars (and --out)",
    )
    parser.add_argument(
        "--wait-consumers",
        type=units.whole(0, 100),
        default=0,
        metavar="N",
        help="wait for N readers of your own before the first record",
    )
    parser.add_argument(
        "--dbn-version",
        type=units.whole(1, 3),
        metavar="V",
        help="version of files that hold bare records, without metadata (.frag)",
    )
    units.add_shm_dir(parser)
    replay_lines.add(parser)
    parser.set_defaults(run=run)


def _speed(text: str) -> str | float:
    return text if text == "max" else units.number(0, MAX_SPEED, besides="max, or ")(text)


def _feed(text: str) -> str:
    """A name that the ring of the feed, and those of its bars, can have."""
    from mdfeedd.ring.segment import check_name

    if len(text) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than {MAX_NAME} characters")
    try:
        for name in _rings(text):
            check_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def run(arguments: argparse.Namespace) -> int:
    """Check everything that can be checked, replay, tell."""
    from mdfeedd.cli import stored, supervised
    from mdfeedd.cli.replay_result import Before, Result
    from mdfeedd.daemon import log
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.feeds.replay.source import total_bytes

    shm_dir = os.path.abspath(arguments.shm_dir)
    options = _vendor_options(arguments)
    out = _out(arguments)
    planned = _plan(arguments, options, shm_dir, out and out.absolute())
    rings = _rings(arguments.feed)
    _clear(rings, shm_dir)
    before = Before.look(rings, shm_dir)
    log.setup(planned.log, "replay")
    supervised.quiet()
    supervisor = Supervisor(planned, until_done=True)
    size_bytes = total_bytes(arguments.paths)
    start = time.monotonic()

    async def view(running: Supervisor) -> None:
        await _show(running, before, size_bytes)

    made = [] if out is None else stored.make_folder(out)
    try:
        stopped = supervised.supervise(supervisor, view)
        result = Result.take(supervisor, before, out, time.monotonic() - start)
    finally:
        stored.remove_empty(made)
        if out is not None:
            _clear(rings[:3], shm_dir)
    supervised.tell_cut_short(stopped)
    damaged_status = Exit.DAMAGED if options["vendor"] == "journal" else 1
    return supervised.status_of(stopped, result.tell(arguments, damaged_status))


def _rings(feed: str) -> tuple[str, ...]:
    """The ring of the feed, that of its own bars, that of the bars we make; those of depth and orders."""
    from mdfeedd.feeds.protocol import rings_of_feed

    ticks, bars, *others = rings_of_feed(feed)
    return (ticks, bars, f"{feed}-bars", *others)


def _vendor_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Whether each file can be opened and is what it should be; told before anything is started."""
    from mdfeedd.feeds.protocol import Damaged
    from mdfeedd.feeds.replay.journal import JournalRecording
    from mdfeedd.feeds.replay.source import Recording, ReplayError, vendor_of

    try:
        vendor = vendor_of(arguments.paths, arguments.vendor)
    except ReplayError as error:
        raise Trouble(str(error)) from None
    except OSError as error:  # a folder that may be a journal
        raise unreadable(error) from None
    if vendor == "cme":
        if arguments.dbn_version is not None:
            raise Trouble("--dbn-version is for DBN files, and these are captures")
        return replay_lines.options(arguments)
    replay_lines.refuse(arguments)
    for path in arguments.paths:
        try:
            if vendor == "journal":
                JournalRecording(path).close()
            else:
                Recording(path, arguments.dbn_version).close()
        except ReplayError as error:
            sentence = str(error).replace("(option 'version')", "(--dbn-version)")
            raise Trouble(sentence, Exit.DAMAGED if isinstance(error, Damaged) else 1) from None
        except OSError as error:
            raise unreadable(error, path) from None
    return {"vendor": vendor, "version": arguments.dbn_version}


def _out(arguments: argparse.Namespace) -> Path | None:
    """The folder for the files, which may have to be made; None if nothing is stored."""
    if arguments.out is None:
        return None
    if importlib.util.find_spec("pyarrow") is None:
        raise Trouble("--out needs pyarrow: pip install 'mdfeedd[parquet]'")
    out = Path(arguments.out)
    try:
        has_files = any(out.glob(f"*/feed={arguments.feed}/date=*/*.parquet"))
    except OSError as error:
        raise unreadable(error, out) from None
    if has_files:
        there = f"{out} has files of the feed {arguments.feed} already"
        if not arguments.append:
            raise Trouble(f"{there}: --append adds to them; or choose another --out or --feed")
        print(f"mdfeedd replay: {there}, this adds to them", file=sys.stderr)
    return out


def _clear(rings: tuple[str, ...], shm_dir: str) -> None:
    """Remove what earlier replays left. A ring that is written is an error; one that is read stays."""
    from mdfeedd.ring import RingBusy, RingError, RingMissing, remove
    from mdfeedd.ring.inspect import inspect

    for ring in rings:
        try:
            if not any(consumer.alive for consumer in inspect(ring, shm_dir).consumers):
                remove(ring, shm_dir)
        except RingMissing:
            continue
        except RingBusy:
            raise Trouble(
                f"the ring {ring} is being written by another process: choose another --feed NAME"
            ) from None
        except (RingError, ValueError) as error:
            raise Trouble(str(error)) from None


def _plan(
    arguments: argparse.Namespace, options: dict[str, Any], shm_dir: str, out: Path | None
) -> Plan:
    from mdfeedd.daemon import config

    ring, vendor_bars, own_bars = _rings(arguments.feed)[:3]
    readers = arguments.wait_consumers + (out is not None) + (arguments.bars is not None)
    feed = {
        "name": ring,
        "vendor": "replay",
        "options": {
            "paths": [os.path.abspath(path) for path in arguments.paths],
            "speed": arguments.speed,
            "min_consumers": readers,
            "min_bar_consumers": int(out is not None),
            "min_consumers_limit_s": MAX_WAIT_S,
            **options,
        },
    }
    consumers: list[dict[str, Any]] = []
    stored = [ring] if options["vendor"] == "cme" else [ring, vendor_bars]
    if arguments.bars is not None:
        stored.append(own_bars)
        made = {"intervals_s": [arguments.bars], "ring": own_bars}
        consumers.append({"name": BARS, "type": "bars", "rings": [ring], "options": made})
    if out is not None:
        sink = {"type": "parquet", "path": str(out)}
        consumers.append(
            {"name": STORE, "type": "batch", "rings": stored, "options": {"sink": sink}}
        )
    try:
        return config.check(
            {
                "shm_dir": shm_dir,
                "metrics": None,
                "log": {"level": "warning"},
                "feeds": [feed],
                "consumers": consumers,
            }
        )
    except config.ConfigError as error:
        raise Trouble("; ".join(problem.sentence for problem in error.problems)) from None


# ------------------------------------------------------------------------------------------- progress


async def _show(supervisor: Supervisor, before: Before, total_bytes: int) -> None:
    """Progress until everything has ended: a bar on a terminal, else a line now and then."""
    import asyncio

    waiting = asyncio.ensure_future(supervisor.wait())
    with contextlib.ExitStack() as stack:
        stack.callback(waiting.cancel)
        if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
            update = stack.enter_context(_bar(before, total_bytes))
        else:
            update = _lines(before, total_bytes)
        while not waiting.done():
            update()
            await asyncio.wait([waiting], timeout=FRAME_S)
        update()


@contextlib.contextmanager
def _bar(before: Before, total_bytes: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[records]} records read"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=total_bytes, records="0")

        def update() -> None:
            now = before.progress()
            progress.update(task, completed=now.received_bytes, records=units.count(now.records))

        yield update


def _lines(before: Before, total_bytes: int) -> Any:
    due = time.monotonic() + LINE_S

    def update() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due += LINE_S
            now = before.progress()
            percent = 100 * now.received_bytes / max(1, total_bytes)
            print(f"{percent:3.0f} %  {units.count(now.records)} records read", file=sys.stderr)

    return update
