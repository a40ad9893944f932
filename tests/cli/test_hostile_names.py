"""Names that others chose, printed: a reader's, a feed's, a symbol. None of them may command a terminal."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.cli.main import main
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import QUOTE, TICK, Kind

CLEAR, RED, TITLE = "\x1b[2J", "\x1b[31m", "\x1b]0;x\x07"


@pytest.fixture
def hostile(shm_dir):
    """A ring whose feed, instrument and reader have names that would clear the screen."""
    with Writer("r", 256, feed=f"f{RED}X", directory=shm_dir) as writer:
        one = writer.instruments.add(f"A{CLEAR}B\nC", venue=TITLE)
        quote = np.zeros(1, QUOTE)
        quote["kind"], quote["instrument_id"], quote["ask_price"] = Kind.QUOTE, one, 10**9
        writer.publish(quote.view(TICK))
        with Reader("r", "oldest", f"c{CLEAR}Z", directory=shm_dir):
            yield shm_dir


@pytest.mark.parametrize(
    "command",
    [
        ["tail", "r", "-n", "1", "--oldest"],
        ["doctor"],
        ["top", "--once"],
        ["status", "--over", "0.1"],
    ],
    ids=lambda command: command[0],
)
def test_names_do_not_command_the_terminal(hostile, command, capsys):
    main([*command, "--shm-dir", hostile])
    told = "".join(capsys.readouterr())
    assert told
    assert not {c for c in told if not c.isprintable()} - {"\n"}
