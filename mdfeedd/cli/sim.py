"""``mdfeedd sim``: venues that do not exist, to try a feed and a network with: here CME's, on real UDP."""

from __future__ import annotations

import argparse
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mdfeedd.cli import sim_databento, units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from mdfeedd.sim.cme.publisher import Publisher, PublisherOptions

_EPILOG: Final = """\
Plays a venue in real time: an incremental feed, and loops of definitions, snapshots and order books, each on
a line A and a line B with the packets of CME MDP 3.0. Without --multicast the lines are eight UDP ports of
this machine. The same seed gives the same market. Ends at Ctrl-C or after --seconds.

--loss and --cut take a side (A, B), a line (I.A, N.B, S.A, SMBO.B), or for --loss a share alone for all lines.

exit status:
  0 played, until Ctrl-C or the time was over   1 the network cannot be used   2 usage

examples:
  mdfeedd sim cme --write-config config.xml
  mdfeedd sim cme --multicast eth1 --rate 2000 --version 9
  mdfeedd sim cme --seconds 60 --loss A=0.01 --loss I.B=0.002 --cut B:20-30 --reset-every 15
"""
_TELL_S: Final = 10.0
_VENUES_EPILOG: Final = """\
What it plays reaches the same feeds as the venue's own network would, so that a configuration can be tried whole.

exit status:
  0 played, until Ctrl-C or the time was over   1 the network cannot be used   2 usage

examples:
  mdfeedd sim cme --write-config config.xml
  mdfeedd sim databento --help
"""

_FEEDS: Final = {"I": 0, "N": 1, "S": 2, "SMBO": 3}
_LOSS: Final = re.compile(r"(?:(?:(I|N|S|SMBO)\.)?([AB])=)?(\d*\.?\d+(?:e-?\d+)?)")
_CUT: Final = re.compile(r"([AB]):(\d*\.?\d+)-(\d*\.?\d+)")
_GROUP: Final = "239.192.31.0"


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "sim",
        help="play a venue that does not exist, over a real network",
        description="Play a venue that does not exist, over a real network.",
        epilog=_VENUES_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    venues = parser.add_subparsers(dest="venue", metavar="VENUE", required=True)
    cme = venues.add_parser(
        "cme",
        help="a channel of CME MDP 3.0",
        description="Play a channel of CME MDP 3.0.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_market(cme)
    _add_lines(cme)
    _add_faults(cme)
    cme.set_defaults(run=run)
    sim_databento.add(venues)


def _add_market(cme: argparse.ArgumentParser) -> None:
    cme.add_argument("--channel", type=units.whole(1, 32_767), default=310, help="(310)")
    cme.add_argument(
        "--instruments", type=units.whole(1, 10_000), default=8, metavar="N", help="(8)"
    )
    cme.add_argument(
        "--rate",
        type=units.number(0, 10_000),
        default=500.0,
        metavar="EVENTS",
        help="events per second (500)",
    )
    cme.add_argument("--seed", type=units.whole(0, 2**63 - 1), default=1, help="of all chance (1)")
    cme.add_argument(
        "--version",
        type=units.whole(5, 99),
        default=13,
        help="schema version of the messages: 5 to 13; beyond, one that nobody knows (13)",
    )
    cme.add_argument("--no-orders", action="store_true", help="no order books, no SMBO lines")
    cme.add_argument(
        "--seconds", type=units.number(0, 1e9), metavar="S", help="end after so long (at Ctrl-C)"
    )


def _add_lines(cme: argparse.ArgumentParser) -> None:
    cme.add_argument("--host", default="127.0.0.1", help="send to this address (127.0.0.1)")
    cme.add_argument(
        "--port", type=units.whole(1, 65_528), default=26_000, help="first of eight (26000)"
    )
    cme.add_argument(
        "--multicast", default="", metavar="INTERFACE", help="multicast, by this interface"
    )
    cme.add_argument(
        "--group", metavar="ADDRESS", help=f"first multicast group, with --multicast ({_GROUP})"
    )
    cme.add_argument(
        "--write-config", default="", metavar="FILE", help="write the lines as CME's config.xml"
    )


def _add_faults(cme: argparse.ArgumentParser) -> None:
    share = units.number(0, 1)
    cme.add_argument(
        "--loss", action="append", default=[], metavar="[LINE=]SHARE", help="lose packets"
    )
    cme.add_argument("--duplicate", type=share, default=0.0, metavar="SHARE", help="send twice")
    cme.add_argument("--reorder", type=share, default=0.0, metavar="SHARE", help="send too late")
    cme.add_argument(
        "--skew",
        default="0.2-200",
        metavar="US-US",
        help="lead of one side over the other, in microseconds (0.2-200)",
    )
    cme.add_argument(
        "--cut", action="append", default=[], metavar="SIDE:S-S", help="a side is dead from, to"
    )
    cme.add_argument(
        "--reset-every",
        type=units.number(0, 1e6),
        default=0.0,
        metavar="S",
        help="channel resets (none)",
    )
    cme.add_argument(
        "--hole-every",
        type=units.number(0, 1e6),
        default=0.0,
        metavar="S",
        help="lose a few packets of line I on both sides (never)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play, and say what was sent."""
    from mdfeedd.cli.stopping import until_signalled
    from mdfeedd.sim.cme.publisher import Publisher, PublisherError

    options = _options(arguments)
    try:
        publisher = Publisher(options)
    except PublisherError as error:
        raise Trouble(error.strerror or str(error)) from None
    began_s = time.monotonic()
    with until_signalled() as stop:
        teller = threading.Thread(target=_tell_on, args=(publisher, stop, began_s), daemon=True)
        try:
            _tell_lines(publisher)
            teller.start()
            publisher.run(stop, arguments.seconds)
        finally:
            stop.set()
            publisher.close()
    _tell_end(publisher, time.monotonic() - began_s)
    return 0


def _options(arguments: argparse.Namespace) -> PublisherOptions:
    from mdfeedd.sim.cme.publisher import PublisherOptions

    if arguments.group is not None and not arguments.multicast:
        _misused("--group: only with --multicast, which says the interface")
    try:
        return PublisherOptions(
            channel=arguments.channel,
            seed=arguments.seed,
            instruments=arguments.instruments,
            version=arguments.version,
            rate=arguments.rate,
            orders=not arguments.no_orders and arguments.version >= 7,
            host=arguments.host,
            port=arguments.port,
            interface=arguments.multicast,
            group=arguments.group or _GROUP,
            config=arguments.write_config,
            loss=tuple(line for text in arguments.loss for line in _losses(text)),
            duplicate=arguments.duplicate,
            reorder=arguments.reorder,
            skew_ns=_skew(arguments.skew),
            cuts=tuple(_cut(text) for text in arguments.cut),
            reset_every_s=arguments.reset_every,
            hole_every_s=arguments.hole_every,
        )
    except ValueError as error:
        _misused(str(error))


def _losses(text: str) -> list[tuple[int, int, float]]:
    """(feed, side, share) of ``0.01``, ``A=0.01`` or ``I.A=0.01``."""
    found = _LOSS.fullmatch(text)
    if not found:
        _misused(f"--loss: a share, A=SHARE or I.A=SHARE, not {text!r}")
    feeds = [_FEEDS[found[1]]] if found[1] else list(_FEEDS.values())
    sides = ["AB".index(found[2])] if found[2] else [0, 1]
    return [(feed, side, float(found[3])) for feed in feeds for side in sides]


def _cut(text: str) -> tuple[int, float, float]:
    found = _CUT.fullmatch(text)
    if not found:
        _misused(f"--cut: such as B:20-30, not {text!r}")
    from_s, to_s = float(found[2]), float(found[3])
    if from_s >= to_s:
        _misused(f"--cut: must end after it begins, such as B:20-30, not {text!r}")
    return "AB".index(found[1]), from_s, to_s


def _skew(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        return int(float(low) * 1_000), int(float(high or low) * 1_000)
    except ValueError:
        _misused(f"--skew: microseconds, such as 0.2-200, not {text!r}")


def _misused(sentence: str) -> NoReturn:
    raise Trouble(sentence, 2)


def _tell_lines(publisher: Publisher) -> None:
    options = publisher.options
    listed = publisher.venue.instruments.values()
    some = ", ".join(instrument.listing.symbol for instrument in list(listed)[:4])
    more = ", ..." if len(listed) > 4 else ""
    print(
        f"channel {options.channel}: {units.of(len(listed), 'instrument')} ({some}{more}), "
        f"{options.rate:g} events/s, version {options.version}, seed {options.seed}"
    )
    for line in publisher.lines:
        print(f"  {line}")
    if options.config:
        print(f"the lines are in {options.config}")
    print("playing", flush=True)


def _tell_on(publisher: Publisher, stop: threading.Event, began_s: float) -> None:
    while not stop.wait(_TELL_S):
        sent = sum(publisher.counts.packets.values())
        seq = publisher.venue.channel.last_seq
        seconds = time.monotonic() - began_s
        print(f"{seconds:7.0f} s  {units.count(sent)} packets, MsgSeqNum {seq}", flush=True)


def _tell_end(publisher: Publisher, seconds: float) -> None:
    counts = publisher.counts
    total = sum(counts.packets.values())
    print(
        f"{units.of(total, 'packet')} ({units.size(counts.bytes)}) in {seconds:.1f} s, "
        f"MsgSeqNum {publisher.venue.channel.last_seq}"
    )
    for line in publisher.lines:
        lost = publisher.network.lost_packets[line.feed, line.side]
        told = f", {units.count(lost)} lost" if lost else ""
        print(f"  {line}: {units.count(counts.packets[line])}{told}")
    report = publisher.report()
    if report.holes:
        told = f"{units.of(report.holes, 'hole')}, {units.of(report.uncovered, 'packet')}"
        print(f"  lost on both sides of line I: {told}")
    if counts.refused:
        print(f"  {units.of(counts.refused, 'datagram')} refused by this host")
    if counts.skipped_ns:
        print(f"  {units.duration(counts.skipped_ns)} of the venue left out: this host is slow")
