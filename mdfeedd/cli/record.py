"""``mdfeedd record``: what the network brings on some lines, into a capture file."""

from __future__ import annotations

import argparse
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    import threading

    from mdfeedd.feeds.capture.recorder import Recorder
    from mdfeedd.feeds.multicast import LineSpec

_EPILOG: Final = """\
Joins the lines and writes every packet with the kernel's stamp into a new pcapng file, one interface per line;
Wireshark opens it, and 'mdfeedd replay FILE' plays it. All lines of the channels are recorded, A and B. Ends at
Ctrl-C or after --seconds; the summary counts what arrived and could not be written.

A line by hand is GROUP:PORT, or an address of this machine in place of the group.

exit status:
  0 everything that arrived is in the file   1 it is not, or the lines or the file cannot be used   2 usage

examples:
  mdfeedd record --config-xml config.xml --channel 310 --channel 318 --out today.pcapng
  mdfeedd record --line 224.0.31.1:14310 --line 224.0.32.1:15310 --interface-a eth1 --out es.pcapng --seconds 60
"""
_TELL_S: Final = 10.0
_MIB: Final = 1 << 20
_PLACE: Final = re.compile(r"([\d.]+):(\d{1,5})")


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "record",
        help="record lines of the network into a capture file",
        description="Record lines of the network into a capture file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="a new file, .pcapng")
    parser.add_argument("--config-xml", metavar="FILE", help="CME's config.xml")
    parser.add_argument(
        "--channel",
        type=units.whole(1, 32_767),
        action="append",
        default=[],
        metavar="ID",
        help="a channel of it; may be repeated",
    )
    parser.add_argument(
        "--line", action="append", default=[], metavar="GROUP:PORT", help="a line by hand"
    )
    parser.add_argument(
        "--interface-a", default="", metavar="NAME", help="card of the A lines, and those by hand"
    )
    parser.add_argument("--interface-b", default="", metavar="NAME", help="card of the B lines")
    parser.add_argument(
        "--mode",
        choices=("blocking", "busy", "packet_ring"),
        default="blocking",
        help="how to receive (blocking)",
    )
    parser.add_argument(
        "--seconds", type=units.number(0, 1e9), metavar="S", help="end after so long (at Ctrl-C)"
    )
    parser.add_argument(
        "--max-file-mib",
        type=units.whole(1, 1 << 20),
        metavar="N",
        help="begin another file, FILE-1 and so on, when one has grown so large",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record, and say what was recorded."""
    from mdfeedd.cli.stopping import until_signalled
    from mdfeedd.daemon import log
    from mdfeedd.daemon.plan import LogPlan
    from mdfeedd.feeds.capture import CaptureError
    from mdfeedd.feeds.capture.recorder import Recorder
    from mdfeedd.feeds.multicast import ReceiverError

    lines = _lines(arguments)
    log.setup(LogPlan(level="warning"), "record")
    limit = arguments.max_file_mib and arguments.max_file_mib * _MIB
    try:
        recorder = Recorder(arguments.out, lines, mode=arguments.mode, max_file_bytes=limit)
    except (ReceiverError, CaptureError, ValueError) as error:
        raise Trouble(str(error)) from None
    began_s = time.monotonic()
    failed: CaptureError | None = None
    try:
        with until_signalled() as stop, recorder:
            print(f"recording {units.of(len(lines), 'line')} into {arguments.out}", flush=True)
            _record(recorder, stop, arguments.seconds, began_s)
    except CaptureError as error:  # what is in the file is worth telling all the same
        failed = error
    status = _tell_end(recorder, time.monotonic() - began_s)
    if failed is not None:
        raise Trouble(str(failed))
    return status


def _lines(arguments: argparse.Namespace) -> list[LineSpec]:
    """The lines to record. Raises `Trouble`."""
    from mdfeedd.feeds.cme.config_xml import ConfigXmlError, read
    from mdfeedd.feeds.multicast import LineSpec

    if bool(arguments.config_xml) != bool(arguments.channel):
        raise Trouble("--config-xml and --channel belong together", 2)
    if not arguments.config_xml and not arguments.line:
        raise Trouble(
            "say what to record: --config-xml FILE and --channel ID, or --line GROUP:PORT", 2
        )
    cards = {"A": arguments.interface_a, "B": arguments.interface_b}
    out: list[LineSpec] = []
    try:
        if arguments.config_xml:
            configuration = read(arguments.config_xml)
            for channel in dict.fromkeys(arguments.channel):
                out += [
                    LineSpec(
                        len(out) + i,
                        line.address,
                        line.port,
                        interface=cards[line.side],
                        sources=line.sources,
                        name=f"{line.channel} {line.feed} {line.side}",
                    )
                    for i, line in enumerate(configuration.channel(channel).lines)
                ]
        for text in arguments.line:
            address, port = _place(text)
            out.append(LineSpec(len(out), address, port, interface=cards["A"]))
    except (ConfigXmlError, ValueError) as error:
        raise Trouble(str(error)) from None
    return out


def _place(text: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"--line: GROUP:PORT, such as 224.0.31.1:14310, not {text!r}")
    return match[1], int(match[2])


def _record(
    recorder: Recorder, stop: threading.Event, seconds: float | None, began_s: float
) -> None:
    """Record to the end, and say now and then how it goes."""
    while not stop.is_set():
        passed_s = time.monotonic() - began_s
        if passed_s >= _TELL_S:
            _tell_on(recorder, passed_s)
        left_s = _TELL_S if seconds is None else min(_TELL_S, seconds - passed_s)
        if left_s <= 0:
            return
        recorder.run(stop, left_s)


def _tell_on(recorder: Recorder, passed_s: float) -> None:
    done = recorder.recorded
    lost = done.buffer_drops + done.kernel_drops
    dropped = f", {units.count(lost)} dropped" if lost else ""
    told = f"{units.count(done.packets)} packets, {units.size(done.file_bytes)}{dropped}"
    print(f"{passed_s:7.0f} s  {told}", file=sys.stderr, flush=True)


def _tell_end(recorder: Recorder, seconds: float) -> int:
    done = recorder.recorded
    for line in recorder.lines:
        seen = recorder.line_counts(line.line)
        place = f"{line.address}:{line.port}"
        dropped = f"   {units.count(seen.kernel_drops)} dropped" if seen.kernel_drops else ""
        name = line.name or "line"
        print(f"  {name:<19} {place:<21}{units.count(seen.packets):>14} packets{dropped}")
    files = units.of(len(recorder.paths), "file")
    packets, size = units.of(done.packets, "packet"), units.size(done.file_bytes)
    print(f"{packets} in {seconds:.1f} s, {size} in {files}: {', '.join(recorder.paths)}")
    if not done.packets and not done.unwritten:
        print(
            "nothing came: are the groups, the ports and the interfaces right, and is anybody sending?"
        )
    for n, why in (
        (done.kernel_drops, "the kernel's buffer was full"),
        (done.buffer_drops, "the disk was too slow"),
        (done.refused, "too long"),
        (done.unwritten, "it could not be written"),
    ):
        if n:
            print(f"trouble: {units.of(n, 'packet')} arrived and are not in the file: {why}")
    return 1 if done.kernel_drops or done.buffer_drops or done.refused or done.unwritten else 0
