"""A checked configuration, written out: includes joined, defaults filled in, secrets covered.

What `as_written` gives has the shape of the file, and the YAML of it means the same when it is read again (with
the exception of what was covered). Secrets are references, so they are shown as such; covered is what a plugin
of somebody else's may hold in keys that sound like a secret.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import yaml

from mdfeedd.daemon import plugins, references
from mdfeedd.daemon.problems import names_secret, redact
from mdfeedd.daemon.sections import SINK_FIELDS, SINK_KEY, MetricsSection
from mdfeedd.daemon.yaml12 import core_type

if TYPE_CHECKING:
    from mdfeedd.daemon.plan import ChildPlan, MetricsPlan, Plan

__all__ = ["COVER", "as_written", "to_yaml"]

COVER = "***"


def as_written(plan: Plan) -> dict[str, Any]:
    """The whole configuration as plain data, in the shape of the file."""
    metrics = plan.metrics
    return {
        "shm_dir": plan.shm_dir,
        "metrics": None if metrics is None else _metrics(metrics),
        "log": {"level": plan.log.level, "json": plan.log.json},
        "feeds": [_feed(child) for child in plan.feeds],
        "consumers": [_consumer(child) for child in plan.consumers],
        "symbols": plan.symbols,
    }


def _metrics(plan: MetricsPlan) -> dict[str, Any]:
    shown = references.fold(MetricsSection, dataclasses.asdict(plan))
    return shown | {"names": list(plan.names)}


def _feed(child: ChildPlan) -> dict[str, Any]:
    return {
        "name": child.name,
        "vendor": child.plugin,
        "capacity": child.capacity,
        "instruments_capacity": child.instruments_capacity,
        "shard": child.shard,
        "huge_pages": child.huge_pages,
        **_process(child),
        "options": _options(plugins.load(child.target), child.options),
    }


def _consumer(child: ChildPlan) -> dict[str, Any]:
    return {
        "name": child.name,
        "type": child.plugin,
        "rings": list(child.rings),
        **_process(child),
        "options": _options(plugins.load(child.target), child.options),
    }


def _process(child: ChildPlan) -> dict[str, Any]:
    placed = {"cpus": list(child.cpus), "numa_node": child.numa_node}
    return {**placed, "priority": child.priority, "hang_s": child.hang_s}


def _options(cls: type[Any], options: dict[str, Any]) -> dict[str, Any]:
    folded = references.fold(cls.Options, options)
    if set(SINK_FIELDS) <= options.keys():
        kind, given = (folded.pop(field) for field in SINK_FIELDS)
        sink = plugins.load(plugins.resolve(plugins.SINKS, kind))
        folded = {SINK_KEY: {"type": kind, **references.fold(sink.Options, given)}} | folded
    shown: dict[str, Any] = _covered(folded)
    return shown


def _covered(value: Any, key: str = "") -> Any:
    """The value with `COVER` in place of texts that may be secret."""
    if isinstance(value, dict):
        return {name: _covered(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_covered(item, key) for item in value]
    if not isinstance(value, str) or not value:
        return value
    return COVER if names_secret(key) else redact(value)


def to_yaml(data: dict[str, Any]) -> str:
    """The data as YAML 1.2."""
    return yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )


class _Dumper(yaml.SafeDumper):
    """Quotes what would be no text by the rules of YAML 1.2."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class names it so
        """Write everything out."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = core_type(text) == "str"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if plain else "'")


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    """In one line, if that is what a person would write."""
    flat = not any(isinstance(item, (dict, list)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
