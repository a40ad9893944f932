"""Entries as journald gets them: by a socket that stands for its own; and what becomes of those that it does not take."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading

import pytest

from mdfeedd.daemon import journald, log
from mdfeedd.daemon.plan import LogPlan

MAX_BYTES = 1 << 20


def decoded(data):
    """The other direction of the protocol, written from its description."""
    fields = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if equals:
            data = rest
        else:
            (length,) = struct.unpack_from("<Q", rest)
            value, data = rest[8 : 8 + length], rest[8 + length :]
            assert data.startswith(b"\n")
            data = data[1:]
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def entry(self):
        return decoded(self.socket.recv(MAX_BYTES))

    def close(self):
        self.socket.close()
        os.unlink(self.path)


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal")
    yield made
    made.close()


def own_handler() -> journald.JournalHandler:
    """Among those of others, such as pytest's."""
    found = logging.getLogger().handlers
    return next(one for one in found if isinstance(one, journald.JournalHandler))


@pytest.fixture
def begin(tmp_path, journal, monkeypatch):
    """Set up logging whose standard error ends in journald; gives back what is written there."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    file = (tmp_path / "stderr").open("w+", encoding="utf-8")
    status = os.fstat(file.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

    def setup(plan=LogPlan("debug"), process="feed cme"):  # noqa: B008 - frozen
        log.setup(plan, process, file, journal=journal.path)

        def written():
            file.flush()
            file.seek(0)
            return file.read()

        return written

    yield setup
    for handler in root.handlers:
        if isinstance(handler, journald.JournalHandler):
            handler.close()
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(capture=False)
    file.close()


def test_entry_has_fields_to_select_by(begin, journal):
    written = begin()
    logging.getLogger("mdfeedd.cme").warning("gap of %d", 5)
    entry = journal.entry()
    assert entry.pop("CODE_FILE") == __file__
    assert int(entry.pop("CODE_LINE")) > 0
    assert entry == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mdfeedd",
        "MESSAGE": "feed cme: gap of 5",
        "MDFEEDD_KIND": "feed",
        "MDFEEDD_NAME": "cme",
        "MDFEEDD_LOGGER": "mdfeedd.cme",
    }
    assert written() == "", "it is told once"


def test_supervisor_has_no_name(begin, journal):
    begin(process="supervisor")
    logging.getLogger("x").info("hello")
    entry = journal.entry()
    assert entry["MDFEEDD_KIND"] == "supervisor"
    assert "MDFEEDD_NAME" not in entry


def test_every_level_has_its_priority(begin, journal):
    begin()
    for level, priority in ((50, "2"), (40, "3"), (30, "4"), (20, "6"), (10, "7")):
        logging.getLogger("x").log(level, "of level %d", level)
        assert journal.entry()["PRIORITY"] == priority


def test_traceback_stays_in_the_entry(begin, journal):
    begin()
    error = RuntimeError("bad\nnews é")
    logging.getLogger("x").error("crashed", exc_info=error)
    entry = journal.entry()
    assert entry["MESSAGE"] == "feed cme: crashed"
    assert entry["MDFEEDD_ERROR"] == "RuntimeError: bad\nnews é"
    with pytest.raises(BlockingIOError):
        journal.entry()


def test_message_of_several_lines_and_fields_that_somebody_tries_to_add(begin, journal):
    begin()
    logging.getLogger("x").info("one\nPRIORITY=0\nthree = 3")
    entry = journal.entry()
    assert entry["MESSAGE"] == "feed cme: one\nPRIORITY=0\nthree = 3"
    assert entry["PRIORITY"] == "6"


def test_json_is_the_message_where_it_is_wanted(begin, journal):
    begin(LogPlan("info", json=True))
    logging.getLogger("x").info("hello")
    assert '"message": "hello"' in journal.entry()["MESSAGE"]


def test_journald_that_was_started_anew_gets_the_next_entry(begin, journal, tmp_path):
    written = begin()
    journal.close()
    logging.getLogger("x").warning("while it is away")
    assert written() == "<4>feed cme: while it is away\n"
    again = Journal(tmp_path / "journal")
    try:
        logging.getLogger("x").warning("when it is back")
        assert again.entry()["MESSAGE"] == "feed cme: when it is back"
    finally:
        again.socket.close()


def test_journald_that_does_not_keep_up_stops_nobody(begin, journal):
    """Its queue is full: entries go the other way, none is lost, and nothing waits."""
    written = begin()
    sent = 2000
    for i in range(sent):
        logging.getLogger("x").info("number %d", i)
    there = 0
    while True:
        try:
            journal.entry()
        except BlockingIOError:
            break
        there += 1
    assert 0 < there < sent
    assert there + len(written().splitlines()) == sent


def test_entry_longer_than_a_datagram_goes_the_other_way(begin):
    written = begin()
    logging.getLogger("x").error("x" * (4 << 20))
    assert written().startswith("<3>feed cme: xxx")


def test_argument_that_cannot_be_shown_ends_nothing(begin, capfd):
    class Bad:
        def __str__(self):
            raise ValueError("no")

    begin()
    handler = own_handler()
    record = logging.LogRecord("x", 20, "", 0, "%s", (Bad(),), None)
    handler.emit(record)
    assert "ValueError: no" in capfd.readouterr().err


def test_setting_up_again_leaves_no_descriptor(begin):
    begin()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        begin()
    assert len(os.listdir("/proc/self/fd")) == before


def test_end_of_the_process_waits_until_the_last_words_are_taken(begin, journal):
    """Else journald would find nobody to whom they belong."""
    begin()
    handler = own_handler()
    logging.getLogger("x").error("last words")
    flushing = threading.Thread(target=handler.flush)
    flushing.start()
    flushing.join(0.1)
    assert flushing.is_alive(), "nobody has taken them yet"
    assert journal.entry()["MESSAGE"] == "feed cme: last words"
    flushing.join(60)
    assert not flushing.is_alive()


def test_journald_that_hangs_keeps_no_process(begin, monkeypatch):
    monkeypatch.setattr(journald, "FLUSH_S", 0.05)
    begin()
    logging.getLogger("x").error("last words")
    own_handler().flush()
