"""From the name in the configuration to the class that does the work.

Feeds, consumers and sinks are entry points of the groups below; ours are registered the same way as anybody
else's. Where mdfeedd runs from a source tree that was never installed there are no entry points, so the table
of our own is written here once more (a test holds it equal to pyproject.toml). ``package.module:Class`` in
place of a name needs no registration at all.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon.problems import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

FEEDS: Final = "mdfeedd.feeds"
CONSUMERS: Final = "mdfeedd.consumers"
SINKS: Final = "mdfeedd.sinks"

BUILTIN: Final[dict[str, dict[str, str]]] = {
    FEEDS: {
        "bloomberg": "mdfeedd.feeds.bloomberg.feed:BloombergFeed",
        "databento": "mdfeedd.feeds.databento.feed:DatabentoFeed",
        "cme": "mdfeedd.feeds.cme.feed:CmeFeed",
        "kafka": "mdfeedd.feeds.kafka.feed:KafkaFeed",
        "replay": "mdfeedd.feeds.replay.feed:ReplayFeed",
        "synthetic": "mdfeedd.sim.feed:SyntheticFeed",
    },
    CONSUMERS: {
        "bars": "mdfeedd.consumers.bars:BarsConsumer",
        "batch": "mdfeedd.consumers.batch:BatchConsumer",
        "callbacks": "mdfeedd.consumers.callbacks:CallbackConsumer",
        "fanout": "mdfeedd.consumers.fanout:FanoutConsumer",
        "journal": "mdfeedd.consumers.journal:JournalConsumer",
    },
    SINKS: {
        "kafka": "mdfeedd.sinks.kafka:KafkaSink",
        "parquet": "mdfeedd.sinks.parquet:ParquetSink",
        "postgres": "mdfeedd.sinks.postgres:PostgresSink",
        "redis": "mdfeedd.sinks.redis:RedisSink",
    },
}

_SINGULAR: Final = {FEEDS: "vendor", CONSUMERS: "consumer type", SINKS: "sink type"}
_NOUN: Final = {FEEDS: "feed", CONSUMERS: "consumer", SINKS: "sink"}
_MADE_OF: Final = {
    FEEDS: ("name", "options", "ring"),
    CONSUMERS: ("name", "options", "rings", "directory"),
    SINKS: ("options", "name"),
}
"""What the constructor is called with, in this order."""
_RUN: Final[dict[str, tuple[str, ...]]] = {"run": ("stop",)}
_METHODS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    FEEDS: _RUN,
    CONSUMERS: _RUN,
    SINKS: {
        "position": ("ring",),
        "write": ("batch",),
        "housekeep": (),
        "flush": (),
        "progress": ("ring_id",),
        "close": (),
    },
}
"""What else is called, and with what."""
_TARGET: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
TARGET_PATTERN: Final = f"^{_TARGET.pattern}$"
"""Of ``package.module:Class``, for editors."""
_EXTRA_OF: Final = {
    "confluent_kafka": "kafka",
    "databento_dbn": "databento",
    "psycopg": "postgres",
    "pyarrow": "parquet",
    "redis": "redis",
    "websockets": "fanout",
}
"""Which extra of ours installs an optional package."""


class PluginError(Exception):
    """There is no such plugin, or it cannot be loaded. One sentence."""


@cache
def available(group: str) -> dict[str, str]:
    """All plugins of a group: name -> ``module:Class``."""
    import importlib.metadata  # noqa: PLC0415 - a worker that only loads a class does without

    found = dict(BUILTIN[group])
    for entry in importlib.metadata.entry_points(group=group):
        found[entry.name] = entry.value
    return found


def resolve(group: str, name: str) -> str:
    """``module:Class`` of a name, or of such a string itself. Raises `PluginError`."""
    if ":" in name:
        if not _TARGET.fullmatch(name):
            raise PluginError(f"'{name}' is not of the form package.module:Class")
        return name
    known = available(group)
    if name not in known:
        raise PluginError(f"unknown {_SINGULAR[group]} '{name}'{suggest(name, known)}")
    return known[name]


def load(target: str, group: str = "") -> type[Any]:
    """The class of a target, seen to have `Options`; with a group, also to be one of those. Raises `PluginError`."""
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise PluginError(_missing(target, error)) from error
    except (Exception, SystemExit) as error:  # whatever a plugin's module does when it is imported
        raise PluginError(f"{target} cannot be imported: {in_words(error)}") from error
    cls = getattr(module, attribute, None)
    if not isinstance(cls, type):
        raise PluginError(f"{module_name} has no class {attribute}")
    if not dataclasses.is_dataclass(getattr(cls, "Options", None)):
        raise PluginError(f"{target} has no dataclass Options, so it is no plugin")
    if group:
        for mistake in _mistakes(cls, group):
            raise PluginError(f"{target} is no {_NOUN[group]}: {mistake}")
    return cls


def in_words(error: Exception | SystemExit) -> str:
    """What the code of a plugin has raised. Its wish to end the interpreter is its mistake: others run in there."""
    if not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    if error.code is None or isinstance(error.code, int):
        return f"it ends the interpreter, with status {error.code or 0}"
    return f"it ends the interpreter, with status 1: {error.code}"


def _mistakes(cls: type[Any], group: str) -> Iterator[str]:
    """What the author of a plugin has left out or written otherwise; the grave ones first."""
    from mdfeedd.daemon.plan import hints_of  # noqa: PLC0415 - a worker that only loads a class does without

    try:
        hints_of(cls.Options)
    except (NameError, TypeError, SyntaxError) as error:
        yield f"the types of its Options cannot be read: {error}"
    if not cls.Options.__dataclass_params__.frozen:
        yield "its Options can be changed: @dataclass(frozen=True) is missing"
    if not _takes(cls, _MADE_OF[group]):
        yield f"it is made by {cls.__name__}({', '.join(_MADE_OF[group])}), which its __init__ does not take"
    for name, words in _METHODS[group].items():
        method = getattr(cls, name, None)
        called = f"{name}(self{''.join(', ' + word for word in words)})"
        if not callable(method):
            yield f"it has no method {called}"
        elif not _takes(method, ("self", *words)):
            yield f"its {name} cannot be called as {called}"
    if group == SINKS and not isinstance(getattr(cls, "keeps_positions", None), bool):
        yield "it does not say whether it keeps positions: keeps_positions = False, or True"


def _takes(function: Any, words: tuple[str, ...]) -> bool:
    """Can it be called with so many arguments? Yes, where that cannot be known."""
    try:
        inspect.signature(function).bind(*words)
    except TypeError:
        return False
    except ValueError:  # a compiled one may not say
        return True
    return True


def _missing(target: str, error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(package)
    cure = f": pip install 'mdfeedd[{extra}]'" if extra else ""
    return f"{target} cannot be imported: there is no module {error.name}{cure}"
