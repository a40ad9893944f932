"""Which lines a replay of captures takes: found out, and shown, before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble, unreadable

if TYPE_CHECKING:
    import argparse

    from mdfeedd.feeds.cme.infer import Inference, Seen
    from mdfeedd.feeds.cme.lines import Line

_MAX_SHOWN: Final = 40  # destinations that are left out
_CAPTURES_ONLY: Final = ("line", "config_xml", "channel", "symbols", "secdef", "depth", "orders")


def add(parser: argparse.ArgumentParser) -> None:
    """The options that captures have and DBN has not."""
    captures = parser.add_argument_group(
        "captures", "of CME's multicast: pcap or pcapng, plain, .gz or .zst"
    )
    captures.add_argument(
        "--channel",
        type=units.whole(1, 32_767),
        action="append",
        default=[],
        metavar="ID",
        help="only this channel; may be repeated",
    )
    captures.add_argument(
        "--config-xml", metavar="FILE", help="CME's config.xml, to tell the lines apart"
    )
    captures.add_argument(
        "--line",
        action="append",
        default=[],
        metavar="CHANNEL:FEED:SIDE=GROUP:PORT",
        help="a line by hand (FEED: I, N, S or SMBO), such as 310:I:A=224.0.31.1:14310; may be repeated",
    )
    captures.add_argument(
        "--symbols",
        type=_patterns,
        default=(),
        metavar="NAME,...",
        help="only these instruments; * and ? stand for any letters; a number is a SecurityID (*)",
    )
    captures.add_argument(
        "--secdef", metavar="FILE", help="CME's secdef.dat, for names where a capture has none"
    )
    captures.add_argument(
        "--depth", action="store_true", help="also the ring NAME.depth: ten levels a side"
    )
    captures.add_argument(
        "--orders", action="store_true", help="also the ring NAME.orders: the order book"
    )


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def refuse(arguments: argparse.Namespace) -> None:
    """Raise `Trouble` for options that DBN files have no use for."""
    for name in _CAPTURES_ONLY:
        if getattr(arguments, name):
            raise Trouble(f"--{name.replace('_', '-')} is for captures, and these files are none")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of the feed, as a configuration file would say them; the lines are told on the way.

    Raises `Trouble` where a file is no capture, or holds no line that is wanted.
    """
    from mdfeedd.feeds.cme.infer import line_of
    from mdfeedd.feeds.replay.capture import lines_of, scan
    from mdfeedd.feeds.replay.options import ReplayOptions
    from mdfeedd.feeds.replay.source import ReplayError

    seen: list[Seen] = []

    def look() -> list[Seen]:
        seen.extend(scan(arguments.paths))
        return seen

    try:
        wanted = ReplayOptions(
            tuple(arguments.paths),
            channels=tuple(arguments.channel),
            config_xml=arguments.config_xml or "",
            lines=tuple(line_of(text) for text in arguments.line),
        )
        found = lines_of(wanted, look)
    except ReplayError as error:
        raise Trouble(str(error)) from None
    except OSError as error:
        raise unreadable(error) from None
    except ValueError as error:
        raise Trouble(str(error)) from None
    _tell(arguments, found, seen)
    return {
        "vendor": "cme",
        "lines": [_as_option(line) for line in found.lines],
        "symbols": list(arguments.symbols),
        "secdef": arguments.secdef or "",
        "depth": arguments.depth,
        "orders": arguments.orders,
    }


def _as_option(line: Line) -> dict[str, Any]:
    names = ("channel", "feed", "address", "port", "side")
    return {name: getattr(line, name) for name in names}


def _packets(n: int) -> str:
    return f"{units.count(n):>14} {'packet' if n == 1 else 'packets'}"


def _tell(arguments: argparse.Namespace, found: Inference, seen: list[Seen]) -> None:
    packets = {(one.address, one.port): one.packets for one in seen}
    guessed = not arguments.line and not arguments.config_xml
    how = "told from what they carry" if guessed else "as said"
    print(f"lines, {how}:")
    for line in found.lines:
        place = f"{line.address}:{line.port}"
        n = packets.get((line.address, line.port))
        count = "" if n is None else _packets(n)
        print(f"  {line.channel:>5} {line.feed:<11} {line.side}  {place:<21}{count}".rstrip())
    for one in found.left_out[:_MAX_SHOWN]:
        place = f"{one.address or 'IPv6'}:{one.port}"
        n = packets.get((one.address, one.port), 0)
        print(f"  {'not replayed':<19}  {place:<21}{_packets(n)}: {one.why}")
    if len(found.left_out) > _MAX_SHOWN:
        print(f"  and {len(found.left_out) - _MAX_SHOWN} more destinations are not replayed")
    defined = any(line.feed == "definition" for line in found.lines)
    if not defined and not arguments.secdef:
        print(
            "  no definition line: instruments are named by their SecurityID until another line defines them "
            "(--secdef FILE names them)"
        )
        if arguments.symbols and not any(symbol.isdecimal() for symbol in arguments.symbols):
            print("  and without names --symbols chooses them by SecurityID only")
    print()
