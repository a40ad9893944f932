"""A gateway without sockets and clock: connects and bytes in, actions out.

    core = GatewayCore(Market(seed), script, keys={KEY})
    session = core.connect(now_ns)          None: closed at once
    session.receive(data, now_ns)
    for action in session.advance(now_ns)   Send, Close, Reset, HalfClose, Stall
    session.next_ns                         when it wants to be advanced though nothing was received
    core.sessions                           what each was asked and sent

Time is what the caller says it is; the market goes with it, or ahead of it in a `flood`.
"""

from __future__ import annotations

import collections
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.databento.account import SessionAccount
from mdfeedd.sim.databento.requests import KEY_CHARACTERS
from mdfeedd.sim.databento.script import Script
from mdfeedd.sim.databento.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.sim.databento.timeline import Truth

__all__ = ["KEY", "GatewayCore", "Habits"]

KEY: Final = "db-simulated0000000000000000000k"
_NS_PER_S: Final = 1_000_000_000
_DAY_S: Final = 86_400.0
_FIRST_SESSION_ID: Final = 1_760_000_001


@dataclass(frozen=True, slots=True)
class Habits:
    """How a gateway behaves when nothing is wrong.

    heartbeat_s: whatever the client asks for. flush_s, flush_records: how long zstd holds back records.
    limit_records: no more than so many in a session. chunk_records: at most so many in one `advance`.
    keep_sent: False for gateways that run for long: the accounts count, and keep no records.
    """

    max_sessions: int = 10
    max_connects_per_s: int = 5
    max_subscriptions_per_s: int = 10
    replay_s: float = _DAY_S
    heartbeat_s: float | None = None
    flush_s: float = 0.0
    flush_records: int = 1
    flood: bool = False
    limit_records: int | None = None
    chunk_records: int = 1_000
    version: int = 3
    keep_sent: bool = True
    start_is_now: bool = False  # metadata: start is the time of the session, else 0


class GatewayCore:
    """All sessions of one data set. keys: those that are accepted."""

    def __init__(
        self,
        market: Truth,
        script: Script | None = None,
        keys: Iterable[str] = (KEY,),
        dataset: str = "GLBX.MDP3",
        *,
        habits: Habits | None = None,
        seed: int = 1,
    ) -> None:
        self.market = market
        self.script: Script = script or Script()
        self.keys: tuple[str, ...] = tuple(keys)
        for key in self.keys:
            if len(key) != KEY_CHARACTERS:
                raise ValueError(f"key: must have {KEY_CHARACTERS} characters, not {len(key)}")
        self.dataset = dataset
        self.habits: Habits = habits or Habits()
        self.sessions: list[SessionAccount] = []
        self.renamed: dict[int, str] = {}  # instrument_ids that stand for another symbol by now
        self.restarts: int = 0
        self._down_until_ns = 0
        self._seed = seed
        self._open: set[int] = set()
        self._ahead_ns = 0
        self._connects: dict[str, collections.deque[int]] = {}

    def connect(self, now_ns: int, peer: str = "") -> Session | None:
        """A new connection; None if it is closed at once."""
        number = len(self.sessions)
        account = SessionAccount(number, peer, now_ns)
        self.sessions.append(account)
        why = self._why_refused(number, now_ns, peer)
        if why:
            account.ended, account.ended_ns = why, now_ns
            return None
        return Session(self, account, now_ns)

    def _why_refused(self, number: int, now_ns: int, peer: str) -> str:
        if self.script.refuses(number):
            return "refused"
        if now_ns < self._down_until_ns:
            return "refused: weekly restart"
        recent = self._connects.setdefault(peer, collections.deque())
        while recent and recent[0] <= now_ns - _NS_PER_S:
            recent.popleft()
        if len(recent) >= self.habits.max_connects_per_s:
            return "refused: too many connects"
        recent.append(now_ns)
        return ""

    def admit(self, account: SessionAccount) -> bool:
        """Count an authenticated session, unless there are as many as are allowed."""
        if len(self._open) >= self.habits.max_sessions:
            return False
        self._open.add(account.number)
        account.session_id = str(_FIRST_SESSION_ID + account.number)
        return True

    def leave(self, account: SessionAccount) -> None:
        """A session has ended; harmless if it was not counted."""
        self._open.discard(account.number)

    def rng(self, account: SessionAccount, what: str) -> random.Random:
        """Chance of a session's own."""
        return random.Random(f"{what} {self._seed} {account.number}")  # noqa: S311 - chance, not secrets

    def restart(self, now_ns: int, seconds: float) -> None:
        """Close every session; refuse connects until it is over."""
        self.restarts += 1
        self._down_until_ns = now_ns + int(seconds * _NS_PER_S)

    def market_ns(self, now_ns: int) -> int:
        """The market's time, with all that is due until then made."""
        market_ns = max(now_ns, self._ahead_ns)
        self.market.run_until(market_ns)
        return market_ns

    def run_ahead(self, events: int) -> bool:
        """In a flood: let the market's time go on by about so many events. False if there are none."""
        then_ns = self.market.after_ns(events)
        if then_ns is None:
            return False
        self._ahead_ns = max(self._ahead_ns, then_ns)
        self.market.run_until(self._ahead_ns)
        return True
