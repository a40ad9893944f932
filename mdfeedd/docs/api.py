"""The reference of the public API: signatures from the sources and stubs, meanings from the docstrings.

    mdfeedd, mdfeedd.ring, mdfeedd.tick ... : __all__ ─► ast: signatures, inspect: docstrings ─► page()

Signatures are read and not inspected, because a compiled class has them in its stub only.
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd import tick
from mdfeedd.docs.markdown import code, table
from mdfeedd.docs.records import fields_table

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES: Final = ("mdfeedd", "mdfeedd.manager", "mdfeedd.strategy", "mdfeedd.ring", "mdfeedd.tick")
"""Those that promise to stay as they are, the first of which has the names of the others that most want."""
_HEAD: Final = """# Public API

Written from the sources by `python -m mdfeedd.docs`; a test compares them. What is not in here may change without a
word. Everything is typed; `import mdfeedd` starts nothing and imports nothing but what is asked for.

Prices are int64 in units of 1e-9 (`from_fixed` gives the exact Decimal), times UNIX ns; arrays of records have the
dtypes of [records.md](records.md).
"""
_WIDTH: Final = 100
_INSIDE: Final = frozenset(
    {
        "abandon",
        "close_core",
        "instrument_put",
        "on_change",
        "on_idle",
        "open_core",
        "set_instruments",
        "stop_waiting",
    }
)
"""Members that our own classes and forked children call."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD]
    top, *modules = (importlib.import_module(name) for name in MODULES if _exists(name))
    parts.append(f"## `{top.__name__}`\n\n{_prose(top)}\n")
    anchors = _anchors(modules)
    parts.append(
        table(["name", "what it is"], (_brief(top, name, anchors) for name in top.__all__))
    )
    for module in modules:
        parts.append(f"## `{module.__name__}`\n\n{_prose(module)}\n")
        parts += ["\n".join(_entry(module, name)) for name in module.__all__]
    return "\n".join(parts)


def _exists(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _anchors(modules: list[Any]) -> dict[str, str]:
    """Where each name is on the page: headings that differ in case alone are numbered."""
    taken: dict[str, int] = {}
    anchors: dict[str, str] = {}
    for module in modules:
        for heading in (module.__name__.replace(".", ""), *module.__all__):
            low = heading.lower()
            again = taken[low] = taken.get(low, -1) + 1
            anchors.setdefault(heading, f"{low}-{again}" if again else low)
    return anchors


def _brief(module: Any, name: str, anchors: dict[str, str]) -> list[str]:
    value = getattr(module, name)
    home = next((m for m in MODULES[1:] if name in getattr(sys.modules.get(m), "__all__", ())), "")
    doc = inspect.getdoc(value) if callable(value) else said_of(home, name)
    first = (doc or "").split("\n\n", 1)[0]
    link = f"[`{name}`](#{anchors[name]})" if name in anchors else code(name)
    return [link, _plain(f"{first} ({code(home)})" if home else first)]


def _entry(module: Any, name: str) -> Iterator[str]:
    """One public name: heading, signature, what is said of it, its members."""
    value = getattr(module, name)
    yield f"### `{name}`\n"
    if isinstance(value, type) and issubclass(value, enum.Enum):
        yield f"{_prose(value)}\n"
        yield ", ".join(code(f"{n} = {m.value}") for n, m in value.__members__.items()) + "\n"
    elif isinstance(value, type):
        yield f"```\n{_signature(value, name)}\n```\n\n{_prose(value)}\n"
        yield from _members(value)
    elif callable(value):
        yield f"```\n{_signature(value, name)}\n```\n\n{_prose(value)}\n"
    elif isinstance(value, tuple) and value and isinstance(value[0], tuple):
        yield table(["name", "what it counts"], ([code(n), said] for n, said in value))
    else:
        yield f"{_constant(name, value)}{said_of(module.__name__, name)}\n"


def _constant(name: str, value: Any) -> str:
    if isinstance(value, np.dtype):
        told = f"A dtype of {value.itemsize} bytes"
        if name in tick.__all__:
            return f"{told}, see [records.md](records.md). "
        return f"{told}:\n\n{fields_table(value, {})}"
    text = repr(value)
    return f"`{name} = {text}` " if len(text) < _WIDTH else ""


def _members(cls: type[Any]) -> Iterator[str]:
    """Methods and properties with something said of them, those of our base classes included."""
    rows: dict[str, list[str]] = {}
    for owner in cls.__mro__:
        if not owner.__module__.startswith("mdfeedd"):
            continue
        for name, kind in _attributes(owner):
            rows.setdefault(name, [code(f"{name}: {kind}"), ""])
        for name in vars(owner):
            if name.startswith("_") or name in rows or name in _INSIDE:
                continue
            doc = inspect.getdoc(getattr(cls, name, None))
            definition = _find(_tree(owner), owner.__name__, name)
            if doc and isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
                rows[name] = [code(_call(definition, name)), _plain(doc)]
    if rows:
        yield table(["member", "what it does"], rows.values())


def _attributes(owner: type[Any]) -> Iterator[tuple[str, str]]:
    """What a compiled class keeps, as its stub has it."""
    found = _find(_tree(owner), owner.__name__)
    compiled = not (sys.modules[owner.__module__].__file__ or "").endswith(".py")
    if compiled and isinstance(found, ast.ClassDef):
        for node in found.body:
            if isinstance(node, ast.AnnAssign):
                yield ast.unparse(node.target), ast.unparse(node.annotation)


# ------------------------------------------------------------------------------------- signatures


def _signature(value: Any, name: str) -> str:
    tree = _tree(value)
    found = _find(tree, getattr(value, "__name__", name))
    if isinstance(found, ast.ClassDef):
        return _class(value, found)
    if found is None:
        return name
    return _wrapped("def ", name, found)


def _class(cls: type[Any], found: ast.ClassDef) -> str:
    if hasattr(cls, "__dataclass_fields__"):
        fields = [
            f"    {ast.unparse(node)}"
            for node in found.body
            if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_")
        ]
        return "\n".join([f"class {cls.__name__}:", *fields])
    for owner in cls.__mro__:
        if owner.__module__.startswith("mdfeedd"):
            init = _find(_tree(owner), owner.__name__, "__init__")
            if isinstance(init, ast.FunctionDef):
                return _wrapped("class ", cls.__name__, init)
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    return f"class {cls.__name__}({bases})" if bases else f"class {cls.__name__}"


def _wrapped(word: str, name: str, found: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """On one line if it fits, else an argument a line."""
    one = word + _call(found, name)
    if len(one) <= _WIDTH:
        return one
    arguments = _arguments(found)
    returns = None if found.returns is None else ast.unparse(found.returns)
    tail = ")" if returns in {None, "None"} else f") -> {returns}"
    return "\n".join([f"{word}{name}(", *(f"    {text}," for text in arguments), tail])


def _call(found: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    if any(
        ast.unparse(d) in {"property", "functools.cached_property"} for d in found.decorator_list
    ):
        return f"{name}: {ast.unparse(found.returns)}" if found.returns else name
    returns = "" if found.returns is None or name == "__init__" else ast.unparse(found.returns)
    ending = f" -> {returns}" if returns and returns != "None" else ""
    awaited = "await " if isinstance(found, ast.AsyncFunctionDef) else ""
    return f"{awaited}{name}({', '.join(_arguments(found))}){ending}"


def _arguments(found: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Each argument with its type and default, as it is written; without self."""
    given = found.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults))
    defaults += given.defaults
    told = [_argument(a, d) for a, d in zip(plain, defaults, strict=True)]
    if plain and plain[0].arg in {"self", "cls"}:
        told = told[1:]
    if given.vararg is not None:
        told.append("*" + _argument(given.vararg, None))
    elif given.kwonlyargs:
        told.append("*")
    told += [_argument(a, d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg is not None:
        told.append("**" + _argument(given.kwarg, None))
    return told


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    if default is None:
        return argument.arg + kind
    return f"{argument.arg}{kind} = {ast.unparse(default)}" if kind else (
        f"{argument.arg}={ast.unparse(default)}"
    )  # fmt: skip


# ----------------------------------------------------------------------------------- the sources


def _tree(value: Any) -> ast.Module:
    return _parsed(value.__module__)


@functools.cache
def _parsed(module: str) -> ast.Module:
    """The source of a module; of a compiled one, its stub."""
    path = Path(sys.modules[module].__file__ or "")
    if path.suffix != ".py":
        path = path.with_name(path.name.partition(".")[0] + ".pyi")
    return ast.parse(path.read_text(encoding="utf-8"))


def _find(owner: ast.Module | ast.ClassDef, *names: str) -> Definition | None:
    """The definition of a name, or of a name within it; of overloads the one that is made last."""
    found: Definition | None = None
    for node in owner.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name == names[0]
        ):
            found = node
    if len(names) == 1 or found is None:
        return found
    return _find(found, *names[1:]) if isinstance(found, ast.ClassDef) else None


def said_of(home: str, name: str) -> str:
    """The ``#:`` comment above a name, or the text below it, in a module or in those of its package."""
    inside = [module for module in sorted(sys.modules) if f"{module}.".startswith(f"{home}.")]
    for module in inside if home else []:
        path = Path(sys.modules[module].__file__ or "")
        source = path.read_text(encoding="utf-8") if path.suffix == ".py" else ""
        above = re.search(rf"((?:^#: .*\n)+)^{name}\b", source, flags=re.MULTILINE)
        if above:
            return " ".join(line[3:] for line in above[1].splitlines())
        below = re.search(
            rf'^{name}: Final\b(?:[^"]|"(?!""))*?^"""(.*?)"""',
            source,
            flags=re.MULTILINE | re.DOTALL,
        )
        if below:
            return below[1]
    return ""


def _prose(value: Any) -> str:
    """What its docstring says: drawings and lists keep their lines."""
    blocks = (inspect.getdoc(value) or "").split("\n\n")
    return "\n\n".join(_block(block) for block in blocks if block != "::")


def _block(block: str) -> str:
    lines = block.splitlines()
    if lines and all(line.startswith("    ") for line in lines):
        return "```\n" + "\n".join(line[4:] for line in lines) + "\n```"
    if any(line.startswith("    ") for line in lines):  # names and what they mean
        return _definitions(lines)
    return _plain(block)


def _plain(text: str) -> str:
    """Code as Markdown has it."""
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)


def _definitions(lines: list[str]) -> str:
    out: list[str] = []
    for line in lines:
        if line.startswith("    ") and out:
            out[-1] += " " + line.strip()
        elif re.match(r"[\w, ]+(\([\w, ]*\))?: ", line):
            name, _, text = line.partition(": ")
            out.append(f"- `{name}`: {text}")
        else:
            out.append(line)
    return _plain("\n".join(out))
