"""Log lines on a terminal, in journald and as JSON; floods of the same line."""

from __future__ import annotations

import io
import json
import logging
import os
import re

import pytest

from mdfeedd.daemon import log
from mdfeedd.daemon.plan import LogPlan

DEFAULT = LogPlan()


@pytest.fixture
def lines(tmp_path):
    """Set up logging into a file; give back what was written."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    file = (tmp_path / "log").open("w+", encoding="utf-8")

    def begin(plan=DEFAULT, process="feed f"):
        log.setup(plan, process, file, journal=str(tmp_path / "no-journal"))

        def written():
            file.flush()
            file.seek(0)
            return file.read().splitlines()

        return written

    begin.file = file
    yield begin
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(capture=False)
    file.close()


def test_line_for_people(lines):
    written = lines()
    logging.getLogger("mdfeedd.x").warning("gap of %d", 5)
    logging.getLogger("mdfeedd.x").debug("not shown")
    (line,) = written()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING feed f: gap of 5", line)


@pytest.mark.parametrize("as_json", [False, True])
def test_process_says_its_name_once(lines, as_json):
    read = lines(LogPlan("info", as_json), "feed cme")
    logging.getLogger("x").warning("%s: too slow", "cme")
    logging.getLogger("x").warning("cme2: too slow")
    first, second = read()
    assert first.endswith("feed cme: too slow") or '"message": "too slow"' in first
    assert "cme2: too slow" in second


def test_json_line(lines):
    written = lines(LogPlan("debug", json=True))
    logging.getLogger("mdfeedd.x").error("crashed\nhere", exc_info=RuntimeError("é"))
    (line,) = written()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert (entry["process"], entry["logger"]) == ("feed f", "mdfeedd.x")
    assert entry["message"] == "crashed\nhere"
    assert "RuntimeError: é" in entry["error"]


@pytest.mark.parametrize("as_json", [False, True])
def test_journald_gets_a_priority_before_every_line(lines, monkeypatch, as_json):
    status = os.fstat(lines.file.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    written = lines(LogPlan("debug", json=as_json))
    logger = logging.getLogger("mdfeedd.x")
    for number, name in ((2, "critical"), (3, "error"), (4, "warning"), (6, "info"), (7, "debug")):
        getattr(logger, name)("priority %d", number)
    logger.error("crashed", exc_info=RuntimeError("bad"))
    found = written()
    assert [line[:3] for line in found[:5]] == ["<2>", "<3>", "<4>", "<6>", "<7>"]
    assert all(line.startswith("<3>") for line in found[5:])
    if not as_json:
        assert found[0] == "<2>feed f: priority 2"


def test_another_journal_stream_is_not_ours(lines, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    written = lines()
    logging.getLogger("mdfeedd.x").error("x")
    assert not written()[0].startswith("<")


def test_stream_that_is_closed_or_no_file_is_no_journal(tmp_path, monkeypatch):
    with (tmp_path / "err").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert log.to_journal(stream)
    assert not log.to_journal(stream)
    assert not log.to_journal(io.StringIO())


def test_who_listens_for_other_reasons_is_left_alone(lines):
    class Listener(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    heard, listener = [], Listener()
    lines()
    logging.getLogger().addHandler(listener)
    try:
        lines(LogPlan("debug"))
        logging.getLogger("x").error("once")
        assert heard == ["once"]
    finally:
        logging.getLogger().removeHandler(listener)


def test_flood_of_one_message_is_counted():
    now = 0.0
    filtering = log.RepeatFilter(clock=lambda: now)

    def passes(text, level=logging.INFO):
        record = logging.LogRecord("x", level, "", 0, text, None, None)
        if not filtering.filter(record):
            return None
        assert record.getMessage() == text, "the record is for others, too"
        written = log.LineFormatter("", clock=False).format(record)
        assert json.loads(log.JsonFormatter("").format(record))["message"] in written
        return written.split("mdfeedd: ")[1]

    assert passes("lost") == "lost"
    assert [passes("lost") for _ in range(1000)] == [None] * 1000
    assert passes("other") == "other"
    assert passes("lost", logging.ERROR) == "lost"
    now = log.REPEAT_WINDOW_S
    assert passes("lost") == "lost (repeated 1000 times in 10 s)"
    now = 2 * log.REPEAT_WINDOW_S
    assert passes("lost") == "lost"


def test_distinct_messages_do_not_grow_without_end():
    filtering = log.RepeatFilter()
    for i in range(2 * log.MAX_REMEMBERED):
        filtering.filter(logging.LogRecord("x", 20, "", 0, f"message {i}", None, None))
    assert len(filtering._seen) == log.MAX_REMEMBERED


def test_library_installs_no_handler():
    assert logging.getLogger("mdfeedd").handlers == []
