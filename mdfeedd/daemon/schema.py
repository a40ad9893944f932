"""A dataclass filled from YAML nodes, with every mistake told at its own place.

Works the same for the sections of our file and for the `Options` of a plugin: each field is checked alone
(pydantic, strictly, by the rules of JSON: a string is no number, and a number no string), unknown keys get a
suggestion, and a `ValueError("key: reason")` out of ``__post_init__`` is shown at that key.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pydantic

from mdfeedd.daemon.plan import hints_of
from mdfeedd.daemon.problems import Mark, Problems, suggest
from mdfeedd.daemon.yaml12 import Node

if TYPE_CHECKING:
    from collections.abc import Iterable

_WRONG: Final = object()
"""A field that was there and could not be used."""

_STRICT: Final = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)
_FOUND_WIDTH: Final = 40
_NUMBER_TYPES: Final = {"int_type", "int_parsing", "int_from_float"}
_BOOL_WORDS: Final = {"yes", "no", "on", "off", "y", "n"}


def fill(
    node: Node,
    cls: type[Any],
    problems: Problems,
    path: str,
    *,
    known: Iterable[str] = (),
    told: Iterable[str] = (),
) -> Any | None:
    """An instance of the dataclass, or None after telling why not.

    `path` is the place as sentences name it (``feeds[0].options``, empty for the whole file); `known` are
    the keys to suggest in place of an unknown one, if they are not the fields; `told` are fields about which
    a problem has been told already.
    """
    if node.value is None:
        node = Node({}, node.mark)
    if not isinstance(node.value, dict):
        sentence = f"must be a mapping of keys to values, found {_show(node)}"
        problems.add(node.mark, _in(path or "the file", sentence))
        return None
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = hints_of(cls)
    values: dict[str, Any] = dict.fromkeys(told, _WRONG)
    for key, item in node.value.items():
        if key not in fields:
            sentence = f"unknown key '{key}'{suggest(key, known or fields)}"
            problems.add(node.keys.get(key, Mark()), _in(path, sentence))
            values[key] = _WRONG
            continue
        values[key] = _check(item, hints[key], problems, f"{path}.{key}" if path else key)
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            problems.add(node.mark, _in(path, f"the key '{name}' is missing{_help(f)}"))
            values[name] = _WRONG
    if any(value is _WRONG for value in values.values()):
        return None
    return _construct(cls, values, node, problems, path)


def _construct(
    cls: type[Any], values: dict[str, Any], node: Node, problems: Problems, path: str
) -> Any | None:
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        blame(error, node, problems, path)
        return None


def blame(error: Exception, node: Node, problems: Problems, path: str) -> None:
    """Tell an error whose text is "key: reason" at that key's place, any other at the mapping's."""
    key, colon, _ = str(error).partition(":")
    place = node.value[key].mark if colon and key in node.value else node.mark
    problems.add(place, _in(path, str(error)))


def _in(path: str, sentence: str) -> str:
    return f"{path}: {sentence}" if path else sentence


def _check(node: Node, hint: Any, problems: Problems, path: str) -> Any:
    """A value of the annotated type, or `_WRONG` after telling why not."""
    if hint is Node:
        return node
    nested = _dataclass_in(hint)
    if nested is not None and (isinstance(node.value, dict) or node.empty or hint is nested):
        filled = fill(node, nested, problems, path)
        return _WRONG if filled is None else filled
    element = _element_of(hint)
    if element is not None and not isinstance(node.value, list):
        problems.add(node.mark, f"{path}: must be a list, found {_show(node)}")
        return _WRONG
    if element is not None:
        items = [
            _check(item, element, problems, f"{path}[{i}]") for i, item in enumerate(node.value)
        ]
        return _WRONG if any(item is _WRONG for item in items) else tuple(items)
    try:
        return _adapter(hint).validate_json(json.dumps(node.plain()))
    except pydantic.ValidationError as error:
        told: dict[Mark, list[str]] = {}
        for detail in error.errors(include_url=False):
            place = node.at(detail["loc"])
            told.setdefault(place.mark, []).append(_sentence(detail["type"], detail["msg"], place))
        for mark, sentences in told.items():  # several at one place: the members of a union
            *others, last = sentences
            shortened = [sentence.partition(", found ")[0] + " or " for sentence in others]
            problems.add(mark, f"{path}: {''.join(shortened)}{last}")
        return _WRONG


@cache
def _adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    if _dataclass_in(hint) is not None:  # pydantic lets a dataclass have its own configuration only
        return pydantic.TypeAdapter(hint)
    return pydantic.TypeAdapter(hint, config=_STRICT)


def _dataclass_in(hint: Any) -> type[Any] | None:
    """X of ``X`` and ``X | None``, if X is a dataclass."""
    arms = typing.get_args(hint) if _is_union(hint) else (hint,)
    arms = tuple(arm for arm in arms if arm is not type(None))
    if len(arms) == 1 and isinstance(arms[0], type) and dataclasses.is_dataclass(arms[0]):
        return arms[0]
    return None


def _element_of(hint: Any) -> Any | None:
    """X of ``tuple[X, ...]``, if X is a node or a dataclass; other elements are pydantic's."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or len(arguments) != 2 or arguments[1] is not ...:
        return None
    element = arguments[0]
    return element if element is Node or _dataclass_in(element) is not None else None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _help(f: dataclasses.Field[Any]) -> str:
    text = f.metadata.get("help")
    return f" ({text})" if text else ""


def _show(node: Node) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if isinstance(node.value, str):
        text = node.value if len(node.value) <= _FOUND_WIDTH else node.value[:_FOUND_WIDTH] + "..."
        return repr(text)
    return str(node.value)[:_FOUND_WIDTH]


def _sentence(kind: str, message: str, place: Node) -> str:
    """A message of pydantic in our words."""
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    value, found = place.value, _show(place)
    if kind in _NUMBER_TYPES:
        whole = isinstance(value, float) and value.is_integer()
        hint = f": write {int(value)}" if whole else ""
        return f"must be a whole number, found {found}{hint}"
    if kind == "string_type":
        scalar = isinstance(value, (bool, int, float))
        return f"must be a string, found {found}{' (put it in quotes)' if scalar else ''}"
    if kind == "bool_type":
        word = isinstance(value, str) and value.lower() in _BOOL_WORDS
        hint = " (YAML 1.2 knows true and false only)" if word else ""
        return f"must be true or false, found {found}{hint}"
    if kind in {"float_type", "float_parsing"}:
        return f"must be a number, found {found}"
    text = re.sub(r"^Input should be (a valid )?", "must be ", message)
    text = re.sub(r"^must be (tuple|list|array|an array)$", "must be a list", text)
    text = re.sub(r"^must be (dictionary|an object)$", "must be a mapping", text)
    return f"{text}, found {found}"
