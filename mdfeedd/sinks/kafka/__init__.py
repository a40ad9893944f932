"""The Kafka sink: rings into topics, each record once, over restarts too.

    SinkBatch ─► Stream (one a ring) ─► split by partition ─► chunks ─────► md.RING.ticks, md.RING.bars
                    │                       one transaction ─► instruments ► md.RING.instruments
                    └─ position(ring) ◄─────────────────────── position ───► md.RING.position

`wire` says what lies in the topics, for the feed that reads them as well. An instrument's records
are in one partition, CRC-32 of its symbol modulo the partitions, in ring order: the same on all
hosts and after all restarts, which its number (instrument_id) is not. The sink is the only owner of
what it hands to the client library (`client`, `outbox`), waits while `outbox.MAX_IN_FLIGHT` messages
have no answer, and drops none. What brokers forgot to end is found, and mended, by `forgotten`.

Payloads: raw (packed records, what the kafka feed reads), arrow (IPC streams); of one record a
message, its key the symbol: json (as `mdfeedd tail --json`), raw_per_tick (64 bytes).

Ways to fail: `SinkError`, retriable for all that brokers may get over, and not retriable for another
writer of the same ring, records without a topic, and packages that are missing. What a consumer
without read_committed sees of voided transactions is not for it to keep.
"""

from __future__ import annotations

from mdfeedd.sinks.kafka.options import KafkaConnection, KafkaSinkOptions
from mdfeedd.sinks.kafka.sink import KafkaSink

__all__ = ["KafkaConnection", "KafkaSink", "KafkaSinkOptions"]
