"""The configuration file: one YAML, checked whole, into a frozen `Plan`.

`load` reads a file and `check` takes the same as Python data (what ``mdfeedd replay`` builds from its command
line). Both raise `ConfigError` with every problem at once, in file order. The check imports the classes of the
feeds, consumers and sinks that are named, and touches neither ports nor networks nor shared memory, so it is
the same at start, before a reload, and in an editor.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from mdfeedd.daemon import plugins, yaml12
from mdfeedd.daemon.plan import (
    ChildPlan,
    CycleError,
    LogPlan,
    MetricsPlan,
    Plan,
    instance,
    jsonable,
)
from mdfeedd.daemon.problems import ConfigError, Mark, Problem, Problems, suggest
from mdfeedd.daemon.schema import blame, fill
from mdfeedd.daemon.yaml12 import Node
from mdfeedd.feeds.protocol import FEED_SUFFIXES, rings_of_feed
from mdfeedd.ring.segment import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConfigError", "Problem", "check", "load", "parse"]

MIN_CAPACITY: Final = 256
MAX_CAPACITY: Final = 1 << 28
MAX_INSTRUMENTS: Final = 1 << 24
MAX_FEEDS: Final = 255
"""One byte of an instrument id, and 0 is left for rings that are made by hand."""
MAX_CONSUMERS: Final = 128

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,31}")
_RESERVED_ENDS: Final = (*FEED_SUFFIXES, ".readers", ".new")
SINK_KEY: Final = "sink"
"""In the options of a consumer with the fields of `_SINK_FIELDS`: a mapping of `type` and the sink's options."""
_SINK_FIELDS: Final = ("sink_type", "sink_options")
OUTPUT_KEY: Final = "ring"
"""The option of a consumer that names the ring it writes."""


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"'{value}' must be 1 to 31 of A-Z a-z 0-9 . _ -")
    if value.endswith(_RESERVED_ENDS):
        raise ValueError(f"'{value}' must not end in {', '.join(_RESERVED_ENDS)}")
    return value


def _capacity(value: int) -> int:
    if not MIN_CAPACITY <= value <= MAX_CAPACITY:
        raise ValueError(f"must be {MIN_CAPACITY} to {MAX_CAPACITY}, found {value}")
    if value & (value - 1):
        below = 1 << (value.bit_length() - 1)
        raise ValueError(f"must be a power of two, found {value}: take {below} or {below * 2}")
    return value


def _directory(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"must be an absolute path, found '{value}'")
    return value


_Name = Annotated[str, AfterValidator(_name)]
_Empty: Final = Node({})


@dataclass(frozen=True, slots=True)
class _Metrics:
    host: str = field(default="127.0.0.1", metadata={"help": "address to serve /metrics on"})
    port: Annotated[int, Field(ge=0, le=65_535)] | None = field(
        default=9464, metadata={"help": "0: any free port; null: no server"}
    )


@dataclass(frozen=True, slots=True)
class _Log:
    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = False


@dataclass(frozen=True, slots=True)
class _Feed:
    name: _Name = field(metadata={"help": "names the feed, its process and its ring"})
    vendor: str = field(metadata={"help": "a registered feed, or package.module:Class"})
    capacity: Annotated[int, AfterValidator(_capacity)] = 65_536
    instruments_capacity: Annotated[int, Field(ge=1, le=MAX_INSTRUMENTS)] = 65_536
    options: Node = field(default_factory=lambda: _Empty)


@dataclass(frozen=True, slots=True)
class _Consumer:
    name: _Name = field(metadata={"help": "names the consumer and its process"})
    type: str = field(metadata={"help": "a registered consumer, or package.module:Class"})
    rings: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_FEEDS)] = field(
        metadata={"help": "rings to read"}
    )
    options: Node = field(default_factory=lambda: _Empty)


@dataclass(frozen=True, slots=True)
class _File:
    feeds: tuple[Node, ...] = field(metadata={"help": "what to run"})
    shm_dir: Annotated[str, AfterValidator(_directory)] = "/dev/shm"  # noqa: S108
    metrics: _Metrics | None = field(default_factory=_Metrics)
    log: _Log = field(default_factory=_Log)
    consumers: tuple[Node, ...] = ()


def load(path: str | Path) -> Plan:
    """The plan of a file. Raises `ConfigError`, also where the file cannot be read."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(yaml12.MAX_BYTES + 1)
    except OSError as error:
        problem = Problem(str(path), Mark(), f"cannot be read: {error.strerror}")
        raise ConfigError([problem]) from error
    return parse(data, str(path))


def parse(data: bytes | str, file: str = "<configuration>") -> Plan:
    """The plan of a YAML text. Raises `ConfigError`."""
    root, problems = yaml12.parse(data.encode() if isinstance(data, str) else data, file)
    return _Checker(problems).plan(root)


def check(data: Mapping[str, Any], source: str = "<arguments>") -> Plan:
    """The plan of Python data of the same shape as the file. Raises `ConfigError`."""
    return _Checker(Problems(source)).plan(yaml12.from_data(dict(data)))


@dataclass(slots=True)
class _Child:
    """A child in the making, with the place in the file where each thing about it was said."""

    plan: ChildPlan
    node: Node


@dataclass(frozen=True, slots=True)
class _Plugin:
    """What a child will run."""

    name: str
    target: str
    cls: type[Any]
    options: Any


class _Checker:
    """Builds a plan out of nodes; whatever is wrong goes to `problems` first."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def plan(self, root: Node | None) -> Plan:
        """The plan, or `ConfigError`."""
        if root is None:
            self.problems.raise_if_any()
            raise AssertionError("no document and no problem")
        file: _File | None = fill(root, _File, self.problems, "")
        nodes = root.value if isinstance(root.value, dict) else {}
        feeds = self._children(nodes.get("feeds"), self._feed, MAX_FEEDS)
        consumers = self._children(nodes.get("consumers"), self._consumer, MAX_CONSUMERS)
        if file is not None and not file.feeds:
            self.problems.add(nodes["feeds"].mark, "feeds: there must be at least one feed")
        everything = [*_items(nodes.get("feeds")), *_items(nodes.get("consumers"))]
        self._check_names(everything)
        made = {ring for child in consumers for ring in child.plan.outputs}
        self._check_rings(everything, made)
        self._check_outputs(feeds, consumers)
        self.problems.raise_if_any()
        assert file is not None
        plan = Plan(
            shm_dir=file.shm_dir,
            metrics=_metrics(file.metrics),
            log=LogPlan(file.log.level, file.log.json),
            feeds=tuple(child.plan for child in feeds),
            consumers=tuple(child.plan for child in consumers),
        )
        self._check_order(plan, consumers)
        return _placed(plan)

    def _children(self, node: Node | None, make: Any, limit: int) -> list[_Child]:
        if node is None or not isinstance(node.value, list):
            return []  # told already, if it is wrong
        if len(node.value) > limit:
            self.problems.add(node.mark, f"at most {limit} are possible, found {len(node.value)}")
        made = (make(item, i) for i, item in enumerate(node.value[:limit]))
        return [child for child in made if child is not None]

    def _feed(self, node: Node, index: int) -> _Child | None:
        path = f"feeds[{index}]"
        feed: _Feed | None = fill(node, _Feed, self.problems, path)
        plugin = self._plugin(plugins.FEEDS, node, "vendor", path)
        if feed is None or plugin is None:
            return None
        plan = ChildPlan(
            kind="feed",
            name=feed.name,
            plugin=plugin.name,
            target=plugin.target,
            options=jsonable(plugin.options),
            capacity=feed.capacity,
            instruments_capacity=feed.instruments_capacity,
            feed_index=index + 1,
        )
        return self._try(plan, plugin, node, path)

    def _consumer(self, node: Node, index: int) -> _Child | None:
        path = f"consumers[{index}]"
        consumer: _Consumer | None = fill(node, _Consumer, self.problems, path)
        plugin = self._plugin(plugins.CONSUMERS, node, "type", path)
        if consumer is None or plugin is None:
            return None
        options = jsonable(plugin.options)
        plan = ChildPlan(
            kind="consumer",
            name=consumer.name,
            plugin=plugin.name,
            target=plugin.target,
            options=options,
            rings=consumer.rings,
            outputs=_outputs(options),
        )
        return self._try(plan, plugin, node, path)

    def _try(self, plan: ChildPlan, plugin: _Plugin, node: Node, path: str) -> _Child | None:
        """Make the feed or consumer once, which opens nothing: it may object to its options."""
        try:
            instance(plugin.cls, plan, plugin.options)
        except (ValueError, TypeError) as error:
            options = node.value.get("options")
            place = options if options is not None and isinstance(options.value, dict) else node
            blame(error, place, self.problems, f"{path}.options")
            return None
        return _Child(plan, node)

    def _plugin(self, group: str, node: Node, key: str, path: str) -> _Plugin | None:
        """The class that `key` names, and its checked options."""
        named = node.value.get(key) if isinstance(node.value, dict) else None
        if named is None or not isinstance(named.value, str):
            return None  # told already
        given = node.value.get("options") or Node({}, node.mark)
        try:
            target = plugins.resolve(group, named.value)
            cls = plugins.load(target)
        except plugins.PluginError as error:
            self.problems.add(named.mark, f"{path}.{key}: {error}")
            return None
        options = self._options(cls, given, f"{path}.options")
        return None if options is None else _Plugin(named.value, target, cls, options)

    def _options(self, cls: type[Any], node: Node, path: str) -> Any | None:
        names = [f.name for f in dataclasses.fields(cls.Options)]
        if node.value is not None and not isinstance(node.value, dict):
            return fill(node, cls.Options, self.problems, path)
        if not set(_SINK_FIELDS) <= set(names):
            return fill(node, cls.Options, self.problems, path)
        given = Node(dict(node.value or {}), node.mark, node.keys)
        known = [SINK_KEY, *(name for name in names if name not in _SINK_FIELDS)]
        for key in _SINK_FIELDS:
            if given.value.pop(key, None) is not None:
                sentence = f"{path}: unknown key '{key}'{suggest(key, known)}"
                self.problems.add(node.keys.get(key, Mark()), sentence)
        sink = self._sink(given, f"{path}.{SINK_KEY}")
        given.value.pop(SINK_KEY, None)
        given.value.update(sink)
        told = () if sink else _SINK_FIELDS
        return fill(given, cls.Options, self.problems, path, known=known, told=told)

    def _sink(self, options: Node, path: str) -> dict[str, Node]:
        """The two options that a consumer takes for its ``sink:``; none after telling why not."""
        node = options.value.get(SINK_KEY)
        named = (
            node.value.get("type") if node is not None and isinstance(node.value, dict) else None
        )
        if named is None or not isinstance(named.value, str):
            mark = (node or options).mark
            types = ", ".join(sorted(plugins.available(plugins.SINKS)))
            self.problems.add(
                mark, f"{path}: must be a mapping with a type ({types}) and its options"
            )
            return {}
        try:
            cls = plugins.load(plugins.resolve(plugins.SINKS, named.value))
        except plugins.PluginError as error:
            self.problems.add(named.mark, f"{path}.type: {error}")
            return {}
        keys = {key: item for key, item in node.value.items() if key != "type"}
        filled = fill(Node(keys, node.mark, node.keys), cls.Options, self.problems, path)
        if filled is None:
            return {}
        return {"sink_type": named, "sink_options": yaml12.from_data(jsonable(filled))}

    def _check_names(self, items: list[Node]) -> None:
        first: dict[str, Mark] = {}
        for item in items:
            name = _text_at(item, "name")
            if name is None:
                continue
            mark = item.value["name"].mark
            if name in first:
                line = f" (line {first[name].line})" if first[name].line else ""
                self.problems.add(mark, f"the name '{name}' is taken by another child{line}")
            first.setdefault(name, mark)

    def _check_outputs(self, feeds: list[_Child], consumers: list[_Child]) -> None:
        """No ring has two writers."""
        writers: dict[str, ChildPlan] = {}
        for feed in feeds:
            writers |= dict.fromkeys(rings_of_feed(feed.plan.name), feed.plan)
        for consumer in consumers:
            for ring in consumer.plan.outputs:
                place = consumer.node.at(("options", OUTPUT_KEY)).mark
                try:
                    check_name(ring)
                except ValueError as error:
                    self.problems.add(place, str(error))
                first = writers.setdefault(ring, consumer.plan)
                if first is not consumer.plan:
                    sentence = f"the ring '{ring}' is written by the {first.kind} '{first.name}'"
                    self.problems.add(place, sentence)

    def _check_rings(self, items: list[Node], made: set[str]) -> None:
        """Every ring that is read is written by somebody, be it somebody with other mistakes."""
        known = _declared(items) | made
        for item in items:
            rings = item.value.get("rings") if isinstance(item.value, dict) else None
            seen: set[str] = set()
            for node in _items(rings):
                ring = node.value
                if not isinstance(ring, str):
                    continue  # told already
                if ring not in known:
                    self.problems.add(node.mark, f"there is no ring '{ring}'{suggest(ring, known)}")
                elif ring in seen:
                    self.problems.add(node.mark, f"the ring '{ring}' is named twice")
                seen.add(ring)

    def _check_order(self, plan: Plan, consumers: list[_Child]) -> None:
        try:
            plan.order()
        except CycleError as error:
            for child in consumers:
                if child.plan.name in error.names:
                    others = " and ".join(error.names)
                    sentence = f"the consumers {others} wait for each other's rings"
                    self.problems.add(child.node.at(("rings",)).mark, sentence)
                    break
        self.problems.raise_if_any()


def _items(node: Node | None) -> list[Node]:
    return node.value if node is not None and isinstance(node.value, list) else []


def _text_at(node: Node, *path: str) -> str | None:
    for key in path:
        if not isinstance(node.value, dict) or key not in node.value:
            return None
        node = node.value[key]
    return node.value if isinstance(node.value, str) else None


def _declared(items: list[Node]) -> set[str]:
    """Rings that a child promises, even one with other mistakes: one mistake is told once."""
    rings: set[str] = set()
    for item in items:
        if (name := _text_at(item, "name")) is not None and _text_at(item, "vendor") is not None:
            rings.update(rings_of_feed(name))
        if (output := _text_at(item, "options", OUTPUT_KEY)) is not None:
            rings.add(output)
    return rings


def _outputs(options: dict[str, Any]) -> tuple[str, ...]:
    ring = options.get(OUTPUT_KEY)
    return (ring,) if isinstance(ring, str) and ring else ()


def _metrics(section: _Metrics | None) -> MetricsPlan | None:
    if section is None or section.port is None:
        return None
    return MetricsPlan(section.host, section.port)


def _placed(plan: Plan) -> Plan:
    """The plan with each child told where the rings lie."""
    return dataclasses.replace(
        plan,
        feeds=tuple(dataclasses.replace(f, directory=plan.shm_dir) for f in plan.feeds),
        consumers=tuple(dataclasses.replace(c, directory=plan.shm_dir) for c in plan.consumers),
    )
