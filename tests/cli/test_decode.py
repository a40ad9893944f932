"""What a venue really sent, as lines: real captures where they are present, and small ones made here."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import pytest

from mdfeedd.cli import main
from mdfeedd.feeds.cme.codec.entries import ENTRY

A, B = ("224.0.31.64", 14340), ("224.0.32.64", 15340)
SENT = 1_790_000_000_000_000_000
NULL_I32, NULL_PRICE = 2**31 - 1, 2**63 - 1


def message(template: int, version: int, root: bytes, groups: bytes = b"") -> bytes:
    size = 10 + len(root) + len(groups)
    return struct.pack("<HHHHH", size, len(root), template, 1, version) + root + groups


def book_entry(security: int, price: int = 6_871_250_000_000, orders: int = 4) -> bytes:
    fields = struct.pack("<qiiIiBBc", price, 12, security, 7, orders, 1, 0, b"0")
    return fields + struct.pack("<ix", 3)


def book(*entries: bytes, orders: bytes = b"\x18\0\0\0\0\0\0\0", version: int = 10) -> bytes:
    root = struct.pack("<QBxx", SENT + 5, 0x84)
    return message(
        46, version, root, struct.pack("<HB", 32, len(entries)) + b"".join(entries) + orders
    )


def order(reference: int) -> bytes:
    return struct.pack("<QQiBBxx", 900 + reference, 1, 5, reference, 0)


def packet(seq: int, *messages: bytes) -> bytes:
    return struct.pack("<IQ", seq, SENT) + b"".join(messages)


def capture(path: Path, *packets: tuple[tuple[str, int], bytes]) -> str:
    """A pcap of UDP packets, ten milliseconds from each to the next."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for n, ((address, port), payload) in enumerate(packets):
        udp = struct.pack(">HHHH", 9, port, 8 + len(payload), 0) + payload
        group = bytes(map(int, address.split(".")))
        ip = (
            struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), n, 0, 9, 17, 0)
            + b"\x0a\0\0\x01"
            + group
        )
        frame = bytes(12) + b"\x08\0" + ip + udp
        out += struct.pack("<IIII", 1_790_000_000, 10_000 * n, len(frame), len(frame)) + frame
    path.write_bytes(out)
    return str(path)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Both lines of a channel, a template nobody knows, an empty event, and a packet that is no MDP 3.0."""
    one = packet(1, book(book_entry(11), book_entry(22, NULL_PRICE, NULL_I32)))
    orders = struct.pack("<H5xB", 24, 3) + order(1) + order(2) + order(255)
    two = packet(2, book(book_entry(22), book_entry(11), orders=orders, version=9), book())
    three = packet(3, message(999, 14, b"\x01\x02"), message(12, 13, b""))
    return capture(
        tmp_path / "small.pcap",
        (A, one), (B, one), (B, two), (A, two), (("10.0.0.9", 53), b"what is the name of"), (A, three),
    )  # fmt: skip


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["decode", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def objects(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    return [json.loads(line) for line in shown(capsys, *arguments, "--format", "json")]


def test_text_shows_each_field_of_each_entry(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, small, "--limit", "1")
    assert lines[0] == (
        "seq 1 sent 2026-09-21T14:13:20.000000000Z captured 2026-09-21T14:13:20.000000000Z "
        "to 224.0.31.64:14340"
    )
    assert lines[1] == (
        "  Book (46, version 10) TransactTime=2026-09-21T14:13:20.000000005Z "
        "MatchEventIndicator=132(LastQuoteMsg EndOfEvent)"
    )
    assert lines[2] == (
        "    NoMDEntries[0] MDEntryPx=6871.25 MDEntrySize=12 SecurityID=11 RptSeq=7 NumberOfOrders=4 "
        "MDPriceLevel=1 MDUpdateAction=0(New) MDEntryType=0(Bid) TradeableSize=3"
    )
    assert "MDEntryPx=- MDEntrySize=12 SecurityID=22 RptSeq=7 NumberOfOrders=-" in lines[3]
    assert len(lines) == 4


def test_template_that_nobody_knows_is_shown_as_bytes(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, small, "--template", "999", "--template", "12")
    assert lines[1:] == [
        "  unknown template (999, version 14)",
        "    2 bytes more: 0102",
        "  Heartbeat (12, version 13)",
    ]


def test_packets_that_are_no_mdp_are_told_once(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decode", small]) == 0
    err = capsys.readouterr().err
    assert err.startswith("mdfeedd decode: 1 packet is not MDP 3.0; the first, to 10.0.0.9:53, a packet of 19 bytes")  # fmt: skip
    assert err.count("\n") == 1


def test_json_is_exact_and_complete(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = objects(capsys, small)
    assert [(m["msg_seq"], m["template"], m["to"].split(":")[0]) for m in told] == [
        (1, 46, A[0]), (1, 46, B[0]), (2, 46, B[0]), (2, 46, B[0]), (2, 46, A[0]), (2, 46, A[0]),
        (3, 999, A[0]), (3, 12, A[0]),
    ]  # fmt: skip
    first, second = told[0]["groups"]["NoMDEntries"]
    assert (first["entry"], first["MDEntryPx"], first["TradeableSize"]) == (0, "6871.25", 3)
    assert (second["MDEntryPx"], second["NumberOfOrders"]) == (None, None)
    assert told[0]["fields"]["TransactTime"] == "2026-09-21T14:13:20.000000005Z"
    assert "TradeableSize" not in told[2]["groups"]["NoMDEntries"][0]  # the header says version 9
    assert told[3]["groups"] == {"NoMDEntries": [], "NoOrderIDEntries": []}
    assert told[6]["rest"] == "0102"


def test_one_security_brings_its_own_entries_and_their_orders(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = objects(capsys, small, "--security", "11", "--to", A[0])
    assert [m["msg_seq"] for m in told] == [1, 2]
    groups = told[1]["groups"]
    assert [e["entry"] for e in groups["NoMDEntries"]] == [1]
    assert [(e["entry"], e["OrderID"]) for e in groups["NoOrderIDEntries"]] == [(1, 902), (2, 1155)]
    rows = list(
        csv.DictReader(shown(capsys, small, "--security", "11", "--to", A[0], "--format", "csv"))
    )
    assert [(r["group"], r["entry"]) for r in rows] == [
        ("ENTRY", "0"), ("ENTRY", "1"), ("ORDER", "1"), ("ORDER", "2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "seen"), [("1", {1}), ("2-3", {2, 3}), ("0-4294967295", {1, 2, 3})]
)
def test_sequence_numbers(
    small: str, asked: str, seen: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {m["msg_seq"] for m in objects(capsys, small, "--seq", asked)} == seen


@pytest.mark.parametrize(
    ("asked", "seen"),
    [("224.0.31.64", {"224.0.31.64:14340"}), ("224.0.32.64:15340", {"224.0.32.64:15340"})],
)
def test_one_line_of_the_two(
    small: str, asked: str, seen: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {m["to"] for m in objects(capsys, small, "--to", asked)} == seen


def test_csv_has_the_columns_of_entry(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, small, "--format", "csv", "--to", A[0])
    assert lines[0].split(",") == list(ENTRY.names or ())
    rows = list(csv.DictReader(lines))
    assert [r["group"] for r in rows] == [
        "ENTRY", "ENTRY", "ENTRY", "ENTRY", "ORDER", "ORDER", "ORDER", "EMPTY", "ROOT", "ROOT",
    ]  # fmt: skip
    assert (rows[0]["price"], rows[0]["orders"], rows[0]["type"]) == ("6871250000000", "4", "0")
    assert (rows[1]["price"], rows[1]["orders"]) == ("", "")
    assert (rows[0]["tradeable_size"], rows[2]["tradeable_size"]) == ("3", "")


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_limit_ends_it(small: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, small, "--limit", "2", "--format", form)
    assert len([line for line in lines if not line.startswith((" ", "sending_time"))]) == 2


def test_nothing_of_what_was_asked_for(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", small, "--security", "33"]) == 0
    told = capsys.readouterr()
    assert not told.out
    assert told.err.splitlines()[-1] == (
        f"mdfeedd decode: nothing to show in {small}: 6 packets of UDP looked at"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seq", "9-1"], ["--seq", "x"], ["--seq", "4294967296"], ["--template", "-1"],
        ["--security", "2147483648"], ["--limit", "0"], ["--format", "xml"],
    ],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["decode", "x.pcap", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("error:") == 1


def test_file_is_none_or_no_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("these are words, not packets at all")
    for name in ("none.pcap", "text"):
        assert main(["decode", str(tmp_path / name)]) == 1
        told = capsys.readouterr()
        assert not told.out
        assert told.err.startswith("mdfeedd decode: ")
        assert name in told.err


def test_capture_that_ends_within_a_packet(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path(small).read_bytes()
    Path(small).write_bytes(whole[:-20])
    assert main(["decode", small, "--format", "json"]) == 1
    told = capsys.readouterr()
    assert {json.loads(line)["msg_seq"] for line in told.out.splitlines()} == {1, 2}
    assert told.err.startswith(f"mdfeedd decode: {small} ")
    assert told.err.count("\n") == 1


def test_text_in_a_packet_that_would_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = struct.pack("<Q6s6siHBBBB", SENT, b"\x1b[2J\x9b", b"ES", NULL_I32, 20_000, 0, 17, 0, 0)
    path = capture(tmp_path / "evil.pcap", (A, packet(1, message(30, 9, root))))
    told = shown(capsys, path)[1]
    assert "SecurityGroup=\\x1b[2J\\x9b Asset=ES SecurityID=-" in told
    assert "TradeDate=2024-10-04" in told
    assert "SecurityTradingStatus=17(ReadyToTrade)" in told


def test_real_capture_has_the_rows_of_its_oracle(
    testdata: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = testdata / "cme/captures/Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap"
    if not path.exists():
        pytest.skip(f"no {path}")
    lines = shown(capsys, str(path), "--format", "csv", "--to", A[0])
    assert len(lines) == 1 + 19_682
    definitions = testdata / "cme/captures/v5/Mdp3.Sbe.v1.5_MdInstrumentDefinitionSpread.pcap"
    told = objects(capsys, str(definitions), "--template", "27")
    assert [m["fields"]["Symbol"] for m in told] == ["ESU6", "ESZ5"]
    assert told[1]["fields"]["MinPriceIncrementAmount"] == "12.5"


@pytest.mark.parametrize(
    "place", ["224.0.31", "é", "224.0.31.64:", "224.0.31.64:99999", "224.0.31.64:0", ":14340"]
)
def test_a_destination_that_cannot_be_is_refused(
    place: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["decode", small, "--to", place])
    assert ended.value.code == 2
    assert "must be an address or ADDRESS:PORT, such as" in capsys.readouterr().err
