"""``mdfeedd demo``: the whole system on vendors that do not exist, watched while it runs and checked at the end."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import invocation, units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.demo_gateway import Server, Sessions
    from mdfeedd.cli.demo_terminal import Losses
    from mdfeedd.cli.demo_venue import Account, Channel
    from mdfeedd.cli.probe import Probes
    from mdfeedd.cli.stored import Stored
    from mdfeedd.cli.supervised import View
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.inspect import RingInfo

DEFAULT_SECONDS: Final = 10.0
DEFAULT_RATE: Final = 20_000.0
DEFAULT_OUT: Final = "mdfeedd-demo"
DEFAULT_BARS_S: Final = 5
MAX_SECONDS: Final = 86_400.0
MAX_RATE: Final = 5_000_000.0
_TABLE_COLUMNS: Final = 72  # a narrower terminal gets lines

_EPILOG: Final = """\
Four feeds in four processes follow 28 made-up instruments in real time, through the same supervisor, rings and
consumers that real ones use: the feed of each vendor, with a simulator in the vendor's place, and a synthetic one.

  demo-futures    CME: packets of MDP 3.0 on a line A and a line B (UDP on 127.0.0.1) from a venue in a process of
                  its own, whose network loses packets on purpose: what one line loses the other has, what both
                  lose is told as a gap and recovered from snapshots
  demo-equities   Databento: a session with a gateway that does not exist (TCP on 127.0.0.1), which cuts the
                  connection once: the gap is told, and what was missed is asked for again
  demo-fx         Bloomberg: subscriptions by a stand-in for the package blpapi (which need not be installed), which
                  drops messages of one currency once: the gap is told, and a new image is asked for
  demo-synthetic  what is left of the rate, which is most of it: the simulators, in Python, have their limits

One consumer makes bars, one stores everything as Parquet. The numbers on the screen are those of shared memory
(what the network lost is the venue's own report); the latency is from the feed's stamp, before it publishes, to
this process having read the tick, for the futures from the kernel's stamp of the packet. At the end the rows
in the files are counted and compared with what was published. No account, no network, no root; the rings are
removed at the end, the files stay.

exit status:
  0 everything that was published is in the files   1 it is not, or something else went wrong
  129 SIGHUP   130 Ctrl-C   143 SIGTERM

examples:
  mdfeedd demo
  mdfeedd demo --seconds 60 --rate 200000 --out /tmp/ticks
  mdfeedd tail demo-futures              in another terminal, meanwhile
  mdfeedd doctor                         likewise
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "demo",
        help="all vendors, simulated, through the whole system, with a live table",
        description="All vendors, simulated, through the whole system, with a live table and a summary.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=units.number(0, MAX_SECONDS),
        default=DEFAULT_SECONDS,
        metavar="N",
        help="how long (10)",
    )
    parser.add_argument(
        "--rate",
        type=units.number(1, MAX_RATE),
        default=DEFAULT_RATE,
        metavar="R",
        help="ticks per second, all feeds together (20000)",
    )
    parser.add_argument(
        "--out", default=DEFAULT_OUT, metavar="DIR", help="where the files go (./mdfeedd-demo)"
    )
    parser.add_argument(
        "--bars",
        "--aggregation-timeframe",
        type=units.whole(1, units.MAX_BARS_S),
        default=DEFAULT_BARS_S,
        metavar="SECONDS",
        help="length of the bars, besides those of one second (5)",
    )
    units.add_shm_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prepare, run, tell. 0 if everything that was published is in the files."""
    from mdfeedd.cli import stored, supervised

    out = _out(arguments)
    shm_dir = os.path.abspath(arguments.shm_dir)
    with _alone(shm_dir):
        _check_memory(shm_dir, arguments.rate)
        _remove_rings(shm_dir)
        made = [] if out is None else stored.make_folder(out)
        try:
            stopped, result = _trade(arguments, out and out.absolute(), shm_dir)
        finally:
            _remove_rings(shm_dir)
            stored.remove_empty(made)
    supervised.tell_cut_short(stopped)
    return supervised.status_of(stopped, result.tell(arguments))


# ------------------------------------------------------------------------------------------- beforehand


def _out(arguments: argparse.Namespace) -> Path | None:
    """The folder for the files; None, with a sentence, where they cannot be made."""
    if importlib.util.find_spec("pyarrow") is None:
        print(
            "mdfeedd demo: nothing is stored, because pyarrow is missing: pip install 'mdfeedd[parquet]'",
            file=sys.stderr,
        )
        return None
    return Path(arguments.out)


@contextlib.contextmanager
def _alone(shm_dir: str) -> Iterator[None]:
    """Be the only demo on these rings. The lock goes with the process, however that ends."""
    from mdfeedd.cli.demo_plan import BARS_RING, RINGS, TICK_RINGS
    from mdfeedd.ring import RingError
    from mdfeedd.ring.inspect import inspect
    from mdfeedd.ring.segment import ring_path

    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0mdfeedd-demo:{shm_dir}"[:107])
        except OSError:
            raise Trouble(
                f"another demo is running on {shm_dir}: wait for its end, or watch it "
                f"({invocation.mdfeedd()} tail demo-futures{invocation.shm_option(shm_dir)})"
            ) from None
        for ring in RINGS:
            with contextlib.suppress(RingError):
                if (there := inspect(ring, shm_dir)).writer_alive:
                    raise Trouble(
                        f"process {there.pid}, a daemon's or what is left of a demo, writes the ring {ring}: end it, "
                        "or give the demo a folder of its own on a shared-memory file system (--shm-dir)"
                    )
        there_are = {ring for ring in RINGS if os.path.exists(ring_path(ring, shm_dir))}
        if BARS_RING in there_are and there_are.isdisjoint(TICK_RINGS):  # a killed demo left those
            raise Trouble(
                f"there is a ring {BARS_RING} in {shm_dir} that is no demo's: a daemon that was stopped goes on with it. "
                "Give the demo a folder of its own on a shared-memory file system (--shm-dir)"
            )
        yield


def _check_memory(shm_dir: str, rate: float) -> None:
    from mdfeedd.cli.demo_plan import needed_bytes

    try:
        stat = os.statvfs(shm_dir)
    except OSError as error:
        raise Trouble(f"cannot use {shm_dir} for the rings: {error.strerror}") from None
    free, needed = stat.f_bavail * stat.f_frsize, needed_bytes(rate)
    if free < needed:
        raise Trouble(
            f"{shm_dir} has {units.size(free)} free and the rings of {rate:g} ticks/s take "
            f"{units.size(needed)}: make it larger (in Docker --shm-size=1g), or take a lower --rate"
        )
    if not os.access(shm_dir, os.W_OK | os.X_OK):
        raise Trouble(f"cannot write to {shm_dir}, where the rings go")


def _remove_rings(shm_dir: str) -> None:
    """Of this demo, or left by one that was killed."""
    from mdfeedd.cli.demo_plan import RINGS
    from mdfeedd.ring import RingError, RingMissing, remove

    for ring in RINGS:
        try:
            remove(ring, shm_dir)
        except RingMissing:
            continue
        except RingError as error:
            print(f"mdfeedd demo: {error}", file=sys.stderr)


# ------------------------------------------------------------------------------------------- the run


@dataclass(frozen=True, slots=True)
class _Vendors:
    """What plays the vendors in processes of its own; None where the network does not allow it."""

    channel: Channel | None
    server: Server | None


def _trade(arguments: argparse.Namespace, out: Path | None, shm_dir: str) -> tuple[Any, _Result]:
    """Run it; what came of it, taken before the rings are removed."""
    from mdfeedd.cli import supervised
    from mdfeedd.cli.demo_gateway import serving
    from mdfeedd.cli.demo_plan import BARS_RING, TICK_RINGS, plan
    from mdfeedd.cli.demo_terminal import standing_in
    from mdfeedd.cli.demo_venue import playing
    from mdfeedd.cli.probe import Probes
    from mdfeedd.daemon import log
    from mdfeedd.daemon.supervisor import Supervisor

    with contextlib.ExitStack() as stack:
        rate, seconds = arguments.rate, arguments.seconds
        channel = stack.enter_context(playing(rate, seconds))
        server = stack.enter_context(serving(rate, seconds, wired=channel is not None))
        stack.enter_context(standing_in(rate, seconds))
        vendors = _Vendors(channel, server)
        planned = plan(
            rate,
            arguments.bars,
            shm_dir,
            out,
            viewers=1,
            lines=None if channel is None else channel.lines,
            gateway="" if server is None else server.address,
        )
        log.setup(planned.log, "demo")
        supervised.quiet()
        supervisor = Supervisor(planned)
        probes = Probes.start(TICK_RINGS, BARS_RING, shm_dir)
        try:
            stopped = supervised.supervise(
                supervisor,
                _view(arguments, out, shm_dir, probes, vendors),
                None if channel is None else channel.end,
            )
        finally:
            probes.stop()
        return stopped, _Result.take(supervisor, probes, out, shm_dir, vendors)


def _view(
    arguments: argparse.Namespace,
    out: Path | None,
    shm_dir: str,
    probes: Probes,
    vendors: _Vendors,
) -> View:
    """What is shown beside the running supervisor, until the time is over. It lets the venue begin."""
    import asyncio

    from mdfeedd.cli.demo_plan import readers
    from mdfeedd.cli.demo_view import Watch, show_lines, show_table

    channel = vendors.channel
    watch = Watch(probes, shm_dir, arguments.seconds, channel, vendors.server)
    console = _console()

    async def view(running: Supervisor) -> None:
        beginning = None
        if channel is not None:
            attached = readers(out, viewers=1)
            beginning = asyncio.ensure_future(channel.begin_when_ready(attached, shm_dir))
        try:
            if console is None:
                await show_lines(watch, running)
            else:
                await show_table(watch, running, console)
        finally:
            if beginning is not None:
                beginning.cancel()

    return view


def _console() -> Any:
    """A rich console for the table, or None where lines do better."""
    if not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        return None
    from rich.console import Console

    console = Console(highlight=False)
    return None if console.is_dumb_terminal or console.width < _TABLE_COLUMNS else console


@dataclass(slots=True)
class _Result:
    """What a run came to: from the rings, the files and the supervisor."""

    rings: dict[str, RingInfo]
    stored: Stored | None
    stored_error: str
    troubles: list[str]
    probes: Probes
    account: Account | None
    sessions: Sessions | None
    losses: Losses

    @classmethod
    def take(
        cls,
        supervisor: Supervisor,
        probes: Probes,
        out: Path | None,
        shm_dir: str,
        vendors: _Vendors,
    ) -> _Result:
        from mdfeedd.cli import stored
        from mdfeedd.cli.demo_gateway import Sessions
        from mdfeedd.cli.demo_plan import READ_RINGS, SESSION, WIRED
        from mdfeedd.cli.demo_terminal import Losses
        from mdfeedd.cli.demo_venue import Account
        from mdfeedd.ring import RingError
        from mdfeedd.ring.inspect import inspect

        rings = {}
        for ring in READ_RINGS:
            with contextlib.suppress(RingError):  # never made: the troubles say why
                rings[ring] = inspect(ring, shm_dir)
        found, error = None, ""
        if out is not None:
            try:
                lives = [(i.ring_id.hex(), range(1, i.epoch + 1)) for i in rings.values()]
                found = stored.count(out, lives)
            except OSError as failed:
                error = str(failed)
        troubles = [
            f"{c.label}: {_how_it_ended(c)}" for c in supervisor.children if _ended_badly(c)
        ]
        troubles += [str(p.error) for p in (*probes.ticks, probes.bars) if p.error is not None]
        account, channel, server = None, vendors.channel, vendors.server
        if channel is not None:
            account = Account.take(channel, rings.get(WIRED), probes)
            troubles += [channel.trouble] if channel.trouble else []
        sessions = None
        if server is not None:
            sessions = Sessions.take(rings.get(SESSION), probes)
            troubles += [server.trouble] if server.check() else []
        losses = Losses.take(probes)
        return cls(rings, found, error, troubles, probes, account, sessions, losses)

    def counted(self, name: str) -> int:
        """A counter, over all feeds."""
        from mdfeedd.cli.demo_plan import TICK_RINGS

        return sum(i.counters[name] for n, i in self.rings.items() if n in TICK_RINGS)

    def lost(self, *, by_view: bool) -> int:
        """Records that this process, or all other readers, lost."""
        from mdfeedd.cli.probe import CONSUMER

        return sum(
            consumer.lost
            for info in self.rings.values()
            for consumer in info.consumers
            if consumer.same_ring and (consumer.name == CONSUMER) == by_view
        )

    def tell(self, arguments: argparse.Namespace) -> int:
        """Print the summary; 0 if all is as it should be."""
        from mdfeedd.cli.demo_plan import BARS_RING, VENUES

        quotes, trades = self.counted("published_quotes"), self.counted("published_trades")
        bars = self.rings[BARS_RING].published if BARS_RING in self.rings else 0
        lost, unseen = self.lost(by_view=False), self.lost(by_view=True)
        instruments = sum(len(venue.symbols) for venue in VENUES)
        complete = self._complete(quotes, trades, bars)
        print(
            f"{self.probes.span_s():.1f} s, {len(VENUES)} feeds in {len(VENUES)} processes, {instruments} "
            "instruments; no account, no network\n"
        )
        kinds = f"{units.count(quotes)} quotes, {units.count(trades)} trades"
        whom = f"and {units.count(unseen)} by this terminal" if unseen else "by any reader"
        for name, value, remark in [
            *self._feeds(),
            ("ticks in", units.count(quotes + trades), kinds),
            ("ticks stored", self._stored_ticks(), complete),
            ("bars", units.count(bars), f"of 1 s and {arguments.bars} s"),
            ("lost", units.count(lost), whom),
            *([] if self.account is None else self.account.rows()),
            *([] if self.sessions is None else self.sessions.rows()),
            *self.losses.rows(),
            *self._latencies(),
        ]:
            print(f"  {name:14}{value:>12}   {remark}")
        for trouble in self.troubles:
            print(f"\ntrouble: {trouble}")
        if self.stored is not None and self.stored.files:
            print("\n" + "\n".join(_looking(arguments, self.stored)))
        sound = not lost and not self.troubles and quotes + trades > 0
        return 0 if sound and complete in {_NOTHING, _ALL} else 1

    def _feeds(self) -> list[tuple[str, str, str]]:
        """Rows: of each feed its ticks, and how they came."""
        from mdfeedd.cli.demo_plan import HOST, SESSION, TERMINAL, TICK_RINGS, WIRED

        came = {TERMINAL: "of Bloomberg: by subscriptions, with a stand-in for blpapi"}
        if self.account is not None:
            came[WIRED] = f"of CME: in packets, on lines A and B at {HOST}"
        if self.sessions is not None:
            came[SESSION] = f"of Databento: by a session with a gateway at {HOST}"
        return [
            (
                ring,
                units.count(self._ticks(ring)),
                f"ticks {came.get(ring, 'of a synthetic market')}",
            )
            for ring in TICK_RINGS
        ]

    def _ticks(self, ring: str) -> int:
        """Quotes and trades that the feed has published."""
        if ring not in self.rings:
            return 0
        counters = self.rings[ring].counters
        return counters["published_quotes"] + counters["published_trades"]

    def _latencies(self) -> list[tuple[str, str, str]]:
        """Rows: of the feeds that stamp what they publish, and of the one that has the kernel's stamps."""
        from mdfeedd.cli.demo_plan import TICK_RINGS, WIRED

        wired = [] if self.account is None else [WIRED]
        unwired = [ring for ring in TICK_RINGS if ring not in wired]
        rows = []
        for name, rings, path in (
            ("latency", unwired, "publish to read in this process"),
            ("packet latency", wired, "kernel to read in this process"),
        ):
            latencies = self.probes.latencies(rings)
            low, high = (units.duration(latencies.percentile_ns(p)) for p in (50, 99))
            if rings:
                rows.append((name, f"p50 {low}", f"p99 {high}, from {path}"))
        return rows

    def _stored_ticks(self) -> str:
        return "-" if self.stored is None else units.count(self.stored.ticks)

    def _complete(self, quotes: int, trades: int, bars: int) -> str:
        """What the files say, compared with what was published."""
        if self.stored_error:
            return self.stored_error
        if self.stored is None:
            return _NOTHING
        rows = self.stored.rows
        if (rows["quotes"], rows["trades"], rows["bars"]) == (quotes, trades, bars):
            return _ALL
        missing = {
            "quotes": quotes - rows["quotes"],
            "trades": trades - rows["trades"],
            "bars": bars - rows["bars"],
        }
        told = ", ".join(f"{units.count(n)} {name}" for name, n in missing.items() if n > 0)
        if not told:  # a feed that is killed may have published what it had no time to count
            return f"all of them, and {units.count(-sum(missing.values()))} that were not counted"
        return f"NOT ALL: missing in the files are {told}"


_ALL: Final = "all of them, and all bars: the rows of the files were counted"
_NOTHING: Final = "nothing is stored without pyarrow"


def _ended_badly(child: Any) -> bool:
    return bool(child.restarts) or child.last_code not in {0, None}


def _how_it_ended(child: Any) -> str:
    """What went wrong with it, even if it ended well after that."""
    how = child.last_failure or child.last_exit
    if not child.restarts:
        return str(how)
    times = "once" if child.restarts == 1 else f"{child.restarts} times"
    return f"{how}; restarted {times}"


def _looking(arguments: argparse.Namespace, stored: Stored) -> list[str]:
    """Where the files are, and commands that show what is in them."""
    out = arguments.out.rstrip("/") or "/"
    rings = invocation.shm_option(os.path.abspath(arguments.shm_dir))
    files = f"{units.of(len(stored.files), 'file')}, {units.size(stored.bytes)}"
    return [
        f"{files}, in {out}/{{quotes,trades,bars}}/feed=NAME/date=YYYY-MM-DD/",
        "",
        "look at them:",
        f"  {_most_traded(out)}",
        f"  {_bars_of(out, arguments.bars)}",
        "look at a running demo from another terminal:",
        f"  {invocation.mdfeedd()} tail demo-futures{rings}",
        f"  {invocation.mdfeedd()} doctor{rings}",
    ]


def _most_traded(out: str) -> str:
    columns = "symbol, count(*) AS trades, sum(size) AS volume, max(price) AS high"
    if shutil.which("duckdb"):
        files = f"'{out}/trades/**/*.parquet'"
        return f'duckdb -c "SELECT {columns} FROM {files} GROUP BY symbol ORDER BY trades DESC"'  # noqa: S608 - shown, not run
    return _python(f"{out}/trades/**/*.parquet", f"aggregate('{columns}').order('trades DESC')")


def _bars_of(out: str, bars_s: int) -> str:
    chosen, order = f"interval_s = {bars_s}", "symbol, ts_open"
    if shutil.which("duckdb"):
        return (
            f"duckdb -c \"FROM '{out}/bars/**/*.parquet' WHERE {chosen} ORDER BY {order} LIMIT 20\""
        )
    return _python(f"{out}/bars/**/*.parquet", f"filter('{chosen}').order('{order}').limit(20)")


def _python(files: str, query: str) -> str:
    """A command line for where DuckDB is a module, or could be."""
    python = invocation.python()
    needs = "" if importlib.util.find_spec("duckdb") else "   # pip install duckdb"
    return f"{python} -c \"import duckdb; duckdb.read_parquet('{files}').{query}.show(max_rows=40)\"{needs}"
