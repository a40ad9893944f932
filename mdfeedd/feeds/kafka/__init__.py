"""Kafka: a ring of another host, by the topics that the Kafka sink there writes.

    host A: ring cme ─► batch consumer ─► sink kafka ─► md.cme.ticks, md.cme.instruments
    host B: feed kafka ─► Source (librdkafka) ─► codec: merge, translate ─► ring cme ─► Reader("cme")

`codec` is sans-IO; `source` asks the brokers, `memory` is the file beside the ring, `feed` the process.

What comes: committed records alone, in the order that the ring of host A had them, over all
instruments; `seq` and `instrument_id` are those of the ring here (bars tell of ticks by `first_seq`
and `last_seq` of host A), all else is as it was, `ts_recv` and `venue_seq` included. What brokers no
longer have is a GAP (RING_LAPPED, in numbers of the ring of host A), before the first record behind it.

Nothing is lost and nothing comes twice over restarts of the feed, kill -9 at any moment included, of
the sink, and of brokers, while the ring here and the file beside it last; after a reboot of this host
both are new, and the feed begins where `start` says. In catching up the feed waits for consumers
here, for as long as `wait_for_consumers_s` without one moving, since Kafka keeps what waits.

Limits: `max_wait_records` for partitions that are behind, `receive_buffer_bytes` fetched ahead. Ways
to fail: exit status 77 (login) or 78 (another payload or layout, no client library), all else is
tried again.
"""

from __future__ import annotations
