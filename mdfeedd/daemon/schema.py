"""A dataclass filled from YAML nodes, with every mistake told at its own place.

Works the same for the sections of our file and for the `Options` of a plugin: each field is checked alone
(pydantic, strictly, by the rules of JSON: a string is no number, and a number no string), numbers may have
units (see `quantities`), secrets are said by reference (see `references`), unknown keys get a suggestion, and
every "key: reason" out of ``__post_init__`` is shown at that key. What some values do not allow to check is
checked as far as the others go.
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

from mdfeedd.daemon import references
from mdfeedd.daemon.plan import hints_of
from mdfeedd.daemon.problems import Mark, Problems, names_secret, suggest
from mdfeedd.daemon.quantities import Quantity, quantity_of
from mdfeedd.daemon.yaml12 import Node
from mdfeedd.options import closest, mistakes_of, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WRONG: Final = object()
"""A field that was there and could not be used."""

_STRICT: Final = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)
_FOUND_WIDTH: Final = 40
_NUMBER_TYPES: Final = {"int_type", "int_parsing", "int_from_float"}
_BOOL_WORDS: Final = {"yes", "no", "on", "off", "y", "n"}
_SHOWN_DEFAULTS: Final = (bool, int, float, str)


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
        sentence = f"must be a mapping of keys to values{_such_as(node, cls)}, found {_show(node)}"
        problems.add(node.mark, _in(path or "the file", sentence))
        return None
    unfolded = references.unfold(node, cls, problems, path)
    node = unfolded.node
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = hints_of(cls)
    values: dict[str, Any] = dict.fromkeys((*told, *unfolded.unusable), _WRONG)
    before = len(problems.found)
    for key, item in node.value.items():
        if key not in fields:
            shown = list(known) or references.keys_of(cls)
            meant = closest(key, shown)
            text = meaning(fields[meant]) if meant in fields else ""
            sentence = f"unknown key '{key}'{suggest(key, shown)}"
            secret_at = item.mark if names_secret(meant) else None
            problems.add(node.keys.get(key, Mark()), _in(path, sentence), text, secret_at=secret_at)
            if meant in fields and meant not in node.value and not required(fields[meant]):
                values[meant] = _WRONG
            continue
        place = _Place(f"{path}.{key}" if path else key, problems, meaning(fields[key]))
        number = _measured(item, key, hints[key], place)
        values[key] = _WRONG if number is None else _check(number, hints[key], place)
    for name, f in fields.items():
        if required(f) and name not in values:
            problems.add(node.mark, _in(path, f"the key '{name}' is missing{_help(f)}"))
            values[name] = _WRONG
    made = _construct(cls, values, problems, _Blame(node, path, fields, unfolded.spelling))
    return made if len(problems.found) == before and not unfolded.unusable else None


def _such_as(node: Node, cls: type[Any]) -> str:
    """A word where a mapping belongs is mostly meant for its first key."""
    first = next((f for f in dataclasses.fields(cls) if required(f)), None)
    scalar = isinstance(node.value, str) and len(node.value) <= _FOUND_WIDTH
    return f" such as {{{first.name}: {node.value}}}" if first is not None and scalar else ""


def required(f: dataclasses.Field[Any]) -> bool:
    """Has the field no default?"""
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands, and what its key is for."""

    path: str
    problems: Problems
    meaning: str

    def tell(self, mark: Mark, sentence: str) -> None:
        self.problems.add(mark, f"{self.path}: {sentence}", self.meaning)

    def inside(self, path: str) -> _Place:
        return dataclasses.replace(self, path=self.path + path)


@dataclasses.dataclass(frozen=True, slots=True)
class _Blame:
    """The mapping whose values an options class has objected to."""

    node: Node
    path: str
    fields: Mapping[str, dataclasses.Field[Any]] = dataclasses.field(default_factory=dict)
    spelling: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def tell(self, error: Exception, problems: Problems) -> None:
        for mistake in mistakes_of(error):
            key, colon, reason = mistake.partition(":")
            known = bool(colon) and key in self.node.value
            place = self.node.value[key].mark if known else self.node.mark
            sentence = f"{self.spelling[key]}:{reason}" if key in self.spelling else mistake
            text = meaning(self.fields[key]) if key in self.fields else ""
            problems.add(place, _in(self.path, sentence), text)


def _construct(cls: type[Any], values: dict[str, Any], problems: Problems, blame: _Blame) -> Any:
    """An instance; None where fields are wrong, whose checks run as far as the other fields go."""
    whole = _WRONG not in values.values()
    try:
        if whole:
            return cls(**values)
        check = getattr(cls, "__post_init__", None)
        if check is not None:
            check(_without_wrong(cls, values))
    except AttributeError:
        if whole:
            raise
    except (ValueError, TypeError) as error:
        blame.tell(error, problems)
    return None


def _without_wrong(cls: type[Any], values: dict[str, Any]) -> Any:
    """An instance on which the wrong fields, and missing ones, are not set."""
    made: Any = object.__new__(cls)
    for f in dataclasses.fields(cls):
        value = values.get(f.name, f.default)
        factory: Any = f.default_factory
        if value is dataclasses.MISSING and factory is not dataclasses.MISSING:
            value = factory()
        if value is not _WRONG and value is not dataclasses.MISSING:
            object.__setattr__(made, f.name, value)
    return made


def blame(error: Exception, node: Node, problems: Problems, path: str) -> None:
    """Tell each mistake whose text is "key: reason" at that key's place, any other at the mapping's."""
    _Blame(node, path).tell(error, problems)


def meaning(f: dataclasses.Field[Any]) -> str:
    """What a key is for, as its help says, and its default; empty where nothing is known of it."""
    text = f.metadata.get("help", "")
    if not text:
        return ""
    if isinstance(f.default, _SHOWN_DEFAULTS) and f.default != "":
        text += f" (default: {json.dumps(f.default)})" if f.default is not None else ""
    return f"{f.name}: {text}"


def _in(path: str, sentence: str) -> str:
    return f"{path}: {sentence}" if path else sentence


def _measured(node: Node, key: str, hint: Any, place: _Place) -> Node | None:
    """The node with numbers in place of texts with units, if the key's name says what they measure.

    None after telling of a unit that cannot be used.
    """
    quantity = quantity_of(key)
    numbers = numbers_in(hint)
    if quantity is None or not numbers:
        return node
    whole = float not in numbers
    if not isinstance(node.value, list):
        return _number(node, quantity, place, whole=whole)
    items = [
        _number(item, quantity, place.inside(f"[{i}]"), whole=whole)
        for i, item in enumerate(node.value)
    ]
    made = [item for item in items if item is not None]
    return Node(made, node.mark) if len(made) == len(items) else None


def _number(node: Node, quantity: Quantity, place: _Place, *, whole: bool) -> Node | None:
    if not isinstance(node.value, str):
        return node
    try:
        value = quantity.read(node.value, whole=whole)
    except ValueError as error:
        place.tell(node.mark, str(error))
        return None
    return node if value is None else Node(value, node.mark)


def numbers_in(hint: Any) -> set[type]:
    """int, float or both, where the annotation allows them, be it in a list."""
    if hint in (int, float):
        return {hint}
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return set()
    return {found for argument in typing.get_args(hint) for found in numbers_in(argument)}


def _check(node: Node, hint: Any, place: _Place) -> Any:
    """A value of the annotated type, or `_WRONG` after telling why not."""
    if hint is Node:
        return node
    nested = dataclass_in(hint)
    if nested is not None and (isinstance(node.value, dict) or node.empty or hint is nested):
        filled = fill(node, nested, place.problems, place.path)
        return _WRONG if filled is None else filled
    element = element_of(hint)
    if element is not None and not isinstance(node.value, list):
        place.tell(node.mark, f"must be a list, found {_show(node)}")
        return _WRONG
    if element is not None:
        items = [_check(item, element, place.inside(f"[{i}]")) for i, item in enumerate(node.value)]
        return _WRONG if any(item is _WRONG for item in items) else tuple(items)
    text = json.dumps(node.plain(), ensure_ascii=False)
    try:
        return adapter(hint).validate_json(text.encode())
    except UnicodeEncodeError:  # a name of a file that is not UTF-8, from a command line
        place.tell(node.mark, f"must be UTF-8 text, found {text!a}")
        return _WRONG
    except pydantic.ValidationError as error:
        told: dict[Mark, tuple[Node, list[str]]] = {}
        for detail in error.errors(include_url=False):
            at = node.at(detail["loc"])
            sentences = told.setdefault(at.mark, (at, []))[1]
            sentences.append(_sentence(detail["type"], detail["msg"], at))
        for mark, (at, sentences) in told.items():  # several at one place: the members of a union
            *others, last = sentences
            shortened = [sentence.partition(", found ")[0] + " or " for sentence in others]
            place.tell(mark, f"{''.join(shortened)}{last}{_nearest_word(at, hint)}")
        return _WRONG


def _nearest_word(node: Node, hint: Any) -> str:
    """Of a word that is none of those that are possible: the one that was meant."""
    return nearest(node.value, words_of(hint)) if isinstance(node.value, str) else ""


def words_of(hint: Any) -> list[str]:
    """The words that the annotation allows by name."""
    if typing.get_origin(hint) is typing.Literal:
        return [word for word in typing.get_args(hint) if isinstance(word, str)]
    return [word for argument in typing.get_args(hint) for word in words_of(argument)]


@cache
def adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    """What checks one value."""
    if dataclass_in(hint) is not None:  # pydantic lets a dataclass have its own configuration only
        return pydantic.TypeAdapter(hint)
    return pydantic.TypeAdapter(hint, config=_STRICT)


def dataclass_in(hint: Any) -> type[Any] | None:
    """X of ``X`` and ``X | None``, if X is a dataclass."""
    arms = typing.get_args(hint) if _is_union(hint) else (hint,)
    arms = tuple(arm for arm in arms if arm is not type(None))
    if len(arms) == 1 and isinstance(arms[0], type) and dataclasses.is_dataclass(arms[0]):
        return arms[0]
    return None


def element_of(hint: Any) -> Any | None:
    """X of ``tuple[X, ...]``, if X is a node or a dataclass; other elements are pydantic's."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or len(arguments) != 2 or arguments[1] is not ...:
        return None
    element = arguments[0]
    return element if element is Node or dataclass_in(element) is not None else None


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
    text = re.sub(r"^\w+ should have (.*?)(?: after validation.*)?$", r"must have \1", text)
    return f"{text}, found {found}"
