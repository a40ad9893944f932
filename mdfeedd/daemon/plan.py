"""What runs: the frozen result of a checked configuration, the same in the supervisor and in its children.

A plan consists of JSON values only, defaults filled in, so that a child needs neither YAML nor pydantic: it
reads its own part from a pipe and rebuilds the options with `revive`. Who may start before whom (`order`) is
worked out here, because it follows from rings alone.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import decimal
import enum
import json
import pathlib
import types
import typing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from mdfeedd.feeds.protocol import RingPlan, rings_of_feed
from mdfeedd.feeds.shard import Shard

MAX_PLAN_BYTES: Final = 16 << 20
"""The plan of one child as JSON."""

Kind = Literal["feed", "consumer"]
KINDS: Final[tuple[Kind, ...]] = typing.get_args(Kind)


class Exit(enum.IntEnum):
    """Exit statuses (sysexits.h where it has one)."""

    DONE = 0
    DAMAGED = 65  # what is read is, and what was whole of it is published: will not heal by itself
    UNAVAILABLE = 69  # something outside is missing (a ring, a sink, a file): worth trying again
    CRASH = 70  # a bug, or a case that nobody thought of
    CREDENTIALS = 77  # will not heal by itself
    CONFIG = 78  # will not heal by itself


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """One process. `target` is ``module:Class``; `options` are JSON values, all defaults filled in."""

    kind: Kind
    name: str
    plugin: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    directory: str = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system

    capacity: int = 65_536
    """Feed: slots of its ring."""
    instruments_capacity: int = 65_536
    """Feed: entries of its instruments table."""
    feed_index: int = 0
    """Feed: the high 8 bits of its instrument ids."""
    shard: str | None = None
    """Feed: the part of its instruments that it publishes, such as 2/4; None: all."""
    readers: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Feed: who reads its rings, by ring, for its next start: with others a running one is the same."""

    rings: tuple[str, ...] = ()
    """Consumer: what it reads."""
    outputs: tuple[str, ...] = ()
    """Consumer: rings that it writes."""

    cpus: tuple[int, ...] = ()
    """The CPUs that it may run on; none: any."""
    numa_node: int | None = None
    """The node whose memory it takes first, and whose CPUs it runs on if `cpus` has none."""
    huge_pages: bool = False
    """Feed: its rings lie on huge pages, where the kernel can."""
    once: bool = False
    """Feed: it begins anew with each start, so one that has published is not started again."""
    priority: str = "normal"
    """Its scheduling (see `scheduling`)."""
    hang_s: float = 0.0
    """Without a sign of life for so long it is ended and started again; 0: never."""

    @property
    def label(self) -> str:
        """As log lines call it."""
        return f"{self.kind} {self.name}"

    @property
    def writes(self) -> tuple[str, ...]:
        """The rings that this child makes when it starts."""
        return (self.name,) if self.kind == "feed" else self.outputs

    @property
    def may_write(self) -> tuple[str, ...]:
        """Those and the rings that it may make later."""
        return rings_of_feed(self.name) if self.kind == "feed" else self.outputs

    def produces_for(self, other: ChildPlan) -> bool:
        """Does the other read what this one writes?"""
        return any(ring in self.may_write for ring in other.rings)


@dataclass(frozen=True, slots=True)
class MetricsPlan:
    """Where `/metrics` and the status page are served; port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 9464
    prices: bool = True
    """Whether the page has prices: whoever reaches it may see them."""
    names: tuple[str, ...] = ()
    """Names of this machine beside its own, by which it may be asked."""
    token_credential: str = ""
    token_file: str = ""
    token_env: str = ""

    def url(self, port: int) -> str:
        """Of the page, on this port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}/"


@dataclass(frozen=True, slots=True)
class LogPlan:
    """What is logged, and whether as JSON lines."""

    level: str = "info"
    json: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole daemon."""

    shm_dir: str = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system
    metrics: MetricsPlan | None = field(default_factory=MetricsPlan)
    log: LogPlan = field(default_factory=LogPlan)
    feeds: tuple[ChildPlan, ...] = ()
    consumers: tuple[ChildPlan, ...] = ()
    symbols: dict[str, dict[str, str]] = field(default_factory=dict)
    """One name for what each feed calls differently: for those who read."""

    def order(self) -> list[ChildPlan]:
        """Feeds, then consumers so that a ring's writer comes before its readers. Raises `CycleError`."""
        ready = [*self.feeds]
        made = {ring for feed in self.feeds for ring in feed.may_write}
        waiting = collections.deque(self.consumers)
        stuck = 0
        while waiting and stuck < len(waiting):
            consumer = waiting.popleft()
            if all(ring in made for ring in consumer.rings):
                ready.append(consumer)
                made.update(consumer.outputs)
                stuck = 0
            else:
                waiting.append(consumer)
                stuck += 1
        if waiting:
            raise CycleError([consumer.name for consumer in waiting])
        return ready

    def producers(self, consumer: ChildPlan) -> list[ChildPlan]:
        """The children that write what this consumer reads."""
        return [child for child in (*self.feeds, *self.consumers) if child.produces_for(consumer)]

    def finite(self) -> Plan:
        """The same, with consumers that end when their rings have ended (those that know `follow`)."""
        return replace(
            self,
            consumers=tuple(
                replace(child, options={**child.options, "follow": False})
                if "follow" in child.options
                else child
                for child in self.consumers
            ),
        )

    def at(self, shm_dir: str) -> Plan:
        """The same with its rings in another folder."""
        return replace(
            self,
            shm_dir=shm_dir,
            feeds=tuple(replace(child, directory=shm_dir) for child in self.feeds),
            consumers=tuple(replace(child, directory=shm_dir) for child in self.consumers),
        )

    def to_json(self) -> str:
        """JSON that `from_json` reads back into an equal plan."""
        return json.dumps(dataclasses.asdict(self))

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that another configuration would not have; secrets are not in it."""
        import hashlib  # noqa: PLC0415 - slow to import, and no child needs it

        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote. Raises `ValueError`."""
        plan = _build(cls, json.loads(text))
        assert isinstance(plan, Plan)
        return plan


class CycleError(ValueError):
    """Consumers that wait for each other, or for a ring that nobody writes. `names` are theirs."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"no order to start {', '.join(names)}")
        self.names = names


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a child is told through the pipe."""

    child: ChildPlan
    log: LogPlan = field(default_factory=LogPlan)
    supervisor_pid: int = 0
    """The parent; a child that finds another one has been orphaned already. 0: not looked at."""
    path: tuple[str, ...] = ()
    """`sys.path` of the supervisor, where the plugin classes were found."""

    def to_json(self) -> bytes:
        """JSON for the pipe."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Assignment:
        """Read what `to_json` wrote. Raises `ValueError` with a sentence."""
        if len(data) > MAX_PLAN_BYTES:
            raise ValueError(f"the plan has more than {MAX_PLAN_BYTES} bytes")
        try:
            assignment = _build(cls, json.loads(data))
        except RecursionError:
            raise ValueError("the plan is nested too deeply") from None
        assert isinstance(assignment, Assignment)
        if not isinstance(assignment.child, ChildPlan) or not isinstance(assignment.log, LogPlan):
            raise ValueError("a plan tells of a child and of its log")  # noqa: TRY004
        if assignment.child.kind not in KINDS:
            raise ValueError(f"a child is a feed or a consumer, not '{assignment.child.kind}'")
        return assignment


def _build(cls: type[Any], data: Any) -> Any:
    """A dataclass from JSON of exactly its fields."""
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__} is a JSON object, not {type(data).__name__}")  # noqa: TRY004
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(data.keys() - known):
        raise ValueError(f"{cls.__name__} has no field {', '.join(map(repr, unknown))}")
    try:
        return revive(cls, data)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None


def instance(cls: type[Any], child: ChildPlan, options: Any) -> Any:
    """The feed or consumer of a child, not yet running. Raises what its constructor raises."""
    if child.kind == "consumer":
        return cls(child.name, options, list(child.rings), child.directory)
    ring = RingPlan(
        name=child.name,
        capacity=child.capacity,
        feed_index=child.feed_index,
        instruments_capacity=child.instruments_capacity,
        directory=child.directory,
        huge_pages=child.huge_pages,
        readers=child.readers,
        shard=None if child.shard is None else Shard.parse(child.shard),
    )
    return cls(child.name, options, ring)


# ------------------------------------------------------------------------------------ options and JSON

_COMMON_NAMES: Final[dict[str, Any]] = {
    "Any": Any,
    "Decimal": decimal.Decimal,
    "Literal": Literal,
    "Mapping": collections.abc.Mapping,
    "Path": pathlib.Path,
    "Sequence": collections.abc.Sequence,
}
"""What modules import for annotations only, so that it is not in their namespace."""


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The resolved annotations of a dataclass, `Annotated` kept. Raises `NameError`."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:
        return typing.get_type_hints(cls, localns=_COMMON_NAMES, include_extras=True)


def jsonable(value: Any) -> Any:
    """An option's value as JSON values; the opposite of `revive`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init
        }
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, collections.abc.Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def revive(hint: Any, value: Any) -> Any:
    """A value of the annotated type out of its JSON form. Checks no types: the configuration did."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return revive(typing.get_args(hint)[0], value)
    if origin in (typing.Union, types.UnionType):
        return _revive_union(typing.get_args(hint), value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        hints = hints_of(hint)
        return hint(**{key: revive(hints.get(key, Any), item) for key, item in value.items()})
    if isinstance(value, list):
        return _revive_list(origin or hint, typing.get_args(hint), value)
    if isinstance(value, dict) and (arguments := typing.get_args(hint)):
        key_hint, item_hint = arguments
        return {revive(key_hint, k): revive(item_hint, item) for k, item in value.items()}
    if value is None or hint is Any or not isinstance(hint, type) or isinstance(value, hint):
        return value
    if issubclass(hint, (pathlib.PurePath, decimal.Decimal, enum.Enum, int, float)):
        return hint(value)
    return value


def _revive_union(arms: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        return None
    others = [arm for arm in arms if arm is not type(None)]
    for arm in others:  # a value belongs to the arm of its own kind
        shape = typing.get_origin(arm) or arm
        listed = isinstance(value, list) and shape in _CONTAINERS
        mapped = isinstance(value, dict) and dataclasses.is_dataclass(shape)
        same = arm is not Any and isinstance(arm, type) and isinstance(value, arm)
        if listed or mapped or same:
            return revive(arm, value)
    return revive(others[0], value)


_CONTAINERS: Final = (tuple, list, set, frozenset, collections.abc.Sequence)


def _revive_list(container: Any, arguments: tuple[Any, ...], value: list[Any]) -> Any:
    if container is tuple and arguments and arguments[-1] is not Ellipsis:
        return tuple(revive(hint, item) for hint, item in zip(arguments, value, strict=True))
    items = [revive(arguments[0] if arguments else Any, item) for item in value]
    if container in (tuple, collections.abc.Sequence):
        return tuple(items)
    if container in (set, frozenset):
        return container(items)
    return items
