"""Secrets in a configuration are said by reference: where one is, never what it is.

    key: {credential: NAME}     a systemd credential: a file of that name in $CREDENTIALS_DIRECTORY
    key: {file: /PATH}          a file with nothing else in it
    key: {env: NAME}            an environment variable

An options class takes a secret called ``key`` by fields of the names ``key_credential``, ``key_file`` and
``key_env``, of which the first must be there; those may be written as keys of their own, too. Anything else in
the place of a reference is refused without being shown.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon.problems import Mark, Problems, suggest
from mdfeedd.daemon.yaml12 import Node
from mdfeedd.secret import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["SOURCES", "Unfolded", "fold", "keys_of", "references_in", "secrets_of", "unfold"]

SOURCES: Final = {
    "credential": (
        "NAME",
        re.compile(r"[A-Za-z0-9._:@-]{1,255}"),
        "the name of a systemd credential",
    ),
    "file": ("/PATH", re.compile(r"/[^\0]+"), "an absolute path"),
    "env": ("NAME", re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "the name of an environment variable"),
}
"""Where a secret may be: how that is shown, what it looks like, and what it is. First come, first taken."""


@cache
def secrets_of(cls: Any) -> Mapping[str, Mapping[str, str]]:
    """The secrets that an options class takes: name -> source -> field."""
    names = {f.name for f in dataclasses.fields(cls) if f.init}
    found = [name.removesuffix("_credential") for name in names if name.endswith("_credential")]
    return {
        secret: {
            source: f"{secret}_{source}" for source in SOURCES if f"{secret}_{source}" in names
        }
        for secret in sorted(found)
        if secret not in names
    }


def keys_of(cls: Any, names: Iterable[str] = ()) -> list[str]:
    """The keys of an options class (or `names` of them) as people write them: one for each secret."""
    secrets = secrets_of(cls)
    replaced = {flat for sources in secrets.values() for flat in sources.values()}
    given = tuple(names) or tuple(f.name for f in dataclasses.fields(cls) if f.init)
    return [*(name for name in given if name not in replaced), *secrets]


def shape(sources: Iterable[str]) -> str:
    """``{credential: NAME}, {file: /PATH} or {env: NAME}``."""
    *others, last = (f"{{{source}: {SOURCES[source][0]}}}" for source in sources)
    return f"{', '.join(others)} or {last}" if others else last


@dataclass(slots=True)
class Unfolded:
    """A mapping of options with fields in place of references."""

    node: Node
    unusable: list[str] = field(default_factory=list)
    """Fields about which a problem has been told."""
    spelling: dict[str, str] = field(default_factory=dict)
    """How the file spells a field that came from a reference: key_file -> key.file."""


def unfold(node: Node, cls: Any, problems: Problems, path: str) -> Unfolded:
    """The mapping with ``key_file: x`` for ``key: {file: x}``; what is no reference is told."""
    secrets = secrets_of(cls)
    if not secrets.keys() & node.value.keys():
        return Unfolded(node)
    made = Unfolded(Node(dict(node.value), node.mark, dict(node.keys)))
    for secret in secrets.keys() & node.value.keys():
        sources = secrets[secret]
        item = made.node.value.pop(secret)
        made.node.keys.pop(secret, None)
        place = f"{path}.{secret}" if path else secret
        twice = [flat for flat in sources.values() if flat in node.value]
        if twice:
            key = node.keys.get(secret, Mark())
            problems.add(key, f"{place}: and {twice[0]} say the same: leave one of them out")
        source = _source(item, sources, problems, place)
        if source is None or twice:
            made.unusable += sources.values()
        else:
            flat = sources[source]
            made.node.value[flat] = item.value[source]
            made.spelling[flat] = f"{secret}.{source}"
    return made


def _source(item: Node, sources: Mapping[str, str], problems: Problems, place: str) -> str | None:
    """Which source the reference names; None after telling why it is none."""
    if not isinstance(item.value, dict):
        sentence = f"{place}: a secret is not written here, only where it is: {shape(sources)}"
        problems.add(item.mark, sentence, secret_at=item.mark)
        return None
    for key in item.value:
        if key not in sources:
            sentence = (
                f"{place}: unknown key '{key}'{suggest(key, sources)}: write {shape(sources)}"
            )
            problems.add(item.keys.get(key, Mark()), sentence, secret_at=item.mark)
            return None
    if len(item.value) != 1:
        problems.add(item.mark, f"{place}: must be one of {shape(sources)}")
        return None
    source: str = next(iter(item.value))
    value = item.value[source]
    _, form, words = SOURCES[source]
    if not isinstance(value.value, str) or not form.fullmatch(value.value):
        problems.add(value.mark, f"{place}.{source}: must be {words}", secret_at=value.mark)
        return None
    return source


def references_in(cls: Any, options: Mapping[str, Any]) -> Iterator[tuple[str, Reference]]:
    """The secrets that the options name: what each is called, and where it is."""
    for secret, sources in secrets_of(cls).items():
        given = {source: options.get(flat, "") for source, flat in sources.items()}
        if reference := Reference(**given):
            yield secret.replace("_", " "), reference


def fold(cls: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as people write them: a reference in place of the fields that say where a secret is."""
    shown = keys_of(cls, options)
    folded = {key: value for key, value in options.items() if key in shown}
    for secret, sources in secrets_of(cls).items():
        given = (source for source in SOURCES if options.get(sources.get(source, "")))
        source = next(given, None)
        if source is not None:
            folded[secret] = {source: options[sources[source]]}
    return folded
