"""How a running system is looked at from outside: the daemon is asked; where none answers, shared memory tells.

HTTP /status of the daemon ──┐ of this folder of rings
shared memory, /proc ────────┴─► Sight: the dict of `mdfeedd.daemon.status`, and how it was had
plan of a file, where given ──► feeds and consumers that should be there and are not
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    import argparse

    from mdfeedd.daemon.plan import MetricsPlan, Plan

TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 16 << 20
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen; ``shown["mistakes"]`` is there where the file has some. `asked` is where a daemon should answer ("" : nowhere); `why` says why none did."""

    shown: dict[str, Any]
    answered: bool
    asked: str
    why: str

    @property
    def anything(self) -> bool:
        """Whether a daemon answers, or somebody writes or reads a ring."""
        return self.answered or any(p["pid"] for p in self.shown["processes"])


class Attachment:
    """Where to look: made once of the command line, looked through again and again."""

    def __init__(
        self,
        shm_dir: str,
        metrics: MetricsPlan | None,
        plan: Plan | None = None,
        mistakes: str = "",
    ) -> None:
        self.shm_dir = shm_dir
        self._metrics = metrics
        self._plan = plan
        self._mistakes = mistakes

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Attachment:
        """By `-c FILE` or `--shm-dir`. Raises `Trouble` for a file that cannot be read.

        One with mistakes still says where to look: what runs is of an earlier state of it.
        """
        from mdfeedd.daemon.plan import Exit, MetricsPlan

        if not arguments.config:
            return cls(arguments.shm_dir, MetricsPlan())
        from mdfeedd.daemon import config

        given = arguments.shm_dir if arguments.shm_dir != units.SHM_DIR else ""
        try:
            plan = config.load(arguments.config)
        except config.ConfigError as error:
            found = units.of(len(error.problems), "mistake")
            try:
                shm_dir, metrics = config.whereabouts(arguments.config)
            except config.ConfigError as unreadable:
                raise Trouble(str(unreadable.problems[0]), Exit.CONFIG) from None
            told = f"{arguments.config} has {found}, a restart would not come up with it: see 'mdfeedd check'"
            return cls(given or shm_dir, metrics, mistakes=told)
        plan = plan.at(given) if given else plan
        return cls(plan.shm_dir, plan.metrics, plan)

    def look(self) -> Sight:
        """See everything of one moment. Never raises for a daemon or a ring that is not there."""
        from mdfeedd.daemon.status import snapshot

        shown, why, asked = None, "it serves no HTTP", ""
        if self._metrics is not None and self._metrics.port:
            asked = f"{self._metrics.host} port {self._metrics.port}"
            shown, why = self._ask(self._metrics)
        answered = shown is not None
        if shown is None:
            shown = snapshot(self.shm_dir)
            if self._plan is not None:
                _expect(shown, self._plan)
        if self._mistakes:
            shown["mistakes"] = self._mistakes
        said = self._plan is not None or self._mistakes
        return Sight(shown, answered, asked if said else "", why)

    def _ask(self, metrics: MetricsPlan) -> tuple[dict[str, Any] | None, str]:
        """The daemon's own dict, or None and why not."""
        from mdfeedd.daemon.status import FORMAT

        host = _EVERYWHERE.get(metrics.host, metrics.host)
        connection = http.client.HTTPConnection(host, metrics.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/status", headers=_token_of(metrics))
            answer = connection.getresponse()
            body = answer.read(MAX_ANSWER_BYTES)
            shown = json.loads(body) if answer.status == HTTPStatus.OK else None
        except OSError as error:
            return None, error.strerror or str(error) or "no answer in time"
        except (http.client.HTTPException, ValueError):
            return None, "what answers is no mdfeedd"
        finally:
            connection.close()
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return None, "it wants a token that we cannot read (metrics.token)"
        if not isinstance(shown, dict) or shown.get("format") != FORMAT:
            return None, "what answers is no mdfeedd of this version"
        if shown.get("shm_dir") != self.shm_dir:
            return None, f"the mdfeedd there has its rings in {shown.get('shm_dir')}"
        return shown, ""


def _token_of(metrics: MetricsPlan) -> dict[str, str]:
    """What shows the token, if there is one and we may read it."""
    from mdfeedd.secret import Reference, SecretError, read_token

    try:
        token = read_token(
            Reference(metrics.token_credential, metrics.token_file, metrics.token_env)
        )
    except SecretError:
        return {}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _expect(shown: dict[str, Any], plan: Plan) -> None:
    """Add what the plan has and shared memory has not."""
    from mdfeedd.daemon.status import absent_feed, faults_of
    from mdfeedd.daemon.troubles import troubles_of

    feeds = {feed["name"] for feed in shown["feeds"]}
    shown["feeds"] += [absent_feed(child) for child in plan.feeds if child.name not in feeds]
    names = {child.name for child in plan.consumers}
    for consumer in shown["consumers"]:
        consumer["managed"] = consumer["name"] in names
    shown["faults"] = faults_of(shown)
    shown["ready"] = not shown["faults"]
    shown["troubles"] = troubles_of(shown)
