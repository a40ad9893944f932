"""A JSON Schema of the configuration file, for editors: completion, the meaning of keys, most mistakes.

Made from what ``mdfeedd check`` checks with: the sections, and the options of each plugin. It knows less than the
check: nothing of what one key means for another, and of a plugin that cannot be imported only the name.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import plugins, references
from mdfeedd.daemon.plan import hints_of, jsonable
from mdfeedd.daemon.quantities import Quantity, quantity_of
from mdfeedd.daemon.schema import adapter, dataclass_in, element_of, numbers_in, required
from mdfeedd.daemon.sections import (
    MAX_CONSUMERS,
    MAX_FEEDS,
    SINK_FIELDS,
    SINK_KEY,
    ConsumerSection,
    FeedSection,
    FileSection,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DIALECT", "json_schema"]

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What the language servers for YAML know best."""

Schema = dict[str, Any]
Plugins = dict[str, dict[str, str]]


def json_schema(known: Plugins | None = None) -> Schema:
    """The schema, with the plugins of `known` (group -> name -> target; by default all there are)."""
    groups = (plugins.FEEDS, plugins.CONSUMERS, plugins.SINKS)
    found = known or {group: plugins.available(group) for group in groups}
    whole = _object(FileSection)
    whole.pop("required", None)  # a part may hold consumers only
    texts = {"type": "string", "minLength": 1}
    whole["properties"] |= {
        "include": _described(FileSection, "include")
        | {"anyOf": [texts, {"type": ["array", "null"], "items": texts}]},
        "feeds": _list(
            FeedSection,
            found[plugins.FEEDS],
            _object,
            key="feeds",
            tag="vendor",
            limit=MAX_FEEDS,
        ),
        "consumers": _list(
            ConsumerSection,
            found[plugins.CONSUMERS],
            lambda cls: _with_sink(cls, found[plugins.SINKS]),
            key="consumers",
            tag="type",
            limit=MAX_CONSUMERS,
        ),
    }
    return {"$schema": DIALECT, "title": "configuration of mdfeedd", **whole}


def _list(
    section: type[Any],
    names: Mapping[str, str],
    options: Callable[[type[Any]], Schema],
    *,
    key: str,
    tag: str,
    limit: int,
) -> Schema:
    """A list of children, whose options are those of the plugin that `tag` names."""
    item = _object(section)
    item["properties"] |= {
        tag: _plugin_name(names, section, tag),
        "options": _described(section, "options") | {"type": ["object", "null"]},
    }
    item["allOf"] = [
        _if(tag, name, {"properties": {"options": options(cls)}})
        for name, cls in sorted(_classes(names).items())
    ]
    return _described(FileSection, key) | {
        "type": ["array", "null"],
        "maxItems": limit,
        "items": item,
    }


def _classes(names: Mapping[str, str]) -> dict[str, type[Any]]:
    """The options classes of the plugins that can be imported here."""
    found = {}
    for name, target in names.items():
        try:
            options = plugins.load(target).Options
            hints_of(options)
        except (plugins.PluginError, NameError):  # not installed, or wrong: the check will say so
            continue
        found[name] = options
    return found


def _plugin_name(names: Mapping[str, str], section: type[Any], tag: str) -> Schema:
    target = {"type": "string", "pattern": plugins.TARGET_PATTERN}
    return _described(section, tag) | {"anyOf": [{"enum": sorted(names)}, target]}


def _if(tag: str, name: str, then: Schema) -> Schema:
    return {"if": {"properties": {tag: {"const": name}}, "required": [tag]}, "then": then}


def _with_sink(cls: type[Any], names: Mapping[str, str]) -> Schema:
    """The options of a consumer; of one that has a sink, with the sink's in a mapping of their own."""
    made = _object(cls)
    if not made["properties"].keys() >= set(SINK_FIELDS):
        return made
    for field in SINK_FIELDS:
        del made["properties"][field]
    kind = {"anyOf": [{"enum": sorted(names)}, {"pattern": plugins.TARGET_PATTERN}]}
    sinks = []
    for name, options in sorted(_classes(names).items()):
        sink = _object(options)
        sink["properties"]["type"] = True
        sinks.append(_if("type", name, sink))
    made["properties"][SINK_KEY] = {
        "type": "object",
        "description": "where the records go: a type, and the options of that sink",
        "properties": {"type": {"type": "string", "description": "a registered sink", **kind}},
        "required": ["type"],
        "allOf": sinks,
    }
    made["required"] = [SINK_KEY, *(key for key in made["required"] if key not in SINK_FIELDS)]
    return made


def _object(cls: Any) -> Schema:
    """A mapping with the keys of a dataclass; nothing at all is one whose keys are all commented out."""
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = hints_of(cls)
    secrets = references.secrets_of(cls)
    properties = {
        key: _secret(secrets[key]) if key in secrets else _field(fields[key], hints[key])
        for key in references.keys_of(cls)
    }
    return {
        "type": ["object", "null"],
        "properties": properties,
        "required": [name for name, f in fields.items() if required(f)],
        "additionalProperties": False,
    }


def _field(f: dataclasses.Field[Any], hint: Any) -> Schema:
    text = f.metadata.get("help")
    made = {"description": text} if text else {}
    if f.default is not dataclasses.MISSING:
        made["default"] = jsonable(f.default)
    return made | _value(f.name, hint)


def _described(cls: type[Any], key: str) -> Schema:
    text = next(f.metadata.get("help") for f in dataclasses.fields(cls) if f.name == key)
    return {"description": text} if text else {}


def _value(key: str, hint: Any) -> Schema:
    """What a value of the annotated type is."""
    nested = dataclass_in(hint)
    if nested is not None:
        return _object(nested)
    element = element_of(hint)
    if element is not None:
        inner = dataclass_in(element)
        return {"type": "array", "items": {} if inner is None else _object(inner)}
    made: Schema = adapter(hint).json_schema()
    quantity = quantity_of(key)
    if quantity is None or not numbers_in(hint):
        return made
    if made.get("type") == "array":
        return made | {"items": _or_with_unit(made["items"], quantity)}
    return _or_with_unit(made, quantity)


def _or_with_unit(number: Schema, quantity: Quantity) -> Schema:
    return {"anyOf": [number, {"type": "string", "pattern": quantity.pattern}]}


def _secret(sources: Mapping[str, str]) -> Schema:
    """A reference: exactly one of the sources."""
    properties = {
        source: {
            "type": "string",
            "description": references.SOURCES[source][2],
            "pattern": f"^(?:{references.SOURCES[source][1].pattern})$".replace("\0", "\\u0000"),
        }
        for source in sources
    }
    return {
        "description": "where the secret is, never what it is",
        "type": "object",
        "properties": properties,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
