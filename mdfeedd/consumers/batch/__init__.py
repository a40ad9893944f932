"""The batch consumer: records of one or more rings, in batches, into a sink.

    ring ────────────── RingSource ──┐ buffer of batch_size
                                     ├─(full, or flush_interval_s old)─► queue ─► sink.write
    PATH/RING/*.mdj ─ JournalSource ─┘                                    ▲            │ progress
                                                 retries, backing off ────┘            ▼
    ring's registry: ack, counters ◄──────────────────────────────────── what is safe
    PATH/RING/sinks/CONSUMER       ◄──

`source` has what the two ways in have in common, `ring_source` and `journal_source` the ways,
`consumer` the loop, `options` the configuration, `back_off` the retries.

Straight from the ring, a sink that stops for longer than the ring holds costs records: a ring never
waits for its readers. While the sink refuses batches (`SinkError`, retriable) the queue grows to
`max_pending` records; then ``overflow`` decides: "block" stops reading, so what the ring laps
meanwhile is told by the ring as lost; "drop" reads on and drops the newest batch, counted as
`dropped_records`.

Through the journal (option `journal`) an outage of the sink costs disk: reading stops at
`max_pending` and goes on where it stopped, in batches of up to `catch_up_size` until it has caught
up.

Where to begin: behind what the store itself says it holds (`Sink.position`), where it keeps
positions; else behind what was acknowledged as safe. A sink of the second kind may see records
twice after a kill, and says in its module what it does about it.

Ways to fail: a sink that cannot be used or fails for good (`SinkError`), a ring of another layout
or owner (`RingError`), a journal of a later version (`JournalError`). Each ends `run`; the
supervisor starts the process again.
"""

from mdfeedd.consumers.batch.consumer import BatchConsumer
from mdfeedd.consumers.batch.options import BatchOptions

__all__ = ["BatchConsumer", "BatchOptions"]
