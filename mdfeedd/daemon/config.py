"""The configuration file: one YAML, and what it includes, checked whole, into a frozen `Plan`.

`load` reads a file and `check` takes the same as Python data (what ``mdfeedd replay`` builds from its command
line). Both raise `ConfigError` with every problem at once, in file order. The check imports the classes of the
feeds, consumers and sinks that are named, and touches neither ports nor networks nor shared memory, so it is
the same at start, before a reload, and in an editor.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import including, plugins, references, symbols, yaml12
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
from mdfeedd.daemon.sections import (
    MAX_CONSUMERS,
    MAX_FEEDS,
    SINK_FIELDS,
    SINK_KEY,
    ConsumerSection,
    FeedSection,
    FileSection,
    MetricsSection,
)
from mdfeedd.daemon.yaml12 import Node
from mdfeedd.feeds.protocol import rings_of_feed
from mdfeedd.ring.segment import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MAX_FEEDS", "ConfigError", "Problem", "check", "load", "parse", "whereabouts"]

OUTPUT_KEY: Final = "ring"
"""The option of a consumer that names the ring it writes."""


def load(path: str | Path) -> Plan:
    """The plan of a file. Raises `ConfigError`, also where the file cannot be read."""
    data = including.read(path)
    if isinstance(data, Problem):
        raise ConfigError([data])
    return parse(data, str(path))


def whereabouts(path: str | Path) -> tuple[str, MetricsPlan | None]:
    """Where a daemon of this file has its rings, and where it answers, whatever else is wrong with the file.

    What is wrong or missing is as by default. Raises `ConfigError` where the file cannot be read at all.
    """
    data = including.read(path)
    if isinstance(data, Problem):
        raise ConfigError([data])
    root, ignored = yaml12.parse(data, str(path))
    joined = None if root is None else including.join(root, ignored)
    nodes = joined.value if joined is not None and isinstance(joined.value, dict) else {}
    told = nodes.get("shm_dir", Node(None)).value
    shm_dir = told if isinstance(told, str) and told.startswith("/") else Plan().shm_dir
    section = nodes.get("metrics", Node({}))
    if section.value is None and not section.empty:
        return shm_dir, None
    filled: MetricsSection | None = fill(section, MetricsSection, ignored, "metrics")
    return shm_dir, _metrics(MetricsSection() if filled is None else filled)


def parse(data: bytes | str, file: str = "<configuration>") -> Plan:
    """The plan of a YAML text, which includes files by their places beside `file`. Raises `ConfigError`."""
    root, problems = yaml12.parse(data.encode() if isinstance(data, str) else data, file)
    if root is not None:
        root = including.join(root, problems)
    return _Checker(problems).plan(root)


def check(data: Mapping[str, Any], source: str = "<arguments>") -> Plan:
    """The plan of Python data of the same shape as the file; it includes nothing. Raises `ConfigError`."""
    problems = Problems(source)
    if including.INCLUDE_KEY in data:
        problems.add(Mark(), f"{including.INCLUDE_KEY}: is for files only")
    return _Checker(problems).plan(yaml12.from_data(dict(data)))


@dataclass(slots=True)
class _Child:
    """A child in the making, with the place in the file where each thing about it was said."""

    plan: ChildPlan
    node: Node
    through_journal: bool = False
    """A consumer that reads the journal of its rings, and not them."""


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
        file: FileSection | None = fill(root, FileSection, self.problems, "")
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
        symbols.check(nodes.get(symbols.SYMBOLS_KEY), _names(nodes.get("feeds")), self.problems)
        self.problems.raise_if_any()
        assert file is not None
        plan = Plan(
            shm_dir=file.shm_dir,
            metrics=_metrics(file.metrics),
            log=LogPlan(file.log.level, file.log.json),
            feeds=tuple(_with_readers(child.plan, consumers) for child in feeds),
            consumers=tuple(child.plan for child in consumers),
            symbols={name: dict(feeds) for name, feeds in file.symbols.items()},
        )
        self._check_order(plan, consumers)
        return _placed(plan)

    def _children(self, node: Node | None, make: Any, limit: int) -> list[_Child]:
        if node is None or not isinstance(node.value, list):
            return []  # told already, if it is wrong
        if len(node.value) > limit:
            self.problems.add(node.mark, f"at most {limit} are possible, found {len(node.value)}")
        made = []
        before: Counter[str] = Counter()  # the items of each file are counted from 0
        for index, item in enumerate(node.value[:limit]):
            made.append(make(item, index, before[item.mark.file]))
            before[item.mark.file] += 1
        return [child for child in made if child is not None]

    def _feed(self, node: Node, index: int, place: int) -> _Child | None:
        path = f"feeds[{place}]"
        feed: FeedSection | None = fill(node, FeedSection, self.problems, path)
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
            shard=feed.shard,
            cpus=feed.cpus,
            numa_node=feed.numa_node,
            huge_pages=feed.huge_pages,
            once=bool(getattr(plugin.cls, "once", False)),
            priority=feed.priority,
            hang_s=feed.hang_s,
        )
        return self._try(plan, plugin, node, path)

    def _consumer(self, node: Node, _index: int, place: int) -> _Child | None:
        path = f"consumers[{place}]"
        consumer: ConsumerSection | None = fill(node, ConsumerSection, self.problems, path)
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
            cpus=consumer.cpus,
            numa_node=consumer.numa_node,
            priority=consumer.priority,
            hang_s=consumer.hang_s,
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
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's constructor does
            crash = f"{plugin.target} cannot be made: {plugins.in_words(error)}"
            self.problems.add(node.mark, f"{path}: {crash}")
            return None
        return _Child(plan, node, bool(getattr(plugin.options, "through_journal", False)))

    def _plugin(self, group: str, node: Node, key: str, path: str) -> _Plugin | None:
        """The class that `key` names, and its checked options."""
        named = node.value.get(key) if isinstance(node.value, dict) else None
        if named is None or not isinstance(named.value, str):
            return None  # told already
        given = node.value.get("options") or Node({}, node.mark)
        try:
            target = plugins.resolve(group, named.value)
            cls = plugins.load(target, group)
        except plugins.PluginError as error:
            self.problems.add(named.mark, f"{path}.{key}: {error}")
            return None
        try:
            options = self._options(cls, given, f"{path}.options")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's options do
            crash = f"the check of its options crashed: {plugins.in_words(error)}"
            self.problems.add(given.mark, f"{path}.options: {crash}")
            return None
        return None if options is None else _Plugin(named.value, target, cls, options)

    def _options(self, cls: type[Any], node: Node, path: str) -> Any | None:
        names = [f.name for f in dataclasses.fields(cls.Options)]
        if node.value is not None and not isinstance(node.value, dict):
            return fill(node, cls.Options, self.problems, path)
        if not set(SINK_FIELDS) <= set(names):
            return fill(node, cls.Options, self.problems, path)
        given = Node(dict(node.value or {}), node.mark, node.keys)
        shown = (name for name in names if name not in SINK_FIELDS)
        known = [SINK_KEY, *references.keys_of(cls.Options, shown)]
        for key in SINK_FIELDS:
            if given.value.pop(key, None) is not None:
                sentence = f"{path}: unknown key '{key}'{suggest(key, known)}"
                self.problems.add(node.keys.get(key, Mark()), sentence)
        sink = self._sink(given, f"{path}.{SINK_KEY}")
        given.value.pop(SINK_KEY, None)
        given.value.update(sink)
        told = () if sink else SINK_FIELDS
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
            cls = plugins.load(plugins.resolve(plugins.SINKS, named.value), plugins.SINKS)
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
                other = first[name]
                where = (
                    f"line {other.line}"
                    if other.file == mark.file
                    else f"{other.file}:{other.line}"
                )
                shown = f" ({where})" if other.line else ""
                self.problems.add(mark, f"the name '{name}' is taken by another child{shown}")
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


def _names(node: Node | None) -> list[str]:
    return [name for item in _items(node) if (name := _text_at(item, "name")) is not None]


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


def _with_readers(feed: ChildPlan, consumers: list[_Child]) -> ChildPlan:
    """The feed, told of the consumers that read its rings: not a journal of them, nor what is made of them."""
    reading = [c.plan for c in consumers if not c.through_journal]
    by_ring = {ring: tuple(c.name for c in reading if ring in c.rings) for ring in feed.may_write}
    return dataclasses.replace(
        feed, readers={ring: names for ring, names in by_ring.items() if names}
    )


def _metrics(section: MetricsSection | None) -> MetricsPlan | None:
    if section is None or section.port is None:
        return None
    given = {f.name: getattr(section, f.name) for f in dataclasses.fields(MetricsPlan)}
    return MetricsPlan(**given)


def _placed(plan: Plan) -> Plan:
    """The plan with each child told where the rings lie."""
    return dataclasses.replace(
        plan,
        feeds=tuple(dataclasses.replace(f, directory=plan.shm_dir) for f in plan.feeds),
        consumers=tuple(dataclasses.replace(c, directory=plan.shm_dir) for c in plan.consumers),
    )
