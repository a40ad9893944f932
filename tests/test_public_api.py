"""What `mdfeedd`, `mdfeedd.ring` and `mdfeedd.tick` give to others: each name says what it is, and has a type."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = ("mdfeedd", "mdfeedd.ring", "mdfeedd.tick", "mdfeedd.strategy")
PYRIGHT = Path(sys.executable).parent / "pyright"
FETCH_S = 120
CHECK_S = 420


def public_names() -> list[tuple[str, str]]:
    return [(home, name) for home in MODULES for name in importlib.import_module(home).__all__]


def constants(path: Path) -> dict[str, bool]:
    """The constants of a module's source, and whether a comment of ``#:`` or a text below says what each is."""
    lines = path.read_text().splitlines()
    found = {}
    body = ast.parse("\n".join(lines)).body if path.suffix == ".py" else []
    for node, after in itertools.zip_longest(body, body[1:]):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        below = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        for target in targets:
            if isinstance(target, ast.Name):
                above = lines[node.lineno - 2].startswith("#:")
                found[target.id] = above or below
    if path.suffix == ".pyx":
        for number, line in enumerate(lines):
            if match := re.match(r"([A-Z]\w+) = ", line):
                found[match[1]] = lines[number - 1].startswith("#:")
    return found


@pytest.fixture(scope="module")
def said() -> set[str]:
    """All constants of the package of which something is said."""
    sources = [
        path for suffix in ("*.py", "*.pyx") for path in (REPOSITORY / "mdfeedd").rglob(suffix)
    ]
    return {name for path in sources for name, told in constants(path).items() if told}


@pytest.mark.parametrize(("home", "name"), public_names(), ids=str)
def test_public_name_says_what_it_is(home: str, name: str, said: set[str]) -> None:
    value = getattr(importlib.import_module(home), name)
    if inspect.isclass(value) or callable(value):
        text = inspect.getdoc(value) or ""
        assert len(text) > 10, f"{home}.{name} has no docstring"
        assert not text.startswith(f"{name}("), f"{home}.{name} has the docstring of a dataclass"
    else:
        assert name in said, f"{home}.{name}: write '#: ...' above it"


def members() -> list[object]:
    classes = {
        f"{value.__module__}.{value.__qualname__}": value
        for home, name in public_names()
        if inspect.isclass(value := getattr(importlib.import_module(home), name))
    }
    return [
        pytest.param(owner, name, id=f"{path}.{name}")
        for path, owner in sorted(classes.items())
        for name in sorted(dir(owner))
        if not name.startswith("_") and is_ours(owner, name)
    ]


def is_ours(owner: type, name: str) -> bool:
    """Methods and properties that a class of ours defines."""
    home = next((base for base in owner.__mro__ if name in base.__dict__), object)
    member = inspect.getattr_static(owner, name)
    code = callable(member) or isinstance(member, property | classmethod | staticmethod)
    getter = inspect.isgetsetdescriptor(member) and not inspect.ismemberdescriptor(member)
    return home.__module__.startswith("mdfeedd") and (code or getter)


@pytest.mark.parametrize(("owner", "name"), members())
def test_public_method_says_what_it_does(owner: type, name: str) -> None:
    home = next(base for base in owner.__mro__ if name in base.__dict__)
    told = inspect.getdoc(getattr(owner, name)) or f"`{name}`" in (home.__doc__ or "")
    assert told, f"{owner.__qualname__}.{name} has no docstring"


@pytest.fixture(scope="module")
def pyright() -> str:
    """The program, once it has fetched its JavaScript, which it does at its first start."""
    if not PYRIGHT.exists():
        pytest.skip("pyright is not installed (pip install -e '.[test]')")
    command = [str(PYRIGHT), "--version"]
    try:
        subprocess.run(command, capture_output=True, timeout=FETCH_S, check=True)
    except subprocess.SubprocessError as error:
        pytest.skip(f"pyright cannot run here: {error}")
    return command[0]


@pytest.mark.slow
@pytest.mark.timeout(FETCH_S + CHECK_S + 60)
def test_every_public_symbol_has_a_type(pyright: str, tmp_path: Path) -> None:
    """`pyright --verifytypes`: not one type of the package that a checker would have to guess."""
    paths = (str(REPOSITORY), sysconfig.get_path("purelib"))
    options = ("--verifytypes", "mdfeedd", "--ignoreexternal", "--outputjson")
    done = subprocess.run(
        [pyright, "--pythonpath", sys.executable, *options],
        cwd=tmp_path,  # not the repository: its settings are for its own files
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=CHECK_S,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    told = json.loads(done.stdout)["typeCompleteness"]
    assert told["exportedSymbolCounts"]["withKnownType"] > 1000
    guessed = {
        symbol["name"]: [one["message"] for one in symbol["diagnostics"]]
        for symbol in told["symbols"]
        if symbol["isExported"] and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
    }
    assert not guessed, json.dumps(guessed, indent=1)
    assert told["completenessScore"] == 1
