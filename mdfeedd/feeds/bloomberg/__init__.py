"""Bloomberg: market data subscriptions of its SDK, BLPAPI, into ticks.

::

    session.Link ─► line.Line ─┬─ market data ─► plane ─► codec.Decoder ─► ticks into the ring
    (the SDK, one thread)      └─ status ─► conversation.Conversation ─► topics.Topics: what to ask for next

Only `session` and `plane` touch the SDK, which is imported when a feed runs and not before; all else takes
dictionaries and times, so that simulation, fuzzing and tests need no Bloomberg. `feed` is the process, `probe`
what ``mdfeedd check --connect`` does, `failure` the policy by category, `options` the configuration's keys,
`sdk_log` what the SDK has to say itself.

Redistribution, by Kafka or Redis too, is a matter of the licence with Bloomberg.

Ways to fail: `ending.SessionEnd`, whose `Ending` says what follows: another session after a pause, or the end
of the process with the exit status for its cause. A topic's failure ends nothing but that topic.
"""
