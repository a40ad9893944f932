"""``mdfeedd decode``: what a venue really sent, message by message and field by field."""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import ipaddress
import json
import re
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.feeds.capture import CapturedPacket

_MAX_SEQ: Final = 2**32 - 1
_TIMES: Final = {"TransactTime", "LastUpdateTime", "EventTime"}
_EPILOG: Final = """\
CME MDP 3.0 of any schema version, from pcap and pcapng, plain, .gz or .zst. Fields have the names that CME
gives them. What the version of a message does not have is left out; what was sent as null is shown as -.
Both lines of a channel are shown, as captured: --to keeps one. With --security, only its entries are shown.

JSON lines: one message each; prices are strings of decimals, exact; times are ISO 8601 with nanoseconds.
CSV: one entry a row; prices in units of 1e-9, times in UNIX ns, dates in days since 1970-01-01, empty where
there is none.

exit status:
  0 done   1 the file cannot be read   2 usage   130 Ctrl-C

examples:
  mdfeedd decode day.pcap --limit 20
  mdfeedd decode day.pcapng.zst --seq 5616-5620 --to 224.0.31.64
  mdfeedd decode day.pcap --security 411873 --template 32 --template 42
  mdfeedd decode day.pcap --format csv > entries.csv
"""


class _Message(NamedTuple):
    """One message, of one packet."""

    packet: CapturedPacket
    told: dict[str, Any]  # as of mdfeedd.feeds.cme.codec.explain
    shown: dict[str, list[int]]  # group to the numbers of its entries that are asked for


class _Lines(Protocol):
    """How messages are shown."""

    def head(self) -> str | None: ...
    def of(self, packet: CapturedPacket, wanted: _Wanted) -> Iterator[str]: ...


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "decode",
        help="show the messages of a capture, field by field",
        description="Show the messages of a capture, field by field.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a capture: pcap or pcapng")
    parser.add_argument(
        "--template",
        action="append",
        type=units.whole(0, 65_535),
        metavar="N",
        help="only messages of this template (may be given again)",
    )
    parser.add_argument(
        "--security",
        type=units.whole(-(2**31), 2**31 - 1),
        metavar="ID",
        help="only entries of this SecurityID",
    )
    parser.add_argument(
        "--seq", type=_sequence, metavar="A-B", help="only packets with these MsgSeqNum"
    )
    parser.add_argument(
        "--to",
        type=_place,
        metavar="ADDRESS[:PORT]",
        help="only packets sent to this group or address",
    )
    parser.add_argument(
        "--format", choices=("text", "json", "csv"), default="text", help="text is the default"
    )
    parser.add_argument(
        "--limit",
        type=units.whole(1, 2**62),
        metavar="N",
        help="stop after N messages (csv: entries)",
    )
    parser.set_defaults(run=run)


def _sequence(text: str) -> tuple[int, int]:
    """The argparse type of ``--seq``: ``7`` or ``7-9``, both ends included."""
    found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= _MAX_SEQ:
        raise argparse.ArgumentTypeError(
            f"must be a number or FIRST-LAST, at most {_MAX_SEQ}, not {text!r}"
        )
    return first, last


def _place(text: str) -> str:
    """The argparse type of ``--to``, as it was written: it cannot be right if nothing could be sent there."""
    address, colon, port = text.partition(":")
    try:
        ipaddress.IPv4Address(address)
        right = not colon or (port.isdecimal() and 0 < int(port) < 1 << 16)
    except ValueError:
        right = False
    if not right:
        raise argparse.ArgumentTypeError(
            f"must be an address or ADDRESS:PORT, such as 224.0.31.1:14310, not {text!r}"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Show what is asked for, then tell what could not be shown."""
    from mdfeedd.feeds.capture import CaptureError, CaptureReader

    wanted = _Wanted(arguments)
    try:
        with CaptureReader(arguments.file) as reader:
            shown = _show(reader.packets(), wanted, arguments)
    except CaptureError as error:
        raise Trouble(str(error)) from None
    for sentence in wanted.told(shown, arguments.file):
        print(f"mdfeedd decode: {sentence}", file=sys.stderr)
    return 0


def _show(packets: Iterator[CapturedPacket], wanted: _Wanted, arguments: argparse.Namespace) -> int:
    """Print the lines of all packets; how many messages (csv: entries) there were."""
    kinds: dict[str, type[_Lines]] = {"text": _TextLines, "json": _JsonLines, "csv": _CsvLines}
    lines = kinds[arguments.format]()
    shown = 0
    if (head := lines.head()) is not None:
        print(head)
    for packet in packets:
        if not wanted.packet(packet):
            continue
        for line in lines.of(packet, wanted):
            print(line)
            shown += 1
            if shown == arguments.limit:
                return shown
    return shown


class _Wanted:
    """What is asked for, and what was seen on the way."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.templates = frozenset(arguments.template or ())
        self.security: int | None = arguments.security
        self._sequence: tuple[int, int] = arguments.seq or (0, _MAX_SEQ)
        self._address, _, self._port = str(arguments.to or "").partition(":")
        self._packets = 0
        self._broken = 0
        self._reason = ""

    def packet(self, packet: CapturedPacket) -> bool:
        """Is it one whose messages are to be shown?"""
        from mdfeedd.feeds.cme.codec import entries

        port = str(packet.destination_port)
        if self._address not in {"", packet.destination} or self._port not in {"", port}:
            return False
        self._packets += 1
        try:
            entries.check_packet(packet.payload)
        except entries.MdpError as error:
            if not self._broken:
                self._reason = f"to {packet.destination}:{port}, {error}"
            self._broken += 1
            return False
        first, last = self._sequence
        return first <= int.from_bytes(packet.payload[:4], "little") <= last

    def messages(self, packet: CapturedPacket) -> Iterator[_Message]:
        """The messages of a packet that are to be shown."""
        from mdfeedd.feeds.cme.codec.explain import explain

        for told in explain(packet.payload):
            if self.templates and told["template"] not in self.templates:
                continue
            shown = self._entries(told)
            if shown is not None:
                yield _Message(packet, told, shown)

    def _entries(self, told: dict[str, Any]) -> dict[str, list[int]] | None:
        """The entries of a message that are to be shown; None if the message is not."""
        groups = told["groups"]
        if self.security is None or told["fields"].get("SecurityID") == self.security:
            return {name: list(range(len(entries))) for name, entries in groups.items()}
        shown = {
            name: [i for i, entry in enumerate(entries) if entry.get("SecurityID") == self.security]
            for name, entries in groups.items()
        }
        if not any(shown.values()):
            return None
        mine = {i + 1 for i in shown.get("NoMDEntries", ())}
        for name, entries in groups.items():  # orders name the entry they belong to, or none
            if name == "NoOrderIDEntries":
                shown[name] = [
                    i for i, e in enumerate(entries) if e.get("ReferenceID") in {*mine, None}
                ]
        return shown

    def told(self, shown: int, file: str) -> Iterator[str]:
        """What the user should know beside what was shown."""
        if self._broken:
            packets = units.of(self._broken, "packet")
            what = "is not" if self._broken == 1 else "are not"
            yield f"{packets} {what} MDP 3.0; the first, {self._reason}"
        if not shown:
            yield f"nothing to show in {file}: {units.of(self._packets, 'packet')} of UDP looked at"


class _TextLines:
    """A line for the message, and one for each entry; before the first of a packet one for that."""

    def head(self) -> str | None:
        return None

    def of(self, packet: CapturedPacket, wanted: _Wanted) -> Iterator[str]:
        for number, message in enumerate(wanted.messages(packet)):
            lines = [] if number else [_packet_line(message)]
            told = message.told
            name = told["name"] or "unknown template"
            lines.append(
                f"  {name} ({told['template']}, version {told['version']}) {_text(told['fields'])}"
            )
            for group, entries in told["groups"].items():
                lines += [f"    {group}[{i}] {_text(entries[i])}" for i in message.shown[group]]
            if told["rest"]:
                lines.append(
                    f"    {units.of(len(told['rest']), 'byte')} more: {told['rest'].hex()}"
                )
            yield "\n".join(line.rstrip() for line in lines)


def _packet_line(message: _Message) -> str:
    packet, told = message.packet, message.told
    captured = "-" if packet.ts_ns is None else units.iso_time(packet.ts_ns)
    return (
        f"seq {told['msg_seq']} sent {units.iso_time(told['sending_time'])} captured {captured} "
        f"to {packet.destination}:{packet.destination_port}"
    )


def _text(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={_word(name, value)}" for name, value in fields.items())


def _word(name: str, value: Any) -> str:
    from mdfeedd.feeds.cme.codec.layout import name_of

    if value is None:
        return "-"
    shown = _plain(name, value)
    if isinstance(shown, str) and not shown.isprintable():
        shown = ascii(shown)[1:-1]  # it goes to a terminal
    called = name_of(name, value)
    return f"{shown}({called})" if called else f"{shown}"


def _plain(name: str, value: Any) -> Any:
    """A value as JSON can say it."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.date):
        return value.isoformat()
    if name in _TIMES and isinstance(value, int):
        return units.iso_time(value)
    return value


class _JsonLines:
    """One object a message."""

    def head(self) -> str | None:
        return None

    def of(self, packet: CapturedPacket, wanted: _Wanted) -> Iterator[str]:
        for message in wanted.messages(packet):
            told = message.told
            yield json.dumps(
                {
                    "msg_seq": told["msg_seq"],
                    "sending_time": units.iso_time(told["sending_time"]),
                    "captured": None if packet.ts_ns is None else units.iso_time(packet.ts_ns),
                    "to": f"{packet.destination}:{packet.destination_port}",
                    "message": told["message"],
                    "template": told["template"],
                    "name": told["name"],
                    "version": told["version"],
                    "fields": _json(told["fields"]),
                    "groups": {
                        group: [{"entry": i, **_json(entries[i])} for i in message.shown[group]]
                        for group, entries in told["groups"].items()
                    },
                    "rest": told["rest"].hex(),
                }
            )


def _json(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(name, value) for name, value in fields.items()}


class _CsvLines:
    """One entry a row: the columns of `ENTRY`."""

    def __init__(self) -> None:
        from mdfeedd.feeds.cme.codec.entries import NULL

        self._rows = csv.writer(self, lineterminator="")
        self._line = ""
        self._nothing: tuple[Any, ...] = NULL.tolist()[0]

    def write(self, line: str) -> None:
        """What `csv.writer` calls."""
        self._line = line

    def head(self) -> str | None:
        from mdfeedd.feeds.cme.codec.entries import ENTRY

        return self._joined(ENTRY.names or ())

    def of(self, packet: CapturedPacket, wanted: _Wanted) -> Iterator[str]:
        from mdfeedd.feeds.cme.codec.entries import ENTRY, RowGroup, decode_packet

        kinds = {"NoOrderIDEntries": RowGroup.ORDER}
        asked = {
            message.told["message"]: {
                (kinds.get(group, RowGroup.ENTRY), i)
                for group, of in message.shown.items()
                for i in of
            }
            for message in wanted.messages(packet)
        }
        names = ENTRY.names or ()
        for row in decode_packet(packet.payload).tolist():
            values = dict(zip(names, row, strict=True))
            entries = asked.get(values["message"])
            group = RowGroup(values["group"])
            has_entry = group in {RowGroup.ENTRY, RowGroup.ORDER}
            if entries is None or (has_entry and (group, values["entry"]) not in entries):
                continue
            words = [
                _cell(value, nothing) for value, nothing in zip(row, self._nothing, strict=True)
            ]
            words[names.index("group")] = group.name
            yield self._joined(words)

    def _joined(self, values: Any) -> str:
        self._rows.writerow(values)
        return self._line


def _cell(value: Any, nothing: Any) -> Any:
    if value == nothing:
        return ""
    return value.decode("latin-1") if isinstance(value, bytes) else value
