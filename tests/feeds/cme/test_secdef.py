"""secdef.dat: exact, streamed, and not stopped by what is wrong in it."""

from __future__ import annotations

import datetime as dt
import gzip
import zipfile

import pytest

from mdfeedd.feeds.cme.definitions import Definition
from mdfeedd.feeds.cme.secdef import MAX_LINE_BYTES, MAX_PROBLEMS, Secdef, SecdefError
from mdfeedd.tick import PRICE_UNDEF

FUTURE = (
    "35=d|5799=00000000|980=A|779=20180408160519000025|1180=310|1300=64|462=5|207=XCME|1151=ES|"
    "6937=ES|55=ESM9|48=736|22=8|167=FUT|461=FFIXSX|200=201906|15=USD|1142=F|562=1|1140=3000|"
    "969=25.0000000|9787=0.0100000|996=IPNT|1147=50.0000000|1150=263175.0000000|731=00000111|"
    "1149=275950.0000000|1148=249950.0000000|1143=600.0000000|9779=N|864=2|865=5|1145=20180316133000000000|865=7|1145=20190621133000000000|1141=2|"
    "1022=GBX|264=10|1022=GBI|264=2|870=1|871=24|872=00000000000001000010000000001111|1234=0|"
)
OPTION = (
    "35=d|980=A|1180=311|207=XCME|1151=EW|6937=EW|55=EWF7 P5000|48=4711|167=OOF|461=OPAFXS|15=USD|"
    "969=5.000000000|9787=0.01|864=1|865=7|1145=20270129210000000000|1141=1|1022=GBX|264=3|"
    "711=1|311=[N/A]|309=736|305=8|"
)


def line(text: str) -> bytes:
    return text.replace("|", "\x01").encode() + b"\n"


def ns(*when: int, microsecond: int = 0) -> int:
    at = dt.datetime(*when, tzinfo=dt.UTC)
    return int(at.timestamp()) * 1_000_000_000 + microsecond * 1000


@pytest.fixture
def secdef(tmp_path):
    def write(*lines: bytes | str, channels=None) -> Secdef:
        path = tmp_path / "secdef.dat"
        path.write_bytes(b"".join(x if isinstance(x, bytes) else line(x) for x in lines))
        return Secdef(path, channels)

    return write


def test_future_is_read_exactly(secdef):
    (found,) = secdef(FUTURE)
    assert found == Definition(
        channel=310,
        security_id=736,
        symbol="ESM9",
        group="ES",
        asset="ES",
        exchange="XCME",
        currency="USD",
        security_type="FUT",
        cfi="FFIXSX",
        tick_size=25_000_000_000,
        display_factor=10_000_000,
        multiplier=50_000_000_000,
        high_limit=275_950_000_000_000,
        low_limit=249_950_000_000_000,
        max_variation=600_000_000_000,
        activation=ns(2018, 3, 16, 13, 30),
        expiration=ns(2019, 6, 21, 13, 30),
        depth=10,
        implied_depth=2,
        last_update=ns(2018, 4, 8, 16, 5, 19, microsecond=25),
    )


def test_option_has_a_space_in_its_symbol_and_an_underlying_of_its_own(secdef):
    (found,) = secdef(OPTION)
    assert (found.symbol, found.security_id) == ("EWF7 P5000", 4711)
    assert (found.depth, found.implied_depth, found.multiplier) == (3, 0, 0)
    assert found.high_limit == PRICE_UNDEF


def test_old_files_tell_events_in_two_fields(secdef):
    (found,) = secdef(
        FUTURE.replace("865=7|1145=20190621133000000000", "865=7|866=20190621|1145=93000000")
    )
    assert found.expiration == ns(2019, 6, 21, 9, 30)


def test_price_of_nine_decimals_is_exact(secdef):
    (found,) = secdef(FUTURE.replace("969=25.0000000", "969=0.007812501"))
    assert found.tick_size == 7_812_501


def test_only_the_channels_wanted(secdef):
    found = secdef(FUTURE, OPTION, FUTURE, channels={311})
    assert [item.channel for item in found] == [311]
    assert (found.lines, found.used, found.other_channels, found.errors) == (3, 1, 2, 0)


def test_deleted_instruments_and_other_messages_are_no_errors(secdef):
    found = secdef(FUTURE.replace("980=A", "980=D"), "35=0|34=1|", FUTURE)
    assert len(list(found)) == 1
    assert (found.deleted, found.other_messages, found.errors) == (1, 1, 0)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("48=736|", "", "tag 48 is missing"),
        ("48=736", "48=-1", "tag 48: not a number of 31 bits: '-1'"),
        ("48=736", "48=2147483648", "tag 48: not a number of 31 bits"),
        ("48=736", "48=" + "9" * 5000, "tag 48: not a number of 31 bits: '" + "9" * 40 + "...'"),
        ("55=ESM9", "55=", "tag 55: a symbol is missing"),
        ("55=ESM9", "55=ES\u00e9", "tag 55: must be 20 ASCII characters at the most, not 'ES"),
        ("55=ESM9", "55=" + "E" * 21, "tag 55: must be 20 ASCII characters at the most, not 'EEE"),
        ("1151=ES", "1151=ESESESE", "tag 1151: must be 6 ASCII characters at the most"),
        ("1180=310|", "", "tag 1180 is missing"),
        ("969=25.0000000", "969=25.0000000001", "tag 969: not a price: '25.0000000001'"),
        ("969=25.0000000", "969=nan", "tag 969: not a price: 'nan'"),
        ("969=25.0000000", "969=1e300", "tag 969: not a price: '1e300'"),
        ("779=20180408160519", "779=20181308160519", "tag 779: not a time (YYYYMMDDhhmmss)"),
        ("1145=20190621133000000000", "1145=soon", "tag 1145: not a time"),
        ("35=d|", "", "no FIX message: it has no tag 35"),
    ],
)
def test_line_is_wrong(secdef, old, new, sentence):
    assert old in FUTURE
    found = secdef(FUTURE, FUTURE.replace(old, new), OPTION)
    assert [item.security_id for item in found] == [736, 4711]
    assert found.errors == 1
    assert found.problems[0].startswith(f"{found.path}:2: {sentence}")


def test_garbage_is_counted_and_only_the_first_of_it_told(secdef):
    found = secdef(b"\x00\xff\x01=\x01\n" * 1000, b"\n", b"\x01\x01\x01\n", FUTURE)
    assert len(list(found)) == 1
    assert found.errors == 1002
    assert len(found.problems) == MAX_PROBLEMS


def test_line_that_never_ends_is_skipped_to_its_end(secdef):
    found = secdef(FUTURE, b"x" * (3 * MAX_LINE_BYTES) + b"\n", OPTION)
    assert [item.security_id for item in found] == [736, 4711]
    assert found.problems == [f"{found.path}:2: more than {MAX_LINE_BYTES} bytes in one line"]
    assert len(list(secdef(b"x" * MAX_LINE_BYTES))) == 0


def test_file_that_never_ends_is_left(secdef, monkeypatch):
    monkeypatch.setattr("mdfeedd.feeds.cme.secdef.MAX_LINES", 3)
    found = secdef(FUTURE, OPTION, FUTURE, OPTION)
    assert len(list(found)) == 3
    assert found.problems == [f"{found.path}:3: more than 3 lines: the rest is not read"]


def test_last_line_without_an_end_counts(secdef):
    assert len(list(secdef(line(FUTURE).rstrip(b"\x01\n")))) == 1


def test_lines_of_windows(secdef):
    (found,) = secdef(line(FUTURE).rstrip(b"\n") + b"\r\n")
    assert found.implied_depth == 2


def test_gzip_and_zip(tmp_path):
    data = line(FUTURE) + line(OPTION)
    (tmp_path / "secdef.dat.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "secdef.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("secdef.dat", data)
    for name in ("secdef.dat.gz", "secdef.zip"):
        found = Secdef(tmp_path / name)
        assert len(list(found)) == 2
        assert len(list(found)) == 2  # and again
        assert found.lines == 2


def test_compressed_file_cut_short_gives_what_it_has(tmp_path):
    path = tmp_path / "secdef.dat.gz"
    whole = gzip.compress(line(FUTURE) * 2000)
    path.write_bytes(whole[: len(whole) // 2])
    found = Secdef(path)
    assert len(list(found)) > 0
    assert found.errors == 1
    assert "the file breaks off here" in found.problems[0]
    path.write_bytes(whole[:40] + b"\xff" * 40)
    assert list(Secdef(path)) is not None


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SecdefError, match="cannot be read: No such file"):
        list(Secdef(tmp_path / "none"))
    with pytest.raises(SecdefError, match="cannot be read: Is a directory"):
        list(Secdef(tmp_path))
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x03\x04 but no archive")
    with pytest.raises(SecdefError, match="no usable zip archive"):
        list(Secdef(bad))
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("a", "")
        archive.writestr("b", "")
    with pytest.raises(SecdefError, match="must have one file in it, found 2"):
        list(Secdef(bad))


def test_empty_file(secdef):
    found = secdef(b"")
    assert list(found) == []
    assert (found.lines, found.errors) == (0, 0)
