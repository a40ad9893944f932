"""How the events of a script happen to a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.sim.bloomberg.events import Item, Kind, down, reason, up
from mdfeedd.sim.bloomberg.messages import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.bloomberg.core import SessionCore, Subscription
    from mdfeedd.sim.bloomberg.script import Fault

__all__ = ["happen", "tell_loss"]

_SECOND: Final = 1_000_000_000


def happen(core: SessionCore, fault: Fault, ns: int) -> None:
    """Now; a session that has ended has no more trouble, and one that is down no more of most kinds."""
    if core.state == "ended" or (
        core.state == "down" and fault.kind not in ("terminated", "revoked")
    ):
        return
    core.flush()
    core.account.faults.append(fault.kind)
    _HAPPENINGS[fault.kind](core, fault, ns)


def tell_loss(core: SessionCore, sub: Subscription, ns: int) -> None:
    """So many messages of a topic did not arrive: say it, the one way or the other."""
    count, sub.lost = sub.lost, 0
    if sub.loss_tells == "summary":
        item = core.world.instruments[sub.index]
        core.send(sub, summary("DATALOSS", item, ns, sub.style), ns)
        return
    content = {"id": str(sub.label), "source": "Service", "numMessagesDropped": count}
    core.post(Kind.ADMIN, core.status("DataLoss", sub, content))


def _meant(core: SessionCore, fault: Fault) -> list[Subscription]:
    """The living subscriptions that a fault is about."""
    subs = core.subscriptions.values()
    return [s for s in subs if s.is_active and fault.hits(core.number, s.topic)]


def _deactivate(core: SessionCore, subs: list[Subscription]) -> None:
    for sub in subs:
        sub.holds += 1
    if subs:
        items = [core.streams(sub, "Deactivated") for sub in subs]
        core.post(Kind.SUBSCRIPTION_STATUS, *items)


def _activate(core: SessionCore, subs: list[Subscription], ns: int, *, recap: bool) -> None:
    for sub in subs:
        if core.subscriptions.get(sub.cid) is not sub:
            continue
        sub.holds -= 1
        core.post(Kind.SUBSCRIPTION_STATUS, core.streams(sub, "Activated"))
        if recap and sub.is_begun and not sub.holds:
            core.paint(sub, ns, 2)


def _disconnect(core: SessionCore, fault: Fault, ns: int) -> None:
    text = "Connection lost"
    if not core.options.auto_restart:
        core.terminate(reason("Session", "IO_ERROR", 9, text), "disconnected")
        return
    subs = [sub for sub in core.subscriptions.values() if sub.is_active]
    core.become("down")
    core.post(Kind.SESSION_STATUS, Item("SessionConnectionDown", down(core.server, text)))
    _deactivate(core, subs)

    def restore(at_ns: int) -> None:
        core.become("up")
        core.post(Kind.SESSION_STATUS, Item("SessionConnectionUp", up(core.server)))
        _activate(core, subs, at_ns, recap=True)

    core.at(ns + int(fault.seconds * _SECOND), restore)


def _service_down(core: SessionCore, fault: Fault, ns: int) -> None:
    def status(name: str) -> None:
        for service in sorted(core.services):
            content = {"serviceName": service, "servicePart": "SUBSCRIBER", "endpoint": core.server}
            core.post(Kind.SERVICE_STATUS, Item(name, content, service=service))

    subs = [sub for sub in core.subscriptions.values() if sub.is_active]
    status("ServiceDown")
    _deactivate(core, subs)

    def restore(at_ns: int) -> None:
        status("ServiceUp")
        _activate(core, subs, at_ns, recap=True)

    core.at(ns + int(fault.seconds * _SECOND), restore)


def _streams(core: SessionCore, fault: Fault, ns: int) -> None:
    subs = _meant(core, fault)
    _deactivate(core, subs)
    core.at(
        ns + int(fault.seconds * _SECOND),
        lambda at_ns: _activate(core, subs, at_ns, recap=fault.recap),
    )


def _terminated(core: SessionCore, _fault: Fault, _ns: int) -> None:
    why = reason("Session", "IO_ERROR", 9, "Restart attempts are used up")
    core.terminate(why, "terminated")


def _revoked(core: SessionCore, _fault: Fault, _ns: int) -> None:
    why = reason("Authorization", "NOT_AUTHORIZED", 7, "Identity is revoked")
    if core.identified:
        item = Item("AuthorizationRevoked", {"reason": why}, core.options.identity_cid)
        core.post(Kind.AUTHORIZATION_STATUS, item)
    core.terminate(why, "revoked")


def _lose(tells: str) -> Callable[[SessionCore, Fault, int], None]:
    def begin(core: SessionCore, fault: Fault, _ns: int) -> None:
        for sub in _meant(core, fault):
            sub.losing = fault.count
            sub.loss_tells = tells

    return begin


def _ended(core: SessionCore, fault: Fault, _ns: int) -> None:
    for sub in _meant(core, fault):
        core.drop(sub, fault.category)


def _silence(core: SessionCore, fault: Fault, ns: int) -> None:
    core.world.freeze(fault.topic, ns + int(fault.seconds * _SECOND))


def _slow(core: SessionCore, _fault: Fault, _ns: int) -> None:
    core.queue.warn()


def _odd(core: SessionCore, fault: Fault, ns: int) -> None:
    for index in sorted({sub.index for sub in _meant(core, fault)}):
        core.world.publish_odd(index, fault.text, ns)


_HAPPENINGS: Final[dict[str, Callable[[SessionCore, Fault, int], None]]] = {
    "disconnect": _disconnect,
    "terminated": _terminated,
    "revoked": _revoked,
    "service_down": _service_down,
    "data_loss": _lose("admin"),
    "summary_loss": _lose("summary"),
    "streams": _streams,
    "ended": _ended,
    "silence": _silence,
    "slow_consumer": _slow,
    "odd": _odd,
}
