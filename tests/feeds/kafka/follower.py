"""A feed process to be killed: follower.py ADDRESS RING DIRECTORY."""

from __future__ import annotations

import sys
import threading

from mdfeedd.feeds.kafka.feed import KafkaFeed
from mdfeedd.feeds.kafka.options import KafkaOptions
from mdfeedd.feeds.protocol import RingPlan


def main(address, ring, directory):
    options = KafkaOptions(address, ring=ring, start="earliest", timeout_s=5.0)
    KafkaFeed(ring, options, RingPlan(ring, 1 << 18, directory=directory)).run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
