"""``mdfeedd sim databento``: a Databento gateway that does not exist, on real TCP."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from mdfeedd.sim.databento.account import SessionAccount
    from mdfeedd.sim.databento.gateway import Gateway
    from mdfeedd.sim.databento.play import GatewayOptions

_EPILOG: Final = """\
Plays a gateway of Databento's in real time: the feed and Databento's own clients connect, authenticate and
subscribe. The same seed gives the same market. Ends at Ctrl-C or after --seconds.

--fault KIND[:key=value[,key=value ...]] happens in the first session unless session= says which (from 0, or
all), at a stage (at=), or after so many records (after_records=), replayed ones (after_replayed=) or seconds
(after_s=). `--fault list` lists the kinds.

exit status:
  0 played, until Ctrl-C or the time was over   1 the port or the file cannot be used   2 usage

examples:
  mdfeedd sim databento
  mdfeedd sim databento --instruments ESZ6,NQZ6 --schemas mbp-1,trades --rate 2000 --seconds 60
  mdfeedd sim databento --file es.mbp-1.dbn.zst --fault rst:after_records=1000 --fault silence:session=1,after_s=5
"""
_TELL_S: Final = 10.0
_LOOK_S: Final = 0.2
_KEY_CHARACTERS: Final = 32
_MAX_SHOWN: Final = 8  # symbols of the configuration that is printed
_MOST: Final = 2**63 - 1


def add(venues: Any) -> None:
    """Tell argparse of the venue."""
    parser = venues.add_parser(
        "databento",
        help="a live gateway of Databento",
        description="Play a live gateway of Databento.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_market(parser)
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address (127.0.0.1)")
    parser.add_argument(
        "--port", type=units.whole(0, 65_535), default=13_000, help="0: any free one (13000)"
    )
    parser.add_argument("--key", default="", help="the key that it takes, of 32 characters")
    parser.add_argument("--dataset", default="", help="(GLBX.MDP3, or the file's)")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND[:K=V,...]", help="see below"
    )
    parser.add_argument(
        "--flood", action="store_true", help="as fast as clients take it, not in real time"
    )
    parser.add_argument(
        "--seconds", type=units.number(0, 1e9), metavar="S", help="end after so long (at Ctrl-C)"
    )
    parser.set_defaults(run=run)


def _add_market(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", default="", metavar="DBN", help="play this .dbn or .dbn.zst")
    parser.add_argument(
        "--instruments", default="4", metavar="N|SYMBOLS", help="how many, or which (4)"
    )
    parser.add_argument("--schemas", default="", help="such as mbp-1,trades (all)")
    parser.add_argument(
        "--rate",
        type=units.number(0.001, 100_000),
        default=100.0,
        metavar="EVENTS",
        help="events per second (100)",
    )
    parser.add_argument("--seed", type=units.whole(0, _MOST), default=1, help="of all chance (1)")
    parser.add_argument(
        "--publishers", type=units.whole(1, 100), default=1, help="of each instrument (1)"
    )
    parser.add_argument(
        "--backward", action="store_true", help="a venue whose event times run backwards, too"
    )
    parser.add_argument(
        "--history",
        type=units.number(0, 86_400),
        default=0.0,
        metavar="S",
        help="so much of the market is there to be replayed at the start (0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play, and say what each session was sent."""
    if "list" in arguments.fault:
        return _list_faults()
    from mdfeedd.cli.stopping import until_signalled
    from mdfeedd.sim.databento.file_market import DbnFileError
    from mdfeedd.sim.databento.gateway import GatewayError
    from mdfeedd.sim.databento.play import playing

    options = _options(arguments)
    try:
        gateway = playing(options)
    except DbnFileError as error:
        raise Trouble(f"--file: {error}") from None
    except ValueError as error:
        raise Trouble(str(error), 2) from None
    except OSError as error:
        raise Trouble(f"--file: {options.file}: {error.strerror or error}") from None
    try:
        with until_signalled() as stop, gateway:
            _tell_start(gateway, options)
            teller = _Teller(gateway)
            ends_s = time.monotonic() + (arguments.seconds or float("inf"))
            while time.monotonic() < ends_s and not stop.wait(_LOOK_S):
                teller.tell()
    except GatewayError as error:
        raise Trouble(str(error)) from None
    teller.tell_end()
    return 0


def _list_faults() -> int:
    from mdfeedd.sim.databento.script import KINDS, STAGES

    for kind, what in KINDS.items():
        print(f"{kind:22} {what}")
    print("\nat=")
    for stage, what in STAGES.items():
        print(f"  {stage:20} {what}")
    return 0


def _options(arguments: argparse.Namespace) -> GatewayOptions:
    from mdfeedd.sim.databento.core import KEY
    from mdfeedd.sim.databento.layouts import ALL_SCHEMAS
    from mdfeedd.sim.databento.play import GatewayOptions
    from mdfeedd.sim.databento.script import Fault

    for text in arguments.fault:
        try:
            Fault.parse(text)
        except ValueError as error:
            raise Trouble(f"--fault: {error}", 2) from None
    key = arguments.key or KEY
    if len(key) != _KEY_CHARACTERS:
        raise Trouble(f"--key: must have {_KEY_CHARACTERS} characters, not {len(key)}", 2)
    named = arguments.instruments
    return GatewayOptions(
        host=arguments.host,
        port=arguments.port,
        key=key,
        dataset=arguments.dataset,
        instruments=int(named) if named.isdecimal() else tuple(named.split(",")),
        schemas=tuple(arguments.schemas.split(",")) if arguments.schemas else ALL_SCHEMAS,
        rate=arguments.rate,
        seed=arguments.seed,
        publishers=arguments.publishers,
        backward=arguments.backward,
        history_s=arguments.history,
        file=arguments.file,
        faults=tuple(arguments.fault),
        flood=arguments.flood,
    )


def _tell_start(gateway: Gateway, options: GatewayOptions) -> None:
    core = gateway.core
    listed = core.market.symbols.by_id.values()
    symbols = [item.raw_symbol for item in list(listed)[:_MAX_SHOWN]]
    more = ", ..." if len(listed) > len(symbols) else ""
    what = options.file or f"{options.rate:g} events/s, seed {options.seed}"
    print(
        f"{core.dataset}: {units.of(len(listed), 'instrument')} ({', '.join(symbols)}{more}), {what}"
    )
    print(f"listening on {gateway.host}:{gateway.port}, key {options.key}")
    print("\nto connect a feed, with this in its configuration:\n")
    print(f"  export DATABENTO_API_KEY={options.key}\n")
    print("feeds:\n  - name: databento\n    vendor: databento\n    options:")
    print(f"      dataset: {core.dataset}\n      gateway: {gateway.host}:{gateway.port}")
    print("      subscriptions:")
    schemas = core.market.schemas
    schema = "mbp-1" if "mbp-1" in schemas else schemas[0]
    quoted = ", ".join(f'"{symbol}"' for symbol in symbols)
    print(f"        - {{schema: {schema}, stype: raw_symbol, symbols: [{quoted}]}}\n")
    print("playing", flush=True)


class _Teller:
    """Says what has become of the sessions since it said so last."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: dict[int, str] = {}
        self._faults: dict[int, int] = {}
        self._told_s = time.monotonic()
        self._first = 0  # of those that may say more

    def tell(self) -> None:
        """New sessions, faults and ends; every now and then the numbers."""
        with self._gateway.lock:
            lines = list(self._news())
            if time.monotonic() - self._told_s >= _TELL_S:
                self._told_s = time.monotonic()
                accounts = self._gateway.core.sessions[self._first :]
                lines += [_numbers(account) for account in accounts if account.authenticated]
        for line in lines:
            print(line, flush=True)

    def _news(self) -> Any:
        accounts = self._gateway.core.sessions
        for account in accounts[self._first :]:
            number = account.number
            state = account.ended or ("subscribed" if account.requests else "connected")
            faults = account.faults[self._faults.get(number, 0) :]
            self._faults[number] = len(account.faults)
            for fault in faults:
                yield f"session {number}: fault {fault}"
            if self._known.get(number) != state:
                self._known[number] = state
                yield _state(account, state)
        while self._first < len(accounts) and accounts[self._first].ended:
            self._first += 1

    def tell_end(self) -> None:
        """The account of all of them."""
        self.tell()
        accounts = self._gateway.core.sessions
        records = sum(account.records for account in accounts)
        sent = sum(account.bytes_sent for account in accounts)
        print(
            f"{units.of(len(accounts), 'session')}, {units.of(records, 'market record')} "
            f"({units.size(sent)} in all)"
        )
        for account in accounts:
            print(f"  {_numbers(account)}")


def _state(account: SessionAccount, state: str) -> str:
    if state == "subscribed":
        asked = "; ".join(
            f"{r.schema} {units.of(len(r.symbols), 'symbol')}"
            + ("" if r.start_ns is None else f" from {units.iso_time(r.start_ns)}")
            + (" with a snapshot" if r.snapshot else "")
            for r in account.requests
        )
        return f"session {account.number}: subscribed to {asked}"
    if state == "connected":
        return f"session {account.number}: connected from {account.peer}"
    return f"session {account.number}: {state}, after {units.of(account.records, 'market record')}"


def _numbers(account: SessionAccount) -> str:
    parts = [f"session {account.number}: {units.of(account.records, 'market record')}"]
    for count, what in (
        (account.replayed, "replayed"),
        (len(account.skipped), "skipped"),
        (len(account.omitted), "left out of a replay"),
        (account.forgotten, "too late for a slow client"),
    ):
        if count:
            parts.append(f"{units.count(count)} {what}")
    if account.faults:
        parts.append(f"faults {', '.join(account.faults)}")
    return ", ".join([*parts, account.ended or "goes on"])
