"""Worlds in which the checkers find nothing: in what they show, the tests plant faults."""

from __future__ import annotations

from mdfeedd.sim.whole.play import play


def kept(vendor, seeds, without, wanted):
    """The evidence of the first of these seeds that has what a test needs."""
    for seed in seeds:
        result = play(seed, vendors=(vendor,), without=without, keep=True)
        assert not result.violations, (seed, result.violations)
        if wanted(result.evidence):
            return result.evidence
    raise AssertionError("none of the seeds has it")


def kept_actor(vendor, seeds, without, wanted):
    """Of such a world the actor, and the tape of its feed, of which `wanted` is asked."""

    def of(evidence):
        return evidence.actors[0], evidence.tapes["feed0"]

    return of(kept(vendor, seeds, without, lambda evidence: wanted(*of(evidence))))


def found(actor, tape):
    """The checkers that complain."""
    return {text.partition(":")[0] for text in actor.check(tape)}
