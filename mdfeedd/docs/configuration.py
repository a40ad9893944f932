"""The reference of all configuration keys, from what ``mdfeedd check`` checks with.

    sections, Options of our plugins ─► json_schema() ─► page()

Plugins of others are left out, whether they are installed or not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import plugins
from mdfeedd.daemon.json_schema import json_schema
from mdfeedd.docs.markdown import code, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]

_HEAD: Final = """# Configuration keys

Written from the options of each plugin by `python -m mdfeedd.docs`; a test compares them. How the file is written is
told in [configuration.md](configuration.md), and [`config/mdfeedd.yaml`](../../config/mdfeedd.yaml) shows every key in its
place. `mdfeedd check -c FILE` says which of a file's keys are wrong, and why; `mdfeedd config show -c FILE` shows a file
with all defaults.

A key without a default must be given. A key that ends in `_s`, `_ms` or `_us` takes a time with its unit (`250ms`, `5m`),
one in `_bytes` a size (`64MiB`). A secret is a reference: `{credential: NAME}`, `{file: /PATH}` or `{env: NAME}`.
"""
_KIND_OF: Final = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "mapping",
}


def page() -> str:
    """The whole page, Markdown."""
    whole = json_schema(plugins.BUILTIN)
    top = whole["properties"]
    parts = [_HEAD, "## The file\n", _table(whole, nested=False)]
    for section in ("metrics", "log"):
        parts += [f"### `{section}`\n", _table(top[section])]
    feed, consumer = top["feeds"]["items"], top["consumers"]["items"]
    parts += ["## Feeds: `feeds`, a list\n", _table(feed, nested=False)]
    for name, options in _variants(feed["allOf"], "vendor"):
        parts += [f"### `vendor: {name}`: its `options`\n", _table(options["options"])]
    parts += ["## Consumers: `consumers`, a list\n", _table(consumer, nested=False)]
    sinks: Schema = {}
    for name, options in _variants(consumer["allOf"], "type"):
        own = options["options"]
        parts += [f"### `type: {name}`: its `options`\n", _table(own, nested=False)]
        sinks = own["properties"].get("sink", sinks)
    parts.append("## Sinks: `sink` of a `batch` consumer, a mapping\n")
    parts.append(_table(sinks, nested=False))
    for name, options in _variants(sinks["allOf"], "type"):
        known = {key: value for key, value in options.items() if key != "type"}
        parts += [f"### `sink: {{type: {name}}}`\n", _table({"properties": known})]
    return "\n".join(parts)


def _variants(rules: list[Schema], tag: str) -> Iterator[tuple[str, Schema]]:
    """What the keys are where the tag has a certain value."""
    for rule in rules:
        then = rule["then"]
        yield rule["if"]["properties"][tag]["const"], _with_required(then["properties"], then)


def _with_required(properties: Schema, owner: Schema) -> Schema:
    needed = set(owner.get("required", ()))
    return {
        key: value | {"needed": True} if key in needed and isinstance(value, dict) else value
        for key, value in properties.items()
    }


def _table(owner: Mapping[str, Any], *, nested: bool = True) -> str:
    return table(["key", "default", "value", "what it is"], _rows(owner, "", nested=nested))


def _rows(owner: Mapping[str, Any], prefix: str, *, nested: bool) -> Iterator[list[str]]:
    required = set(owner.get("required", ()))
    for key, schema in owner["properties"].items():
        if not isinstance(schema, dict):
            continue
        inner = _inner(schema)
        default = _default(schema)
        if key in required or schema.get("needed"):
            default = "must be given"
        yield [code(prefix + key), default, _kind(schema), schema.get("description", "")]
        if nested and inner is not None:
            mark = "[]" if schema.get("type") == "array" else ""
            yield from _rows(inner, f"{prefix}{key}{mark}.", nested=nested)


def _inner(schema: Schema) -> Schema | None:
    """The mapping that a value is, or that each of a list is; secrets are told in one line."""
    found = schema.get("items", schema)
    if isinstance(found, dict) and "properties" in found and "maxProperties" not in found:
        return found
    return None


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    return code(json.dumps(schema["default"], ensure_ascii=False))


def _kind(schema: Schema) -> str:
    """What a value may be, in words."""
    if "maxProperties" in schema:
        return "reference: " + ", ".join(code(source) for source in schema["properties"])
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    if "anyOf" in schema:
        return _either(schema["anyOf"])
    kinds = schema.get("type", "")
    names = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind]
    if "array" in names:
        of = _kind(schema.get("items", {}))
        return f"list of {of}" if of else "list"
    if names == ["object", "null"]:
        return "mapping"
    return " or ".join(_KIND_OF[kind] + _bounds(schema, kind) for kind in names)


def _either(kinds: list[Schema]) -> str:
    told = []
    for kind in kinds:
        pattern = str(kind.get("pattern", ""))
        if pattern == plugins.TARGET_PATTERN:
            told.append("`package.module:Class`")
        elif pattern and kind.get("type") == "string":
            told.append("size with unit" if "KiB" in pattern else "time with unit")
        else:
            told.append(_kind(kind))
    return " or ".join(dict.fromkeys(told))


def _bounds(schema: Schema, kind: str) -> str:
    if kind not in {"integer", "number"}:
        return ""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {low} to {high}"
    if low is not None:
        return f" from {low}"
    return "" if high is None else f" up to {high}"
