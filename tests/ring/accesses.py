"""Loads and stores in their order: of the functions of `mdfeedd.h`, and of the statements of the spin models.

    accesses.c, run ──► of_header: {function: ["R tail", "W reserve", ...]}
    ring.pml, read  ──► of_model:  the same of an inline or a process, its calls put in

The models do not have everything: two words of payload for seven, no epochs, no counters. What only one side
has is left out on both.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WORDS = 8
WORD_1, WORD_2 = 1, 7  # the first and the last word of a payload stand for the model's two


def of_header(program: Path) -> dict[str, list[str]]:
    """By function, in the situation that accesses.c gives it."""
    lines = subprocess.run(
        [program], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    bases = {k: int(v, 16) for k, v in re.findall(r"(\w+) (0x\w+)", lines[0])}
    offsets = {k: int(v) for k, v in re.findall(r"(\w+) (\d+)", lines[1])}
    names = {bases["header"] + at: name for name, at in offsets.items() if name != "waiters"}
    names[bases["registry"] + offsets["waiters"]] = "waiters"
    found: dict[str, list[str]] = {}
    asleep = False
    for line in lines[2:]:
        words = line.split()
        if len(words) == 1:
            here: list[str] = []
            found[line], asleep = here, False
            continue
        if words[1] == "futex":
            here.append("sleep" if words[0] == "wait" else "wake")
            asleep = words[0] == "wait"
        elif words[0] != "fence" and not asleep:
            name = _name(int(words[2], 16), bases, names, words)
            if name:
                here.append(f"{'R' if words[0] == 'load' else 'W'} {name}")
    return {name: _told_once(events) for name, events in found.items()}


def _name(
    address: int, bases: dict[str, int], names: dict[int, str], words: list[str]
) -> str | None:
    if address in names:
        return names[address]
    for base, commit in (("slots", "word0"), ("table", "version")):
        place = address - bases[base]
        if 0 <= place < 8 * (WORDS * 8 if base == "slots" else 32):
            word = place // 8 % (WORDS if base == "slots" else 32)
            last = WORD_2 if base == "slots" else 31
            if word == 0:  # a copy takes it along, relaxed, of eight bytes: nobody looks at that
                own = words[1] != "relaxed" if base == "slots" else words[3] == "4"
                return commit if own else None
            return {1: "word1", last: "word2"}.get(word)
    return None


def _told_once(events: list[str]) -> list[str]:
    """A cell that is read and at once written is changed: one event. A run of like records is one of them."""
    out: list[str] = []
    for event in events:
        if event.startswith("W ") and out and out[-1] == f"R {event[2:]}" and event != "W waiters":
            out.pop()
        out.append(event)
    for n in range(len(out) // 2, 0, -1):
        for i in range(len(out) - 2 * n, -1, -1):
            if out[i : i + n] == out[i + n : i + 2 * n]:
                del out[i : i + n]
    return out


def of_model(path: Path, name: str, shared: set[str], *, without: set[str]) -> list[str]:
    """Of an inline or a proctype, as its statements stand; calls of those in `without` are left out."""
    text = subprocess.run(
        ["cpp", "-P", "-nostdinc", str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    bodies = {
        found[1]: _body(text, found.end())
        for found in re.finditer(r"(?:inline|proctype)\s+(\w+)\s*\([^)]*\)\s*(?=\{)", text)
    }
    return _told_once(_events(bodies, name, shared, without))


def _body(text: str, at: int) -> str:
    depth = 0
    for i in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[at : i + 1]
    raise ValueError("braces do not match")


def _events(bodies: dict[str, str], name: str, shared: set[str], without: set[str]) -> list[str]:
    if name == "futex_wake":
        return ["wake"]
    out: list[str] = []
    for statement in re.split(r";|->|::|\bdo\b|\bod\b|\bif\b|\bfi\b|[{}]", bodies[name]):
        call = re.match(r"\s*(\w+)\s*\(", statement)
        if call and call[1] in bodies:
            if call[1] not in without:
                out += _events(bodies, call[1], shared, without)
            continue
        written = re.match(r"\s*(\w+)\s*(?:\[.*?\])?\s*(\+\+|=(?!=))", statement)
        if written and written[1] == "asleep":
            out.append("sleep")
            continue
        rest = statement[written.end() :] if written else statement
        if "asleep" in rest:
            continue
        out += [f"R {word}" for word in re.findall(r"\w+", rest) if word in shared]
        if written and written[1] in shared:
            out.append(f"W {written[1]}")
    return out
