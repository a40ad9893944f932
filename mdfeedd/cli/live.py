"""``mdfeedd live``: vendors and symbols from the command line, through the same system as `run`, told in lines.

--vendors, --symbols ─► FeedConfig each ─► plan ─► Supervisor ─► a process per vendor, one for bars
                                                        rings ─► live_view ─► lines on standard output
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mdfeedd.daemon.plan import ChildPlan, Plan

PREFIX: Final = "live-"
"""Of the names of rings, so that none is that of a daemon."""
BARS: Final = "bars"
BARS_RING: Final = PREFIX + BARS
DEFAULT_BARS_S: Final = 60
DEFAULT_DATASET: Final = "GLBX.MDP3"
CREDENTIALS: Final = 77
CONFIG: Final = 78

YELLOW_KEYS: Final = (
    *("Equity", "Index", "Comdty", "Curncy", "Govt", "Corp", "Mtge", "Muni", "Pfd", "M-Mkt"),
)
_YELLOW_KEY: Final = re.compile(rf".+ ({'|'.join(YELLOW_KEYS)})", re.IGNORECASE)
_FUTURE: Final = re.compile(r"([A-Z]{2,3})[FGHJKMNQUVXZ]\d{1,2}")
_SAME_AT_BLOOMBERG: Final = {
    **dict.fromkeys(("ES", "NQ", "RTY"), "Index"),
    **dict.fromkeys(("CL", "NG", "GC", "SI", "HG"), "Comdty"),
}
"""Yellow keys of those futures of CME whose root is the same at Bloomberg; of others it is not."""
_SYMBOLS: Final = ("instruments", "subscriptions", "symbols", "topics")
"""Options that say what to follow: those of a file do not count where --symbols does."""
_NEEDS_SYMBOLS: Final = {"bloomberg": "topics", "databento": "subscriptions"}

_EPILOG: Final = """\
Starts one process per vendor and one that makes bars, as 'mdfeedd run' would, and prints a line a second for each
vendor, a line for each bar (its time is that of its begin), and at the end a summary; the log is on standard error.
Ctrl-C stops in order. The rings are called live-VENDOR and live-bars, so 'mdfeedd tail live-databento' and
strategies work meanwhile; they are removed at the end.

databento  the key comes from the environment variable DATABENTO_API_KEY. MDFEEDD_DATABENTO_GATEWAY=HOST:PORT
           connects to another gateway than Databento's own ('mdfeedd sim databento' plays one).
bloomberg  a terminal on this machine. A symbol is what Bloomberg calls it, with its yellow key: "ESZ6 Index". Where
           no symbol has one, --yellow-key gives them one; the futures ES, NQ, RTY (Index) and CL, NG, GC, SI, HG
           (Comdty) have it by themselves, which is told. MDFEEDD_BLPAPI_PATH=DIR says where the package blpapi is,
           if it is not installed; 'simulated' needs neither it nor Bloomberg.
cme        the channels are those of a feed in a configuration: -c FILE.

With -c FILE the options of the first feed of each vendor in FILE are taken; what is said here comes before them.

exit status:
  0 the time was over, or the feeds ended   1 it could not start, or a feed was given up
  77 credentials   78 configuration   129 SIGHUP   130 Ctrl-C   143 SIGTERM

examples:
  mdfeedd live --vendors databento --symbols ESZ6,NQZ6
  mdfeedd live --vendors databento,bloomberg --symbols ESZ6,NQZ6 --bars 300
  mdfeedd live --vendors databento,bloomberg --symbols "AAPL,AAPL US Equity" --dataset XNAS.ITCH
  mdfeedd live --vendors cme -c mdfeedd.yaml --symbols "ES*"
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "live",
        help="follow symbols of vendors without a configuration: batches and bars as lines",
        description="Follow symbols of vendors without a configuration: batches and bars as lines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--vendors",
        type=_list,
        required=True,
        metavar="VENDORS",
        help="such as databento,bloomberg",
    )
    parser.add_argument(
        "--symbols",
        type=_list,
        default=(),
        metavar="S,S",
        help="such as ESZ6,NQZ6, for all vendors",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help=f"of databento ({DEFAULT_DATASET})",
    )
    parser.add_argument(
        "--yellow-key", choices=YELLOW_KEYS, help="of symbols without one, for bloomberg"
    )
    parser.add_argument(
        "--bars",
        "--aggregation-timeframe",
        type=units.whole(1, units.MAX_BARS_S),
        default=DEFAULT_BARS_S,
        metavar="SECONDS",
        help=f"length of the bars ({DEFAULT_BARS_S})",
    )
    parser.add_argument(
        "--seconds", type=units.number(0, 1e9), metavar="N", help="end after so long (at Ctrl-C)"
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="take the other options of the vendors from there"
    )
    units.add_shm_dir(parser)
    parser.set_defaults(run=run)


def _list(text: str) -> tuple[str, ...]:
    """The argparse type of what has commas between."""
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise argparse.ArgumentTypeError(f"must be names with commas between, not {text!r}")
    return tuple(dict.fromkeys(items))


def run(arguments: argparse.Namespace) -> int:
    """Plan, run, tell. 0 unless a feed was given up."""
    from mdfeedd.cli import supervised
    from mdfeedd.cli.live_view import Lines
    from mdfeedd.daemon import log
    from mdfeedd.daemon.supervisor import Supervisor

    planned = plan(arguments, os.path.abspath(arguments.shm_dir))
    _check_secrets(planned.feeds)
    _remove_rings(planned)
    _check_room(planned.shm_dir)
    log.setup(planned.log, "live")
    supervisor = Supervisor(planned)
    try:
        with Lines(planned, PREFIX, arguments.seconds) as lines:
            stopped = supervised.supervise(supervisor, lines.show)
            lines.rest()
            supervised.tell_cut_short(stopped)
            lines.summary()
    finally:
        _remove_rings(planned)
    status = supervised.status_of(stopped, 0)
    return status or supervised.status_of_failures(supervisor)


# ---------------------------------------------------------------------------------------------- the plan


def plan(arguments: argparse.Namespace, shm_dir: str) -> Plan:
    """What the command line comes to. Raises `Trouble` (78)."""
    from mdfeedd.daemon import config

    given = _given_options(arguments.config, arguments.vendors)
    feeds = [_feed(vendor, arguments, given.get(vendor, {})) for vendor in arguments.vendors]
    bars = {
        "name": BARS,
        "type": "bars",
        "rings": [feed["name"] for feed in feeds],
        "options": {"intervals_s": [arguments.bars], "ring": BARS_RING},
    }
    try:
        return config.check(
            {"shm_dir": shm_dir, "metrics": None, "feeds": feeds, "consumers": [bars]},
            "the command line",
        )
    except config.ConfigError as error:
        raise Trouble("; ".join(one.sentence for one in error.problems), CONFIG) from None


def _feed(vendor: str, arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """The section of one vendor's feed. Raises `Trouble` (78)."""
    from mdfeedd.daemon import plugins
    from mdfeedd.manager.config import FeedConfig, feed_section

    if ":" in vendor:
        raise Trouble(f"--vendors: '{vendor}' is no registered vendor: use a configuration", CONFIG)
    try:
        plugins.resolve(plugins.FEEDS, vendor)
    except plugins.PluginError as error:
        raise Trouble(f"--vendors: {error}", CONFIG) from None
    options = {
        key: value for key, value in options.items() if not (arguments.symbols and key in _SYMBOLS)
    }
    symbols: Sequence[str] = arguments.symbols
    if vendor == "bloomberg":
        symbols = topics(arguments.symbols, arguments.yellow_key)
        if len(arguments.vendors) == 1 and len(symbols) < len(arguments.symbols):
            left = [symbol for symbol in arguments.symbols if symbol not in symbols]
            told = f"not followed, for they lack a yellow key: {', '.join(left)}"
            print(f"mdfeedd live: bloomberg: {told}", file=sys.stderr)
    elif "bloomberg" in arguments.vendors:
        symbols = [symbol for symbol in symbols if not _YELLOW_KEY.fullmatch(symbol)]
    if vendor == "cme" and not options:
        raise Trouble(
            "cme: its channels are not said here: -c FILE takes them from the feed of vendor cme in a "
            "configuration (config/mdfeedd.yaml shows one)",
            CONFIG,
        )
    if not symbols and _NEEDS_SYMBOLS.get(vendor, "") not in {"", *options}:
        raise Trouble(
            f"{vendor}: --symbols says what to follow, and none of them is for it", CONFIG
        )
    dataset = ""
    if vendor == "databento":
        dataset = arguments.dataset or options.pop("dataset", DEFAULT_DATASET)
    try:
        return feed_section(
            FeedConfig(vendor, symbols, dataset=dataset, name=PREFIX + vendor, options=options)
        )
    except (ValueError, TypeError) as error:
        raise Trouble(f"{vendor}: {error}", CONFIG) from None


def topics(symbols: Iterable[str], yellow_key: str | None) -> list[str]:
    """What Bloomberg calls them. Raises `Trouble` (78) with a sentence on what is expected."""
    symbols = list(symbols)
    named = [
        symbol for symbol in symbols if symbol.startswith("/") or _YELLOW_KEY.fullmatch(symbol)
    ]
    if named:
        return named
    made = [f"{symbol} {yellow_key or _key_of(symbol)}" for symbol in symbols]
    if made and not yellow_key:
        print(
            f"mdfeedd live: bloomberg: without a yellow key, {', '.join(symbols)} "
            f"{'is' if len(made) == 1 else 'are'} taken for {', '.join(made)}",
            file=sys.stderr,
        )
    return made


def _key_of(symbol: str) -> str:
    future = _FUTURE.fullmatch(symbol)
    key = _SAME_AT_BLOOMBERG.get(future[1]) if future else None
    if key is None:
        raise Trouble(
            f'bloomberg: {symbol} has no yellow key: write it as Bloomberg does, such as "ESZ4 Index" or '
            f'"AAPL US Equity", or say --yellow-key Index for all of them',
            CONFIG,
        )
    return key


def _given_options(path: str | None, vendors: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each vendor the options that its first feed in a configuration gives. Raises `Trouble` (78)."""
    if path is None:
        return {}
    from mdfeedd.cli.check import load

    found: dict[str, dict[str, Any]] = {}
    for child in load(path).feeds:
        if child.plugin in vendors:
            found.setdefault(child.plugin, _without_defaults(child))
    if not found:
        raise Trouble(f"{path}: there is no feed of {' or '.join(vendors)}", CONFIG)
    return found


def _without_defaults(child: ChildPlan) -> dict[str, Any]:
    """The options that are not as they would be anyway."""
    import dataclasses

    from mdfeedd.daemon import plugins
    from mdfeedd.daemon.plan import jsonable

    defaults = {
        f.name: jsonable(f.default)
        for f in dataclasses.fields(plugins.load(child.target).Options)
        if f.default is not dataclasses.MISSING
    }
    return {
        key: value
        for key, value in child.options.items()
        if key not in defaults or value != defaults[key]
    }


# ------------------------------------------------------------------------------------------- beforehand


def _check_secrets(feeds: Iterable[ChildPlan]) -> None:
    """Raise `Trouble` (77) for a secret that cannot be had, before anything is started."""
    from mdfeedd.cli.check import secrets_of

    for child in feeds:
        for _, refusal in secrets_of(child):
            if refusal:
                raise Trouble(f"{child.plugin}: {refusal}", CREDENTIALS)


def _check_room(shm_dir: str) -> None:
    """Raise `Trouble` where no ring can be made, for want of a right for instance: the feeds would try on and on."""
    try:
        tempfile.TemporaryFile(dir=shm_dir).close()
    except FileNotFoundError:
        return  # there is no such folder, which the supervisor tells
    except OSError as error:
        raise Trouble(f"no ring can be made in {shm_dir}: {error.strerror}") from None


def _remove_rings(planned: Plan) -> None:
    """Of this run, or left by one that was killed. Raises `Trouble` if another one is running."""
    from mdfeedd.ring import RingBusy, RingError, RingMissing, remove

    for child in (*planned.feeds, *planned.consumers):
        for ring in child.may_write:
            try:
                with contextlib.suppress(RingMissing):
                    remove(ring, planned.shm_dir)
            except RingBusy:
                raise Trouble(
                    f"another 'mdfeedd live' writes the ring {ring} of {planned.shm_dir}"
                ) from None
            except RingError as error:
                raise Trouble(str(error)) from None
