"""Whatever somebody does to a configuration file, the answer is a plan or problems with their places."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.config import ConfigError
from mdfeedd.daemon.plan import Plan
from mdfeedd.daemon.showing import as_written, to_yaml

pytest.importorskip("pyarrow")

SHOWN = Path(__file__).resolve().parents[2] / "config" / "mdfeedd.yaml"
SEEDS = 8
ROUNDS = 12
CHANGES = 3
VALUES = (
    "", "null", "true", "-1", "0", "1e999", ".nan", "''", "x", "[]", "{}", "[x]", "{x: y}", "5s", "5 parsecs",
    "-5ms", "1.5B", "99999999999999999999", "{file: /x}", "{credential: a/b}", "[[[]]]", "*x", "&x y", "!t x",
    '"\\0"', "é", "conf.d", "[1, a, null]", "|\n  x", "{", "- x",
)  # fmt: skip


def uncommented(text):
    pattern = r"^( *)# ((?:  )*(?:- )?[a-z_]+:(?: .*)?)$"
    return re.sub(pattern, r"\1\2", text, flags=re.MULTILINE)


def mutated(lines, chance):
    """Some lines with another value, another key, twice, elsewhere, or gone."""
    lines = list(lines)
    for _ in range(chance.randint(1, CHANGES)):
        place = chance.randrange(len(lines))
        line = lines[place]
        kind = chance.randrange(6)
        if kind <= 2 and ":" in line:
            lines[place] = f"{line.partition(':')[0]}: {chance.choice(VALUES)}"
        elif kind == 3:
            cut = chance.randint(0, len(line))
            lines[place] = line[:cut] + line[cut + chance.randint(0, 3) :]
        elif kind == 4:
            lines.insert(chance.randrange(len(lines)), line)
        else:
            del lines[place]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_mutated_file_is_a_plan_or_problems(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(seed)
    lines = uncommented(SHOWN.read_text()).splitlines()
    for _ in range(ROUNDS):
        text = mutated(lines, chance)
        try:
            plan = config.parse(text, "x.yaml")
        except ConfigError as error:
            for problem in error.problems:
                assert problem.sentence
                assert problem.mark.line >= 0
                assert str(problem)
        else:
            assert isinstance(plan, Plan)
            assert config.parse(to_yaml(as_written(plan)), "x.yaml") == plan
