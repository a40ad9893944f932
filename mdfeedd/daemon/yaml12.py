"""YAML as version 1.2 reads it, with the position of everything.

PyYAML scans and composes; scalars are resolved here by the 1.2 core schema, because PyYAML's 1.1 rules make
``ON`` true, ``17:00`` the number 1020, ``1e9`` a string and ``010`` eight. Duplicate keys, explicit tags other
than the core ones, and documents that blow up through aliases are refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from mdfeedd.daemon.problems import Mark, Problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BYTES: Final = 4 << 20
"""Size of a configuration file."""
MAX_DEPTH: Final = 32
"""Nesting; also what ends an alias that contains itself."""
MAX_NODES: Final = 100_000
"""Nodes after aliases are followed."""

_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS: Final = 400


@dataclass(slots=True)
class Node:
    """A value and where it is. `value` is a scalar, a list of nodes, or a dict of nodes by key.

    `empty`: nothing was written at all, as in a section whose keys are all commented out.
    """

    value: Any
    mark: Mark = field(default_factory=Mark)
    keys: dict[str, Mark] = field(default_factory=dict)
    empty: bool = False

    def plain(self) -> Any:
        """The value as Python's own lists, dicts and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, path: Iterable[Any]) -> Node:
        """The node at a path of keys and indices, as deep as the path can be followed."""
        node = self
        for step in path:
            value = node.value
            if isinstance(value, dict) and str(step) in value:
                node = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                node = value[step]
            else:
                continue  # a part of the path that is no key, such as the member of a union
        return node


def from_data(value: Any) -> Node:
    """Nodes of Python data that never was a file."""
    if isinstance(value, dict):
        return Node({str(key): from_data(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return Node([from_data(item) for item in value])
    return Node(value)


def parse(data: bytes, file: str) -> tuple[Node | None, Problems]:
    """Read one document. The node is None where the text is no YAML, and then a problem says why."""
    problems = Problems(file)
    text = _decode(data, problems)
    if text is None:
        return None, problems
    problems.lines = re.split(r"\r\n|\r|\n", text)
    try:
        root = _Loader(text).get_single_node()
        empty = Node(None, Mark(1, 1, file))
        return _Converter(problems).convert(root) if root else empty, problems
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        problems.add(_position(place, file), _sentence(error))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, error.position - before.rfind("\n"))
        code = ord(text[error.position])
        problems.add(mark, f"the control character U+{code:04X} is not allowed")
    except RecursionError:
        problems.add(Mark(1, 1), f"nested deeper than {MAX_DEPTH} levels")
    except _RefusedError as refused:
        problems.add(refused.mark, str(refused))
    return None, problems


class _RefusedError(Exception):
    """Reading stops here."""

    def __init__(self, mark: Mark, sentence: str) -> None:
        super().__init__(sentence)
        self.mark = mark


class _Loader(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    yaml.resolver.BaseResolver,
):
    """PyYAML without constructors and with the resolver of YAML 1.2's core schema."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """The tag of a node that has none; `implicit[0]`: a scalar without quotes."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _TAG + core_type(value)
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def core_type(text: str) -> str:
    """What a scalar without quotes is: null, bool, int, float or str."""
    if text in _NULL:
        return "null"
    if text in _TRUE or text in _FALSE:
        return "bool"
    if _INT.fullmatch(text):
        return "int"
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text):
        return "float"
    return "str"


class _Converter:
    """PyYAML's nodes into ours, with everything that is refused on the way."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.nodes = 0

    def convert(self, node: yaml.Node, depth: int = 0) -> Node:
        """One node and what is below it."""
        mark = self._position(node)
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise _RefusedError(mark, f"nested deeper than {MAX_DEPTH} levels")
        if self.nodes > MAX_NODES:
            raise _RefusedError(mark, f"more than {MAX_NODES} values, with aliases followed")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, mark, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return Node([self.convert(item, depth + 1) for item in node.value], mark)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, mark), mark, empty=not node.value and not node.style)
        self.problems.add(mark, f"the tag {_short(node.tag)} is not allowed")
        return Node(None, mark)

    def _position(self, node: yaml.Node) -> Mark:
        return _position(node.start_mark, self.problems.file)

    def _mapping(self, node: yaml.MappingNode, mark: Mark, depth: int) -> Node:
        result = Node({}, mark)
        for key, value in node.value:
            key_mark = self._position(key)
            converted = self.convert(value, depth + 1)
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self.problems.add(key_mark, "a key must be a word")
            elif key.value in result.keys:
                first = result.keys[key.value].line
                self.problems.add(key_mark, f"duplicate key '{key.value}' (first in line {first})")
            else:
                result.value[key.value] = converted
                result.keys[key.value] = key_mark
        return result

    def _scalar(self, node: yaml.ScalarNode, mark: Mark) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if node.tag == kind or kind not in _SCALARS:
            self.problems.add(mark, f"the tag {_short(node.tag)} is not allowed")
            return text
        if core_type(text) != kind and not (kind == "float" and _INT.fullmatch(text)):
            self.problems.add(mark, f"'{text}' is not of the type {_short(node.tag)}")
            return text
        if len(text) > _MAX_DIGITS:
            self.problems.add(mark, f"a number of more than {_MAX_DIGITS} digits")
            return 0
        value = _SCALARS[kind](text)
        if isinstance(value, float) and math.isinf(value) and not _INFINITE.fullmatch(text):
            self.problems.add(mark, f"{text} is out of range")
        return value


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)  # 010 is ten


def _float(text: str) -> float:
    return float(text.replace(".", "") if _INFINITE.fullmatch(text) else text)


_SCALARS: Final[Mapping[str, Any]] = {
    "null": lambda _text: None,
    "bool": lambda text: text in _TRUE,
    "int": _integer,
    "float": _float,
}


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def _position(mark: yaml.Mark | None, file: str) -> Mark:
    return Mark(mark.line + 1, mark.column + 1, file) if mark else Mark(1, 1, file)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words in one sentence, with the place where the trouble began if it is another."""
    parts = [part for part in (error.problem, error.context) if part]
    sentence = " ".join(parts) or "not YAML"
    start = error.context_mark
    if start and error.problem_mark and start.line != error.problem_mark.line:
        sentence += f" that begins in line {start.line + 1}"
    return sentence


def _decode(data: bytes, problems: Problems) -> str | None:
    if len(data) > MAX_BYTES:
        problems.add(Mark(), f"larger than {MAX_BYTES} bytes")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        problems.lines = [*before.split("\n")]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        problems.add(mark, f"byte 0x{data[error.start]:02x} is not UTF-8 text")
        return None
