"""``mdfeedd config``: a configuration as it would run, checked, or described to an editor."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from mdfeedd.cli import check

_EPILOG: Final = """\
show prints the whole configuration as it would run: what it includes joined, every key with its value, units
resolved, secrets as the references that they are. What it prints is a configuration itself.

schema prints a JSON Schema: completion, the meaning of keys and most mistakes while you type, in editors with a
language server for YAML. The first line of the file says where it is:
  # yaml-language-server: $schema=mdfeedd.schema.json

check is the same as mdfeedd check.

exit status:
  0 done   78 configuration (all problems are on standard error)

examples:
  mdfeedd config show -c mdfeedd.yaml
  mdfeedd config show -c mdfeedd.yaml --json | jq .feeds
  mdfeedd config schema > mdfeedd.schema.json
  mdfeedd config check -c mdfeedd.yaml --connect
"""
_PART_EPILOG: Final = "'mdfeedd config --help' has the exit status and examples."


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "config",
        help="show a configuration as it would run, or its JSON Schema",
        description="Show a configuration as it would run, or its JSON Schema.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = _part(actions, "show", "the whole configuration, as it would run")
    show.add_argument("-c", "--config", required=True, metavar="FILE", help="the YAML file")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=run_show)
    schema = _part(actions, "schema", "the JSON Schema, for editors")
    schema.set_defaults(run=run_schema)
    check.add_arguments(_part(actions, "check", "the same as mdfeedd check"))


def _part(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=_PART_EPILOG
    )
    return parser


def run_show(arguments: argparse.Namespace) -> int:
    """Print the configuration."""
    from mdfeedd.daemon.showing import as_written, to_yaml

    written = as_written(check.load(arguments.config))
    text = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
    print(text if arguments.json else to_yaml(written), end="")
    return 0


def run_schema(_: argparse.Namespace) -> int:
    """Print the schema."""
    from mdfeedd.daemon.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
    return 0
